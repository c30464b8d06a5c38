"""Stationary variances on quadratics with additive noise, in closed form and of chains (arXiv:2301.08203, Section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import xarray as xr

from workbench.checks import require_count, require_nonnegative, require_positive
from workbench.dynamics import run, sweep
from workbench.dynamics.sources import AdditiveNoise
from workbench.papers.sde_for_sam.equations import algorithm
from workbench.papers.sde_for_sam.projected_normal import kappa
from workbench.problems import quadratic

Kind = Literal["sgd", "usam", "sam"]
KINDS: tuple[Kind, ...] = ("sgd", "usam", "sam")


def effective_radius(kind: Kind, rho: float, sigma: float, d: int) -> float:
    """The rho of the USAM that moves alike near a stationary point: 0, rho, and kappa_d rho/sigma for SAM."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    require_nonnegative("rho", rho)
    if kind != "sam":
        return rho if kind == "usam" else 0.0
    require_positive("sigma", sigma)
    return kappa(d) * rho / sigma


def contraction(kind: Kind, eigenvalue: float, rho: float, sigma: float, d: int = 1) -> float:
    """a = l (1 + rho_eff l), l the eigenvalue: a step multiplies the mean by 1 - eta a."""
    return eigenvalue * (1 + effective_radius(kind, rho, sigma, d) * eigenvalue)


def discrete_variance(kind: Kind, eigenvalue: float, rho: float, sigma: float, eta: float, d: int = 1) -> float:
    """E x_i^2 of the stationary algorithm on l/2 |x|^2 in R^d: eta^2 nz/(1 - (1 - eta a)^2).

    nz is the variance of a step's noise over eta^2: sigma^2 (1 + rho l)^2 for SGD and USAM, exact; for SAM
    sigma^2 + 2 rho l sigma kappa_d + rho^2 l^2/d, that at the stationary point (first order). Raises ValueError unless
    0 < eta a < 2.
    """
    require_positive("eigenvalue", eigenvalue)
    require_nonnegative("sigma", sigma)
    require_positive("eta", eta)
    along = eta * contraction(kind, eigenvalue, rho, sigma, d)
    if not along < 2:
        raise ValueError(
            f"{kind} with eigenvalue {eigenvalue:g}, rho = {rho:g} has no stationary law at eta = {eta:g}: eta a = {along:.4g} "
            "must be below 2; take a smaller eta"
        )
    if kind == "sam":
        noise = sigma**2 + 2 * rho * eigenvalue * sigma * kappa(d) + (rho * eigenvalue) ** 2 / d
    else:
        noise = (sigma * (1 + effective_radius(kind, rho, sigma, d) * eigenvalue)) ** 2
    return eta**2 * noise / (along * (2 - along))


def sde_variance(
    kind: Kind, eigenvalue: float, rho: float, sigma: float, eta: float, d: int = 1, *, correct_noise: bool = True
) -> float:
    """E x_i^2 of the SDE near 0: eta sigma^2 (1 + rho_eff l)/(2 l), over (1 + rho_eff l)^2 without noise correction."""
    require_positive("eigenvalue", eigenvalue)
    require_nonnegative("sigma", sigma)
    require_positive("eta", eta)
    stretch = 1 + effective_radius(kind, rho, sigma, d) * eigenvalue
    return eta * sigma**2 / (2 * eigenvalue) * (stretch if correct_noise else 1 / stretch)


def saddle_threshold(eigenvalue: float, sigma: float, d: int) -> float:
    """rho_c = sigma/(kappa_d |l|): noisy SAM is trapped by a direction l < 0 above it and escapes below (derived)."""
    if not eigenvalue < 0:
        raise ValueError(f"eigenvalue must be negative, a direction in which the loss falls, got {eigenvalue!r}")
    require_positive("sigma", sigma)
    return sigma / (kappa(d) * -eigenvalue)


def chain_variances(
    kind: Kind,
    seeds: Sequence[int],
    dims: Sequence[int],
    *,
    eigenvalue: float = 3.0,
    rho: float = 0.5,
    sigma: float = 0.5,
    eta: float = 0.01,
    steps: int = 3000,
) -> xr.DataArray:
    """Mean of x_i^2 over coordinates and the last two thirds of the steps, of chains from 0: dims (d, seed)."""
    require_count("steps", steps, low=3)
    burn = steps // 3

    def chain(d: int, seed: int) -> dict[str, torch.Tensor]:
        problem, rule, source = quadratic([eigenvalue] * d), algorithm(kind, eta, rho), AdditiveNoise(sigma)
        start = torch.zeros(d, dtype=torch.float64)
        first = run(problem, rule, seed=seed, steps=burn, source=source, start=start, progress=False)
        rest = run(
            problem,
            rule,
            seed=seed,
            steps=steps - burn,
            source=source,
            start=first.checkpoint,
            integrate={"square": lambda x: (x * x).mean()},
            progress=False,
        )
        return {"variance": rest.integrals["square"] / (eta * (steps - burn))}

    return sweep(chain, static=["d"], d=list(dims), seed=list(seeds), progress=False).variance


def variance_ratios(stretches: Sequence[float]) -> xr.DataArray:
    """Stationary variance of the SDE over that of SGD's against rho_eff l: dims (sde, stretch)."""
    curves = [
        [
            sde_variance("usam", 1.0, stretch, 1.0, 1.0, correct_noise=correct)
            / sde_variance("sgd", 1.0, 0.0, 1.0, 1.0)
            for stretch in stretches
        ]
        for correct in (True, False)
    ]
    coords = {"sde": ["own", "drift-only"], "stretch": list(stretches)}
    return xr.DataArray(curves, dims=("sde", "stretch"), coords=coords)
