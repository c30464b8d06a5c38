"""Figure 1 without noise: linear convergence of USAM, and the levels at which every other lam ends, on rotated quadratics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from workbench.dynamics import Labelled, run, sweep
from workbench.optimizers import unified_sam
from workbench.papers.unified_sam import theory
from workbench.papers.unified_sam.regressions import log_spectrum
from workbench.problems import quadratic

RECORDS = 100
"""Equally spaced records of a run."""


def endpoints(seeds: range, *, swapped: bool = False, n: int = 20, steps: int = 100) -> xr.DataArray:
    """Largest difference of unified SAM at lam = 0, 1 to USAM and SAM written out, over the start's largest entry, in units of
    steps times eps: dims (lam, seed). `swapped` gives lam = 1 in place of 0 and 0 in place of 1.
    """
    gamma, rho = 0.05, 0.02
    found = np.empty((2, len(seeds)))
    for k, seed in enumerate(seeds):
        problem = quadratic(log_spectrum(n, 10.0), rotation=seed)
        start = problem.initial(seed)
        for lam in (0.0, 1.0):
            # As a tensor the weight enters the mixture, as in a sweep; the numbers 0 and 1 would take the ends directly.
            rule = unified_sam(gamma, rho, torch.tensor(1 - lam if swapped else lam, dtype=torch.float64))
            ours = run(problem, rule, start=start, steps=steps, at=[], progress=False).parameters
            x, H = start.clone(), problem.matrix
            for _ in range(steps):
                g = H @ x
                x = x - gamma * (H @ (x + rho * (g / torch.sqrt((g * g).sum()) if lam else g)))
            scale = steps * torch.finfo(torch.float64).eps * float(start.abs().max())
            found[int(lam), k] = float((ours - x).abs().max()) / scale
    return xr.DataArray(found, dims=("lam", "seed"), coords={"lam": [0.0, 1.0], "seed": list(seeds)})


def descents(
    seeds: range, lambdas: Sequence[float], n: int = 100, cond: float = 10.0, steps: int = 10_000,
    *, lambda_run: float | None = None,
) -> xr.Dataset:  # fmt: skip
    """Unified SAM with the simplified steps of every lam on quadratics with eigenvalues 1/cond .. cond: dims (seed, lam, step).

    `loss` over the initial one at 101 steps; at the end (seed, lam): `level`, `outside` = loss outside the top eigendirection
    over the loss inside. The coordinates `rho` and `gamma` belong to lam, `start` is the initial loss. `lambda_run` is run in
    place of every lam, with the steps of that lam.
    """
    spectrum = log_spectrum(n, cond)
    L, mu = float(spectrum[-1]), float(spectrum[0])
    pairs = [theory.simplified_steps(mu, L, 0.0, 1.0, lam) for lam in lambdas]
    radii, gammas = (torch.tensor(part, dtype=torch.float64) for part in zip(*pairs, strict=True))
    used = torch.tensor([lam if lambda_run is None else lambda_run for lam in lambdas], dtype=torch.float64)

    def of(seed: int) -> xr.Dataset:
        # One matrix for all lam: with a seed that is swept too, every run would carry its own.
        problem = quadratic(spectrum, rotation=seed)
        start = problem.initial(seed)
        top = problem.eigenvectors[:, -1]

        def one(k):
            rule = unified_sam(gammas[k], radii[k], used[k])
            ended = run(problem, rule, start=start, steps=steps, record=["train_loss"], every=steps // RECORDS)
            level = problem.loss(ended.parameters)
            inside = 0.5 * L * (top @ (ended.parameters - problem.minimiser)) ** 2
            losses = ended.records["train_loss"]
            relative = Labelled(losses.value / losses.value[0], losses.dims, losses.coords)
            return {"loss": relative, "level": level, "outside": (level - inside) / inside, "start": losses.value[0]}

        return sweep(one, k=range(len(lambdas)), progress=False)

    found = xr.concat([of(seed) for seed in seeds], xr.DataArray(list(seeds), dims="seed", name="seed"))
    found = found.rename(k="lam").assign_coords(lam=list(lambdas))
    return found.assign_coords(rho=("lam", radii.numpy()), gamma=("lam", gammas.numpy())).assign_attrs(L=L, mu=mu, n=n)


def over_linear_rate(found: xr.Dataset, spectrum: np.ndarray, gamma: float, rho: float) -> xr.DataArray:
    """Loss over q^(2t) times the initial one, q = `theory.usam_rate`: dims (seed, step), without step 0 and without steps at
    which q^(2t) is below 1e-200, near which squares vanish.
    """
    bound = theory.usam_rate(spectrum, gamma, rho) ** (2.0 * found.step)
    return (found.loss / bound).isel(step=np.flatnonzero((found.step > 0) & (bound > 1e-200)))


def over_plateau(found: xr.Dataset, least: float = 1e-3) -> xr.Dataset:
    """The final levels of lam > 0 beside the closed form: dims (seed, lam).

    `deviation` = |level/closed - 1| in units of its computed error: the loss outside the top direction over that inside, to which
    the closed form is exact, plus rounding. NaN where the former is above `least`, for then the run has not settled. `level` and
    `closed` are over the initial loss.
    """
    ran = found.sel(lam=found.lam > 0)
    closed = xr.apply_ufunc(
        lambda gamma, rho, lam: theory.plateau(found.L, gamma, rho, lam), ran.gamma, ran.rho, ran.lam
    )
    settled = abs(ran.outside) <= least
    # A loss sums n squares; an error of one step lives on for 1/(gamma L) steps.
    rounding = 4 * (found.attrs["n"] + 1 / (ran.gamma * found.L)) * np.finfo(np.float64).eps
    deviation = (abs(ran.level / closed - 1) / (abs(ran.outside) + rounding)).where(settled)
    relative = ran.level / ran.start
    return xr.Dataset(
        {"deviation": deviation, "level": relative.where(settled), "closed": closed / ran.start}
    ).transpose("seed", "lam")
