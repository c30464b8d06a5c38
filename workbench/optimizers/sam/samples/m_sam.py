"""m-SAM: one displacement per group of m samples."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import torch

from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised, tree_map


@dataclass(frozen=True)
class MSAM(EffectiveGradient):
    """g~(x) = mean_S grad l_S(x + rho u(grad l_S(x))) over the minibatch's consecutive groups S of m samples, u(g) = g/|g| if
    `normalize`, else g (arXiv:2206.06232, Sec. 3). `m=None` takes the whole minibatch as one group.

    >>> import torch
    >>> import workbench as wb
    >>> rows, start = wb.problems.LeastSquares(torch.eye(2), torch.zeros(2)), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.MSAM(rho=1.0, m=1), 1.0)
    >>> wb.run(rows, rule, start=start, steps=1).parameters  # every row along its own gradient
    tensor([1.0000, 1.5000])
    """

    rho: HyperParameter
    m: int | None = None
    normalize: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.m is not None and (isinstance(self.m, bool) or not isinstance(self.m, Integral) or self.m < 1):
            raise ValueError(
                f"m must be an int >= 1 (or None for the whole minibatch), got {self.m!r}; sweep it with static=['m']"
            )

    @property
    def name(self) -> str:  # type: ignore[override]
        return "m_sam" if self.normalize else "m_usam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        rho, unit = at(self.rho, oracle.step), normalised if self.normalize else _same
        if self.m is None:
            return oracle.gradient(add_scaled(parameters, rho, unit(oracle.gradient(parameters))))
        # pyrefly: ignore[unnecessary-type-conversion]
        groups = oracle.groups(int(self.m))
        ascents = torch.func.vmap(unit)(groups.gradients(parameters))
        displaced = tree_map(lambda x, ascent: x + rho * ascent, parameters, ascents)
        return tree_map(lambda g: g.mean(0), groups.gradients_at(displaced))

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        """Of samples with equal losses."""
        if not self.normalize:
            return super().on_axis(eigenvalue, bound)
        rho = number("rho", self.rho)
        axis = alternating(self.name, bound, eigenvalue, eigenvalue * rho)
        return axis._replace(across=(0.0, 1.0, rho / (eigenvalue * axis.amplitude)))


def _same(x: Parameters) -> Parameters:
    return x


@listed(
    Row(
        paper="2206.06232",
        equation="mean of gs over groups of m samples",
        cost="2",
        asks="groups",
        quadratics="X as SAM (equal samples)",
        invariance="R, L",
    )
)
def m_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    m: int | None = None,
    *,
    normalize: bool = True,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """m-SAM (see `MSAM`). m must divide the minibatch size; that is checked before the first step of a run.

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.m_sam(0.5, rho=0.1), 2.0).amplitude, 6)
    0.1
    """
    return around(MSAM(rho, m, normalize), step_size, beta, momentum)
