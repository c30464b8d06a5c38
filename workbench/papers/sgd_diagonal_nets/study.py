"""The measurements behind the claims, one data set per seed, as labelled arrays."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import xarray as xr
from scipy import stats
from torch import Tensor

from workbench.dynamics import Labelled, sweep
from workbench.papers.sgd_diagonal_nets.data import SparseData, minimum_l1, sparse_data
from workbench.papers.sgd_diagonal_nets.effective_initialisation import flow_loss_integral, power
from workbench.papers.sgd_diagonal_nets.runs import Method, descent, noise_integral, outcome, stochastic_flow
from workbench.papers.sgd_diagonal_nets.step_size import kaczmarz_step, stability_of_start
from workbench.problems.factorised.diagonal_network import SquaresNetwork
from workbench.problems.factorised.diagonal_potential import argmin_phi

CONVERGED = 5e-3
"""Residual |X beta - y| over |y| up to which a run counts as converged."""
DENSE = 2000
"""Steps at the start of which every loss enters the integral."""
_STREAM = 10_000_000


class Arm(NamedTuple):
    """One condition: step size in units of gamma*, initialisation, label noise, and which stream of samples."""

    fraction: float
    alpha: float
    delta: float = 0.0
    stream: int = 0


def step_name(fraction: float) -> str:
    """The arm of a step size."""
    return f"c = {fraction:g}"


def arms(
    fractions: Sequence[float], alpha: float, alphas: Sequence[float], delta: float, same_step: bool = False
) -> dict[str, Arm]:
    """Every condition of SGD, so that all run as one sweep: step sizes; label noise and other alphas at the first of them.

    same_step puts the first step size, with other samples, in place of the last (a control).
    """
    found = {step_name(fraction): Arm(fraction, alpha) for fraction in fractions}
    if same_step:
        found[step_name(fractions[-1])] = Arm(fractions[0], alpha, stream=2)
    found["label noise"] = Arm(fractions[0], alpha, delta, stream=1)
    return found | {f"alpha = {other:g}": Arm(fractions[0], other) for other in alphas if other != alpha}


@dataclass(frozen=True)
class Study:
    """Sparse regressions of n points in R^d with a k-sparse truth, one per seed.

    gamma: unit of the step sizes; None: gamma* of each data set, `kaczmarz_step` at its l1 solution.
    method: "gd" or "sgd" takes the place of every descent (a control); "own" leaves them.
    """

    seeds: range
    n: int = 40
    d: int = 100
    k: int = 5
    gamma: float | None = None
    method: Literal["own", "gd", "sgd"] = "own"

    def data(self, seed: int | Tensor) -> SparseData:
        """The data set of a seed."""
        return sparse_data(seed, self.n, self.d, self.k)

    @functools.cached_property
    def sparsest(self) -> Tensor:
        """The l1 solutions, [seed, feature]."""
        sets = (self.data(seed) for seed in self.seeds)
        return torch.stack([minimum_l1(data.inputs, data.targets) for data in sets])

    @functools.cached_property
    def units(self) -> Tensor:
        """What step sizes are counted in, [seed]."""
        if self.gamma is not None:
            return torch.full((len(self.seeds),), self.gamma, dtype=torch.float64)
        pairs = zip(self.seeds, self.sparsest, strict=True)
        return torch.stack([kaczmarz_step(self.data(seed).inputs, beta) for seed, beta in pairs])

    def step(self, seed: int | Tensor, fraction: float | Tensor) -> Tensor:
        """gamma of a data set."""
        return fraction * self.units[seed - self.seeds.start]

    def refuse_unstable_starts(self, arms: Mapping[str, Arm]) -> None:
        """Raises ValueError where SGD's first steps would already grow: 4 gamma alpha^2 max |x|^2 >= 2."""
        for name, arm in arms.items():
            numbers = [
                float(stability_of_start(self.data(seed).inputs, arm.alpha, self.step(seed, arm.fraction)))
                for seed in self.seeds
            ]
            if max(numbers) >= 2:
                worst = self.seeds[int(np.argmax(numbers))]
                raise ValueError(
                    f"{name}: 4 gamma alpha^2 max |x|^2 is {max(numbers):.3g} at seed {worst}, and SGD's start is unstable "
                    f"from 2 on; make alpha = {arm.alpha:g} or the step {arm.fraction:g} gamma* smaller"
                )

    def descents(
        self,
        arms: Mapping[str, Arm],
        n_iter: int,
        noise_off_at: float = 0.5,
        method: Method = "sgd",
        next_feature: bool = False,
    ) -> xr.Dataset:
        """`outcome` of every arm (seed, arm), where it ends (`beta`), and the test loss along the way (`curve`, with `step`).

        Gradient descent takes 3/20 of the steps: it needs no more. Label noise ends at the share noise_off_at of the steps.
        next_feature: as in `outcome`.
        """
        self.refuse_unstable_starts(arms)
        method = method if self.method == "own" else self.method
        steps = max(1, round(0.15 * n_iter)) if method == "gd" else n_iter
        off, settings = round(noise_off_at * steps), torch.tensor(list(arms.values()), dtype=torch.float64)
        noisy = method == "sgd" and any(arm.delta for arm in arms.values())

        def one(seed: Tensor, arm: Tensor) -> dict[str, Any]:
            fraction, alpha, delta, stream = settings[arm].unbind()
            data, gamma = self.data(seed), self.step(seed, fraction)
            network = data.network(alpha)
            done = descent(
                network, gamma, steps, seed + _STREAM * stream.long(), method=method, delta=delta if noisy else 0.0,
                noise_until=off if noisy else None, thin_after=DENSE,
                record=_curve(data, network),
            )  # fmt: skip
            # The formula keeps its label noise whatever runs in SGD's place.
            noise = noise_integral(gamma, steps, delta, off)
            return {
                **outcome(data, network, done, gamma, noise, next_feature),
                "beta": Labelled(network.predictor(done.parameters), ("feature",)),
                **done.records,
            }

        return sweep(one, seed=self.seeds, arm=range(len(arms)), progress=False).assign_coords(arm=list(arms))

    def flows(
        self, fraction: float, alpha: float, n_iter: int, scheme: Literal["log", "em"] = "log", sde_noise: float = 1.0
    ) -> xr.Dataset:
        """`outcome` of the stochastic flow (seed) of step `fraction`, time step gamma, and its test loss along the way."""

        def one(seed: Tensor) -> dict[str, Any]:
            data, gamma = self.data(seed), self.step(seed, fraction)
            network = data.network(alpha)
            done = stochastic_flow(
                network, gamma, n_iter, seed, scheme=scheme, sde_noise=sde_noise, record=_curve(data, network)
            )
            return {**outcome(data, network, done, gamma), **done.records}

        return sweep(one, seed=self.seeds, progress=False)

    def flow_errors(
        self, fraction: float, alpha: float, time: float, steps: Sequence[float], sde_noise: float = 1.0
    ) -> xr.DataArray:
        """RMS over features of log(alpha_t/alpha) + 2 gamma D int L at a time, Euler-Maruyama on w (seed, h)."""

        def one(seed: Tensor, h: float) -> dict[str, Any]:
            data, gamma = self.data(seed), self.step(seed, fraction)
            network = data.network(alpha)
            done = stochastic_flow(
                network, gamma, round(time / h), seed, scheme="em", dt=h, sde_noise=sde_noise,
                pieces=round(h / min(steps)),
            )  # fmt: skip
            formula = 2 * gamma * (data.inputs**2).mean(0) * done.integrals["loss"]
            return {"error": ((network.log_decay(done.parameters) - formula) ** 2).mean().sqrt()}

        return sweep(one, static=["h"], seed=self.seeds, h=list(steps), progress=False).error

    def run_to_run(
        self, fraction: float, alpha: float, n_iter: int, runs: int, sde_noise: float = 1.0, method: str = "flow"
    ) -> xr.Dataset:
        """Loss integral and test loss of stochastic flows (method "flow") or SGD runs ("sgd") on each data set (seed, run)."""

        def one(seed: Tensor, run: Tensor) -> dict[str, Any]:
            data, gamma = self.data(seed), self.step(seed, fraction)
            network, stream = data.network(alpha), seed + _STREAM * (run + 1)
            if method == "flow":
                done = stochastic_flow(network, gamma, n_iter, stream, sde_noise=sde_noise)
            else:
                done = descent(network, gamma, n_iter, stream, thin_after=DENSE)
            test = data.test_loss(network.predictor(done.parameters))
            return {"test": test, "loss_integral": done.integrals["loss"]}

        return sweep(one, seed=self.seeds, run=range(runs), progress=False)

    def zeta(self, fraction: float) -> xr.DataArray:
        """zeta = gamma |beta_l1|_1 D/2, mean over features (seed)."""
        values = [
            float(power(self.data(seed).inputs, beta, self.step(seed, fraction)).mean())
            for seed, beta in zip(self.seeds, self.sparsest, strict=True)
        ]
        return xr.DataArray(values, dims="seed", coords={"seed": list(self.seeds)})

    def loss_integral_errors(self, alphas: Sequence[float], fraction: float, n_iter: int) -> xr.DataArray:
        """1 - closed form/int_0^T L of gradient descent at gamma, gamma/2, gamma/4, T = gamma n_iter (seed, alpha, h)."""
        method: Method = "sgd" if self.method == "sgd" else "gd"

        def one(seed: Tensor, alpha: Tensor, h: float) -> dict[str, Any]:
            data, gamma = self.data(seed), self.step(seed, fraction) * h
            network = data.network(alpha)
            done = descent(network, gamma, round(n_iter / h), seed, method=method)
            limit = argmin_phi(data.inputs, data.targets, network.scale)
            exact = flow_loss_integral(limit, network.scale, network.predictor(done.parameters))
            return {"error": 1 - exact / done.integrals["loss"]}

        axes = {"seed": self.seeds, "alpha": list(alphas), "h": [1.0, 0.5, 0.25]}
        return sweep(one, static=["h"], progress=False, **axes).error


