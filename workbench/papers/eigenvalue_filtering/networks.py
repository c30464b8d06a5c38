"""The network's limits: trained full batch with every optimizer, their whole spectra, and what the claims ask of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench import data
from workbench.curvature import sharpness, spectrum
from workbench.dynamics import Labelled, run, sweep
from workbench.dynamics.times import log_log_slope
from workbench.optimizers import by_name, filter_ratio, max_sharpness
from workbench.papers.eigenvalue_filtering.limits import audited, is_limit, window
from workbench.papers.eigenvalue_filtering.optimizers import running
from workbench.parameters import unravel
from workbench.problems import Classifier, circle, classifier

ORDER = ("gd", "usam", "two_step_usam", "hessian_usam")
FEWEST = 8
"""Limits that a step size must have for the slope along the edge."""


def problem(dataset: str, width: int) -> Classifier:
    """The network on five points of a circle, or on 200 small images of a real data set.

    Raises FileNotFoundError naming the expected folder where the data set is not on this machine.
    """
    if dataset == "circle":
        return circle(width)
    small = {"mnist": 7, "fashion-mnist": 7, "cifar10": 8}.get(dataset)  # pooled, so that the Hessian stays small
    images = data.load(
        dataset, train=200, size=small, grey=dataset == "cifar10", flatten=True, centre=True, dtype=torch.float64
    )
    return classifier(images, hidden=[width])  # type: ignore[arg-type]


def trained(
    network: Classifier,
    optimizers: Sequence[str],
    step_sizes: Sequence[float],
    n: int,
    *,
    rho: float,
    beta: float,
    steps: int,
    tol: float,
    seed0: int,
    run_as: str = "itself",
) -> xr.Dataset:
    """Every optimizer at every step size from n initialisations.

    Returns:
        (optimizer, step_size, seed): limit, whether the run reached one; spectrum (.., eigenvalue) at its end; sharpness, the
        largest eigenvalue of the limits (NaN elsewhere); found, their largest ratio alpha p(lambda)/c, highest the same after
        the audit, lowest the smallest; suspects and readable of the audit (`limits.audited`); diverged.
    """

    def train(optimizer: str, step_size: Tensor, seed: Tensor) -> dict[str, object]:
        rule = running(optimizer, step_size, rho=rho, beta=beta, run_as=run_as)
        done = run(network, rule, seed=seed, steps=steps, record=["gradient_norm"], at=window(steps), progress=False)
        values = spectrum(network.loss, done.parameters)  # type: ignore[arg-type]
        ratio = filter_ratio(by_name(optimizer, step_size, rho=rho, beta=beta), values)
        return {
            "parameters": done.parameters,
            "spectrum": Labelled(values, ("eigenvalue",), long_name="Hessian eigenvalue"),
            "ratio": Labelled(ratio, ("eigenvalue",), long_name="alpha p(lambda)/c"),
            "limit": is_limit(network, rule, done, tol),
        }

    seeds = range(seed0, seed0 + n)
    one = sweep(train, optimizer=list(optimizers), step_size=list(step_sizes), seed=seeds, progress=False)
    one = one.transpose("optimizer", "step_size", "seed", ...)
    ratio = one.ratio.where(one.limit)

    def rule_at(here):
        return running(here["optimizer"], here["step_size"], rho=rho, beta=beta, run_as=run_as)

    template = network.initial(0)
    highest = ratio.max("eigenvalue")
    after = audited(
        network, highest, one.parameters, rule_at, lambda vector: unravel(vector, template), steps=steps, tol=tol
    )
    return xr.Dataset(
        {
            "limit": one.limit,
            "diverged": one.diverged,
            "spectrum": one.spectrum,
            "sharpness": one.spectrum.max("eigenvalue").where(one.limit),
            "found": highest,
            "highest": after.ratio,
            "lowest": ratio.min("eigenvalue"),
            "suspects": after.suspects,
            "readable": after.readable,
        }
    )


def counts(found: xr.Dataset) -> str:
    """Limits, runs still moving and diverged runs of every optimizer, as a table of text."""
    total = found.limit.sizes["step_size"] * found.limit.sizes["seed"]
    lines = [f"{'':>28s}  limits  moving  diverged   of {total} runs"]
    for name in found.optimizer.values:
        one = found.sel(optimizer=name)
        limits, gone = int(one.limit.sum()), int(one.diverged.sum())
        lines.append(f"{name:>28s}  {limits:6d}  {total - limits - gone:6d}  {gone:8d}")
    band, limits = int(found.suspects.sum()), int(found.limit.sum())
    lines.append(f"{band} of {limits} limits lie just above the edge and are audited")
    return "\n".join(lines)


def edge(optimizer: str, step_sizes: Sequence[float], *, rho: float, beta: float) -> np.ndarray:
    """lambda_+ at every step size."""
    return np.array([max_sharpness(by_name(optimizer, float(a), rho=rho, beta=beta)) for a in step_sizes])


def edge_slopes(found: xr.Dataset, *, rho: float, beta: float, kinds: Sequence[str] = ORDER[:3]) -> xr.DataArray | None:
    """Slope of ln(sharpness) against ln(lambda_+(alpha)) over the three largest step sizes with at least eight limits.

    A seed's slope needs a limit at all three step sizes.

    Returns:
        (optimizer, seed), NaN where there is no slope; None where no kind has three such step sizes.
    """
    slopes = []
    for name in kinds:
        if name not in found.optimizer.values:
            continue
        one = found.sharpness.sel(optimizer=name)
        steep = one.step_size.values[one.notnull().sum("seed").values >= FEWEST][-3:]
        if len(steep) == 3:
            at = edge(name, steep, rho=rho, beta=beta)[::-1]
            part = one.sel(step_size=steep[::-1]).assign_coords(step_size=at)
            slopes.append(log_log_slope(part, "step_size").expand_dims(optimizer=[name]))
    return xr.concat(slopes, "optimizer", join="outer", coords="minimal", compat="override") if slopes else None


def seed_slopes(slopes: xr.DataArray | None) -> np.ndarray | None:
    """A seed's slope: the mean over the optimizers in which it has one; seeds without any are left out."""
    return None if slopes is None else slopes.mean("optimizer").dropna("seed").values


