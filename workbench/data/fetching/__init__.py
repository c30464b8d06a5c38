"""Verified downloads and the places where data lie."""
