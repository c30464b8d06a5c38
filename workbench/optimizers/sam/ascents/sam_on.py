"""SAM-ON: an ascent of the normalisation layers alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.ascents.selection import selected
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class SAMON(EffectiveGradient):
    """g~(x) = g(x + rho u(g on chosen tensors)), the norm over these alone (arXiv:2306.04226: the normalisation layers).

    only: which tensors ascend, by name; by default those with "norm" or "bn" in their names.

    >>> import torch
    >>> import workbench as wb
    >>> problem = wb.problems.DeepLinear(torch.zeros(1, 1), widths=(1,))  # (W2 W1)^2
    >>> rule = wb.optimizers.around(wb.optimizers.SAMON(rho=1.0, only=lambda name: name == 'W2'), 0.1)
    >>> wb.run(problem, rule, start={'W1': torch.ones(1, 1), 'W2': torch.ones(1, 1)}, steps=1).parameters
    {'W1': tensor([[0.2000]]), 'W2': tensor([[0.6000]])}
    """

    rho: HyperParameter
    only: Callable[[str], bool] | None = None
    name = "sam_on"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient = oracle.tensors(oracle.gradient(parameters))
        chosen = selected(gradient, self.only or _is_norm, "only")
        kept = {name: part if name in chosen else torch.zeros_like(part) for name, part in gradient.items()}
        ascent = normalised(oracle.joined(kept))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))


def _is_norm(name: str) -> bool:
    return "norm" in name or "bn" in name


@listed(
    Row(
        paper="2306.04226",
        equation="g(x + ρu(g on normalisation layers))",
        cost="2",
        asks="names of tensors",
        code="mueller-mp/SAM-ON: names with norm or bn; norm over these only",
        quadratics="axis among them: as SAM; else p = λ",
        invariance="L",
    )
)
def sam_on(
    step_size: HyperParameter,
    rho: HyperParameter,
    only: Callable[[str], bool] | None = None,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """SAM on the normalisation layers (see `SAMON`).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.sam_on(0.1, rho=5.0, only=lambda name: True), start=start, steps=1).parameters
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """
    return around(SAMON(rho, only), step_size, beta, momentum)
