"""Fingerprints of digits: small networks, all seeds of an arm trained and attacked at once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import draws, memory
from workbench.checks import require_count, require_nonnegative, require_positive
from workbench.data.readers import embedded
from workbench.papers.robust_image_attribution import pictures
from workbench.papers.robust_image_attribution.contrastive import (
    Arm,
    Count,
    Parameters,
    contrast,
    train,
)
from workbench.papers.robust_image_attribution.pictures import Benign, Images, Trial
from workbench.problems.embeddings import normalised
from workbench.problems.networks.stacked import StackedMLP

IMAGES, SIDE = 1797, 8
EDITED = 300
"""Training images that lend the squares of the edited queries."""


@dataclass(frozen=True)
class Setting:
    """What all arms share. Raises ValueError where the digits or the minibatches do not suffice."""

    n_train: int = 1000
    hidden: tuple[int, ...] = (256,)
    dimension: int = 64
    temperature: float = 0.1
    epochs: int = 40
    batch_size: int = 200
    step_size: float = 0.1
    weight_decay: float = 1e-4
    queries: int = 300
    edit_share: float = 0.25
    benign: Benign = field(default_factory=Benign)

    def __post_init__(self) -> None:
        require_count("n_train", self.n_train, 2, IMAGES - 2)
        require_count("dimension", self.dimension, 2)
        require_positive("temperature", self.temperature)
        require_count("epochs", self.epochs)
        require_count("batch_size", self.batch_size, 2, self.n_train)
        require_positive("step_size", self.step_size)
        require_nonnegative("weight_decay", self.weight_decay)
        require_count("queries", self.queries, 1, IMAGES - self.n_train)
        pictures.edit_side(self.edit_share, SIDE)

    @property
    def network(self) -> StackedMLP:
        """64 - hidden - dimension, one per seed, without batch normalisation."""
        return StackedMLP((SIDE * SIDE, *self.hidden, self.dimension), batch_norm=False)

    @property
    def updates(self) -> int:
        """Of an arm."""
        return self.epochs * self.per_epoch

    @property
    def per_epoch(self) -> int:
        """Minibatches of an epoch."""
        return self.n_train // self.batch_size

    @property
    def edit(self) -> int:
        """Pixels of the pasted square's side."""
        return pictures.edit_side(self.edit_share, SIDE)


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """The networks of one arm, one per seed; `loss`: the training loss per query, mean over the last epoch."""

    network: StackedMLP
    parameters: Parameters
    loss: Float[Tensor, " seed"]

    def embed(self, images: Tensor) -> Float[Tensor, "seed sample feature"]:
        """Unit vectors of images [seed, sample, 1, 8, 8], or of the same for all seeds without the first dimension."""
        return embed(self.network, self.parameters, images)


def embed(network: StackedMLP, parameters: Parameters, images: Tensor) -> Tensor:
    """Outputs over their length."""
    flat = images.flatten(-3) if images.shape[-2:] == (SIDE, SIDE) else images
    return normalised(network.forward(parameters, flat))


@functools.cache
def digits() -> Images:
    """All 1797 digits, values in [0, 1]."""
    raw = embedded.digits()
    return torch.from_numpy(raw.inputs).to(torch.float32) / raw.scale


def split(seed: int, n_train: int = 1000) -> tuple[Int[Tensor, " train"], Int[Tensor, " rest"]]:
    """Rows of the training images and of those of the database, drawn by the seed."""
    order = draws.permutation(seed, IMAGES, stream="split")
    return order[:n_train], order[n_train:]


@functools.lru_cache(maxsize=2)
def trial(seeds: range, setting: Setting) -> Trial:
    """What the seeds' networks are judged on; distractors and images elsewhere are the training images."""
    return pictures.stacked([_trial(seed, setting) for seed in seeds])


def _trial(seed: int, setting: Setting) -> Trial:
    learnt, rest = (digits()[rows] for rows in split(seed, setting.n_train))
    edited, benign = pictures.queries_of(rest, learnt[:EDITED], setting.queries, setting.benign, setting.edit, seed)
    # As many competitors elsewhere as in the database, where there are so many.
    return Trial((seed,), torch.cat([rest, learnt]), edited, benign, learnt[: len(rest)])


@functools.lru_cache(maxsize=1)
def _minibatches(seeds: range, setting: Setting) -> tuple[Tensor, Tensor]:
    """Queries [update, seed, sample, pixel] and the rows of their originals among all digits, for all arms."""
    per_epoch, used = setting.per_epoch, setting.per_epoch * setting.batch_size
    memory.require(
        4.0 * setting.epochs * used * len(seeds) * SIDE**2,
        f"the minibatches of {len(seeds)} seeds",
        "Ask for fewer seeds or epochs.",
    )
    queries = torch.empty(setting.updates, len(seeds), setting.batch_size, SIDE**2)
    rows = torch.empty(setting.updates, len(seeds), setting.batch_size, dtype=torch.long)
    for place, seed in enumerate(seeds):
        learnt = split(seed, setting.n_train)[0]
        for epoch in range(setting.epochs):
            order = learnt[draws.permutation(seed, setting.n_train, stream="minibatches", counter=epoch)[:used]]
            changed = pictures.training_queries(digits()[order], setting.benign, setting.edit, seed, epoch)
            # Half of an epoch is edited; dealt out in turn, so is half of every minibatch.
            dealt = torch.arange(used).reshape(setting.batch_size, per_epoch).T
            where = slice(epoch * per_epoch, (epoch + 1) * per_epoch)
            queries[where, place] = changed.flatten(1)[dealt]
            rows[where, place] = order[dealt]
    return queries, rows


def _batches(seeds: range, setting: Setting, started: bool) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    queries, rows = _minibatches(seeds, setting)
    flat, per_epoch = digits().flatten(1), setting.per_epoch
    shape = (per_epoch, setting.batch_size, SIDE**2)
    start = torch.zeros(len(seeds), *shape)
    for update in range(setting.updates):
        epoch, k = divmod(update, per_epoch)
        if started and not k:
            start = torch.stack(
                [
                    draws.uniform(seed, shape, low=-1.0, stream="start", counter=epoch, dtype=torch.float32)
                    for seed in seeds
                ]
            )
        yield queries[update], flat[rows[update]], start[:, k]


@functools.lru_cache(maxsize=16)
def fingerprints(arm: Arm, seeds: range, setting: Setting) -> Fingerprints:
    """One network per seed."""
    network = setting.network
    parameters = network.initial(seeds)
    progress = train(
        arm,
        contrast(functools.partial(embed, network), setting.temperature),
        parameters,
        _batches(seeds, setting, arm.radius > 0),
        setting.updates,
        step_size=setting.step_size,
        weight_decay=setting.weight_decay,
    )
    return Fingerprints(network, parameters, progress.last(setting.per_epoch))


def overhead(inner_steps: int, seed: int = 0) -> tuple[int, float]:
    """Gradients per update, and image passes relative to standard training, counted on one update of a robust arm."""
    setting, counts = Setting(epochs=1), []
    for arm in (Arm(), Arm(0.1, inner_steps, ramp_share=0.0)):
        count = Count()
        forward = count.watched(functools.partial(embed, setting.network))
        batch = next(_batches(range(seed, seed + 1), setting, True))
        parameters = setting.network.initial([seed])
        train(arm, contrast(forward, setting.temperature), parameters, [batch], 1, step_size=0.1, weight_decay=0.0)
        counts.append(count)
    standard, robust = counts
    # Queries and originals are encoded by one network: their two parts are one gradient of the parameters.
    return robust.query_gradients + robust.parameter_gradients // 2, robust.passes / standard.passes
