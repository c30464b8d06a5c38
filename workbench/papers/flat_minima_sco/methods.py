"""Which algorithm runs: the one a claim speaks of, or the one that a control puts in its place. The only place that knows."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.optimizers import gradient_descent, sam, usam
from workbench.optimizers.inner_maximisation import Maximiser, sa_gd
from workbench.optimizers.momentum import Descent

INSTEAD = {"gd": "GD", "sam": "SAM", "sa-gd": "SA-GD", "usam": "USAM"}
"""Value of the card's parameter `swap` -> the method that runs instead; all other values keep the claimed one."""

LARGE_STEP = 3.0
"""Above 2/beta for beta = 1: the step size of the control `large-step`."""


def step_size(eta: float, swap: str) -> float:
    """eta, or a step at which gradient descent diverges under `swap` = "large-step"."""
    return LARGE_STEP if swap == "large-step" else eta


def method(
    claimed: str, swap: str, eta: float | Tensor, rho: float | Tensor, maximiser: Maximiser | None = None
) -> Descent:
    """The rule of `claimed` ("GD", "SAM", "SA-GD", "USAM"), or of the method that `swap` names.

    eta: step size; rho: radius; maximiser: of SA-GD's inner problem.
    """
    name = INSTEAD.get(swap, claimed)
    if name == "SA-GD":
        if maximiser is None:
            raise ValueError("SA-GD needs a maximiser")
        return sa_gd(eta, rho, maximiser)
    return {"GD": lambda: gradient_descent(eta), "SAM": lambda: sam(eta, rho), "USAM": lambda: usam(eta, rho)}[name]()


def positive_part(shown: Tensor, rho: float | Tensor, swap: str) -> Tensor:
    """Derivative of the loss's profile h(a) at a = `shown`, over a: h = 1/2 [a - rho]_+^2; without hinge or square by `swap`.

    0 where a = 0.
    """
    slope = {"no-hinge": shown - rho, "unsquared": (shown > rho).to(shown.dtype)}.get(swap, (shown - rho).clamp(min=0))
    return torch.where(shown > 0, slope / torch.where(shown > 0, shown, 1.0), 0.0)
