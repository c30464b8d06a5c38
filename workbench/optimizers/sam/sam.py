"""SAM, its unnormalised form USAM, and the mixtures of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

from workbench.checks import refuse_outside
from workbench.optimizers.cycles import Axis, alternating, number
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constant, constructor
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, normalised, scale


@dataclass(frozen=True)
class UnifiedSAM(EffectiveGradient):
    """g~(x) = g(x + rho (1 - lam + lam/|g(x)|) g(x)); lam = 1 is SAM, lam = 0 is USAM (arXiv:2503.02225, eq. of Unified SAM).

    Both gradients are of the same minibatch. A zero gradient means no displacement: nothing is added to the norm.

    >>> import workbench as wb
    >>> wb.optimizers.UnifiedSAM(rho=0.5, lam=0.0).curvature()
    (0.0, 1.0, 0.5)
    """

    rho: HyperParameter
    lam: HyperParameter = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("lam", self.lam, lower=0.0, upper=1.0)

    @property
    def name(self) -> str:  # type: ignore[override]
        return {0.0: "usam", 1.0: "sam"}.get(float(self.lam), "unified_sam") if _is_number(self.lam) else "unified_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        ascent = _mixed(oracle.gradient(parameters), at(self.lam, oracle.step))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))

    def curvature(self) -> tuple[Scalar, ...]:
        rho, lam = constant("rho", self.rho), constant("lam", self.lam)
        if _is_number(rho) and rho == 0:
            return (0.0, 1.0)
        return (0.0, 1.0, rho) if _is_number(lam) and lam == 0 else super().curvature()

    def on_axis(self, eigenvalue: float, bound: float) -> Axis:
        rho, lam = number("rho", self.rho), number("lam", self.lam)
        bent = 1 + rho * (1 - lam) * eigenvalue
        axis = alternating(self.name, bound, eigenvalue * bent, eigenvalue * rho * lam)
        ascent = rho * (1 - lam) + rho * lam / (eigenvalue * axis.amplitude)
        return axis._replace(across=(0.0, 1.0, ascent))


def _mixed(gradient: Parameters, lam: Scalar) -> Parameters:
    if _is_number(lam) and lam in (0, 1):
        return normalised(gradient) if lam == 1 else gradient
    return add_scaled(scale(1.0 - lam, gradient), lam, normalised(gradient))


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float))


@constructor
@listed(
    Row(
        paper="2010.01412",
        equation="gs = g(x + ρu(g))",
        cost="2",
        code=(
            "google-research/sam: the L2 penalty inside the loss of both passes, norm clipped at 5, one ascent "
            "per replica; davda54/sam: 1e-12 added to the norm"
        ),
        quadratics="2-cycle X = aρ/(2−a) along the top axis; cycles around saddles with a/(2−a) ≤ |r| ≤ 2/(2−a)",
        invariance="R, L",
    )
)
def sam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """SAM: g~(x) = g(x + rho g(x)/|g(x)|); rho is a length (arXiv:2010.01412). Momentum: heavy ball where beta is given.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.sam(0.1, rho=5.0), start=start, steps=1).parameters
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """
    return around(UnifiedSAM(rho, 1.0), step_size, beta, momentum)


@constructor
@listed(
    Row(
        paper="2206.06232",
        equation="g(x + ρg)",
        cost="2",
        code="tml-epfl/understanding-sam: sam_no_grad_norm still divides by 1 + 1e-12",
        quadratics="p = λ(1+ρλ)",
        invariance="R",
    )
)
def usam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Descent:
    """Unnormalised SAM: g~(x) = g(x + rho g(x)); rho is one over a curvature.

    >>> import workbench as wb
    >>> wb.optimizers.admissible_set(wb.optimizers.usam(0.5, rho=0.5))
    [(-4.0, -2.0), (0.0, 2.0)]
    """
    return around(UnifiedSAM(rho, 0.0), step_size, beta, momentum)


@listed(
    Row(
        paper="2503.02225",
        equation="g(x + ρ(1 − λ + λ/|g|)g)",
        cost="2",
        quadratics="2-cycle for λ > 0",
        invariance="R",
    )
)
def unified_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    lam: HyperParameter,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """Unified SAM with mixing weight lam in [0, 1] (arXiv:2503.02225): lam = 0 is USAM, lam = 1 is SAM.

    >>> import workbench as wb
    >>> round(wb.optimizers.two_cycle(wb.optimizers.unified_sam(0.5, rho=0.5, lam=0.5), 2.0).amplitude, 6)
    0.5
    """
    return around(UnifiedSAM(rho, lam), step_size, beta, momentum)
