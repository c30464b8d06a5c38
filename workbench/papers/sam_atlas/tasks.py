"""The tasks of the trial: small, real, and each with something that a regulariser might help against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench import data
from workbench.papers.sam_atlas.attention import AttentionBlock
from workbench.problems import classifier


class Drawn(NamedTuple):
    """What a seed decides: the training problem with its test samples, and the validation samples."""

    problem: Any
    validation: tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Task:
    """Images, a network and a budget in gradients of one minibatch.

    Training, validation and test samples of a seed are disjoint. A fraction `noise` of the training labels is moved to another
    class. Inputs are taken minus the mean image.
    """

    name: str
    images: Callable[[], data.Data]
    budget: int
    batch: int
    train: int
    validation: int
    test: int
    noise: float = 0.0
    hidden: tuple[int, ...] = (64,)
    model: Callable[[], nn.Module] | None = None
    classes: int = 10

    @cached_property
    def loaded(self) -> data.Data:
        """Loaded once, outside of sweeps."""
        return self.images()

    @cached_property
    def network(self) -> nn.Module | None:
        """Built once: torch's own initialisation draws, and is replaced by the seed's."""
        with torch.random.fork_rng():
            return None if self.model is None else self.model()

    def drawn(self, seed: Any) -> Drawn:
        """The samples of a seed."""
        parts = self._parts(seed)
        labels, _ = data.label_noise(parts.train_targets, seed, self.noise, n_classes=self.classes)
        split = self.validation
        samples = (parts.train_inputs, labels, parts.test_inputs[split:], parts.test_targets[split:])
        model = self.network
        problem = classifier(
            samples, self.hidden, "tanh", "cross_entropy", model=model, init="lecun", n_classes=self.classes
        )
        targets = torch.nn.functional.one_hot(parts.test_targets[:split], self.classes).to(problem.targets.dtype)
        return Drawn(
            problem, (parts.test_inputs[:split].flatten(1) if model is None else parts.test_inputs[:split], targets)
        )

    def _parts(self, seed: Any) -> data.Data:
        rest = self.validation + self.test
        if len(self.loaded.test_inputs):
            return data.subset(self.loaded, seed, train=self.train, test=rest)
        return data.split(self.loaded, seed, train=self.train, test=rest)

    def error(self, problem: Any, parameters: Any, samples: tuple[Tensor, Tensor]) -> Float[Tensor, ""]:
        """Per cent of these samples that are classified wrongly."""
        return 100 * problem.error(parameters, *samples)


def _digits() -> data.Data:
    return data.load("digits", centre=True)


def _rows() -> data.Data:
    loaded = data.load("digits", centre=True)
    return data.Data("digits by rows", loaded.train_inputs.squeeze(1), loaded.train_targets, loaded.train_inputs[:0, 0],
                     loaded.train_targets[:0], loaded.class_names)  # fmt: skip


def _mnist(root: str | None) -> Callable[[], data.Data]:
    return lambda: data.load("mnist", root=root, size=14, centre=True)


def tasks(names: list[str], root: str | None = None, budget: float = 1.0) -> dict[str, Task]:
    """The tasks of these names, with that share of their budgets. `few` needs the files of MNIST, in `root` or WORKBENCH_DATA."""
    known = {
        "noisy": Task("noisy", _digits, 1600, 40, 400, 300, 1000, noise=0.3),
        "few": Task("few", _mnist(root), 800, 20, 100, 500, 2000),
        "rows": Task("rows", _rows, 600, 20, 300, 300, 1000, model=AttentionBlock),
    }
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"task must be one of {', '.join(known)}, got {unknown[0]!r}")
    chosen = {name: known[name] for name in names}
    return {name: replace(task, budget=max(4, round(budget * task.budget))) for name, task in chosen.items()}


def available(chosen: dict[str, Task]) -> dict[str, Task]:
    """Those tasks whose images are on this machine; prints which are left out and why."""
    found = {}
    for name, task in chosen.items():
        try:
            _ = task.loaded
        except data.DataNotFoundError as error:
            print(f"{name} is left out: {str(error).partition(chr(10))[0]}")
        else:
            found[name] = task
    return found
