"""What the exact rows of the card measure: sampling, expected residual and one-step bounds on small sums, enumerated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from workbench.dynamics.sources import Importance, Minibatches, expected_residual, smoothness_probabilities
from workbench.papers.unified_sam import one_step
from workbench.papers.unified_sam.regressions import conditioned_ridge, robust_regression, uneven_ridge
from workbench.problems import rippled_sum

TILT = 0.3
"""Deviation of the slopes of the non-convex sum."""


def biases(seed: int, taus: Sequence[int], *, weighted: bool = True) -> dict[str, np.ndarray]:
    """|E grad f_S - grad f| over the size of the samples' gradients at 12 points: tau-nice for each tau, and importance sampling.

    `weighted=False` is the papers' public sampler, whose importance sampling has no weights 1/(n p_i).
    """
    problem = uneven_ridge(seed, 20, 4, 0.4, 0.3)
    points = one_step.around(problem, seed, 12)
    by_smoothness = Importance(smoothness_probabilities(problem), weighted=weighted)
    subsets = [Minibatches(tau, "tau-nice") for tau in taus]
    return {
        "tau-nice": one_step.unbiased_errors(problem, subsets, points),
        "importance": one_step.unbiased_errors(problem, [by_smoothness], points),
    }


def residuals(seed: int, taus: Sequence[int], points: int = 100, *, another: bool = False) -> dict[str, np.ndarray]:
    """E|grad f_S|^2 over its bound: uneven ridge (n = 20) for each tau, the non-convex sum, importance sampling; and the residual
    of the identity behind them, over all subsets of every size of 6 samples.

    `another` takes the constants of another sampling law: L_avg for L_max where samples are uniform (also in place of
    importance sampling), and independent samples for subsets.
    """
    ridge, ripples = uneven_ridge(seed, 20, 4, 0.4, 0.02), rippled_sum(seed, tilt=TILT)
    at, places = one_step.around(ridge, seed, points), one_step.around(ripples, seed, points)
    one, best = Minibatches(1, "tau-nice"), Importance(smoothness_probabilities(ridge))

    def ratios(problem, source, where):
        constants = one_step.another_law(problem, source) if another else None
        return one_step.residual_ratios(problem, source, where, constants)

    small = conditioned_ridge(seed, 6, 3, 10.0, 0.3)
    sizes = range(1, 7)
    return {
        "ridge": np.stack([ratios(ridge, Minibatches(tau, "tau-nice"), at) for tau in taus]),
        "rippled": ratios(ripples, one, places),
        "importance": one_step.residual_ratios(ridge, one if another else best, at, expected_residual(ridge, best)),
        "identity": np.array(
            [one_step.identity_residual(small, small.initial(seed), tau, independent=another) for tau in sizes]
        ),
    }


def ridge_slack(
    seed: int, n: int, d: int, cond: float, reg: float, taus: Sequence[int], fractions: Sequence[float], points: int = 100,
    gamma_factor: float = 1.0,
) -> np.ndarray:  # fmt: skip
    """Slack of Theorem 3.2's one-step form on ridge, [tau, fraction, lam, point]; see `one_step.pl_slack`."""
    problem = conditioned_ridge(seed, n, d, cond, reg)
    at = one_step.around(problem, seed, points)
    return np.stack(
        [
            one_step.pl_slack(
                problem, Minibatches(tau, "tau-nice"), at, fractions, gamma_factor=gamma_factor
            ).slack.values
            for tau in taus
        ]
    )


def rippled_slack(seed: int, fractions: Sequence[float], points: int = 100) -> np.ndarray:
    """The same on a sum of non-convex functions, single samples: [fraction, lam, point]."""
    problem = rippled_sum(seed, tilt=TILT)
    at = one_step.around(problem, seed, points)
    return one_step.pl_slack(problem, Minibatches(1, "tau-nice"), at, fractions).slack.values


def sharper_slack(
    seed: int, row_scale_sigma: float, fractions: Sequence[float], points: int = 60, gamma_factor: float = 1.0
) -> np.ndarray:
    """The same for importance sampling on uneven ridge (n = 50, d = 4) with L_avg in place of L_max: [fraction, lam, point]."""
    problem = uneven_ridge(seed, 50, 4, row_scale_sigma, 0.02)
    at = one_step.around(problem, seed, points)
    return one_step.sharper_slack(problem, at, fractions, gamma_factor=gamma_factor).slack.values


def robust_ratios(seed: int, horizons: Sequence[int] = (100, 400, 1600, 6400), points: int = 100) -> np.ndarray:
    """Left over right side of the one-step bound without convexity, on robust regression: [T, lam, point]."""
    problem = robust_regression(seed)
    return one_step.nonconvex_ratios(problem, one_step.around(problem, seed, points), horizons).values


def worst(found: Mapping[str, np.ndarray]) -> str:
    """The largest number of every part, for the reader."""
    return ", ".join(f"{name} {float(torch.as_tensor(part).max()):.3g}" for name, part in found.items())
