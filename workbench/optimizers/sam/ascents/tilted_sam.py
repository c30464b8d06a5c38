"""Tilted SAM: a softmax over several ascents from random points."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from workbench.checks import refuse_outside, require_count
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, constant
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, norm, normalised, scale, tree_map


@dataclass(frozen=True)
class TiltedSAM(EffectiveGradient):
    """g~(x) = sum_k softmax_k(tilt loss(y_k)) g(y_k) over `points` points y_k = x + e_k + rho u(g(x + e_k)), e_k normal with
    standard deviation sigma, shortened to `radius` (arXiv:2410.22656, the public code's "random1").

    >>> import workbench as wb
    >>> wb.optimizers.TiltedSAM(rho=0.0, sigma=1.0, tilt=0.5).curvature_denominator()  # 1 - tilt sigma^2 lambda
    (1.0, -0.5)
    """

    rho: HyperParameter
    sigma: HyperParameter
    tilt: HyperParameter
    points: int = 3
    radius: float = float("inf")
    name = "tilted_sam"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("points", self.points)
        refuse_outside("sigma", self.sigma, lower=0.0)
        refuse_outside("tilt", self.tilt, lower=0.0)
        if not self.radius > 0:
            raise ValueError(f"radius must be a number > 0 (inf for none), got {self.radius!r}")

    @property
    def cost(self) -> float:  # type: ignore[override]
        return 2 * self.points

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradients, losses = [], []
        for point in range(self.points):
            noise = scale(at(self.sigma, oracle.step), oracle.normal(f"point{point}", parameters))
            # Shortened where longer than the radius: times radius/max(|e|, radius).
            length = norm(noise)
            noise = scale(torch.clamp(self.radius / length, max=1.0), noise)
            around_x = add_scaled(parameters, 1.0, noise)
            ascent = normalised(oracle.gradient(around_x))
            displaced = add_scaled(around_x, at(self.rho, oracle.step), ascent)
            gradients.append(oracle.gradient(displaced))
            losses.append(oracle.loss(displaced))
        weights = torch.softmax(at(self.tilt, oracle.step) * torch.stack(losses), 0)
        return tree_map(lambda *gs: torch.tensordot(weights, torch.stack(gs), 1), *gradients)

    def curvature(self) -> tuple[Scalar, ...]:
        """Of its limit for many points without shortening and without ascent: p = lambda/(1 - tilt sigma^2 lambda)."""
        if constant("rho", self.rho) != 0 or self.radius != float("inf"):
            raise ValueError("tilted_sam has an eigenvalue filter at rho = 0 and radius = inf alone, for many points")
        return (0.0, 1.0)

    def curvature_denominator(self) -> tuple[Scalar, ...]:
        return (1.0, -constant("tilt", self.tilt) * constant("sigma", self.sigma) ** 2)


@listed(
    Row(
        paper="2410.22656",
        equation="y_k = x + e_k + ρu(g(x+e_k)), |e_k| ≤ R; Σ softmax(t loss(y_k)) g(y_k)",
        cost="2K",
        asks="normal, loss",
        code=(
            "litian96/TSAM random1: this; its random0 branch calls a function with an argument it does not "
            "know, and cannot run"
        ),
        quadratics="ρ = 0, e normal, K → ∞: p = λ/(1 − ts²λ), set [0, 2/(α + 2ts²)]",
        invariance="",
    )
)
def tilted_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    sigma: HyperParameter,
    tilt: HyperParameter,
    points: int = 3,
    radius: float = float("inf"),
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """Tilted SAM (see `TiltedSAM`).

    >>> import workbench as wb
    >>> round(wb.optimizers.max_sharpness(wb.optimizers.tilted_sam(0.5, rho=0.0, sigma=1.0, tilt=0.5)), 4)
    1.3333
    """
    return around(TiltedSAM(rho, sigma, tilt, points, radius), step_size, beta, momentum)
