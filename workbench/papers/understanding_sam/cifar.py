"""The paper's Figure 1 on a pre-activation ResNet-18, for a folder with CIFAR files or images by class; meant for a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import xarray as xr

from workbench import data, draws
from workbench.draws.table import rows_of
from workbench.dynamics.sources.samples import AllSamples, SampleOracle
from workbench.optimizers import m_sam, schedules
from workbench.optimizers.oracle import Moment
from workbench.problems import classifier, networks

BATCH, WEIGHT_DECAY = 128, 5e-4


def kind_of(folder: str) -> str:
    """The data set in the folder: "cifar10", "cifar100" or "image-folder".

    Raises:
        FileNotFoundError: for neither of the layouts, which it names.
    """
    if Path(folder, "train").is_dir():
        return "image-folder"
    for name in ("cifar10", "cifar100"):
        try:
            data.load(name, root=folder, train=100, test=100)
            return name
        except FileNotFoundError:
            continue
    raise FileNotFoundError(
        f"data_root = {folder!r} holds neither CIFAR python files (data_batch_1..5 and test_batch; train and test) "
        "nor images as train/<class>/*.png and test/<class>/*.png"
    )


def validation_errors(
    folder: str, seeds: range, radii: Sequence[float] = (0.05, 0.1, 0.2), *, epochs: int = 200, width: int = 64
) -> xr.DataArray:
    """Error in per cent on a tenth of the training images, held out (rule, seed): ERM, batch-SAM and batch/4-SAM.

    Step size 0.1 divided by 10 at 50 % and by 100 at 75 %, momentum 0.9, weight decay inside the objective, batches of 128
    (of a multiple of four images where there are fewer), random crops and flips. Nothing is downloaded.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind = kind_of(folder)
    stored = data.load(kind, root=folder, size=32 if kind == "image-folder" else None)
    held_out = len(stored.train_inputs) // 10
    order = draws.permutation(seeds.start, len(stored.train_inputs), stream="validation")
    samples = [part[order].to(device) for part in (stored.train_inputs, stored.train_targets)]
    fitting, validation = ([part[rows] for part in samples] for rows in (slice(held_out, None), slice(held_out)))
    parts, size = (*fitting, *validation), min(BATCH, len(fitting[0]) // 4 * 4)
    settings = {"ERM": (size, 0.0)}
    settings |= {f"{m}-SAM, radius {rho:g}": (m, rho) for m in (size, size // 4) for rho in radii}
    errors = [
        [_train(parts, stored.n_classes, size, *one, seed, epochs, width) for seed in seeds]
        for one in settings.values()
    ]
    coordinates = {"rule": list(settings), "seed": list(seeds)}
    return xr.DataArray(
        errors, dims=("rule", "seed"), coords=coordinates, attrs={"units": "%"}, name="validation_error"
    )


def _train(parts, n_classes: int, size: int, m: int, rho: float, seed: int, epochs: int, width: int) -> float:
    device = parts[0].device
    model = networks.preactivation_resnet18(n_classes, width=width).to(device)
    problem = classifier(parts, model=model, loss="cross_entropy", weight_decay=WEIGHT_DECAY, n_classes=n_classes)
    steps = epochs * (problem.n_samples // size)
    rule = m_sam(schedules.StepDecay(0.1, (steps // 2, 3 * steps // 4)), rho, None if m == size else m, beta=0.9)
    weights = {name: value.to(device) for name, value in problem.initial(seed).items()}
    state, batches = rule.init(weights), draws.numbers(draws.Epochs("batches", problem.n_samples, size), seed, steps)
    for step, rows in enumerate(batches.to(device)):
        images, labels = (part[rows] for part in problem.data)
        moment = Moment(problem, weights, torch.tensor(step, device=device), rows_of({}))
        batch = (data.pad_crop_flip(images, seed, counter=step), labels)
        weights, state = rule.step(SampleOracle(AllSamples(), moment, batch), weights, state)
    return 100 * float(problem.measures["test_error"](weights))
