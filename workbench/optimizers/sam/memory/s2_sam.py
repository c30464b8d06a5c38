"""S2-SAM: the ascent is the gradient of the step before, so that a step costs one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.optimizers.cycles import Axis
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised, zeros_like


@dataclass(frozen=True)
class S2SAM(EffectiveGradient):
    """g~(x) = d, d <- g(x + rho u(d)): yesterday's effective gradient is today's ascent (NeurIPS 2024, MJgMMqMDu4).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> rule = wb.optimizers.around(wb.optimizers.S2SAM(rho=1.0), 0.1)
    >>> wb.run(valley, rule, start=start, steps=2).parameters  # 2.7 - 0.1 (2.7 + 1)
    tensor([2.3300], dtype=torch.float64)
    """

    rho: HyperParameter
    name = "s2_sam"

    def init(self, parameters: Parameters) -> Parameters:
        return zeros_like(parameters)

    def advance(self, oracle: Oracle, parameters: Parameters, memory: Any) -> tuple[Parameters, Parameters]:
        effective = oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), normalised(memory)))
        return effective, effective

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        raise ValueError(
            "s2_sam has no 2-cycle: its ascent is yesterday's and points downhill while the run alternates; for "
            "1 < step_size * eigenvalue < 2 it has a 4-cycle, below 1 it drifts to distance rho behind the minimum"
        )


@constructor
@listed(
    Row(
        paper="NeurIPS 2024 (MJgMMqMDu4)",
        equation="d ← g(x + ρu(d)); g̃ = d",
        cost="1",
        asks="memory",
        code="a third party's copy seen",
        quadratics="a < 1: drifts to ρ behind the minimum; 1 < a < 2: 4-cycle, X = a²ρ/(1+(1−a)²)",
        invariance="R, L",
        mark="recalled",
    )
)
def s2_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """S2-SAM (see `S2SAM`).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.s2_sam(0.5, rho=1.0), start=start, steps=50).parameters  # rho behind the minimum
    tensor([-1.0000], dtype=torch.float64)
    """
    return around(S2SAM(rho), step_size, beta, momentum)
