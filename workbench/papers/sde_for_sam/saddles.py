"""Saddles that attract: thresholds, the ball from which SAM falls into one, noise that frees it (arXiv:2301.08203, Section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count, require_finite, require_positive
from workbench.dynamics import run, sweep
from workbench.dynamics.sources import AdditiveNoise
from workbench.papers.sde_for_sam.equations import Kind, algorithm, sam_family_step
from workbench.papers.sde_for_sam.stationary import saddle_threshold
from workbench.problems import quadratic
from workbench.problems.base import Problem

SPECTRA = ((1.0, -1.0), (1.0, -0.5), (-1.0, -0.5), (3.0, -0.6, -1.2))
FAR = 1e3
"""A chain that gets here has left the saddle."""


def usam_traps(eigenvalue: Any, rho: Any, eta: float) -> Any:
    """Whether USAM is attracted along eigenvalue l < 0: rho |l| > 1, and for discrete steps eta l (1 + rho l) < 2."""
    a = eigenvalue * (1 + rho * eigenvalue)
    return (a > 0) & (eta * a < 2)


def usam_map(
    eigenvalues: Sequence[float], rhos: Sequence[float], *, eta: float = 0.05, steps: int = 400, kind: Kind = "usam"
) -> xr.Dataset:
    """Runs on l/2 x^2 from 1 against the threshold, dims (l, rho): "trapped" (nearer to 0 at the end), "predicted", "ode".

    "ode" is rho |l| > 1 alone. "multiplier" is that of a step, 1 - eta l (1 + rho l): where its size is 1 to rounding nothing is
    decided. kind "sgd": control.
    """
    require_count("steps", steps)
    require_positive("eta", eta)
    curvature, radius = np.meshgrid(eigenvalues, rhos, indexing="ij")
    slope, rho = torch.from_numpy(curvature), torch.from_numpy(radius)
    x = torch.ones_like(slope)
    for _ in range(steps):
        x = cast(Tensor, sam_family_step(kind, lambda point: slope * point, x, eta, cast(Any, rho)))
    parts = {
        "trapped": (x.abs() < 1).numpy(),
        "predicted": usam_traps(curvature, radius, eta),
        "ode": radius * np.abs(curvature) > 1,
        "multiplier": 1 - eta * curvature * (1 + radius * curvature),
    }
    coords = {"l": list(eigenvalues), "rho": list(rhos)}
    return xr.Dataset({name: (("l", "rho"), part) for name, part in parts.items()}, coords=coords)


def mismatches(found: xr.Dataset, rule: str = "predicted") -> int:
    """Cells of `usam_map` in which run and threshold differ, without those whose multiplier is 1 in size to within 1e-6."""
    decided = np.abs(np.abs(found.multiplier) - 1) > 1e-6
    return int(((found.trapped != found[rule]) & decided).sum())


def bounce_bound(eigenvalues: Sequence[float], rho: float, eta: float) -> float:
    """(1 + eta L) eta rho L^2, L = max |l|: the largest |Hx| between which noiseless SAM bounces at the saddle."""
    L = max(abs(value) for value in eigenvalues)
    return (1 + eta * L) * eta * rho * L**2


def basin_radius(eigenvalues: Sequence[float], rho: float) -> float:
    """rho min |l| over l < 0: noiseless SAM falls into the saddle from |Hx| below it."""
    negative = [-value for value in eigenvalues if value < 0]
    if not negative:
        raise ValueError(f"eigenvalues {list(eigenvalues)} have none below 0: this is no saddle")
    return rho * min(negative)


def basin_runs(
    eigenvalues: Sequence[float],
    seeds: Sequence[int],
    *,
    rho: float = 0.5,
    eta: float = 0.005,
    steps: int = 6000,
    kind: Kind = "sam",
    share: float = 0.97,
) -> xr.DataArray:
    """Largest late |Hx| over the bounce bound of noiseless runs from |H x_0| < share * rho min |l|: dims (seed,).

    A seed draws the rotation of H and the start. Late is the last quarter of the steps, every seventh seen; NaN where |Hx| still
    halved since the quarter before (not settled), infinity where a run blew up.
    """
    require_count("steps", steps, low=56)
    radius, bound, d = share * basin_radius(eigenvalues, rho), bounce_bound(eigenvalues, rho, eta), len(eigenvalues)

    def fall(seed: Any) -> dict[str, Any]:
        problem = quadratic(eigenvalues, rotation=seed)
        direction = torch.nn.functional.normalize(draws.normal(seed, (d,), stream="direction"), dim=0)
        length = radius * draws.uniform(seed, (), stream="length") ** (1 / d)
        start = problem.eigenvectors @ (length * direction / problem.spectrum)
        record = {"size": lambda x: problem.gradient(x).norm()}
        late = range(steps // 2, steps + 1, 7)
        ended = run(
            problem, algorithm(kind, eta, rho), steps=steps, start=start, record=record, at=late, progress=False
        )
        return {"size": ended.records["size"]}

    sizes = sweep(fall, seed=list(seeds), progress=False)["size"] / bound
    sizes = sizes.fillna(math.inf)
    before, after = (
        sizes.sel(step=part).max("step") for part in (slice(0, 3 * steps // 4), slice(3 * steps // 4, None))
    )
    return after.where((after > 0.5 * before) | np.isinf(before))


def basin_map(
    eigenvalues: tuple[float, float],
    rho: float,
    eta: float,
    *,
    reach: float,
    cells: int = 41,
    steps: int = 400,
) -> xr.DataArray:
    """|Hx| of noiseless SAM after so many steps over |H x_0|, from a grid of starts along the eigenvectors: dims (x2, x1)."""
    require_positive("reach", reach)
    require_positive("rho", rho)
    require_positive("eta", eta)
    require_count("cells", cells, low=2)
    across = np.linspace(-reach, reach, cells)
    x1, x2 = np.meshgrid(across, across)
    l1, l2 = eigenvalues
    first = np.hypot(l1 * x1, l2 * x2)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            stretch = rho / np.maximum(np.hypot(l1 * x1, l2 * x2), 1e-300)
            x1 = x1 - eta * l1 * x1 * (1 + l1 * stretch)
            x2 = x2 - eta * l2 * x2 * (1 + l2 * stretch)
        ratio = np.hypot(l1 * x1, l2 * x2) / np.maximum(first, 1e-300)
    return xr.DataArray(ratio, dims=("x2", "x1"), coords={"x2": across, "x1": across})


def escaped(
    d: int,
    multiples: Sequence[float],
    seeds: Sequence[int],
    *,
    sigma: float = 0.2,
    eta: float = 0.01,
    steps: int = 3000,
    kind: Kind = "sam",
    sigma_run: float | None = None,
) -> xr.DataArray:
    """Whether |x_d| > 1 at the end of noisy chains from the saddle of H = diag(1, ..., 1, -1): dims (multiple, seed).

    The radius is that multiple of SAM's rho_c at noise sigma; sigma_run is the noise of the runs, if another (control).
    """
    critical = saddle_threshold(-1.0, sigma, d)
    problem = quadratic([1.0] * (d - 1) + [-1.0])
    noise = AdditiveNoise(sigma if sigma_run is None else sigma_run)

    def leave(multiple: Any, seed: Any) -> dict[str, Tensor]:
        rule = algorithm(kind, eta, multiple * critical)
        start = torch.zeros(d, dtype=torch.float64)
        ended = run(problem, rule, seed=seed, steps=steps, source=noise, start=start, blowup=FAR, progress=False)
        return {"left": ended.parameters[-1].abs()}

    found = sweep(leave, multiple=list(multiples), seed=list(seeds), progress=False)
    return (found.left > 1) | found.diverged


@dataclass(frozen=True, eq=False)
class EmbeddedSaddle(Problem[Tensor]):
    """f(x) = 1/2 sum h_i x_i^2 + q/4 sum x_i^4 - xi/3 sum x_i^3: a saddle at 0 between minima."""

    h: Float[Tensor, " parameter"]
    q: float = 1.0
    xi: float = 0.1

    def loss(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, ""]:
        x = parameters
        return (0.5 * self.h * x**2 + self.q / 4 * x**4 - self.xi / 3 * x**3).sum()

    def gradient(self, parameters: Float[Tensor, " parameter"], batch: Any = None) -> Float[Tensor, " parameter"]:
        x = parameters
        return self.h * x + self.q * x**3 - self.xi * x**2

    def lowest(self) -> float:
        """The global minimum of f: of every coordinate, 0 or at a root of h + q x^2 - xi x."""
        root = (self.xi**2 - 4 * self.q * self.h).clamp(min=0).sqrt()
        places = torch.stack(
            [torch.zeros_like(self.h), (self.xi + root) / (2 * self.q), (self.xi - root) / (2 * self.q)]
        )
        values = 0.5 * self.h * places**2 + self.q / 4 * places**4 - self.xi / 3 * places**3
        return float(values.amin(0).sum())


def embedded_saddle(d: int = 10, q: float = 1.0, xi: float = 0.1) -> EmbeddedSaddle:
    """h = (1, ..., 1, -1)."""
    require_count("d", d)
    require_positive("q", q)
    require_finite("xi", xi)
    return EmbeddedSaddle(torch.tensor([1.0] * (d - 1) + [-1.0], dtype=torch.float64), q, xi)


def embedded_losses(
    arms: Mapping[str, tuple[Kind, float]],
    seeds: Sequence[int],
    *,
    d: int = 10,
    eta: float = 0.01,
    sigma: float = 0.1,
    steps: int = 2000,
    every: int = 50,
) -> xr.DataArray:
    """f over f_min of chains from .02 N(0, I), dims (arm, seed, step): 1 at the minimum, 0 at the saddle.

    arms: name -> (kind, rho). A chain that gets farther than 1e3 has left: it counts as 1 from there on.
    """
    problem = embedded_saddle(d)
    lowest = problem.lowest()

    def chain(arm: str, seed: Any) -> dict[str, Any]:
        kind, rho = arms[arm]
        start = 0.02 * draws.normal(seed, (d,), stream="initial")
        record = {"f": lambda x: problem.loss(x) / lowest}
        ended = run(
            problem, algorithm(kind, eta, rho), seed=seed, steps=steps, source=AdditiveNoise(sigma), start=start,
            record=record, every=every, blowup=FAR, progress=False,
        )  # fmt: skip
        return {"f": ended.records["f"]}

    found = sweep(chain, arm=list(arms), seed=list(seeds), progress=False)
    return found.f.where(~(found.f.isnull() & found.diverged), 1.0)
