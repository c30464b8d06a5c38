"""Accelerated SGD for non-strongly-convex least squares (arXiv:2203.01744): exact risks, their limit, and bounds."""
