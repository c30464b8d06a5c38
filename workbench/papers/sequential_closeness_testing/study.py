"""The measurements of the notebook as labelled arrays: what each test costs, where it errs, how its cost scales."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import xarray as xr

from workbench.papers.sequential_closeness_testing.bernoulli import (
    batch_size_bernoulli,
    expected_size_bound,
    limit_ratios,
)
from workbench.papers.sequential_closeness_testing.empirical_distance import (
    half_moved,
    tv_batch_size,
    tv_sequential,
    uniform,
)
from workbench.papers.sequential_closeness_testing.stopping_law import StoppingLaw, sequential_dp
from workbench.papers.sequential_closeness_testing.stopping_rules import StoppingRule, stopping_rule
from workbench.papers.sequential_closeness_testing.z_simulation import half_heavy, z_paths, z_sequential, zipf
from workbench.papers.sequential_closeness_testing.z_statistic import (
    accepting_check,
    check_times,
    crossing_time,
    z_batch_size,
    z_threshold,
)

HYPOTHESES = ("no difference", "difference eps")
Assignment = Literal["stated", "swapped"]
"""Whether each statement is measured with the rule that it is about, or with the other one."""

_OTHER = {"sprt": "glr", "glr": "sprt"}
CENSORED_AFTER = 20
"""Runs that have not stopped after this many crossing times are given up."""


def rule_for(
    name: str,
    eps: float,
    delta: float,
    assignment: Assignment = "stated",
    *,
    union_bound: bool = True,
    threshold_scale: float = 1.0,
    looks: int = 0,
) -> StoppingRule:
    """The rule `name` ("sprt" or "glr"), or, where the assignment is "swapped", the other one in its place."""
    used = name if assignment == "stated" else _OTHER[name]
    return stopping_rule(used, eps, delta, union_bound=union_bound, threshold_scale=threshold_scale, looks=looks)


def exact_costs(eps_list: Sequence[float], delta_list: Sequence[float], t_max: int = 10**7, **switches) -> xr.Dataset:
    """Exact laws of both rules at p = 1/2 and 1/2 + eps: dims (rule, eps, delta, hypothesis).

    `size` is E tau, `saving` the batch size over it, `over_bound` E tau over the least possible one, `error` the probability of
    the wrong decision over delta, `leftover` the mass not stopped over delta. `switches` are those of `rule_for`.
    """
    grid = [(rule, eps, delta) for rule in ("sprt", "glr") for eps in eps_list for delta in delta_list]
    shape = (2, len(eps_list), len(delta_list), 2)
    size, error, bound, leftover = (np.empty((len(grid), 2)) for _ in range(4))
    for i, (name, eps, delta) in enumerate(grid):
        law = sequential_dp([0.5, 0.5 + eps], rule_for(name, eps, delta, **switches), t_max)
        size[i], leftover[i] = law.E_tau, law.leftover / delta
        error[i] = np.array([law.p_reject[0], law.p_accept[1]]) / delta
        bound[i] = expected_size_bound(eps, delta)
    batch = xr.DataArray(
        [[batch_size_bernoulli(eps, delta) for delta in delta_list] for eps in eps_list],
        dims=("eps", "delta"),
        attrs={"long_name": "samples of the fixed-size test"},
    )
    dims = ("rule", "eps", "delta", "hypothesis")
    table = xr.Dataset(
        {
            "size": (dims, size.reshape(shape), {"long_name": "expected samples"}),
            "error": (dims, error.reshape(shape), {"long_name": "error probability over delta"}),
            "over_bound": (dims, (size / bound).reshape(shape), {"long_name": "expected samples over the lower bound"}),
            "leftover": (dims, leftover.reshape(shape), {"long_name": "mass not stopped over delta"}),
            "batch": batch,
        },
        coords={
            "rule": ["sprt", "glr"],
            "eps": list(eps_list),
            "delta": list(delta_list),
            "digits": ("delta", [-math.log10(delta) for delta in delta_list]),
            "hypothesis": list(HYPOTHESES),
        },
    )
    return table.assign(saving=(table.batch / table["size"]).assign_attrs(long_name="batch size over expected samples"))


def factor_slopes(eps: float, deltas: Sequence[float], looks: int = 0, **switches) -> xr.Dataset:
    """Growth of batch size over growth of E tau (SPRT) from delta to delta, and its limit: dims (digits, hypothesis)."""
    rules = [rule_for("sprt", eps, delta, looks=looks, **switches) for delta in deltas]
    sizes = np.array([sequential_dp([0.5, 0.5 + eps], rule).E_tau for rule in rules])
    batch = np.array([batch_size_bernoulli(eps, delta) for delta in deltas])
    return xr.Dataset(
        {
            "slope": (("digits", "hypothesis"), np.diff(batch)[:, None] / np.diff(sizes, axis=0)),
            "limit": (("hypothesis",), np.array(limit_ratios(eps))),
        },
        coords={"digits": [-math.log10(delta) for delta in deltas[1:]], "hypothesis": list(HYPOTHESES)},
    )


def stopping_laws(
    eps: float, delta: float, names: Sequence[str] = ("sprt", "glr"), **switches
) -> dict[str, StoppingLaw]:
    """The laws of each rule at p = 1/2, 1/2 + eps and 1/2 + 2 eps (at most 1)."""
    chances = [0.5, 0.5 + eps, min(0.5 + 2 * eps, 1.0)]
    return {name: sequential_dp(chances, rule_for(name, eps, delta, **switches)) for name in names}


def costs_by_distance(eps: float, delta: float, distances: Sequence[float], **switches) -> xr.DataArray:
    """E tau of both rules when the true distance is d: dims (rule, d)."""
    chances = [0.5 + d for d in distances]
    sizes = [sequential_dp(chances, rule_for(name, eps, delta, **switches)).E_tau for name in ("sprt", "glr")]
    return xr.DataArray(
        sizes,
        dims=("rule", "d"),
        coords={"rule": ["sprt", "glr"], "d": list(distances)},
        attrs={"long_name": "expected samples"},
    )


def small_alphabets(
    n_list: Sequence[int],
    eps: float,
    delta: float,
    runs: int,
    *,
    seed0: int = 0,
    distance: float = 1.0,
    threshold_scale=1.0,
) -> xr.Dataset:
    """Runs of the small-alphabet test on equal streams and on streams distance * eps apart: dims (n, hypothesis, run)."""
    share = np.empty((len(n_list), 2, runs))
    wrong = np.empty((len(n_list), 2, runs), dtype=bool)
    for i, n in enumerate(n_list):
        for j, d in enumerate((0.0, distance * eps)):
            found = tv_sequential(
                uniform(n), half_moved(n, d), eps, delta, runs, seed0=seed0, threshold_scale=threshold_scale
            )
            share[i, j], wrong[i, j] = found.tau / tv_batch_size(n, eps, delta), found.different == (j == 0)
    dims = ("n", "hypothesis", "run")
    return xr.Dataset(
        {"share": (dims, share, {"long_name": "samples over the batch size"}), "wrong": (dims, wrong)},
        coords={"n": list(n_list), "hypothesis": list(HYPOTHESES)},
    )


def crossing_times(
    n_list: Sequence[int], d_list: Sequence[float], delta: float, c_list: Sequence[float]
) -> xr.DataArray:
    """t* over dims (c, n, d)."""
    values = [[[crossing_time(n, d, delta, c) for d in d_list] for n in n_list] for c in c_list]
    return xr.DataArray(
        values,
        dims=("c", "n", "d"),
        coords={"c": list(c_list), "n": list(n_list), "d": list(d_list)},
        attrs={"long_name": "crossing time t*"},
    )


def stopping_over_crossing(
    cells: Sequence[tuple[int, float, float]],
    delta: float,
    runs: int,
    *,
    seed0: int = 0,
    same: bool = False,
    t_max: int = 10**7,
) -> xr.DataArray:
    """Simulated tau / t* at each (n, d, c): dims (cell, run), with a coordinate `censored`: given up at 20 t* or t_max.

    `same` draws both streams from D1: nothing to detect.
    """
    ratios, censored = [], []
    for n, d, c in cells:
        t = crossing_time(n, d, delta, c)
        last = min(t_max, math.ceil(CENSORED_AFTER * t))
        found = z_sequential(uniform(n), half_moved(n, 0.0 if same else d), delta, c, runs, t_max=last, seed0=seed0)
        ratios.append(found.tau / t)
        censored.append(found.censored)
    coords = {"cell": [_cell_name(cell) for cell in cells], "censored": (("cell", "run"), censored)}
    return xr.DataArray(ratios, dims=("cell", "run"), coords=coords, attrs={"long_name": "tau / t*"})


def simulated_times(
    ratios: xr.DataArray, cells: Sequence[tuple[int, float, float]], along: Literal["n", "d"], delta: float
) -> xr.DataArray:
    """The stopping times tau behind `stopping_over_crossing` at these cells, along n or d: dims (along, run), with t* beside."""
    stars = [crossing_time(n, d, delta, c) for n, d, c in cells]
    names = ratios.cell.values.tolist()
    taus = ratios[[names.index(_cell_name(cell)) for cell in cells]].values * np.array(stars)[:, None]
    places = [n if along == "n" else d for n, d, _ in cells]
    return xr.DataArray(taus, dims=(along, "run"), coords={along: places, "t_star": (along, stars)})


def _cell_name(cell: tuple[int, float, float]) -> str:
    n, d, c = cell
    return f"n = {n}, d = {d:g}, c = {c:g}"


def example_paths(n: int, d_list: Sequence[float], runs: int, t_max: int, *, seed0: int = 0) -> xr.DataArray:
    """Paths of Z from the uniform distribution on n letters and one at distance d: dims (d, run, check)."""
    paths = [z_paths(uniform(n), half_moved(n, d), runs, t_max, seed0=seed0) for d in d_list]
    coords = {"d": list(d_list), "check": check_times(t_max), "n": n}
    return xr.DataArray(paths, dims=("d", "run", "check"), coords=coords, attrs={"long_name": "Z"})


def false_alarms(
    delta: float, c_list: Sequence[float], runs: int, *, seed0: int = 0, t_max: int = 3000
) -> xr.DataArray:
    """Whether each run called equal distributions different before t_max, on five distributions: dims (c, distribution, run)."""
    laws = {
        "uniform, 2": uniform(2), "uniform, 10": uniform(10), "uniform, 100": uniform(100),
        "half-heavy, 101": half_heavy(101), "Zipf, 100": zipf(100),
    }  # fmt: skip
    times = check_times(t_max)
    alarms = [z_paths(law, law, runs, t_max, seed0=seed0) for law in laws.values()]
    rejected = [[(path > z_threshold(times, delta, c)).any(1) for path in alarms] for c in c_list]
    coords = {"c": list(c_list), "distribution": list(laws)}
    return xr.DataArray(rejected, dims=("c", "distribution", "run"), coords=coords)


def known_distance(
    n: int,
    eps: float,
    d_list: Sequence[float],
    delta: float,
    c: float,
    runs: int,
    *,
    seed0: int = 0,
    same: bool = False,
) -> xr.Dataset:
    """Runs that know eps, so that they accept at last, when the true distance is d: dims (d, run); `batch` is the fixed size."""
    last = accepting_check(n, eps, delta, c)
    taus = [
        z_sequential(uniform(n), half_moved(n, 0.0 if same else d), delta, c, runs, t_max=last, seed0=seed0).tau
        for d in d_list
    ]
    batch = z_batch_size(n, eps, delta, c)
    return xr.Dataset(
        {
            "tau": (("d", "run"), np.array(taus)),
            "saving": (("d", "run"), batch / np.array(taus)),
            "batch": batch,
            "accepts": last,
        },
        coords={"d": list(d_list)},
        attrs={"eps": eps, "n": n},
    )
