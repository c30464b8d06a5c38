"""The comparison on digits: small networks with batch normalisation, all seeds of a rule trained at once.

A seed draws the split, the weights and the minibatches, and every rule of that seed has the same ones. The corrupted images
are made once, for all 1797 digits; a seed's test set selects rows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from workbench import draws
from workbench.checks import require_count, require_nonnegative, require_positive
from workbench.data.preparing import corruptions
from workbench.data.readers import embedded
from workbench.papers.adversarial_training_corruptions.evaluation import labelled, measures
from workbench.papers.adversarial_training_corruptions.rules import Rule, rlat_radii
from workbench.problems import attacks
from workbench.problems.networks.stacked import StackedMLP, Statistics, sample_cross_entropy
from workbench.problems.networks.training import sgd, warm_cosine

IMAGES, SIDE, CLASSES = 1797, 8, 10
CELLS_SEED = 0
"""Of the corrupted images, which are the same for all seeds and rules, as a published corrupted data set is."""
Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Setting:
    """What all rules share. Raises ValueError where the digits or the minibatches do not suffice."""

    n_train: int = 500
    n_test: int = 500
    hidden: tuple[int, ...] = (64, 64)
    epochs: int = 30
    batch_size: int = 100
    step_size: float = 0.05
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        for name in ("n_train", "n_test", "epochs"):
            require_count(name, getattr(self, name))
        if self.n_train + self.n_test > IMAGES:
            raise ValueError(f"n_train + n_test must be at most the {IMAGES} digits, got {self.n_train + self.n_test}")
        require_count("batch_size", self.batch_size, 2, self.n_train)
        require_positive("step_size", self.step_size)
        require_nonnegative("weight_decay", self.weight_decay)

    def network(self, batch_norm: bool = True) -> StackedMLP:
        """64 - hidden - 10."""
        return StackedMLP((SIDE * SIDE, *self.hidden, CLASSES), batch_norm)


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test rows of each seed among all digits, and what they show."""

    seeds: tuple[int, ...]
    train_rows: Int[Tensor, "seed train"]
    test_rows: Int[Tensor, "seed test"]

    @property
    def train_images(self) -> Float[Tensor, "seed train pixel"]:
        return digits()[0][self.train_rows]

    @property
    def train_targets(self) -> Float[Tensor, "seed train label"]:
        return digits()[1][self.train_rows]

    @property
    def test_labels(self) -> Int[Tensor, "seed test"]:
        return digits()[1][self.test_rows].argmax(-1)


@dataclass(frozen=True, eq=False)
class Trained:
    """The networks of one rule, one per seed, with the statistics of their clean training set."""

    rule: Rule
    network: StackedMLP
    parameters: Parameters
    statistics: Statistics

    def logits(self, inputs: Float[Tensor, "*seed sample pixel"]) -> Float[Tensor, "seed sample label"]:
        """Outputs in evaluation: frozen statistics."""
        return self.network.forward(self.parameters, inputs, statistics=self.statistics)


@functools.cache
def digits() -> tuple[Float[Tensor, "sample pixel"], Float[Tensor, "sample label"]]:
    """All 1797 digits with values in [0, 1], and one-hot labels."""
    raw = embedded.digits()
    images = torch.from_numpy(raw.inputs).to(torch.float32).reshape(IMAGES, -1) / raw.scale
    return images, functional.one_hot(torch.from_numpy(raw.targets).long(), CLASSES).to(torch.float32)


@functools.cache
def corrupted(name: str, severity: int, seed: int = CELLS_SEED) -> UInt8[Tensor, "sample pixel"]:
    """All digits under one corruption, as bytes."""
    images = digits()[0].reshape(IMAGES, 1, SIDE, SIDE)
    changed = corruptions.apply(images, name, severity, profile="digits", seed=seed)
    return (255 * changed).round().to(torch.uint8).flatten(1)


def split(seeds: Sequence[int], setting: Setting) -> Split:
    """Disjoint training and test images, drawn anew by every seed."""
    orders = torch.stack([draws.permutation(seed, IMAGES, stream="split") for seed in seeds])
    return Split(
        tuple(seeds), orders[:, : setting.n_train], orders[:, setting.n_train : setting.n_train + setting.n_test]
    )


@functools.lru_cache(maxsize=32)
def train(rule: Rule, seeds: range, setting: Setting) -> Trained:
    """One network per seed, by SGD with momentum; batch statistics in training, those of the clean training set afterwards."""
    data, network = split(seeds, setting), setting.network(rule.batch_norm)
    images, targets = data.train_images, data.train_targets
    parameters = network.initial(seeds)
    velocities = [torch.zeros_like(value) for value in parameters.values()]
    per_epoch = setting.n_train // setting.batch_size
    steps, rows = setting.epochs * per_epoch, torch.arange(len(seeds))[:, None]
    for epoch in range(setting.epochs):
        order = torch.stack(
            [draws.permutation(seed, setting.n_train, stream="minibatches", counter=epoch) for seed in seeds]
        )
        noise = _noise(rule, seeds, epoch, (per_epoch, setting.batch_size, images.shape[-1]))
        for k in range(per_epoch):
            chosen = order[:, k * setting.batch_size : (k + 1) * setting.batch_size]
            inputs, labels = images[rows, chosen], targets[rows, chosen]
            gradients = update_gradient(
                rule, network, parameters, inputs, labels, None if noise is None else noise[:, k]
            )
            step_size = warm_cosine(epoch * per_epoch + k, steps, setting.step_size)
            sgd(list(parameters.values()), gradients, velocities, step_size, setting.weight_decay)
    return Trained(rule, network, parameters, network.statistics(parameters, images))


