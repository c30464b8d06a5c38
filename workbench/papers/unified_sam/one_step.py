"""The theorems' one-step forms, exactly: expectations over the samples of a step are sums over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.dynamics.sources import (
    ExpectedResidual,
    Importance,
    Minibatches,
    expectation,
    expected_residual,
    smoothness_probabilities,
)
from workbench.dynamics.sources.enumeration import Enumerable
from workbench.optimizers import Plain, unified_sam
from workbench.papers.unified_sam import theory
from workbench.parameters import inner

LAMBDAS = (0.0, 0.5, 1.0)


def around(problem: Any, seed: int, count: int, radii: tuple[float, float] = (1e-3, 1e2)) -> Tensor:
    """Points at `count` distances, evenly in the logarithm, from the minimiser (0 where the problem does not name it)."""
    start = problem.initial(seed)
    centre = problem.minimiser if hasattr(problem, "pl_constant") and hasattr(problem, "inputs") else 0 * start
    directions = draws.normal(seed, (count, start.numel()), stream="points")
    directions = directions / directions.norm(dim=1, keepdim=True)
    lengths = torch.logspace(np.log10(radii[0]), np.log10(radii[1]), count, dtype=torch.float64)
    return centre + (lengths[:, None] * directions).reshape(count, *start.shape)


def lost(
    problem: Any,
    source: Enumerable,
    points: Float[Tensor, "point ..."],
    rho: float,
    gamma: float,
    lam: float,
    lowest: float,
) -> Float[np.ndarray, " point"]:
    """E f(x+) - lowest after one step of unified SAM from every point."""
    rule = unified_sam(gamma, rho, lam)

    def after(x: Tensor) -> Tensor:
        return expectation(problem, source, lambda oracle, x: problem.loss(rule.step(oracle, x, ())[0]) - lowest, x)

    return torch.func.vmap(after)(points).numpy()


def squared(gradient: Any) -> Tensor:
    """|g|^2."""
    return inner(gradient, gradient)


def pl_slack(
    problem: Any,
    source: Enumerable,
    points: Float[Tensor, "point ..."],
    fractions: Sequence[float],
    lambdas: Sequence[float] = LAMBDAS,
    *,
    gamma_factor: float = 1.0,
    L: float | None = None,
    constants: ExpectedResidual | None = None,
) -> xr.Dataset:
    """Theorem 3.2 for one step at every point: dims (fraction, lam, point).

    `slack` = (right - left)/(gamma mu (delta + N)) of E f(x+) - f* <= (1 - gamma mu) delta + gamma mu N, delta = f(x) - f*, at
    rho = fraction rho* and gamma = gamma_factor gamma*; `ratio` = left/right.

    L: in place of the largest L_i. constants: in place of those of the source.
    """
    mu, minimum = float(problem.pl_constant), float(problem.minimum)
    smooth = float(problem.sample_smoothness.max()) if L is None else L
    A, B, C = expected_residual(problem, source) if constants is None else constants
    delta = torch.func.vmap(problem.loss)(points).numpy() - minimum
    shape = len(fractions), len(lambdas), len(points)
    slack, ratio = np.empty(shape), np.empty(shape)
    for i, c in enumerate(fractions):
        for j, lam in enumerate(lambdas):
            steps = theory.theorem_3_2(mu, smooth, A, B, C, lam, c)
            gamma = gamma_factor * steps.gamma_star
            N = theory.neighbourhood(mu, smooth, C, lam, steps.rho, gamma)
            left = lost(problem, source, points, steps.rho, gamma, lam, minimum)
            right = (1 - gamma * mu) * delta + gamma * mu * N
            slack[i, j], ratio[i, j] = (right - left) / (gamma * mu * (delta + N)), left / right
    coordinates = {"fraction": list(fractions), "lam": list(lambdas)}
    dims = ("fraction", "lam", "point")
    return xr.Dataset({"slack": (dims, slack), "ratio": (dims, ratio)}, coords=coordinates)


def sharper_slack(
    problem: Any, points: Float[Tensor, "point ..."], fractions: Sequence[float], **options: Any
) -> xr.Dataset:
    """`pl_slack` under importance sampling with max(L_avg, L) in place of L_max: every f_i/(n p_i) is L_avg-smooth."""
    source = Importance(smoothness_probabilities(problem))
    return pl_slack(problem, source, points, fractions, L=sharp_smoothness(problem), **options)


def sharp_smoothness(problem: Any) -> float:
    """max(L_avg, L): of the re-weighted samples under importance sampling, and of their mean."""
    return max(float(problem.sample_smoothness.mean()), float(problem.smoothness))


def residual_ratios(
    problem: Any, source: Any, points: Float[Tensor, "point ..."], constants: ExpectedResidual | None = None
) -> Float[np.ndarray, " point"]:
    """E|grad f_S|^2 over its bound 2A (f - f*) + B |grad f|^2 + C at every point. constants: in place of the source's."""
    A, B, C = expected_residual(problem, source) if constants is None else constants

    def ratio(x: Tensor) -> Tensor:
        left = expectation(problem, source, lambda oracle, x: squared(oracle.gradient(x)), x)
        return left / (2 * A * (problem.loss(x) - problem.minimum) + B * problem.gradient(x).square().sum() + C)

    return torch.func.vmap(ratio)(points).numpy()


