"""Sharpness-aware gradient descent: the gradient at a maximiser of the loss over a ball, found by a named oracle.

SA-GD (arXiv:2511.03548): v_t in argmax_{|v| <= rho} F(w_t + v), w_{t+1} = w_t - eta grad F(w_t + v_t). Where the maximiser
is not unique, the oracle's choice decides where the run ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_count
from workbench.optimizers.momentum import Descent
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised, scale


@runtime_checkable
class Maximiser(Protocol):
    """Chooses a displacement of norm at most rho at which the loss is largest, or tries to."""

    @property
    def name(self) -> str: ...

    def __call__(self, oracle: Oracle, parameters: Parameters, rho: float | Tensor) -> Parameters: ...


@dataclass(frozen=True)
class PowerIteration:
    """v <- rho grad F(w + v)/|grad F(w + v)|, `iterations` times from one random direction, fresh at every step.

    For a convex F no iteration lowers F(w + v), but it may stop at a stationary point or on a plateau of zero gradient;
    there v = 0 is returned.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.sa_gd(0.1, 1.0, wb.optimizers.PowerIteration()), start=start, steps=1).parameters
    tensor([2.6000], dtype=torch.float64)
    """

    iterations: int = 20
    name = "power"

    def __post_init__(self) -> None:
        require_count("iterations", self.iterations, 0)

    def __call__(self, oracle: Oracle, parameters: Parameters, rho: float | Tensor) -> Parameters:
        displacement = scale(rho, normalised(oracle.normal("ascent", parameters)))
        for _ in range(self.iterations):
            displacement = scale(rho, normalised(oracle.gradient(add_scaled(parameters, 1.0, displacement))))
        return displacement


@dataclass(frozen=True)
class BestOf:
    """The best of listed directions, by the value of the loss of `problem` (a `Problem` on tensors): exact on the line with
    {-1, 1}, to second order in the spacing on the plane with `circle_directions(k)`. The first of equally good ones.

    >>> import torch
    >>> import workbench as wb
    >>> ends = wb.optimizers.BestOf(wb.problems.quadratic([1.0]), torch.tensor([[1.0], [-1.0]]))
    >>> ends.maximum(torch.tensor([3.0]), 1.0)  # (|x| + rho)^2/2
    tensor(8., dtype=torch.float64)
    """

    problem: Any
    directions: Float[Tensor, "direction ..."]
    name = "enumerated"

    def __call__(self, oracle: Oracle, parameters: Any, rho: float | Tensor) -> Any:
        values = self._values(parameters, rho)
        return rho * torch.index_select(self.directions, 0, values.argmax().reshape(1))[0]

    def maximum(self, parameters: Any, rho: float | Tensor) -> Float[Tensor, ""]:
        """The sharpness-aware loss max_v F(w + v) over the listed directions."""
        return self._values(parameters, rho).amax()

    def _values(self, parameters: Any, rho: float | Tensor) -> Float[Tensor, " direction"]:
        return torch.func.vmap(lambda direction: self.problem.loss(parameters + rho * direction))(self.directions)


def circle_directions(directions: int = 360) -> Float[Tensor, "direction 2"]:
    """Unit vectors of the plane at equal angles."""
    angles = torch.arange(directions, dtype=torch.float64) * (2 * torch.pi / directions)
    return torch.stack([angles.cos(), angles.sin()], -1)


@dataclass(frozen=True)
class FullMaximisation(EffectiveGradient):
    """g~(x) = grad F(x + v), v the maximiser's displacement. Unlike SAM's it need not vanish where the gradient does.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> rule = wb.optimizers.around(wb.optimizers.FullMaximisation(1.0, wb.optimizers.PowerIteration()), 0.1)
    >>> wb.run(valley, rule, start=start, steps=1).parameters
    tensor([2.6000], dtype=torch.float64)
    """

    rho: HyperParameter
    maximiser: Maximiser

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.maximiser, Maximiser):
            raise ValueError(f"maximiser must be one of this module's, e.g. PowerIteration(), got {self.maximiser!r}")

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"sa_gd[{self.maximiser.name}]"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        rho = at(self.rho, oracle.step)
        return oracle.gradient(add_scaled(parameters, 1.0, self.maximiser(oracle, parameters, rho)))


def sa_gd(step_size: HyperParameter, rho: HyperParameter, maximiser: Maximiser) -> Descent:
    """Sharpness-aware gradient descent with full inner maximisation (arXiv:2511.03548, SA-GD).

    >>> import torch
    >>> import workbench as wb
    >>> valley = wb.problems.quadratic([1.0])
    >>> ends = wb.optimizers.BestOf(valley, torch.tensor([[1.0], [-1.0]]).double())
    >>> wb.run(valley, wb.optimizers.sa_gd(0.1, 1.0, ends), start=torch.zeros(1), steps=1).parameters
    tensor([-0.1000], dtype=torch.float64)
    """
    return Descent(FullMaximisation(rho, maximiser), step_size)
