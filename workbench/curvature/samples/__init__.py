"""Gradients of single samples, and what their spread says."""
