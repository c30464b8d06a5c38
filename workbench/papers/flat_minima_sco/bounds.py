"""Measurements for the optimisation bounds and for where SAM stops: strips in the plane, half a parabola on the line."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from workbench.dynamics import Labelled, sweep
from workbench.dynamics.iterates import iterates, suffix_averages
from workbench.optimizers.inner_maximisation import BestOf, circle_directions
from workbench.papers.flat_minima_sco.flat_strips import HalfParabola, circle_point, flat_strips
from workbench.papers.flat_minima_sco.methods import method, step_size
from workbench.papers.flat_minima_sco.valley_truths import optimization_bound

ANGLES = tuple(0.3 + 0.785 * k for k in range(8))
LINE = HalfParabola()
ENDS = BestOf(LINE, torch.tensor([1.0, -1.0], dtype=torch.float64))


def _on_strips(seed, rho, excess, angle, eta, T, claimed, swap):
    """Risks of the average and of the last iterate of one run on the strips."""
    problem, r = flat_strips(seed, rho), rho + excess
    inner = BestOf(problem, circle_directions(360))
    path = iterates(problem, method(claimed, swap, eta, r, inner), T, start=circle_point(angle))["w"]
    return {
        "risk": problem.loss(path.mean(0)),
        "saer": inner.maximum(path.mean(0), r),
        "end": inner.maximum(path[-1], rho),
    }


def strip_ratios(claimed: str, seeds: Sequence[int], eta: float, swap: str = "none") -> xr.DataArray:
    """SA-GD's F_S^r (SAM's F_S) of the average over the bound of Theorem 2 (5): five random strips, radii r > 0 only."""
    eta = step_size(eta, swap)
    runs = sweep(
        lambda seed, rho, excess, angle, T: _on_strips(seed, rho, excess, angle, eta, T, claimed, swap),
        seed=list(seeds), angle=ANGLES, rho=[0.0, 0.1, 0.3], excess=[-0.05, 0.0, 0.05, 0.3], T=[16, 64], static=["T"],
        chunk_size=96, progress=False,
    )  # fmt: skip
    risk = runs.saer if claimed == "SA-GD" else runs.risk
    # pyrefly: ignore[bad-argument-type]
    ratio = risk / optimization_bound(eta, runs["T"], runs.excess)
    return ratio.where(runs.rho + runs.excess > 0).stack(run=[...]).dropna("run")


def line_ratios(claimed: str, eta: float, swap: str = "none") -> xr.DataArray:
    """The same on half a parabola, which is 1/2-flat around w* = -1/2; starts 0 and 1/2, T to 256."""
    eta = step_size(eta, swap)

    def at(start, r, T):
        w = iterates(LINE, method(claimed, swap, eta, r, ENDS), T, start=start)["w"].mean(0)
        return {"risk": LINE.sharpness_aware_risk(w, r) if claimed == "SA-GD" else LINE.loss(w)}

    runs = sweep(at, start=[0.0, 0.5], r=[0.05, 0.1, 0.2, 0.5], T=[16, 64, 256], static=["T"], progress=False)
    return runs.risk / ((runs.start + 0.5) ** 2 / (eta * runs["T"]))


def plateaus(seeds: Sequence[int], eta: float) -> xr.Dataset:
    """Mean over strips and starts of "saer" (average) and "end" (last iterate) at r = rho + 1/sqrt T, rho = 0.2; [T, rule]."""
    runs = sweep(
        lambda seed, angle, T, rule: _on_strips(seed, 0.2, 1 / math.sqrt(T), angle, eta, T, rule, "none"),
        seed=list(seeds), angle=ANGLES, T=[16, 64, 256], rule=["SA-GD", "SAM", "GD"], static=["T"], chunk_size=80,
        progress=False,
    )  # fmt: skip
    return runs[["saer", "end"]].mean(["seed", "angle"])


def on_line(swap: str = "none", T: int = 256) -> xr.Dataset:
    """GD, SAM and SA-GD on half a parabola from four starts.

    "end" and "suffix" (least over suffix averages): F^r over r^2/2; "error": largest relative distance of F^r(w_t) from
    SA-GD's closed form; "w" the iterates; dimensions start, r, eta, rule, t.
    """

    def at(start, r, eta, rule):
        w = iterates(LINE, method(rule, swap, eta, r, ENDS), T, start=start)["w"]
        closed = LINE.sa_gd_risk(start, r, eta, torch.arange(T))
        error = (LINE.sharpness_aware_risk(w, r) - closed).abs().amax()

        def relative(at):
            return LINE.sharpness_aware_risk(at, r) / (r**2 / 2)

        found = {"end": relative(w[-1]), "suffix": relative(suffix_averages(w)).amin(), "error": error}
        return found | {"w": Labelled(w, ("t",))}

    axes = {"start": [0.0, 0.2, 0.7, 1.0], "r": [0.05, 0.1, 0.2, 0.5], "eta": [1 / 24, 0.1, 0.25]}
    return sweep(at, **axes, rule=["GD", "SAM", "SA-GD"], progress=False)


def line_saer(w: np.ndarray, r: float) -> np.ndarray:
    """F^r(w) = 1/2 max(0, w + r)^2."""
    return LINE.sharpness_aware_risk(torch.as_tensor(w), r).numpy()
