"""What the notebook measures, under its parameters and control switches (arXiv:2106.07644)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import torch
import xarray as xr
from scipy.linalg import expm
from scipy.optimize import brentq

from workbench.dynamics.moments import CoordinateMoments, LinearStep
from workbench.papers.continuized_nesterov import moments, rates
from workbench.papers.continuized_nesterov.gossip import (
    exact_gossip_rate,
    half_and_half,
    simulate_gossip,
    simulate_gossip_globally,
)
from workbench.papers.continuized_nesterov.graphs import Graph, graph
from workbench.papers.continuized_nesterov.simulation import path, values_at, waiting_times
from workbench.problems.linear.designs import AdditiveNoise, GaussianDesign

EPS = float(np.finfo(float).eps)
KAPPAS = (1e2, 1e3, 1e4)
GRAPHS = (
    ("line", 4), ("line", 8), ("line", 12), ("cycle", 8), ("cycle", 12), ("star", 8), ("star", 12), ("grid", 9),
    ("complete", 5), ("complete", 9),
)  # fmt: skip


def discretisation_errors(seed: int, flow: str = "exact", draws: int = 500, events: int = 2000) -> dict[str, float]:
    """ "flow": closed-form mixing against the matrix exponential, in eps; "clocks": nodes' own clocks against the global flow.

    The latter in eps times the number of exchanges, on a line of 20 nodes. flow = "euler" (control) in both.
    """
    random = np.random.default_rng(seed)
    worst = 0.0
    for eta, wait in zip(random.random(draws), random.exponential(size=draws), strict=True):
        scheme = rates.Continuized(1.0, eta, eta, 1.0)
        mixed = scheme.mixing(0.0, torch.tensor(wait, dtype=torch.float64))[0]
        p = float(mixed) if flow == "exact" else eta * wait
        worst = max(
            worst, float(np.abs(np.array([[1 - p, p], [p, 1 - p]]) - expm(wait * moments.flow(eta, eta))).max())
        )
    one, start = graph("line", 20), half_and_half(20)
    lazy = simulate_gossip(one, start, [float(events)], seed, flow=flow)
    whole = simulate_gossip_globally(one, start, float(events), seed)
    apart = max(np.abs(lazy.x - whole.x).max(), np.abs(lazy.z - whole.z).max())
    return {"flow": worst / EPS, "clocks": float(apart) / (events * EPS)}


def strongly_convex_curves(mu: float, eta_scale: float = 1.0, modes: int = 30) -> tuple[xr.Dataset, float]:
    """E f and its bound at 59 times up to 20/a, a = sqrt(mu), L = 1, x_0 = 1 in all modes; and the exact rate over a."""
    h, a = np.geomspace(mu, 1, modes), math.sqrt(mu)
    law, scheme = AdditiveNoise(h), rates.scaled(rates.strongly_convex(mu), eta_scale)
    times = np.linspace(0, 20 / a, 60)[1:]
    found = {
        "gap": ("time", moments.gap(moments.expected(scheme, law, np.ones(modes), times), h)),
        "bound": ("time", rates.strongly_convex_bound(times, 0.5 * h.sum(), modes, mu)),
    }
    return xr.Dataset(found, coords={"time": times}), moments.rate(scheme, law) / a


def convex_ratios(eta_scale: float = 1.0, sigma2: float = 0.0, horizon: float = 300.0) -> xr.DataArray:
    """E f over the convex bound for 40 curvatures in [1e-6, 1], up to t = 300: 2/t^2 from x_0 = 1, or t sigma^2/3 from x*.

    With noise of variance `sigma2` against the bound for sigma^2 = 1.
    """
    h, times = np.geomspace(1e-6, 1, 40), np.linspace(0.5, horizon, 600)
    start = np.zeros(40) if sigma2 else np.ones(40)
    scheme = rates.scaled(rates.convex(), eta_scale)
    gaps = 0.5 * h * moments.expected_convex(scheme, AdditiveNoise(h, sigma2), start, times)[:, 0]
    bound = times / 3 if sigma2 else rates.convex_bound(times, 1.0)
    return xr.DataArray(gaps / bound[:, None], coords={"time": times, "curvature": h}, dims=["time", "curvature"])


def jump_time_ratios(eta_scale: float = 1.0, mu: float = 0.01, steps: int = 1000) -> xr.DataArray:
    """sup over k of E exp(a T_k) (f(x_k) - f*) over f(x_0) - f* + mu/2 |z_0 - x*|^2, exact, for five curvatures."""
    h = np.array([mu, 0.03, 0.1, 0.5, 1.0])
    scheme = rates.scaled(rates.strongly_convex(mu), eta_scale)
    weighed = 0.5 * h * moments.jump_ratios(scheme, h, math.sqrt(mu), steps) / (0.5 * h + mu / 2)
    return xr.DataArray(weighed.max(0), coords={"curvature": h}, dims=["curvature"])


def jump_time_samples(seed: int, runs: int, horizon: int, eta_scale: float = 1.0, modes: int = 30) -> xr.DataArray:
    """T_k^2 (f(x_k) - f*)/(2 L |z_0 - x*|^2) at k = 1, 2, 4, ... <= horizon, convex parameters, over (k, run)."""
    h = torch.logspace(-4, 0, modes, dtype=torch.float64)
    kept = [2**i for i in range(horizon.bit_length()) if 2**i <= horizon]
    scheme, start = rates.scaled(rates.convex(), eta_scale), torch.ones(runs, modes, dtype=torch.float64)
    rows = []
    for k, event in enumerate(path(scheme, lambda x: h * x, start, waiting_times(seed, kept[-1], runs))):
        if k in kept:
            rows.append(event.time**2 * 0.5 * (h * event.x**2).sum(-1) / (2 * modes))
    return xr.DataArray(torch.stack(rows).numpy(), coords={"k": kept}, dims=["k", "run"])


def times_to_reach(eta_scale: float = 1.0, level: float = 1e-6, modes: int = 20) -> xr.DataArray:
    """Time at which E f has fallen by `level`, over (arm, kappa): continuized, gradient descent, Nesterov (constant momentum)."""
    found = []
    for kappa in KAPPAS:
        h, start = np.geomspace(1 / kappa, 1, modes), np.ones(modes)
        scheme, law = rates.scaled(rates.strongly_convex(1 / kappa), eta_scale), AdditiveNoise(h)
        target = level * 0.5 * h.sum()

        def continuized(log_time: float, scheme=scheme, law=law, h=h, start=start, target=target) -> float:
            value = moments.gap(moments.expected(scheme, law, start, np.array([math.exp(log_time)])), h)[0]
            return math.log(max(value, 1e-300) / target)

        def descent(log_time: float, h=h, target=target) -> float:
            return math.log(max(0.5 * float(h @ (1 - h) ** (2 * math.exp(log_time))), 1e-300) / target)

        end = math.log(30 * kappa)
        crossings = [math.exp(cast(float, brentq(one, 0.0, end, xtol=1e-10))) for one in (continuized, descent)]
        found.append([*crossings, _nesterov_time(h, 1 / kappa, target)])
    return xr.DataArray(
        np.array(found).T,
        coords={"arm": ["continuized", "gradient descent", "Nesterov"], "kappa": list(KAPPAS)},
        dims=["arm", "kappa"],
        attrs={"long_name": r"time to reduce $f-f_*$ by $10^{-6}$"},
    )


def _nesterov_time(h: np.ndarray, mu: float, target: float) -> float:
    beta = (1 - math.sqrt(mu)) / (1 + math.sqrt(mu))
    x, previous, steps = np.ones(h.size), np.ones(h.size), 0
    while 0.5 * float(h @ x**2) > target:
        y = x + beta * (x - previous)
        previous, x, steps = x, (1 - h) * y, steps + 1
    return float(steps)


def noise_plateaus(mu_values: Iterable[float], noise_true: float = 1.0, modes: int = 30) -> list[float]:
    """Largest stationary E f over sigma^2/sqrt(mu L) among curvatures in [mu, 1], per mu; the true deviation is noise_true."""
    worst = []
    for mu in mu_values:
        scheme, h = rates.strongly_convex(mu), np.geomspace(mu, 1, modes)
        plateau = 0.5 * h * moments.stationary(scheme, AdditiveNoise(h, noise_true**2))[0]
        worst.append(float(plateau.max()) * math.sqrt(mu))
    return worst


def multiplicative_curves(d: int, cond: float, kappa: str = "model") -> tuple[xr.Dataset, float]:
    """E 1/2 |x - x*|^2 and its bound at 30 times up to 10/theta on Gaussian features; and the exact rate over theta.

    kappa = "one" runs with kappa = 1 against the bound of the true one (control).
    """
    h = np.geomspace(1, 1 / cond, d)
    law = GaussianDesign(h)
    R2, true = law.constants
    theta = rates.multiplicative(h.min(), R2, true).eta
    scheme = rates.multiplicative(h.min(), R2, true if kappa == "model" else 1.0)
    times = np.linspace(0, 10 / theta, 31)[1:]
    half = 0.5 * moments.distance2(moments.expected(scheme, law, np.ones(d), times))
    bound = (0.5 * d + h.min() / 2 * (1 / h).sum()) * np.exp(-theta * times)
    curves = xr.Dataset({"half": ("time", np.where(np.isfinite(half), half, np.inf)), "bound": ("time", bound)})
    return curves.assign_coords(time=times), moments.rate(scheme, law) / float(theta)


def rate_gain(d: int, cond: float, method: str = "accelerated") -> float:
    """Exact rate of the continuized process over that of SGD with step 1/R2 at Poisson times, Gaussian features."""
    h = np.geomspace(1, 1 / cond, d)
    law = GaussianDesign(h)
    R2, kappa = law.constants
    step = LinearStep(np.eye(1), np.eye(1), np.array([[-1 / R2]]))
    plain = 1 - CoordinateMoments(step, law, np.ones(1), {}).spectral_radius()
    return 1.0 if method == "plain" else moments.rate(rates.multiplicative(h.min(), R2, kappa), law) / plain


def proven_gain(d: int, cond: float) -> float:
    """sqrt(kappa/kappa~), the ratio of the proven rates."""
    R2, kappa = GaussianDesign(np.geomspace(1, 1 / cond, d)).constants
    return math.sqrt(R2 * cond / kappa)


def multiplicative_convex_ratio(d: int = 20, kappa: str = "model", horizon: float = 1000.0) -> float:
    """Largest E 1/2 |x - x*|^2 over R2 kappa |z_0 - x*|^2_{H^-1}/(2 t^2), x_0 = sqrt(h), h = 1 ... 1e-8."""
    h, times = np.geomspace(1, 1e-8, d), np.geomspace(1, horizon, 60)
    law = GaussianDesign(h)
    R2, true = law.constants
    scheme = rates.multiplicative_convex(R2, true if kappa == "model" else 1.0)
    found = 0.5 * moments.distance2(moments.expected_convex(scheme, law, np.sqrt(h), times))
    return float(np.nan_to_num(found * 2 * times**2 / (R2 * true * d), nan=np.inf).max())


def simulated_ratios(seed: int, runs: int, at: Sequence[float], flow: str = "exact", mu: float = 0.01) -> np.ndarray:
    """f(x_t) - f* of simulated runs over the exact mean at a t in `at`, 5 curvatures in [mu, 1]: [time, run]."""
    if max(at) > 0.5:
        raise ValueError(
            f"moments_at must stay within a t <= 0.5, got {max(at):g}: later the mean is carried by runs too rare to be seen"
        )
    h, scheme = np.geomspace(mu, 1, 5), rates.strongly_convex(mu)
    times = [value / float(scheme.eta) for value in at]
    curvatures = torch.from_numpy(h)
    start = torch.ones(runs, 5, dtype=torch.float64)
    values = values_at(
        scheme, lambda x: curvatures * x, lambda x: 0.5 * (curvatures * x * x).sum(-1), start, times, seed, flow
    )
    exact = moments.gap(moments.expected(scheme, AdditiveNoise(h), np.ones(5), np.array(times)), h)
    return (values / torch.from_numpy(exact)[:, None]).numpy()


def gossip_rates(extra: Iterable[Graph] = (), *, gamma_z_scale: float = 1.0, averaging: float = 0.5) -> xr.Dataset:
    """Exact rates over the proven ones: accelerated over theta, plain over mu/2, on small graphs and `extra` ones."""
    graphs = {f"{kind} {n}": graph(kind, n) for kind, n in GRAPHS} | {f"chosen {i}": one for i, one in enumerate(extra)}
    found = {
        "accelerated": [
            exact_gossip_rate(one, gamma_z_scale=gamma_z_scale) / one.constants.theta for one in graphs.values()
        ],
        "plain": [exact_gossip_rate(one, "plain", averaging=averaging) / (one.gap / 2) for one in graphs.values()],
    }
    return xr.Dataset({name: ("graph", values) for name, values in found.items()}, coords={"graph": list(graphs)})


def tuned_gossip_rate(kind: str, n: int, theta_scale: float) -> float:
    """Exact rate over the proven one with theta scaled."""
    one = graph(kind, n)
    return exact_gossip_rate(one, theta_scale=theta_scale) / one.constants.theta


def acceleration(kind: str, n: int) -> float:
    """Exact rate of accelerated gossip over that of plain gossip."""
    one = graph(kind, n)
    return exact_gossip_rate(one) / exact_gossip_rate(one, "plain")


def gossip_exponents() -> xr.Dataset:
    """Last local slopes in n of the rates, accelerated and plain: exact on a line of 10, 12; of theta and mu/2 beyond."""
    sizes = {
        "line, exact": ("line", 10, 12),
        "line": ("line", 200, 400),
        "cycle": ("cycle", 200, 400),
        "grid": ("grid", 196, 400),
    }
    found = {"accelerated": [], "plain": []}
    for name, (kind, small, large) in sizes.items():
        pair = [graph(kind, n) for n in (small, large)]
        exact = name.endswith("exact")
        speeds = {
            "accelerated": [exact_gossip_rate(one) if exact else one.constants.theta for one in pair],
            "plain": [exact_gossip_rate(one, "plain") if exact else one.gap / 2 for one in pair],
        }
        for method, (first, last) in speeds.items():
            found[method].append(math.log(last / first) / math.log(large / small))
    return xr.Dataset({name: ("graph", values) for name, values in found.items()}, coords={"graph": list(sizes)})


def gossip_runs(n: int, seeds: Iterable[int], method: str = "accelerated") -> xr.Dataset:
    """|x_t - mean|^2 of runs on a line from half/half, at 37 times up to 8/theta, and its bound."""
    one, seeds = graph("line", n), list(seeds)
    theta = one.constants.theta
    times = np.linspace(0, 8 / theta, 37)
    start = half_and_half(n)
    squares = [(simulate_gossip(one, start, times.tolist(), seed, method=method).x ** 2).sum(1) for seed in seeds]
    found = xr.Dataset(
        {"distance2": (("seed", "time"), np.stack(squares)), "bound": ("time", 2 * np.exp(-theta * times))},
        coords={"seed": seeds, "time": times * theta},
    )
    found.time.attrs["long_name"] = r"$\theta t$"
    found.distance2.attrs["long_name"] = r"$\|x_t-\bar x\|^2$"
    return found


def node_values(n: int, seed: int, method: str, horizon: float = 4.0, columns: int = 160) -> xr.DataArray:
    """x of one run on a line from half/half over (node, time in units of 1/theta), for a picture."""
    one = graph("line", n)
    times = np.linspace(0, horizon / one.constants.theta, columns)
    run = simulate_gossip(one, half_and_half(n), times.tolist(), seed, method=method)
    coords = {"time": times * one.constants.theta, "node": np.arange(n)}
    return xr.DataArray(run.x * n**0.5, coords=coords, dims=["time", "node"]).T


def mean_drift(seed: int, n: int = 20, events: float = 2000.0, one_sided: bool = False) -> float:
    """Largest drift of the means of x and z, in eps times the number of events, from a start of mean 1."""
    start = half_and_half(n) + 1.0
    run = simulate_gossip(graph("line", n), start, np.linspace(0, events, 21).tolist(), seed, one_sided=one_sided)
    drift = max(np.abs(run.x.mean(1) - 1).max(), np.abs(run.z.mean(1) - 1).max())
    return float(drift) / (events * EPS)
