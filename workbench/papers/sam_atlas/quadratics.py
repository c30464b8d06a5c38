"""What is proved of the rules on quadratics, against runs and against the Jacobian of a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import xarray as xr

from workbench import draws
from workbench import optimizers as o
from workbench.curvature import update_jacobian
from workbench.dynamics import Labelled, run, sweep
from workbench.dynamics.update_map import resting, update_map
from workbench.optimizers.rule import Rule
from workbench.problems import quadratic

CYCLING: dict[str, Callable[[float, float], Rule]] = {
    "sam": o.sam,
    "sam+heavy_ball": lambda a, r: o.sam(a, r, beta=0.5),
    "sam+nesterov": lambda a, r: o.sam(a, r, beta=0.5, momentum="nesterov"),
    "asam": lambda a, r: o.asam(a, r, 0.3),
    "fisher_sam": lambda a, r: o.fisher_sam(a, r, 0.7),
    "gsam": lambda a, r: o.gsam(a, r, 0.3),
    "wsam": lambda a, r: o.wsam(a, r, 0.6),
    "le_sam": lambda a, r: o.le_sam(a, r, 0.9),
    "cr_sam": lambda a, r: o.cr_sam(a, r, 0.1, 0.1),
    "gam": lambda a, r: o.gam(a, r, 0.5),
    "xsam": lambda a, r: o.xsam(a, r, 1.2),
    "multi_step_sam": lambda a, r: o.multi_step_sam(a, r, 3, 0.5),
    "vasso": lambda a, r: o.vasso(a, r, 0.4),
    "f_sam": lambda a, r: o.f_sam(a, r, 1.0, 0.6),
    "momentum_sam": lambda a, r: o.momentum_sam(a, r, 0.5),
    "lookbehind_sam": lambda a, r: o.lookbehind_sam(a, r, 2, 0.5),
}
"""Rules with a 2-cycle along the top axis."""


def cycles(step_size: float, rho: float, steps: int, radius_in_run: float = 1.0, along: bool = False) -> xr.Dataset:
    """By rule: how far runs on diag(1, .3) end from the 2-cycle of amplitude X in closed form, |x| - X, and X itself.

    along: start on the axis itself, where the cycle's other axes do not matter; `radius_in_run` multiplies the runs' radius.
    """
    bowl = quadratic([1.0, 0.3])
    start = torch.tensor([0.7, 0.0 if along else 0.01], dtype=torch.float64)
    found = {}
    for name, make in CYCLING.items():
        end = run(
            bowl, make(step_size, rho * radius_in_run), steps=steps, start=start, at=[], progress=False
        ).parameters
        amplitude = o.two_cycle(make(step_size, rho), 1.0).amplitude
        found[name] = (float(end.norm()) - amplitude, amplitude)
    values = np.array(list(found.values()))
    return xr.Dataset({"off": ("rule", values[:, 0]), "amplitude": ("rule", values[:, 1])}, {"rule": list(found)})


def mismatches(count: int, seed: int, with_radius: bool = True) -> dict[str, int]:
    """By rule, how often a random cycle (a in (0, 2), r in (0, 2)) attracts although r > 1, or repels although r < 1."""
    numbers = draws.uniform(seed, (count, 4), stream="cycles").numpy()
    rules: dict[str, Callable[[float, float, float], Rule]] = {
        "sam": lambda a, one, two: o.sam(a, 0.1),
        "vasso": lambda a, one, two: o.vasso(a, 0.1, 0.05 + 0.95 * one),
        "f_sam": lambda a, one, two: o.f_sam(a, 0.1, 0.9 * one, 0.95 * two),
    }
    found = dict.fromkeys(rules, 0)
    for first, second, one, two in numbers:
        a, r = 0.02 + 1.96 * first, 2 * second
        if abs(r - 1) < 1e-6 or r < 1e-6:
            continue
        for name, make in rules.items():
            size = abs(o.two_cycle(make(a, one, two), 1.0).multiplier(r)) if with_radius else abs(1 - a * r)
            found[name] += (size > 1) != (r > 1)
    return found


EDGES = (0.9, 1.1, 0.95, 1.05)
"""Of the saddle region: 10 % below and above its lower edge, 5 % below and above its upper one."""


def saddles(sizes: list[float], steps: int, rule: str = "sam") -> xr.Dataset:
    """Runs around the cycle at a strict saddle diag(1, -|r|), 10 % and 5 % on both sides of the edges a/(2 - a) and 2/(2 - a):
    whether they stay within ten amplitudes, and whether they should.
    """
    found = np.zeros((len(sizes), 4, 2), bool)
    for i, a in enumerate(sizes):
        amplitude = o.two_cycle(o.sam(a, 0.1), 1.0).amplitude
        low, high = a / (2 - a), 2 / (2 - a)
        for j, factor in enumerate(EDGES):
            r = factor * (low if j < 2 else high)
            start = torch.tensor([amplitude, 1e-3 * amplitude], dtype=torch.float64)
            made = o.sam(a, 0.1) if rule == "sam" else o.usam(a, 0.1)
            end = run(quadratic([1.0, -r]), made, steps=steps, start=start, at=[], progress=False)
            # A rule without a cycle comes to rest on the axis: not around the saddle for ever.
            around = (end.parameters[0].abs() > amplitude / 2) & (end.parameters.norm() < 10 * amplitude)
            found[i, j] = bool(around & ~end.diverged), low <= r <= high
    return xr.Dataset(
        {"stays": (("a", "edge"), found[..., 0]), "should": (("a", "edge"), found[..., 1])},
        {"a": sizes, "edge": list(EDGES)},
    )


SMOOTH: dict[str, Callable[[], Rule]] = {
    "usam+heavy_ball": lambda: o.usam(0.3, 0.2, beta=0.5),
    "hessian_usam+nesterov": lambda: o.hessian_usam(0.3, 0.1, beta=0.4, momentum="nesterov"),
    "bsam": lambda: o.bsam(0.02, 0.03, float("inf"), 0.01, 0.1),
    "bsam, no momentum": lambda: o.bsam(0.02, 0.03, float("inf"), 0.05, 0.2, beta1=0.0),
    "sampa 0.2": lambda: o.sampa(0.4, 0.0, 0.2),
    "sampa 0.7": lambda: o.sampa(0.4, 0.0, 0.7),
}
"""Rules with an eigenvalue filter, at a critical point (SAMPa far from it, where its radius does not matter)."""


def filter_edges(plain: bool = False) -> dict[str, float]:
    """By rule, the relative distance of the largest admissible eigenvalue in closed form from the one by bisection, at which the
    spectral radius of one step's Jacobian is 1. plain: with p = lambda and bound 2/step_size in place of the rule's own.
    """
    found = {}
    for name, make in SMOOTH.items():
        rule = make()
        exact = 2.0 / float(rule.filter().step_size) if plain else o.max_sharpness(rule)
        found[name] = abs(_bisected(rule, 1e-3 * exact, 10 * exact) / exact - 1)
    return found


def radius(rule: Rule, eigenvalue: float) -> float:
    """The spectral radius of one step's Jacobian at the minimum of eigenvalue x^2/2."""
    line = quadratic([eigenvalue])
    at = resting(rule, line.minimiser)
    if isinstance(rule, o.BSAM):
        # At rest the precision is damping + weight decay.
        mean, precision = at[1], torch.full_like(at[2], float(rule.damping) + float(rule.weight_decay))  # type: ignore[arg-type]
        at = (at[0], mean, precision)
    jacobian = update_jacobian(update_map(line, rule), *at)
    return float(np.abs(np.linalg.eigvals(np.asarray(jacobian))).max())


