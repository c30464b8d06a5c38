"""Runs of SAM and its nulls on diagonal networks, one data set per seed: the measurements behind the claims on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas
import torch
import xarray as xr
from torch import Tensor

from workbench.dynamics import Labelled, run, sweep
from workbench.optimizers import schedules
from workbench.optimizers.momentum import Descent
from workbench.optimizers.schedules import HyperParameter
from workbench.papers.understanding_sam.diagonal_sam import unnormalised_sam
from workbench.problems import diagonal_network, sparse_regression
from workbench.problems.factorised.diagonal_bias import first_order_decay_rate, rho_for_stability_number
from workbench.problems.factorised.diagonal_network import DiagonalNetwork
from workbench.problems.factorised.diagonal_potential import argmin_phi

Displacement = Literal["own", "none", "shuffled", "shared", "single", "random"]
CONVERGED = 1e-3
"""Training loss up to which a run counts as converged; any other run is the worst value of a claim."""
ROUNDING = 1e-12
"""Steps (at most 10^4) times a unit in the last place: a ratio that near to 1 is 1."""


class Lengths(NamedTuple):
    """Steps of the runs: by group size, of late switches, of each half of 1-SAM then descent, before and during fine-tuning."""

    group: int
    late: int
    half: int
    before: int
    tuning: int


def lengths(n_steps: int) -> Lengths:
    """Lengths of all runs in proportion to that of the comparison over the radius."""
    return Lengths(*(max(1, round(share * n_steps)) for share in (0.24, 0.6, 0.5, 0.4, 1.2)))


@dataclass(frozen=True)
class DiagonalStudy:
    """Data sets of n points in R^d with a k-sparse truth, one per seed, and networks that start at scale alpha.

    `displacement` swaps the physics of every SAM run: "none" takes the radius away, "shuffled" displaces a sample (or group) by
    the next one's gradient, "shared" and "single" put n-SAM or 1-SAM in place of every m-SAM.
    """

    seeds: range
    n: int
    d: int
    k: int
    alpha: float
    displacement: Displacement = "own"

    def network(self, seed: int | Tensor) -> DiagonalNetwork:
        """The network on the data set of a seed."""
        return diagonal_network(sparse_regression(seed, self.n, self.d, self.k), self.alpha)

    def group(self, m: int) -> int:
        """The group size that takes m's place."""
        return {"none": self.n, "shared": self.n, "single": 1}.get(self.displacement, m)

    def rule(self, network: DiagonalNetwork, gamma: float | Tensor, rho: HyperParameter, m: int) -> Descent:
        """m-SAM, or what the displacement puts in its place."""
        owner = "next" if self.displacement == "shuffled" else "own"
        return unnormalised_sam(network, gamma, 0.0 if self.displacement == "none" else rho, self.group(m), owner)

    def descent(self, gamma: float, at: Sequence[int]) -> xr.Dataset:
        """Losses and log-decay of gradient descent (seed, step), and the weights."""

        def one(seed):
            network = self.network(seed)
            record = {
                "train_loss": "train_loss",
                "test_loss": "test_loss",
                "log_decay": "log_decay",
                "weights": lambda w: w,
            }
            return run(
                network, unnormalised_sam(network, gamma, 0.0, self.n), steps=at[-1], record=record, at=at
            ).records

        return sweep(one, seed=self.seeds)

    def trained(self, m: int, gamma: float, rhos: Sequence[float], steps: int) -> xr.Dataset:
        """Losses of m-SAM (m = 1 or n) along the run (seed, rho, step)."""

        def one(seed, rho):
            network = self.network(seed)
            return run(network, self.rule(network, gamma, rho, m), steps=steps, record=_LOSSES, at="log").records

        return sweep(one, seed=self.seeds, rho=list(rhos))

    def grouped(self, ms: Iterable[int], gamma: float, rho: float, steps: int) -> xr.Dataset:
        """m-SAM with a fresh random partition at every step (seed, m): losses at the end, log-decay and Delta_m by feature,
        and the integral of the loss (1/4n) sum r^2."""

        def one(seed, m):
            network = self.network(seed)
            batch = self.n if 1 < self.group(m) < self.n else None
            integrate = {"delta": first_order_decay_rate(network, m), "loss_integral": network.loss}
            rule = self.rule(network, gamma, rho, m)
            done = run(network, rule, seed=seed, steps=steps, integrate=integrate, batch_size=batch, at=[])
            ends = {"train_loss": network.train_loss, "test_loss": network.test_loss, "decay": network.log_decay}
            values = {**{name: end(done.parameters) for name, end in ends.items()}, **done.integrals}
            return {name: Labelled(value, ("feature",) * value.dim()) for name, value in values.items()}

        return xr.concat(
            [sweep(lambda seed, m=m: one(seed, m), seed=self.seeds) for m in ms],
            xr.DataArray(list(ms), dims="m", name="m"),
        )

    def limits(self, decay: xr.DataArray) -> xr.Dataset:
        """Test losses (seed) of the minimisers of phi at alpha exp(-decay): none, the given one, its mean spread evenly; and
        the mean decay on the support over that off it."""
        decays = torch.as_tensor(decay.transpose("seed", "feature").values)

        def one(seed):
            data, own = sparse_regression(seed, self.n, self.d, self.k), decays[seed - self.seeds.start]
            shapes = {"flow": 0 * own, "own": own, "even": 0 * own + own.mean()}
            alphas = {name: self.alpha * torch.exp(-part) for name, part in shapes.items()}
            betas = {name: argmin_phi(data.inputs, data.targets, alpha) for name, alpha in alphas.items()}
            test = {name: ((data.test_inputs @ beta - data.test_targets) ** 2).mean() for name, beta in betas.items()}
            return {**test, "contrast": own[: self.k].mean() / own[self.k :].mean()}

        return sweep(one, seed=self.seeds)

    def sam_then_descent(self, gamma: float, rho: float, steps: int) -> xr.Dataset:
        """1-SAM for `steps`, then gradient descent for as long (seed, step)."""

        def one(seed):
            network = self.network(seed)
            stages = [
                (self.rule(network, gamma, rho, 1), steps),
                (unnormalised_sam(network, gamma, 0.0, self.n), steps),
            ]
            return run(network, stages, record=_LOSSES, at=[steps, 2 * steps]).records

        return sweep(one, seed=self.seeds)

    def late(self, gamma: float, rho: float, starts: Sequence[int], steps: int) -> xr.Dataset:
        """Gradient descent until step `start`, 1-SAM from there on (seed, start)."""

        def one(seed, start):
            network = self.network(seed)
            rule = self.rule(network, gamma, schedules.SwitchOn(rho, start), 1)
            return run(network, rule, steps=steps, record=_LOSSES, at=[steps]).records

        return sweep(one, seed=self.seeds, start=list(starts)).isel(step=-1)

    def finetuned(self, before: xr.Dataset, gamma: float, targets: Sequence[float], steps: int) -> xr.Dataset:
        """1-SAM from the weights in `before` at the radius that gives the stability number (seed, Lam, step).

        Lam = 0 goes on with gradient descent. Where no radius reaches a number, its run is NaN.
        """
        weights = torch.as_tensor(before.weights.transpose("seed", ...).values)

        def one(seed, Lam):
            network, start = self.network(seed), weights[seed - self.seeds.start]
            rho = torch.where(Lam > 0, rho_for_stability_number(network, start, gamma, Lam.clamp(min=1e-9)), 0.0)
            done = run(network, self.rule(network, gamma, rho, 1), start=start, steps=steps, record=_LOSSES, at="log")
            return {**done.records, "rho": rho}

        return sweep(one, seed=self.seeds, Lam=[0.0, *targets])