def results(rule: Rule, seeds: range, setting: Setting, names: Sequence[str], severities: Sequence[int]) -> xr.Dataset:
    """The networks of one rule, trained and evaluated on their test images, clean and corrupted: dims (seed, corruption,
    severity); `clean_*` and `train_accuracy`, on the clean training set, (seed).
    """
    trained, data = train(rule, seeds, setting), split(seeds, setting)
    labels = data.test_labels
    clean = measures(trained.logits(digits()[0][data.test_rows]), labels)
    training = measures(trained.logits(data.train_images), data.train_targets.argmax(-1))["accuracy"]
    found: dict[str, list[Tensor]] = {name: [] for name in clean}
    for name in names:
        for severity in severities:
            images = corrupted(name, severity)[data.test_rows].to(torch.float32) / 255
            for measure, value in measures(trained.logits(images), labels).items():
                found[measure].append(value)
    return labelled(clean, training, found, seeds, names, severities)


def attack_ladder(
    rule: Rule, seeds: range, radius: float, setting: Setting, n: int = 50, networks: int = 4
) -> pd.DataFrame:
    """Mean test loss of the rule's first networks on n images each under attacks of growing strength, in both norms.

    The l-infinity radius is the l2 one over the root of the number of pixels, so that the corners of its box lie on the sphere.
    """
    trained, rows = train(rule, seeds, setting), split(seeds, setting).test_rows[:networks, :n]
    images, targets = (part[rows] for part in digits())
    parameters = {name: value[:networks] for name, value in trained.parameters.items()}
    statistics = [(mean[:networks], variance[:networks]) for mean, variance in trained.statistics]

    def loss(points: Tensor) -> Tensor:
        return sample_cross_entropy(trained.network.forward(parameters, points, statistics=statistics), targets)

    rungs = {
        "ℓ2": attacks.ladder(loss, images, radius, "l2", seed=seeds[0]),
        "ℓ∞": attacks.ladder(loss, images, radius / images.shape[-1] ** 0.5, "linf", seed=seeds[0]),
    }
    table = {norm: {name: float(value) for name, value in found.items()} for norm, found in rungs.items()}
    return pd.DataFrame(table).T.round(3).rename_axis(rule.label)


def update_gradient(
    rule: Rule,
    network: StackedMLP,
    parameters: Parameters,
    inputs: Float[Tensor, "seed sample pixel"],
    targets: Float[Tensor, "seed sample label"],
    noise: Float[Tensor, "seed sample pixel"] | None = None,
) -> list[Tensor]:
    """The gradient of the mean loss on the minibatch as the rule changes it: one gradient for the attack, one for the update."""
    inputs, hidden = perturbed(rule, network, parameters, inputs, targets, noise)
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    outputs = network.forward(leaves, inputs, perturbations=hidden)
    loss = sample_cross_entropy(outputs, targets).mean(-1).sum()
    return list(torch.autograd.grad(loss, list(leaves.values())))


def perturbed(
    rule: Rule,
    network: StackedMLP,
    parameters: Parameters,
    inputs: Float[Tensor, "seed sample pixel"],
    targets: Float[Tensor, "seed sample label"],
    noise: Float[Tensor, "seed sample pixel"] | None = None,
) -> tuple[Float[Tensor, "seed sample pixel"], list[Tensor]]:
    """The minibatch as the rule changes it, and what it adds to the hidden values (RLAT)."""
    if rule.kind == "standard" or rule.radius == 0:
        return inputs, []
    if rule.kind == "gaussian":
        assert noise is not None
        noisy = inputs.shape[1] - round(rule.share * inputs.shape[1])
        return torch.cat([inputs[:, :noisy], (inputs + rule.radius * noise)[:, noisy:].clamp(0, 1)], 1), []
    if rule.direction == "random":
        assert noise is not None
        direction = noise.sign() if rule.kind == "linf" else attacks.unit(noise, (2,))
        return (inputs + rule.radius * direction).clamp(0, 1), []
    sign = -1.0 if rule.direction == "reversed" else 1.0

    def loss(points: Tensor, hidden: Sequence[Tensor] = ()) -> Tensor:
        return sign * sample_cross_entropy(network.forward(parameters, points, perturbations=hidden), targets)

    if rule.kind != "rlat":
        return attacks.one_step(loss, inputs, rule.radius, rule.kind, step_size=rule.radius), []
    radii = rlat_radii(rule.radius, network.sizes[:-1])
    point = inputs.detach().requires_grad_()
    taps = [inputs.new_zeros(*inputs.shape[:2], width, requires_grad=True) for width in network.sizes[1:-1]]
    slopes = torch.autograd.grad(loss(point, taps).sum(), [point, *taps])
    steps = [radius * attacks.unit(slope, (2,)) for radius, slope in zip(radii, slopes, strict=True)]
    return (inputs + steps[0]).clamp(0, 1), steps[1:]


def _noise(rule: Rule, seeds: Sequence[int], epoch: int, shape: tuple[int, ...]) -> Tensor | None:
    """Standard normal numbers for an epoch where the rule needs them: [seed, minibatch, sample, pixel]."""
    if rule.kind != "gaussian" and rule.direction != "random":
        return None
    return torch.stack(
        [draws.normal(seed, shape, stream="noise", counter=epoch, dtype=torch.float32) for seed in seeds]
    )
