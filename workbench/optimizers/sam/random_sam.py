"""The gradient at a random point of the sphere around the parameters."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class RandomSAM(EffectiveGradient):
    """g~(x) = g(x + rho z/|z|), z standard normal and fresh at every step: the control of SAM (arXiv:2206.06232, Sec. 3).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.RandomSAM(rho=5.0), 0.1)
    >>> moved = wb.run(bowl, rule, start=start, steps=1).parameters
    >>> (moved - 0.9 * start).norm()  # step_size rho, in whatever direction
    tensor(0.5000, dtype=torch.float64)
    """

    rho: HyperParameter
    name = "random_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        ascent = normalised(oracle.normal("ascent", parameters))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))


@constructor
@listed(
    Row(
        paper="2206.06232 (control)",
        equation="g(x + ρu(z)), z normal",
        cost="1",
        asks="normal",
        quadratics="set [0, 2/α]; variance αρ²λ/(P(2−αλ)) along each axis",
        invariance="L",
    )
)
def random_sam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """The gradient at a random displacement of length rho (see `RandomSAM`).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.random_sam(0.1, rho=0.0), start=start, steps=1).parameters
    tensor([2.7000, 3.6000], dtype=torch.float64)
    """
    return around(RandomSAM(rho), step_size, beta, momentum)
