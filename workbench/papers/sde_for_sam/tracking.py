"""How far SDEs are from the algorithm on networks, on common noise (arXiv:2301.08203, validation of the SDEs)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import xarray as xr

from workbench.checks import require_count
from workbench.draws import Seed
from workbench.dynamics import Labelled, run, sweep
from workbench.dynamics.sources import AdditiveNoise
from workbench.optimizers.oracle import Source
from workbench.optimizers.rule import Rule
from workbench.papers.sde_for_sam.equations import algorithm, diffusion
from workbench.papers.sde_for_sam.networks import PROBLEMS, problem

SETTINGS = {
    "teacher_student": (0.05, 0.05, 1),
    "deep_linear": (0.01, 0.02, 2),
    "deep_nonlinear": (0.01, 0.02, 2),
    "matrix_sensing": (0.01, 0.02, 2),
}
"""eta, sigma, and by how much `steps` and `runs` are divided."""
METHODS = ("usam", "dnsam", "sam")
EVERY = 5
"""Steps between two looks at a run: between them it is traced, in a third of the time."""
_RUNS = 1000
"""A seed's noises are the seeds 1000 seed, 1000 seed + 1, ...: no two seeds share one."""


def curves(
    name: str,
    seeds: Sequence[int],
    rhos: Sequence[float],
    *,
    runs: int = 4,
    steps: int = 200,
    resolution: int = 1,
    rho_run: float = 1.0,
) -> xr.Dataset:
    """s(x) = |x| + |grad f(x)| and |grad f(x)| every fifth step, of algorithms and SDEs from the same starts on one noise.

    Variables "s" and "gradient" over (law, kind, seed, run, rho, step), laws "algorithm", "own", "drift-only" and "sgd" (SGD's
    SDE). A seed draws data and start, its runs are noises. The SDEs' time step is eta/resolution. rho_run multiplies the
    algorithm's radius alone (0: control). Raises ValueError for an unknown problem.
    """
    if name not in PROBLEMS:
        raise ValueError(f"problem must be one of {', '.join(PROBLEMS)}, got {name!r}")
    require_count("runs", runs, high=_RUNS)
    require_count("steps", steps)
    require_count("resolution", resolution)
    eta, sigma, parts = SETTINGS[name]
    runs, steps = max(1, runs // parts), max(1, steps // parts)

    def path(law: str, kind: Any, seed: Seed, run: Any, rho: Any) -> dict[str, Labelled]:
        noise = AdditiveNoise(sigma, pieces=resolution)
        if law == "algorithm":
            return _path(name, algorithm(kind, eta, rho * rho_run), seed, run, steps, EVERY, noise)
        correct = law == "own"
        rule = diffusion(kind, eta, rho, sigma, correct_noise=correct, resolution=resolution)
        return _path(name, rule, seed, run, steps * resolution, EVERY * resolution, None)

    axes: dict[str, Any] = {"seed": list(seeds), "run": list(range(runs))}
    methods = sweep(
        path, law=["algorithm", "own", "drift-only"], kind=list(METHODS), **axes, rho=list(rhos), progress=False
    )
    # SGD's SDE knows no rho and no method.
    plain = sweep(path, law=["own"], kind=["sgd"], **axes, rho=[0.0], progress=False)
    spread = plain.isel(law=0, kind=0, rho=0, drop=True).expand_dims(law=["sgd"], kind=methods.kind, rho=methods.rho)
    found = xr.concat([methods[["s", "gradient"]], spread[["s", "gradient"]]], "law")
    return found.assign_attrs(problem=name, step_size=eta, sigma=sigma)


def _path(
    name: str, rule: Rule, seed: Seed, number: Any, steps: int, every: int, source: Source | None
) -> dict[str, Labelled]:
    loss = problem(name, seed)
    ended = run(
        loss,
        rule,
        seed=_RUNS * seed + number,
        steps=steps,
        source=source,
        start=loss.initial(seed),
        record={"x": lambda x: x},
        every=every,
        progress=False,
    )
    points = ended.records["x"].value
    gradients = torch.func.vmap(loss.gradient)(points).flatten(1).norm(dim=1)
    # Steps of the algorithm: the diffusion's own count is `every` times as long.
    sizes = {"s": points.flatten(1).norm(dim=1) + gradients, "gradient": gradients}
    return {key: Labelled(size, ("step",)) for key, size in sizes.items()}


def error_metric(found: xr.Dataset) -> xr.DataArray:
    """max_k |mean s(x_k) - mean s(X_{k eta})|/mean_k |mean s(x_k)|, means over runs, every fifth k: dims (sde, kind, seed, rho).

    NaN where a run blew up or DNSAM came within 1e-8 of a stationary point, which its direction divides by.
    """
    means = found.s.mean("run", skipna=False)
    exact = means.sel(law="algorithm", drop=True)
    sdes = means.sel(law=["own", "drift-only", "sgd"]).rename(law="sde")
    error = abs(sdes - exact).max("step", skipna=False) / abs(exact).mean("step", skipna=False)
    least = found.gradient.sel(law=["algorithm", "own"]).min(["law", "run", "step"], skipna=False)
    usable = (least > 1e-8) | (found.kind != "dnsam")
    return error.where(usable).rename("error").assign_attrs(long_name="error metric")
