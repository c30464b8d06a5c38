"""Tables 2 and 3: a wide residual network on CIFAR, for a machine with the data and a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xarray as xr

from workbench import data, draws
from workbench.draws.table import rows_of
from workbench.dynamics.sources import AllSamples, SampleOracle
from workbench.optimizers import Cosine, Decayed, HeavyBall, Moment, Plain, UnifiedSAM
from workbench.papers.unified_sam.networks import BETA, DECAY, WEIGHTS
from workbench.problems import classifier, networks

BATCH, STEP = 128, 0.1


def accuracies(
    dataset: str, seeds: range, methods: Sequence[str], rho: float, *, epochs: int = 200, depth: int = 28,
    widening: int = 10,
) -> xr.DataArray:  # fmt: skip
    """Test accuracy in per cent: dims (rule, seed), of "SGD" and the weights lam of `networks.WEIGHTS`.

    WRN-28-10, momentum 0.9, weight decay 5e-4 outside of the ascent, batches of 128 with random crops and flips; cosine steps
    from 0.1 (the paper's schedule was not found). The data are read from the folder named by WORKBENCH_DATA.
    Raises FileNotFoundError where they are not there.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stored = data.load(dataset, standardise="channels")
    parts = [stored.train_inputs, stored.train_targets, stored.test_inputs, stored.test_targets]
    parts = tuple(part.to(device) for part in parts)
    model = networks.wide_resnet(depth, widening, stored.n_classes, norm="batch")
    found = [
        [_train(parts, model, stored.n_classes, method, rho, seed, epochs) for seed in seeds] for method in methods
    ]
    coordinates = {"rule": list(methods), "seed": list(seeds)}
    return xr.DataArray(found, dims=("rule", "seed"), coords=coordinates, attrs={"units": "%"}, name="accuracy")


def _train(parts, model, n_classes: int, method: str, rho: float, seed: int, epochs: int) -> float:
    device = parts[0].device
    problem = classifier(parts, model=model.to(device), loss="cross_entropy", n_classes=n_classes)
    size = min(BATCH, problem.n_samples)
    steps = epochs * (problem.n_samples // size)
    gradient = Plain() if method == "SGD" else UnifiedSAM(rho, WEIGHTS[method])
    rule = HeavyBall(Decayed(gradient, DECAY), Cosine(STEP, steps), BETA)
    weights = {name: value.to(device) for name, value in problem.initial(seed).items()}
    state, batches = rule.init(weights), draws.numbers(draws.Epochs("batches", problem.n_samples, size), seed, steps)
    for step, rows in enumerate(batches.to(device)):
        images, labels = (part[rows] for part in problem.data)
        moment = Moment(problem, weights, torch.tensor(step, device=device), rows_of({}))
        batch = (data.pad_crop_flip(images, seed, counter=step), labels)
        weights, state = rule.step(SampleOracle(AllSamples(), moment, batch), weights, state)
    return 100 * (1 - float(problem.measures["test_error"](weights)))
