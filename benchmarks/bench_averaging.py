"""What averaging the weights adds to a training step, against a bare step and against torch's own averaged model."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import workbench as wb
from benchmarks.measure import compare
from workbench.optimizers import EMA, SWAD, SegmentMean, UniformMean
from workbench.papers.swad.rotated_digits import left_out_digits
from workbench.problems.networks.modules import cnn
from workbench.problems.networks.resnet50 import ResNet50

STEPS = 8


def rows() -> list[dict[str, object]]:
    """A ResNet-50 and a small CNN in an ordinary training loop, and 60 small networks in a sweep."""
    return [
        *_loop("ResNet-50, 32 images of 64 x 64", ResNet50(7), 64, 32),
        *_loop("CNN, batch 64", cnn(10, 3), 32, 64),
        *_sweep(),
    ]


def _loop(what: str, model: torch.nn.Module, size: int, batch: int) -> list[dict[str, object]]:
    """Update costs timed by themselves: differences of whole steps drown in the noise of the steps."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(batch, 3, size, size), torch.arange(batch) % 7
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    parameters: dict[str, Tensor] = {name: value.data for name, value in model.named_parameters()}
    swad, torchs = SWAD(), AveragedModel(copy.deepcopy(model), multi_avg_fn=get_ema_multi_avg_fn(0.99))
    states: dict[str, tuple[Any, Any]] = {
        "EMA": (ema := EMA(0.99), ema.init(parameters)),
        "SWA, dense": (mean := UniformMean(), mean.init(parameters)),
        "segment": (segment := SegmentMean(100), segment.init(parameters)),
        "SWAD": (swad, swad.init(parameters)),
    }
    calls: dict[str, Callable[[], object]] = {"step": step, "torch": lambda: torchs.update_parameters(model)}
    for name, (average, state) in states.items():
        calls[name] = lambda average=average, state=state: average.update(parameters, state)
    seconds = _alternating(calls)
    copies = {name: _held(state) / sum(p.numel() for p in parameters.values()) for name, (_, state) in states.items()}
    return [
        {
            "what": f"{name}, {what}",
            "step (CPU s)": f"{seconds['step']:.3g}",
            "average (CPU s)": f"{seconds[name]:.3g}",
            "share of a step": f"{100 * seconds[name] / seconds['step']:.2g} %",
            "copies of the weights": f"{copies[name]:.3g}",
            "torch AveragedModel (CPU s)": f"{seconds['torch']:.3g}",
        }
        for name in states
    ]


def _alternating(calls: dict[str, Callable[[], object]], repeats: int = STEPS) -> dict[str, float]:
    """Median CPU seconds per call, in alternating order, each after one call to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:
                taken[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def _held(state: Any) -> int:
    trees = (state.segment, state.sums) if hasattr(state, "segment") else (state.kept,)
    return sum(leaf.numel() for tree in trees for leaf in tree.values())


def _sweep() -> list[dict[str, object]]:
    average, rule = SegmentMean(25, first=1), wb.optimizers.adam(0.02)

    def train(seed: Tensor, target: Tensor) -> dict[str, Tensor]:
        done = wb.run(
            left_out_digits(seed, target),
            rule,
            seed=seed,
            steps=60,
            batch_size=40,
            sampling="replacement",
            progress=False,
        )
        return {name.replace(".", " "): value for name, value in done.parameters.items()}

    def sweep() -> Any:
        return wb.sweep(train, seed=range(10), target=range(6), progress=False)

    ends = sweep()
    stacked = {
        name: torch.from_numpy(ends[name].values).flatten(0, 1) for name in ("0 weight", "0 bias", "2 weight", "2 bias")
    }
    state = average.init({name: value[0] for name, value in stacked.items()})
    kept = state._replace(kept={name: value.clone() for name, value in stacked.items()})
    update = torch.func.vmap(average.update, in_dims=(0, type(state)(None, 0)), out_dims=type(state)(None, 0))  # type: ignore[arg-type]
    timed = compare({"60 steps": sweep, "60 updates": lambda: [update(stacked, kept) for _ in range(60)]}, repeats=5)
    return [
        {
            "what": "segment, 60 networks of 4,810 weights in a sweep, batch 40",
            "step (CPU s)": f"{timed['60 steps'] / 60:.3g}",
            "average (CPU s)": f"{timed['60 updates'] / 60:.3g}",
            "share of a step": f"{100 * timed['60 updates'] / timed['60 steps']:.2g} %",
            "copies of the weights": "1",
            "torch AveragedModel (CPU s)": "",
        }
    ]
