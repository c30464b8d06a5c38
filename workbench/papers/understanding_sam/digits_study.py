"""m-SAM, n-SAM and random displacements on handwritten digits: the same splits, starts and batch order for every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import xarray as xr

from workbench import curvature, data, parameters
from workbench.dynamics import Labelled, run, sweep
from workbench.optimizers import heavy_ball, m_sam, n_sam, random_sam, schedules
from workbench.optimizers.rule import Rule
from workbench.problems import classifier

NOISY_IMAGES, NOISY_LENGTH = 512, 1.4
"""Training images with noisy labels, and the length of these runs in units of the others'."""


@dataclass(frozen=True)
class DigitsStudy:
    """A 64-128-10 ReLU network on `train` images, one split, start and batch order per seed; errors in per cent.

    Momentum 0.9, step size 0.05 divided by 10 at half and by 100 at three quarters of the epochs. `displacement` puts ERM
    ("none") or a random direction of the same radius ("random") in place of every m-SAM and n-SAM.
    """

    seeds: range
    train: int
    epochs: int
    batch: int
    displacement: Literal["own", "none", "random"] = "own"

    def __post_init__(self) -> None:
        _ = self.images  # loaded here, for a sweep allows no random numbers of the host's, which sklearn's import draws

    @cached_property
    def images(self):
        return data.load("digits", flatten=True)

    def rule(self, method: str, rho: float, epochs: int, train: int) -> Rule:
        """ "ERM", "random", "n-SAM" or "<m>-SAM" for runs of so many epochs."""
        steps = epochs * (train // self.batch)
        step = schedules.StepDecay(0.05, (steps // 2, 3 * steps // 4))
        if method.endswith("SAM"):
            method = {"none": "ERM", "random": "random"}.get(self.displacement, method)
        if method == "ERM" or self.displacement == "none":
            return heavy_ball(step, 0.9)
        if method in ("random", "n-SAM"):
            return (random_sam if method == "random" else n_sam)(step, rho, beta=0.9)
        m = int(method.removesuffix("-SAM"))
        return m_sam(step, rho, None if m == self.batch else m, beta=0.9)

    def problem(self, seed, train: int | None = None, noise: float = 0.0):
        """The classifier on a seed's split; a fraction `noise` of the training labels is wrong."""
        parts = data.split(self.images, seed, train=train or self.train)
        labels, _ = data.label_noise(parts.train_targets, seed, noise, n_classes=10)
        samples = (parts.train_inputs, labels, parts.test_inputs, parts.test_targets)
        return classifier(samples, hidden=[128], activation="relu", loss="cross_entropy", n_classes=10)

    def trained(
        self, method: str, rho: float, start: xr.Dataset | None = None, *, other_start: bool = False
    ) -> xr.Dataset:
        """Test error, wrong training images and weights (seed) at the end; from the weights in `start`, or from scratch
        (`other_start`: the initialisation of a seed that no other run has)."""
        first = None if start is None else torch.as_tensor(start.weights.values)

        def one(seed):
            problem = self.problem(seed)
            begin: Any = problem.initial(seed + 10**6) if other_start else None
            if first is not None:
                begin = parameters.unravel(first[seed - self.seeds.start], problem.initial(0))
            rule = self.rule(method, rho, self.epochs, self.train)
            end = run(
                problem, rule, seed=seed, epochs=self.epochs, batch_size=self.batch, at=[], start=begin
            ).parameters
            errors = {name: problem.measures[name](end) for name in ("test_error", "train_error")}
            return {
                "test_error": Labelled(100 * errors["test_error"], (), unit="%", long_name="test error"),
                "wrong": self.train * errors["train_error"],
                "weights": end,
            }

        return sweep(one, seed=self.seeds)

    def on_the_line(self, first: xr.Dataset, second: xr.Dataset, places: Sequence[float]) -> xr.Dataset:
        """Errors and training loss (seed, t) on the line from the first model's weights (t = 0) to the second's (t = 1)."""
        ends = [torch.as_tensor(model.weights.values) for model in (first, second)]

        def one(seed):
            problem = self.problem(seed)
            p, q = (parameters.unravel(end[seed - self.seeds.start], problem.initial(0)) for end in ends)
            errors = {name: problem.measures[name] for name in ("train_error", "test_error")}

            def measured(w):
                return {**{name: 100 * error(w) for name, error in errors.items()}, "train_loss": problem.loss(w)}

            line: Any = curvature.interpolate(p, q, places, measured)
            return {name: Labelled(values, ("t",), {"t": places}) for name, values in line.items()}

        return sweep(one, seed=self.seeds)

    def sharpness(self, model: xr.Dataset, rho: float = 0.1) -> xr.DataArray:
        """max over |delta| <= rho of L(w + delta) - L(w) on the training set (seed), by projected normalised ascent."""
        weights = torch.as_tensor(model.weights.values)

        def one(seed):
            problem = self.problem(seed)
            here = parameters.unravel(weights[seed - self.seeds.start], problem.initial(0))
            loss: Any = problem.loss
            return {"sharpness": curvature.worst_case(loss, here, rho, restarts=1)}

        return sweep(one, seed=self.seeds).sharpness

    def noisy(self, methods: list[str], rho: float, noise: float) -> xr.Dataset:
        """Training with wrong labels (rule, seed, step): test error on the even and on the odd test images, and the training
        error on the wrong labels (without noise: on all)."""
        epochs = max(2, round(NOISY_LENGTH * self.epochs))
        wrong = int(noise * NOISY_IMAGES + 1e-9) or NOISY_IMAGES

        def one(seed, method):
            problem = self.problem(seed, NOISY_IMAGES, noise)
            first = tuple(part[:wrong] for part in problem.data)
            halves = [(problem.test_inputs[k::2], problem.test_targets[k::2]) for k in (0, 1)]
            record = {
                "even_error": lambda w: problem.error(w, *halves[0]),
                "odd_error": lambda w: problem.error(w, *halves[1]),
                "noisy_error": lambda w: problem.error(w, *first),
            }
            rule = self.rule(method, rho, epochs, NOISY_IMAGES)
            options = {"batch_size": self.batch, "record": record, "every": 2 * (NOISY_IMAGES // self.batch)}
            records = run(problem, rule, seed=seed, epochs=epochs, **options).records
            return {name: Labelled(100 * r.value, r.dims, r.coords, "%") for name, r in records.items()}

        parts = [sweep(lambda seed, method=method: one(seed, method), seed=self.seeds) for method in methods]
        return xr.concat(parts, xr.DataArray(methods, dims="rule", name="rule"))


def change(model: xr.Dataset, baseline: xr.Dataset) -> xr.DataArray:
    """Paired change of the test error against a baseline, in percentage points."""
    return (model.test_error - baseline.test_error).assign_attrs(units="pp", long_name="change of test error")


def early_stopped(noise: xr.Dataset) -> xr.Dataset:
    """Errors on the odd test images (rule, seed): `best`, at the epoch with the least error on the even ones, and `final`."""
    chosen, labels = noise.even_error.argmin("step"), ("step", "epoch")
    ends = {"best": noise.odd_error.isel(step=chosen), "final": noise.odd_error.isel(step=-1)}
    return xr.Dataset({name: end.drop_vars(labels, errors="ignore") for name, end in ends.items()})


def without_barrier(line: xr.Dataset) -> xr.DataArray:
    """Whether the training loss at the inner quarter points nowhere exceeds both ends' (seed)."""
    points = line.train_loss.sel(t=[0.0, 0.25, 0.5, 0.75, 1.0], method="nearest")
    return points.isel(t=slice(1, 4)).max("t") <= points.isel(t=[0, 4]).max("t")