def identity_residual(problem: Any, point: Float[Tensor, "..."], tau: int, *, independent: bool = False) -> float:
    """|E|grad f_S|^2 - sum_i v_i |grad f_i|^2 - B |grad f|^2| over the first, over all subsets of tau.

    `independent` takes the coefficients of tau independent samples in place of those of a subset.
    """
    subsets = Minibatches(tau, "tau-nice")
    law = Minibatches(tau, "replacement") if independent else subsets
    samples, full = law.second_moment(problem)
    left = expectation(problem, subsets, lambda oracle, x: squared(oracle.gradient(x)), point)
    batches = tuple(part[:, None] for part in problem.data)
    each = torch.func.vmap(lambda *batch: problem.gradient(point, batch).square().sum())(*batches)
    return abs(float((left - samples @ each - full * problem.gradient(point).square().sum()) / left))


def nonconvex_ratios(
    problem: Any, points: Float[Tensor, "point ..."], horizons: Sequence[int], lambdas: Sequence[float] = LAMBDAS
) -> xr.DataArray:
    """Left over right side of the one-step bound without PL, single samples, rho = gamma = 1/(2 L_max sqrt T): (T, lam, point).

    f_inf = 0. Raises ValueError where the steps are too long for the bound.
    """
    source, L = Minibatches(1, "tau-nice"), float(problem.sample_smoothness.max())
    A, B, C = expected_residual(problem, source, 0.0)
    loss = torch.func.vmap(problem.loss)(points).numpy()
    slope = torch.func.vmap(problem.gradient)(points).square().sum(-1).numpy()
    found = np.empty((len(horizons), len(lambdas), len(points)))
    for i, T in enumerate(horizons):
        step = 0.5 / (L * T**0.5)
        for j, lam in enumerate(lambdas):
            terms = theory.nonconvex_terms(L, A, B, C, lam, step, step)
            if terms.condition > 0.5:
                raise ValueError(
                    f"rho = gamma = {step:g} are too long for the bound at lam = {lam:g}: take a larger T than {T}"
                )
            right = (1 + step * terms.M) * loss - step / 2 * slope + step * terms.n0
            found[i, j] = lost(problem, source, points, step, step, lam, 0.0) / right
    coordinates = {"T": list(horizons), "lam": list(lambdas)}
    return xr.DataArray(found, dims=("T", "lam", "point"), coords=coordinates)


def unbiased_errors(
    problem: Any, sources: Sequence[Any], points: Float[Tensor, "point ..."]
) -> Float[np.ndarray, "source point"]:
    """|E grad f_S - grad f| over the root mean square of |grad f_i|, enumerated, for every source and point."""

    def error(x: Tensor, source: Any) -> Tensor:
        batches = tuple(part[:, None] for part in problem.data)
        each = torch.func.vmap(lambda *batch: problem.gradient(x, batch))(*batches)
        size = each.square().flatten(1).sum(1).mean().sqrt()
        return (expectation(problem, source, Plain(), x) - problem.gradient(x)).norm() / size

    return np.stack([torch.func.vmap(lambda x, s=source: error(x, s))(points).numpy() for source in sources])


def another_law(problem: Any, source: Any) -> ExpectedResidual:
    """The source's constants with L_avg in place of L_max: those of importance sampling, wrong under uniform sampling."""
    A, B, C = expected_residual(problem, source)
    share = float(problem.sample_smoothness.mean() / problem.sample_smoothness.max())
    return ExpectedResidual(share * A, B, share * C)
