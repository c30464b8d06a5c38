"""Single runs on l(xy) in plain floats."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from workbench import draws
from workbench.problems.landscapes.xy_model import Kind

Rules = Literal["gd", "usam", "sam", "random"]


def product_path(
    kind: Kind, start: tuple[float, float], rule: Rules, step_size: float, rho: float, steps: int, seed: int = 0
) -> Float[np.ndarray, "step parameter"]:
    """The iterates of one run on `ProductLoss`, steps + 1 rows; NaN from the step on at which it overflows.

    "random" takes the gradient at a random point of the circle of radius rho, drawn from `seed`.
    In plain floats: a single run of two numbers takes a thirtieth of the time it takes with tensors, which is what the
    explorer needs. `wb.run` gives the same iterates.
    Raises ValueError for an unknown kind or rule.
    """
    if rule not in get_args(Rules):
        raise ValueError(f"rule must be one of {', '.join(map(repr, get_args(Rules)))}, got {rule!r}")
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(map(repr, get_args(Kind)))}, got {kind!r}")
    slope: Callable[[float], float] = math.tanh if kind == "logcosh" else lambda z: z / math.sqrt(1 + z * z)
    angles = draws.uniform(seed, (steps,), high=2 * math.pi, stream="ascent") if rule == "random" else None
    turns = (
        [] if angles is None else list(zip((rho * angles.cos()).tolist(), (rho * angles.sin()).tolist(), strict=True))
    )
    x, y = start
    path = np.full((steps + 1, 2), np.nan)
    path[0] = x, y
    for step in range(1, steps + 1):
        if rule == "random":
            aside, up = turns[step - 1]
        else:
            ascent = _ascent(rule, slope, x, y, rho)
            aside, up = ascent * y, ascent * x
        height = slope((x + aside) * (y + up))
        x, y = x - step_size * height * (y + up), y - step_size * height * (x + aside)
        if not abs(x) + abs(y) < 1e8:
            break
        path[step] = x, y
    return path


def _ascent(rule: str, slope: Callable[[float], float], x: float, y: float, rho: float) -> float:
    """What the ascent (y, x) is multiplied by."""
    if rule == "gd":
        return 0.0
    return rho * (slope(x * y) if rule == "usam" else math.copysign(x * y != 0, x * y) / (math.hypot(x, y) or 1.0))
