"""Losses of products of parameters: diagonal networks and matrix sensing."""
