"""The rules under comparison by the names of their arms, and what a control runs in their place (arXiv:2305.15287)."""

from __future__ import annotations

from typing import Any

from workbench.optimizers import gradient_descent, random_sam, sam, usam
from workbench.optimizers.momentum import Descent

ARMS = ("GD", "USAM", "SAM")
RANDOM = "random direction"

_SWAPPED: dict[str, dict[str, str]] = {
    "as stated": {},
    "gd": {"USAM": "GD", "SAM": "GD"},
    "usam": {"GD": "USAM", "SAM": "USAM"},
    "sam": {"GD": "SAM", "USAM": "SAM"},
    "swap": {"USAM": "SAM", "SAM": "USAM"},
    "equal": {"SAM": "USAM"},
    "random": {"SAM": RANDOM},
}


def running(arm: str, arms: str = "as stated") -> str:
    """The rule that runs under the name `arm` where the card's parameter `arms` has this value."""
    return _SWAPPED[arms].get(arm, arm)


def rule(arm: str, step_size: Any, rho: Any, arms: str = "as stated") -> Descent:
    """The update rule of an arm; `rho` does not matter to gradient descent."""
    made = running(arm, arms)
    if made == "GD":
        return gradient_descent(step_size)
    return {"USAM": usam, "SAM": sam, RANDOM: random_sam}[made](step_size, rho)