def _curve(data: SparseData, network: SquaresNetwork) -> dict[str, Any]:
    return {"curve": lambda w: data.test_loss(network.predictor(w))}


def over_computed_error(errors: xr.DataArray) -> xr.DataArray:
    """|limit at step 0| over its computed error, of errors known along `h` at three steps, each half the one before.

    The limit is extrapolated twice, its error the change of the last extrapolation; NaN unless the changes shrink at a local
    order in (1/2, 3/2), for then nothing is known of the error.
    """
    coarse, middle, fine = (errors.isel(h=k, drop=True) for k in range(3))
    earlier, later = 2 * middle - coarse, 2 * fine - middle
    limit = (4 * later - earlier) / 3
    order = np.log2(abs(middle - coarse) / abs(fine - middle))
    return (abs(limit) / abs(limit - later)).where((order > 0.5) & (order < 1.5))


def powers(runs: xr.Dataset, alphas: Sequence[float], alpha: float, zeta: xr.DataArray) -> xr.DataArray:
    """Slope of K in ln(1/alpha) from each alpha to the next smaller one, over zeta (alpha, seed)."""
    decay = decays(runs, alphas, alpha)
    logs = xr.DataArray(-np.log(alphas), dims="alpha", coords={"alpha": list(alphas)})
    return (decay.diff("alpha") / logs.diff("alpha") / zeta).transpose("alpha", "seed")


