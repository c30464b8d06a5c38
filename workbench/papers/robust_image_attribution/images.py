"""Fingerprints of MNIST and CIFAR-10: convolutional networks, one seed after another."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench import draws
from workbench.checks import require_count, require_positive
from workbench.data.loading import load
from workbench.optimizers.torch.batch_norm import recompute_batch_norm
from workbench.papers.robust_image_attribution import pictures
from workbench.papers.robust_image_attribution.contrastive import Arm, Parameters, contrast, train
from workbench.papers.robust_image_attribution.pictures import Benign, Images, Trial
from workbench.problems.embeddings import embed as in_parts
from workbench.problems.embeddings import normalised
from workbench.problems.networks.batch_norm import batch_norm_cnn, initialise

Dataset = Literal["mnist", "cifar10"]
EDITED = 300
"""Training images that lend the squares of the edited queries."""


@dataclass(frozen=True)
class Setting:
    """What all arms share. channels: of the 3x3 convolutions of stride 2. Others: images of the database and beyond."""

    dataset: Dataset = "cifar10"
    n_train: int = 5000
    channels: tuple[int, ...] = (16, 32, 64)
    dimension: int = 64
    temperature: float = 0.1
    epochs: int = 12
    batch_size: int = 250
    step_size: float = 0.1
    weight_decay: float = 1e-4
    queries: int = 300
    edit_share: float = 0.25
    benign: Benign = field(default_factory=lambda: Benign(rotation=15.0, scale=0.1, shift=0.1))
    database: int = 10000
    largest_database: int = 25000
    root: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.dataset not in ("mnist", "cifar10"):
            raise ValueError(f"dataset must be mnist or cifar10, got {self.dataset!r}")
        require_count("n_train", self.n_train, 2)
        require_count("batch_size", self.batch_size, 2, self.n_train)
        require_count("queries", self.queries, 1, min(self.database, self.largest_database))
        require_positive("step_size", self.step_size)
        pictures.edit_side(self.edit_share, self.side)

    @property
    def side(self) -> int:
        """Pixels."""
        return 28 if self.dataset == "mnist" else 32

    @property
    def edit(self) -> int:
        """Pixels of the pasted square's side."""
        return pictures.edit_side(self.edit_share, self.side)

    @property
    def updates(self) -> int:
        """Of an arm."""
        return self.epochs * (self.n_train // self.batch_size)

    def build(self, seed: int) -> nn.Module:
        """The network with weights from the seed."""
        strides, colours = (2,) * len(self.channels), 1 if self.dataset == "mnist" else 3
        net = batch_norm_cnn(self.dimension, colours, self.channels, strides, head="flatten", size=self.side)
        return initialise(net, seed)


@dataclass(frozen=True, eq=False)
class Held:
    """A seed's images: those trained on, and what its networks are judged on."""

    images: Images
    trial: Trial


@functools.lru_cache(maxsize=2)
def held(seed: int, setting: Setting) -> Held:
    """Training images and database, drawn by the seed: test images first, then other training images as distractors."""
    # More training images than are learnt from: the rest are distractors and images outside the database.
    spare = max(0, setting.largest_database - setting.database) + EDITED
    data = load(
        setting.dataset,
        root=setting.root,
        train=setting.n_train + spare,
        test=setting.database,
        seed=seed,
    )
    order = draws.permutation(seed, len(data.train_inputs), stream="split")
    learnt, rest = data.train_inputs[order[: setting.n_train]], data.train_inputs[order[setting.n_train :]]
    tests = data.test_inputs[draws.permutation(seed, len(data.test_inputs), stream="database")]
    edited, benign = pictures.queries_of(tests, learnt[:EDITED], setting.queries, setting.benign, setting.edit, seed)
    return Held(learnt, Trial((seed,), torch.cat([tests, rest]), edited, benign, learnt[: len(tests)]))


def fingerprints(arm: Arm, seed: int, setting: Setting) -> tuple[nn.Module, float]:
    """The network, its statistics recomputed on the clean training images, and its training loss over the last epoch."""
    images = held(seed, setting).images
    net = setting.build(seed).train()
    parameters = {name: value.detach() for name, value in net.named_parameters()}

    def embed(parameters: Parameters, inputs: Tensor) -> Tensor:
        return normalised(torch.func.functional_call(net, parameters, (inputs,)))

    progress = train(
        arm, contrast(embed, setting.temperature), parameters, _batches(seed, images, setting), setting.updates,
        step_size=setting.step_size, weight_decay=setting.weight_decay,
    )  # fmt: skip
    with torch.no_grad():
        recompute_batch_norm(net, images.split(500))
    per_epoch = setting.n_train // setting.batch_size
    return net.eval().requires_grad_(False), float(progress.last(per_epoch))


def embedder(net: nn.Module):
    """Unit vectors of images; in parts where no gradient is asked for."""

    def embed(images: Images) -> Float[Tensor, "sample feature"]:
        if images.requires_grad:
            return normalised(net(images))
        return normalised(in_parts(net, images, rows=1000))

    return embed


def _batches(seed: int, images: Images, setting: Setting) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    per_epoch = setting.n_train // setting.batch_size
    for update in range(setting.updates):
        epoch, k = divmod(update, per_epoch)
        order = draws.permutation(seed, len(images), stream="minibatches", counter=epoch)
        some = images[order[k * setting.batch_size : (k + 1) * setting.batch_size]]
        queries = pictures.training_queries(some, setting.benign, setting.edit, seed, update)
        start = draws.uniform(seed, tuple(some.shape), low=-1.0, stream="start", counter=update, dtype=torch.float32)
        yield queries, some, start
