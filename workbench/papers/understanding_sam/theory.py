"""The theorem on SAM's flow over diagonal networks, at finite time: how far runs of small steps are from it, and in what units.

Along the flow of unnormalised SAM, at every time, log(alpha/alpha_eff) = rho Delta and beta minimises phi at alpha_eff among
all predictors with its own outputs X beta (arXiv:2206.06232; the finite-time form is derived). Runs have steps, so a statement
is judged in units of a computed error: the flow's limit by extrapolation from three steps, each half the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr

from workbench.dynamics import Labelled, run, sweep
from workbench.papers.understanding_sam.diagonal_study import DiagonalStudy
from workbench.problems.factorised.diagonal_bias import decay_rate, first_order_decay_rate
from workbench.problems.factorised.diagonal_potential import argmin_phi

Formula = Literal["exact", "first order", "other method", "original start"]
STEPS = (0.025, 0.0125, 0.00625)
METHODS = ("1-SAM", "n-SAM")


def along_the_flow(
    study: DiagonalStudy,
    radii: tuple[float, float],
    time: float,
    steps: Sequence[float] = STEPS,
    formula: Formula = "exact",
) -> xr.Dataset:
    """1-SAM and n-SAM with small steps up to a time: what the theorem predicts and what happened (rule, seed, feature, gamma).

    radii: of 1-SAM and of n-SAM; the formulas keep them whatever the study's displacement is.
    formula: Delta as in the theorem, its first order in rho, or the other method's; "original start" takes the minimiser at
        alpha in place of alpha_eff.

    Returns: `decay` = log(alpha/alpha_eff), `predicted` = rho Delta, `beta`, and the minimisers of phi with beta's outputs:
    `at_effective` (the measured alpha_eff), `at_predicted` (alpha exp(-rho Delta)), `at_start` (alpha), `at_even` (the mean of
    rho Delta for every feature).
    """

    def one(seed, m, rho, gamma):
        network = study.network(seed)
        of = {1: study.n, study.n: 1}[m] if formula == "other method" else m
        rate = first_order_decay_rate(network, of) if formula == "first order" else decay_rate(network, rho, of)
        rule = study.rule(network, gamma, rho, m)
        done = run(network, rule, steps=round(time / gamma), at=[], integrate={"delta": rate})
        decay, predicted = network.log_decay(done.parameters), rho * done.integrals["delta"]
        beta = network.predictor(done.parameters)
        shapes = {
            "at_effective": decay,
            "at_predicted": predicted,
            "at_start": 0 * decay,
            "at_even": 0 * decay + predicted.mean(),
        }
        if formula == "original start":
            shapes["at_effective"] = 0 * decay
        limits = {
            name: argmin_phi(network.inputs, network.inputs @ beta, study.alpha * torch.exp(-part))
            for name, part in shapes.items()
        }
        values = {"decay": decay, "predicted": predicted, "beta": beta, **limits}
        return {name: Labelled(value, ("feature",)) for name, value in values.items()}

    def of_method(m, rho):
        parts = [sweep(lambda seed, gamma=gamma: one(seed, m, rho, gamma), seed=study.seeds) for gamma in steps]
        return xr.concat(parts, xr.DataArray(list(steps), dims="gamma", name="gamma"))

    found = [of_method(m, rho) for m, rho in zip((1, study.n), radii, strict=True)]
    return xr.concat(found, xr.DataArray(list(METHODS), dims="rule", name="rule")).transpose("rule", "seed", ...)


def over_computed_error(errors: xr.DataArray, *, largest: bool) -> xr.DataArray:
    """|limit at step 0| over its computed error, of a vector along `feature` known at three steps along `gamma`.

    The limit is extrapolated twice (orders 1 and 2), its error the difference to the once extrapolated value; `largest` takes
    the maximum over features, else the Euclidean norm. NaN unless the changes shrink at a local order in (1/2, 3/2), for
    then nothing is known of the error.
    """
    coarse, middle, fine = (errors.isel(gamma=k, drop=True) for k in range(3))
    earlier, later = 2 * middle - coarse, 2 * fine - middle
    limit = (4 * later - earlier) / 3

    def size(vector: xr.DataArray) -> xr.DataArray:
        return abs(vector).max("feature", skipna=False) if largest else (vector**2).sum("feature", skipna=False) ** 0.5

    order = np.log2(size(middle - coarse) / size(fine - middle))
    return (size(limit) / size(limit - later)).where((order > 0.5) & (order < 1.5))


def distance_ratios(flow: xr.Dataset) -> dict[str, xr.DataArray]:
    """Distance of beta to the minimiser that the theorem predicts, over that at the original alpha and at the same mean decay."""

    def distance(name: str) -> xr.DataArray:
        return np.sqrt(((flow.beta - flow[name]) ** 2).sum("feature", skipna=False)).isel(gamma=-1, drop=True)

    return {
        name: distance("at_predicted") / distance(other)
        for name, other in (("original", "at_start"), ("even", "at_even"))
    }
