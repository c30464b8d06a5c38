"""The comparison on MNIST and CIFAR-10, and at the paper's scale: convolutional networks, one after another.

A seed draws the training images, the weights and the minibatches, and every rule of that seed has the same ones; the test
images and their corruptions are the same throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from workbench import draws
from workbench.checks import require_count, require_positive
from workbench.data.loading import load, load_corrupted
from workbench.data.preparing import corruptions
from workbench.data.preparing.augmentation import pad_crop_flip
from workbench.optimizers.torch.batch_norm import recompute_batch_norm
from workbench.papers.adversarial_training_corruptions.evaluation import labelled, measures
from workbench.papers.adversarial_training_corruptions.rules import Rule, rlat_radii
from workbench.problems import attacks
from workbench.problems.calibration import noise_curve
from workbench.problems.networks.batch_norm import batch_norm_cnn, hidden_layers, initialise
from workbench.problems.networks.modules import PreActivationResNet, preactivation_resnet18
from workbench.problems.networks.training import sgd, three_stages, warm_cosine

CIFAR_MEAN, CIFAR_DEVIATION = (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)
Images = Float[Tensor, "sample channel row column"]
Network = Literal["cnn", "preactivation_resnet18"]


@dataclass(frozen=True)
class Setting:
    """What all rules share. channels: widths of the small network's 3x3 convolutions; size: images are pooled to it."""

    dataset: Literal["mnist", "cifar10"] = "mnist"
    n_train: int = 3000
    n_test: int = 500
    channels: tuple[int, ...] = (8, 16, 32)
    epochs: int = 6
    batch_size: int = 100
    step_size: float = 0.05
    weight_decay: float = 5e-4
    network: Network = "cnn"
    size: int | None = None
    root: str | None = None
    cifar_c: bool = False

    def __post_init__(self) -> None:
        if self.dataset not in ("mnist", "cifar10"):
            raise ValueError(f"dataset must be 'mnist' or 'cifar10', got {self.dataset!r}")
        require_count("batch_size", self.batch_size, 2, self.n_train)
        require_count("epochs", self.epochs)
        require_positive("step_size", self.step_size)
        if self.cifar_c and self.dataset != "cifar10":
            raise ValueError("cifar_c needs dataset='cifar10': CIFAR-10-C holds corrupted CIFAR-10 test images")

    def build(self, seed: int, batch_norm: bool = True) -> nn.Module:
        """The network with weights from the seed."""
        channels = 1 if self.dataset == "mnist" else 3
        if self.network == "preactivation_resnet18":
            return initialise(Normalised(preactivation_resnet18(10, channels=channels, norm="running")), seed)
        if self.dataset == "mnist":
            strides, head = (2,) * len(self.channels), "flatten"
        else:
            strides, head = (1, *(2,) * (len(self.channels) - 1)), "mean"
        net = batch_norm_cnn(10, channels, self.channels, strides, head=head, size=28, norm=batch_norm)  # type: ignore[arg-type]
        return initialise(net, seed)


class Normalised(nn.Module):
    """A network on images from which the colours' means and deviations are taken first, so that radii are those of pixels."""

    def __init__(self, network: PreActivationResNet) -> None:
        super().__init__()
        self.network = network
        colours = network.stem.in_channels == 3
        mean, deviation = (CIFAR_MEAN, CIFAR_DEVIATION) if colours else ((0.1307,), (0.3081,))
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None])

    def forward(self, images: Images) -> Float[Tensor, "sample label"]:
        return self.network((images - self.mean) / self.deviation)


@dataclass(frozen=True, eq=False)
class Held:
    """Test images, clean and corrupted (bytes, made once for all networks)."""

    images: Images
    labels: Int[Tensor, " sample"]
    cells: dict[tuple[str, int], Tensor] = field(default_factory=dict)


def held_out(setting: Setting, names: Sequence[str], severities: Sequence[int], seed: int = 0) -> Held:
    """The first test images of each class under every corruption; those of CIFAR-10-C where `cifar_c` asks for them."""
    test = load(setting.dataset, root=setting.root, train=10, test=setting.n_test, seed=None, size=setting.size)
    profile = "mnist" if setting.dataset == "mnist" else "cifar"

    def cell(name: str, severity: int) -> Tensor:
        if setting.cifar_c:
            images = load_corrupted(name, severity, root=setting.root, test=setting.n_test, seed=None).test_inputs
        else:
            images = corruptions.apply(test.test_inputs, name, severity, profile=profile, seed=seed)
        return (255 * images).round().to(torch.uint8)

    cells = {(name, severity): cell(name, severity) for name in names for severity in severities}
    return Held(test.test_inputs, test.test_targets, cells)


