"""ASAM: an ascent in the metric of the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.ascents.selection import selected
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class ASAM(EffectiveGradient):
    """g~(x) = g(x + rho T^2 g/|T g|), T = |x| + eta on tensors of weights and 1 on others (arXiv:2102.11600, eq. 8).

    weights: which tensors are weights, by name; by default those with "weight" in their names (as in the authors' code: the
    gains of normalisations too, biases not), and a single tensor without a name.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([2.0]), torch.tensor([3.0])
    >>> rule = wb.optimizers.around(wb.optimizers.ASAM(rho=1.0, eta=0.0), 0.1)
    >>> wb.run(valley, rule, start=start, steps=1).parameters  # x + rho |x| = 6
    tensor([1.8000], dtype=torch.float64)
    """

    rho: HyperParameter
    eta: HyperParameter = 0.01
    weights: Callable[[str], bool] | None = None
    name = "asam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("eta", self.eta, lower=0.0)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        eta, tensors = at(self.eta, oracle.step), oracle.tensors(parameters)
        chosen = selected(tensors, self.weights or _is_weight, "weights")

        def scaled(v: Parameters) -> Parameters:
            parts = oracle.tensors(v)
            return oracle.joined(
                {n: (tensors[n].abs() + eta) * part if n in chosen else part for n, part in parts.items()}
            )

        ascent = scaled(normalised(scaled(oracle.gradient(parameters))))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho, eta = number("rho", self.rho), number("eta", self.eta)
        axis = alternating(self.name, bound, eigenvalue * (1 + rho), eigenvalue * rho * eta)
        across = rho * eta**2 / ((axis.amplitude + eta) * eigenvalue * axis.amplitude)
        return axis._replace(across=(0.0, 1.0, across))


def _is_weight(name: str) -> bool:
    return name == "" or "weight" in name


@listed(
    Row(
        paper="2102.11600",
        equation="g(x + ρT²g/|Tg|), T = |x| + η on weights, 1 elsewhere",
        cost="2",
        asks="names of tensors",
        code=(
            "SamsungLabs/ASAM: agrees, 1e-16 added to the norm; the adaptive option of SAM classes (GSAM, "
            "F-SAM, WSAM) has T = |x|, no η, everywhere"
        ),
        quadratics="X = aρη/(2 − a(1+ρ)); η = 0: p = λ(1+ρ) on an axis",
        invariance="L",
    )
)
def asam(
    step_size: HyperParameter,
    rho: HyperParameter,
    eta: HyperParameter = 0.01,
    weights: Callable[[str], bool] | None = None,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """Adaptive SAM (see `ASAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.asam(0.5, rho=0.1, eta=0.9), 2.0).amplitude, 6)
    0.1
    """
    return around(ASAM(rho, eta, weights), step_size, beta, momentum)
