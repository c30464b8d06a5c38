"""Losses that are sums over more data than one process should hold at once."""

from __future__ import annotations

from .products import HVPOperator, Loss, Parameters, hvp_operator


def curvature_operator(loss: Loss, parameters: Parameters) -> HVPOperator:
    """The Hessian of `loss` as a map on vectors; a loss that knows how to make its own (`MinibatchLoss`) does."""
    own = getattr(loss, "hvp_operator", None)
    return own(parameters) if own is not None else hvp_operator(loss, parameters)