def decays(runs: xr.Dataset, alphas: Sequence[float], alpha: float, what: str = "decay") -> xr.DataArray:
    """A quantity of the runs at the first step size by alpha (seed, alpha)."""
    names = [str(runs.arm.values[0]) if one == alpha else f"alpha = {one:g}" for one in alphas]
    return runs[what].sel(arm=names).rename(arm="alpha").assign_coords(alpha=list(alphas))


def nearer(one: xr.DataArray, other: xr.DataArray, to: xr.DataArray) -> xr.DataArray:
    """|ln one/to| - |ln other/to|: negative where `one` is the nearer of the two."""
    return xr.apply_ufunc(lambda a, b, c: np.abs(np.log(a / c)) - np.abs(np.log(b / c)), one, other, to)


def rank_correlations(runs: xr.Dataset, permuted: bool = False) -> xr.DataArray:
    """Kendall's tau between loss integral and test loss over the runs on each data set (seed).

    permuted: test losses belong to a run drawn at random (a control).
    """

    def tau(seed: int, integrals: np.ndarray, tests: np.ndarray) -> float:
        if permuted:
            tests = np.random.default_rng(seed).permutation(tests)
        return float(stats.kendalltau(integrals, tests).statistic)

    pairs = zip(runs.seed.values, runs.loss_integral.values, runs.test.values, strict=True)
    return xr.DataArray([tau(int(seed), *pair) for seed, *pair in pairs], dims="seed", coords={"seed": runs.seed})
