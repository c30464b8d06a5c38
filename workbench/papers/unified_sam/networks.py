"""SGD and unified SAM with five weights on handwritten digits: the same splits, starts and batch order for every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import xarray as xr

from workbench import data
from workbench.dynamics import run, sweep
from workbench.optimizers import Cosine, Decayed, HeavyBall, Plain, UnifiedSAM
from workbench.optimizers.schedules import HyperParameter
from workbench.papers.unified_sam.theory import towards_sam, towards_usam
from workbench.problems import classifier

WEIGHTS: dict[str, HyperParameter] = {"0": 0.0, "0.5": 0.5, "1": 1.0, "1/t": towards_usam, "1-1/t": towards_sam}
"""The table's weights lam; t counts steps from 1."""
TRAIN, BATCH, STEP, BETA, DECAY = 500, 50, 0.05, 0.9, 5e-4


def rule(lam: str, rho: float, steps: int) -> HeavyBall:
    """The rule of "SGD" or of a weight of `WEIGHTS`: momentum 0.9, decay outside of the ascent, cosine steps from 0.05."""
    if lam != "SGD" and lam not in WEIGHTS:
        raise ValueError(f"lam must be SGD or one of {', '.join(WEIGHTS)}, got {lam!r}")
    gradient = Plain() if lam == "SGD" or rho == 0 else UnifiedSAM(rho, WEIGHTS[lam])
    return HeavyBall(Decayed(gradient, DECAY), Cosine(STEP, steps), BETA)


@dataclass(frozen=True)
class Digits:
    """A 64-64-64-10 ReLU network on 500 images; the rest are test images. Measures are in per cent."""

    epochs: int = 30

    def __post_init__(self) -> None:
        _ = self.images  # loaded here, for a sweep allows no random numbers of the host's, which sklearn's import draws

    @cached_property
    def images(self):
        return data.load("digits", flatten=True)

    def accuracies(self, seeds: range, methods: Sequence[str], rho: float, label_noise: float = 0.0) -> xr.DataArray:
        """Test accuracy at the end: dims (rule, seed); NaN where a run diverged.

        A share `label_noise` of the training labels is wrong. `methods` are "SGD" and the weights of `WEIGHTS`.
        """
        steps = self.epochs * (TRAIN // BATCH)

        def one(seed, method):
            parts = data.split(self.images, seed, train=TRAIN)
            labels, _ = data.label_noise(parts.train_targets, seed, label_noise, n_classes=10)
            samples = (parts.train_inputs, labels, parts.test_inputs, parts.test_targets)
            problem = classifier(samples, hidden=[64, 64], activation="relu", loss="cross_entropy", n_classes=10)
            ended = run(problem, rule(method, rho, steps), seed=seed, steps=steps, batch_size=BATCH, at=[])
            return {"accuracy": 100 * (1 - problem.measures["test_error"](ended.parameters))}

        parts = [sweep(lambda seed, method=method: one(seed, method), seed=seeds, progress=False) for method in methods]
        joined = xr.concat([part.accuracy for part in parts], xr.DataArray(list(methods), dims="rule", name="rule"))
        return joined.assign_attrs(units="%", long_name="test accuracy")


def gains(accuracies: xr.DataArray) -> xr.DataArray:
    """Accuracy less SGD's of the same seed, in percentage points, for every other method."""
    own = accuracies.drop_sel(rule="SGD")
    return (own - accuracies.sel(rule="SGD", drop=True)).assign_attrs(units="pp", long_name="gain over SGD")