def train(rule: Rule, seed: int, images: Images, labels: Int[Tensor, " sample"], setting: Setting) -> nn.Module:
    """One network; batch statistics in training, in both passes, those of the clean training set afterwards."""
    net = setting.build(seed, rule.batch_norm).to(images.device)
    parameters = list(net.parameters())
    velocities = [torch.zeros_like(value) for value in parameters]
    total = setting.epochs * (len(images) // setting.batch_size)
    paper = setting.network == "preactivation_resnet18"
    schedule = three_stages if paper else warm_cosine
    net.train()
    for step, chosen in enumerate(_minibatches(seed, len(images), setting)):
        batch = pad_crop_flip(images[chosen], seed, counter=step) if paper else images[chosen]
        loss = rule_loss(rule, net, batch, labels[chosen], seed, step)
        gradients = torch.autograd.grad(loss, parameters)
        sgd(parameters, gradients, velocities, schedule(step, total, setting.step_size), setting.weight_decay)
    if rule.batch_norm:
        with torch.no_grad():
            recompute_batch_norm(net, images.split(500))
    return net.eval()


def rule_loss(
    rule: Rule, net: nn.Module, images: Images, labels: Int[Tensor, " sample"], seed: int, step: int
) -> Float[Tensor, ""]:
    """Mean loss on the minibatch as the rule changes it, to be differentiated with respect to the parameters."""
    sign = -1.0 if rule.direction == "reversed" else 1.0

    def loss(points: Tensor) -> Tensor:
        return sign * functional.cross_entropy(net(points), labels, reduction="none")

    if rule.kind == "rlat" and rule.radius > 0:
        layers = tapped_layers(net)
        radii = rlat_radii(rule.radius, activations(net, layers, images[:2]))
        changed, added = attacks.layer_step(net, layers, loss, images, radii)
        with attacks.perturbed_layers(layers, added):
            return sign * loss(changed).mean()
    return sign * loss(changed_inputs(rule, loss, images, seed, step)).mean()


def changed_inputs(rule: Rule, loss: attacks.Objective, images: Images, seed: int, step: int) -> Images:
    """The minibatch with noise, or one step up the loss, or one of a random direction."""
    if rule.kind == "standard" or rule.radius == 0:
        return images
    if rule.kind == "gaussian" or rule.direction == "random":
        z = draws.normal(seed, tuple(images.shape), stream="noise", counter=step).to(images)
        if rule.direction == "random":
            direction = z.sign() if rule.kind == "linf" else attacks.unit(z, (1, 2, 3))
            return (images + rule.radius * direction).clamp(0, 1)
        clean = len(images) - round(rule.share * len(images))
        return torch.cat([images[:clean], (images + rule.radius * z)[clean:].clamp(0, 1)])
    return attacks.one_step(loss, images, rule.radius, rule.kind, step_size=rule.radius)  # type: ignore[arg-type]


def tapped_layers(net: nn.Module) -> list[nn.Module]:
    """Where RLAT perturbs: the small networks' ReLUs; of a residual network the first convolution and the ends of the stages."""
    if isinstance(net, Normalised):
        blocks = list(net.network.blocks)
        strided = [k for k, block in enumerate(blocks) if k and block.conv1.stride != (1, 1)]  # type: ignore[union-attr]
        ends = [k - 1 for k in strided] + [len(blocks) - 1]
        return [net.network.stem, *(blocks[k] for k in ends)]
    assert isinstance(net, nn.Sequential)
    return hidden_layers(net)


def activations(net: nn.Module, layers: Sequence[nn.Module], images: Images) -> list[int]:
    """n_i: values of one image, then of each layer's output for it. Leaves statistics and mode as they are."""
    sizes: list[int] = []
    handles = [
        layer.register_forward_hook(lambda _, arguments, output: sizes.append(output[0].numel())) for layer in layers
    ]
    mode = net.training
    try:
        with torch.no_grad():
            net.eval()(images)
    finally:
        net.train(mode)
        for handle in handles:
            handle.remove()
    return [images[0].numel(), *sizes]


@torch.no_grad()
def logits(net: nn.Module, images: Images) -> Float[Tensor, "sample label"]:
    """Outputs in evaluation, in parts."""
    return torch.cat([net(part) for part in images.split(500)])


def results(
    rule: Rule,
    seeds: Sequence[int],
    setting: Setting,
    held: Held,
    sigmas: Sequence[float] = (),
) -> xr.Dataset:
    """The networks of one rule, trained and evaluated as `digits.results` does: dims (seed, corruption, severity); with
    `sigmas` also `noise_loss`, the mean test loss under noise that is not cut at [0, 1], dims (seed, test_sigma).
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    test, labels = held.images.to(device), held.labels.to(device)
    cells = [part.to(device) for part in held.cells.values()]
    rows, curves = [], []
    for seed in seeds:
        data = load(setting.dataset, root=setting.root, train=setting.n_train, test=10, seed=seed, size=setting.size)
        images, targets = data.train_inputs.to(device), data.train_targets.to(device)
        net = train(rule, seed, images, targets, setting)
        row = [measures(logits(net, part), labels) for part in [test, *(cell / 255 for cell in cells)]]
        rows.append([*row, measures(logits(net, images), targets)])
        if len(sigmas):
            z = draws.normal(0, (1, *test.shape), stream="noise curve").to(test)
            curves.append(noise_curve(_losses(net, labels), test, z, sigmas, box=None).cpu())

    def gathered(place: int, name: str) -> Tensor:
        return torch.stack([row[place][name] for row in rows]).cpu()

    clean = {name: gathered(0, name) for name in rows[0][0]}
    training = gathered(-1, "accuracy")
    corrupted = {name: [gathered(1 + cell, name) for cell in range(len(cells))] for name in clean}
    names, severities = (list(dict.fromkeys(part)) for part in zip(*held.cells, strict=True))
    found = labelled(clean, training, corrupted, seeds, names, severities)
    if len(sigmas):
        found["noise_loss"] = (("seed", "test_sigma"), torch.stack(curves).double().numpy(), {"long_name": "mean loss"})
        found = found.assign_coords(test_sigma=list(sigmas))
    return found


def _losses(net: nn.Module, labels: Int[Tensor, " sample"]) -> attacks.Objective:
    return lambda images: functional.cross_entropy(logits(net, images), labels, reduction="none")


def _minibatches(seed: int, n: int, setting: Setting) -> Iterator[Int[Tensor, " sample"]]:
    for epoch in range(setting.epochs):
        order = draws.permutation(seed, n, stream="minibatches", counter=epoch)
        yield from order[: n // setting.batch_size * setting.batch_size].split(setting.batch_size)