def _bisected(rule: Rule, low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if radius(rule, middle) <= 1 + 1e-12 else (low, middle)
    return high


def narrow(lam: float, sizes: list[float], steps: int = 400, swapped: bool = False) -> xr.Dataset:
    """SAMPa and SAM on a parabola at a = step_size curvature: |x| of each at the end of a run from 100, inf where it diverged.

    swapped: SAM in SAMPa's place.
    """
    line, start = quadratic([1.0]), torch.full((1,), 100.0, dtype=torch.float64)
    found = {"sampa": [], "sam": []}
    for a in sizes:
        for name, rule in (("sampa", o.sam(a, 0.1) if swapped else o.sampa(a, 0.1, lam)), ("sam", o.sam(a, 0.1))):
            done = run(line, rule, steps=steps, start=start, at=[], progress=False)
            found[name].append(np.inf if bool(done.diverged) else float(done.parameters.abs().max()))
    return xr.Dataset({name: ("a", values) for name, values in found.items()}, {"a": sizes})


def noise_floor(
    seeds: range, spectrum: list[float], step_size: float, rho: float, steps: int, wrong: float = 1.0
) -> xr.DataArray:
    """random_sam's mean square of x along each axis (seed, axis), over a run's second half, over its exact stationary variance
    step_size rho^2 lambda/(P (2 - step_size lambda)). `wrong` multiplies the run's radius.
    """
    bowl, rule = quadratic(spectrum), o.random_sam(step_size, rho * wrong)
    eigenvalues = torch.tensor(spectrum, dtype=torch.float64)
    exact = step_size * rho**2 * eigenvalues / (len(spectrum) * (2 - step_size * eigenvalues))
    half = steps // 2

    def one(seed: Any) -> dict[str, Any]:
        options: dict[str, Any] = {"seed": seed, "at": [], "progress": False}
        begun = run(bowl, rule, steps=half, start=bowl.minimiser, **options)
        squares = {"squares": lambda x: x**2}
        rest = run(bowl, rule, steps=steps - half, start=begun.checkpoint, integrate=squares, **options)
        average = rest.integrals["squares"] / (step_size * (steps - half))
        return {"ratio": Labelled(average / exact, ("axis",), {"axis": spectrum})}

    with torch.no_grad():
        return sweep(one, seed=seeds, progress=False).ratio
