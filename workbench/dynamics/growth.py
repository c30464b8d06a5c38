"""How fast a rule moves away from a point: the growth rate of a small or, for linear rules, any displacement."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_count, require_positive
from workbench.dynamics.update_map import resting, update_map
from workbench.optimizers.rule import Rule
from workbench.parameters import concrete
from workbench.problems.base import Problem


def growth_rate(
    problem: Problem[Tensor],
    rule: Rule,
    point: Float[Tensor, " parameter"],
    direction: Float[Tensor, " parameter"],
    steps: int,
    *,
    size: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean log growth per step of a displacement from the critical point `point`, over the second half of `steps` steps.

    The displacement starts along `direction` and is brought back to length `size` after every step, so that neither growth nor
    decay ever overflows. Where the rule is linear around `point` (gradient descent, USAM and their relatives on
    quadratics) the size does not matter, and the rate tends to the log of the largest |eigenvalue| of the update whose
    eigenvector `direction` contains; elsewhere choose a small size. -inf where the displacement vanishes in one step.
    Raises ValueError for rules that carry a state (momentum), for steps < 2, and for a size that rounding of `point` would
    blur: below sqrt(eps) times its largest entry.
    """
    if len(resting(rule, point)) > 1:
        raise ValueError(f"growth_rate follows the parameters alone; {rule.name} also carries a state")
    require_count("steps", steps, 2)
    require_positive("size", size)
    scale, digits = concrete(point.abs().amax()), torch.finfo(point.dtype).eps ** 0.5
    if scale is not None and not isinstance(size, Tensor) and size < digits * scale:
        raise ValueError(
            f"size={size:g} is lost in the rounding of a point with entries up to {scale:.3g}: take at least {digits * scale:.1g}"
        )
    step = update_map(problem, rule)
    displacement, _ = _resized(direction, size)
    total = direction.new_zeros(())
    for k in range(steps):
        displacement, growth = _resized(cast(Tensor, step(point + displacement)[0]) - point, size)
        if 2 * k >= steps:
            total = total + growth.log()
    return total / (steps - (steps + 1) // 2)


def _resized(displacement: Tensor, size: float) -> tuple[Tensor, Tensor]:
    """The displacement at length `size`, and its length before over `size`."""
    length = torch.linalg.vector_norm(displacement)
    return displacement * torch.where(length > 0, size / torch.where(length > 0, length, 1.0), 0.0), length / size