_LOSSES = ["train_loss", "test_loss"]


def against(run: xr.Dataset, baseline: xr.DataArray, *, worst: float) -> xr.DataArray:
    """Test loss over the baseline's, seed by seed; `worst` where the run has not converged or is not finite.

    A ratio within rounding of 1 is 1, so that two ways of computing the same run differ by nothing.
    """
    ratio = run.test_loss / baseline
    ratio = xr.where(np.abs(ratio - 1) <= ROUNDING, 1.0, ratio)
    return ratio.where((run.train_loss <= CONVERGED) & np.isfinite(ratio), worst)


def log_distance(a: xr.DataArray, b: xr.DataArray) -> xr.DataArray:
    """|ln a/b|, zero within rounding; infinite where a or b is 0 or infinite."""
    with np.errstate(all="ignore"):
        distance = np.abs(np.log(a) - np.log(b))
    return xr.where(distance <= ROUNDING, 0.0, distance).fillna(np.inf)


def shape_correlation(decay: xr.DataArray, delta: xr.DataArray) -> xr.DataArray:
    """atanh of the correlation over features, one per remaining index."""
    with np.errstate(all="ignore"):
        return xr.apply_ufunc(np.arctanh, xr.corr(decay, delta, "feature"))


def stalled(tuned: xr.Dataset, before: xr.Dataset) -> xr.DataArray:
    """1 where the training loss ends above its value at the switch or diverges, 0 where it falls, NaN where no radius exists."""
    end = tuned.train_loss.isel(step=-1)
    above = ((end > before.train_loss) | ~np.isfinite(end)).astype(float)
    return above.where(np.isfinite(tuned.rho))


def notebook_values(table: pandas.DataFrame, displacement: Displacement = "own") -> pandas.DataFrame:
    """The public notebook's printed test losses beside ours, and |ours - printed| in half units of the last printed digit.

    `table` has one row per run (m, alpha, step_times_d, rho, printed, last_digit, doubtful) on the data of seed 0, n = 20,
    d = 30, k = 3, after 10001 steps.
    """
    study = DiagonalStudy(range(1), 20, 30, 3, 0.05, displacement)
    parts = []
    for m in table.m.unique().tolist():
        rows = table[table.m == m]
        settings = torch.as_tensor(rows[["alpha", "step_times_d", "rho"]].to_numpy(float))

        def one(case, m=m, settings=settings):
            alpha, per_d, rho = settings[case].unbind()
            network = diagonal_network(sparse_regression(0, 20, 30, 3), alpha)
            done = run(network, study.rule(network, per_d / 30, rho, m), steps=10001, at=[])
            return {"ours": network.test_loss(done.parameters)}

        ours = sweep(one, case=range(len(rows))).ours.values
        parts.append(rows.assign(ours=ours, half_units=np.abs(ours - rows.printed) / (0.5 * rows.last_digit)))
    return pandas.concat(parts)