def sharper(found: xr.Dataset, one: str, other: str, step_sizes: Sequence[float] | None = None) -> np.ndarray | None:
    """Ratio of the limits' sharpnesses, seed by seed: geometric mean over the step sizes at which both have a limit.

    Seeds without such a step size are left out. None where one of the two did not run.
    """
    if {one, other} - set(found.optimizer.values):
        return None
    known = found.sharpness if step_sizes is None else found.sharpness.sel(step_size=list(step_sizes))
    logs = np.log(known.sel(optimizer=one, drop=True)) - np.log(known.sel(optimizer=other, drop=True))
    return np.exp(logs.mean("step_size").dropna("seed").values)


def ordering(found: xr.Dataset) -> dict[str, np.ndarray] | None:
    """The three comparisons of neighbours in the order of the filters; None where one of the four did not run."""
    names = ("GD over USAM", "USAM over Two-step", "Two-step over Hessian")
    pairs = [sharper(found, one, other) for one, other in itertools.pairwise(ORDER)]
    present = {name: pair for name, pair in zip(names, pairs, strict=True) if pair is not None}
    return present if len(present) == len(names) else None


def momentum_order(found: xr.Dataset) -> dict[str, np.ndarray] | None:
    """Heavy ball over plain and plain over Nesterov at the two largest step sizes; None where one of the three did not run."""
    steep = found.step_size.values[-2:]
    first, second = sharper(found, "gd+heavy_ball", "gd", steep), sharper(found, "gd", "gd+nesterov", steep)
    return None if first is None or second is None else {"heavy ball over plain": first, "plain over Nesterov": second}


def histories(
    network: Classifier,
    names: Sequence[str],
    step_size: float,
    n: int,
    *,
    rho: float,
    beta: float,
    steps: int,
    seed0: int,
) -> xr.Dataset:
    """Sharpness and loss every 20 steps: (optimizer, seed, step)."""

    def history(optimizer: str, seed: Tensor) -> dict[str, Labelled]:
        rule = by_name(optimizer, step_size, rho=rho, beta=beta)
        record = {"sharpness": lambda w: sharpness(network.loss, w), "loss": network.loss}  # type: ignore[arg-type]
        return run(network, rule, seed=seed, steps=steps, record=record, every=20, progress=False).records

    return sweep(history, optimizer=list(names), seed=range(seed0, seed0 + n), progress=False)


def designed(
    network: Classifier, targets: Sequence[float], n: int, *, step_size: float, steps: int, tol: float, seed0: int
) -> xr.DataArray:
    """Inverse design: with rho = (2/(alpha t) - 1)/t the edge of USAM's filter lies at t. Sharpness of the limits over t.

    Returns:
        (target, seed), NaN for runs without a limit.
    """

    def design(target: Tensor, seed: Tensor) -> dict[str, Tensor]:
        rule = by_name("usam", step_size, rho=(2 / (step_size * target) - 1) / target)
        done = run(network, rule, seed=seed, steps=steps, record=["gradient_norm"], at=window(steps), progress=False)
        top = sharpness(network.loss, done.parameters) / target  # type: ignore[arg-type]
        return {"reached": torch.where(is_limit(network, rule, done, tol), top, torch.nan)}

    return sweep(design, target=list(targets), seed=range(seed0, seed0 + n), progress=False).reached
