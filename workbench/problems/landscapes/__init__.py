"""Quadratics, scalar and (x, y) models: landscapes that can be drawn."""
