"""Domain generalisation on image folders, as DomainBed and arXiv:2102.08604 do it: one domain left out, ResNet-50."""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as nn_functional

from workbench import draws
from workbench.data import (
    Data,
    augment_photographs,
    catalogue,
    domain_tree,
    leave_one_domain_out,
    load,
    read_images,
    sources,
)
from workbench.draws import Seed
from workbench.problems.base import Batch, Problem
from workbench.problems.networks.modules import rotated_mnist_cnn
from workbench.problems.networks.resnet50 import ResNet50, load_backbone

CHUNK = 64
"""Images decoded and evaluated at once."""
TARGET_SHARE = 0.8
"""Share of the target domain that accuracy is reported on (DomainBed's split)."""


@dataclass(frozen=True)
class DomainImages:
    """Images by number, not yet decoded: `read(numbers)` gives floats in [0, 1], [sample, channel, row, column]."""

    name: str
    read: Callable[[Int[np.ndarray, " sample"]], Float[Tensor, "sample channel row column"]]
    classes: Int[Tensor, " sample"]
    domains: Int[Tensor, " sample"]
    class_names: tuple[str, ...]
    domain_names: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    photographs: bool


@functools.lru_cache(maxsize=2)
def domain_images(name: str, *, root: str | os.PathLike[str] | None = None, size: int = 224) -> DomainImages:
    """The images of a data set with domains, found but not decoded (RotatedMNIST, which is small, is).

    Raises DataNotFoundError naming the folder where the data are expected, ValueError for a set without domains.
    """
    entry = catalogue.entry(name)
    if entry.name == "rotated-mnist":
        data = load(entry.name, root=root)
        assert data.domains is not None
        images = data.inputs
        return DomainImages(
            entry.name, lambda numbers: images[torch.from_numpy(numbers)], data.targets, data.domains,
            data.class_names, data.domain_names, (0.0,), (1.0,), False,
        )  # fmt: skip
    if entry.kind != "domains":
        raise ValueError(f"{name} has no domains in folders; choose RotatedMNIST, PACS, VLCS, OfficeHome, ...")
    if entry.name == "domain-folder":
        if root is None:
            raise ValueError("domain-folder needs data_root, the folder that holds <domain>/<class>/<image>")
        tree = domain_tree(root)
    else:
        tree = domain_tree(sources.locate(entry, root, False)[0], entry.domains)
    files = np.array(tree.files, dtype=object)

    def read(numbers: Int[np.ndarray, " sample"]) -> Tensor:
        return torch.from_numpy(read_images(files[numbers].tolist(), size)).to(torch.float32) / 255

    mean, deviation = entry.mean or (0.485, 0.456, 0.406), entry.deviation or (0.229, 0.224, 0.225)
    return DomainImages(
        entry.name, read, torch.from_numpy(tree.targets), torch.from_numpy(tree.groups),
        tree.class_names, tree.group_names, mean, deviation, True,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class LeftOutImages(Problem[dict[str, Tensor]]):
    """A network trained on the source domains; images are decoded minibatch by minibatch.

    Batch normalisation keeps the statistics it came with, as in the paper. Training images are augmented with random
    numbers that depend on the seed and the minibatch only, so that both gradients of a SAM step see the same images.
    One model at a time: not for the vmapped axes of a sweep.
    """

    images: DomainImages
    network: nn.Module
    training: Int[Tensor, " training"]
    sizes: tuple[int, ...]
    validation: Int[Tensor, " validation"]
    target: Int[Tensor, " target"]
    seed: int
    device: torch.device

    @property
    def data(self) -> Batch:
        return (self.training,)

    @property
    def strata(self) -> tuple[int, ...]:
        return self.sizes

    def initial(self, seed: Seed) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.network.named_parameters()}

    def outputs(self, parameters: dict[str, Tensor], inputs: Tensor) -> Float[Tensor, "sample output"]:
        """The network's outputs for normalised images."""
        return torch.func.functional_call(self.network, parameters, (inputs,))

    def batch_loss(self, parameters: dict[str, Tensor], batch: Batch) -> Float[Tensor, ""]:
        inputs, classes = self._augmented(batch[0])
        return nn_functional.cross_entropy(self.outputs(parameters, inputs), classes)

    def loss(self, parameters: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Mean loss over the training images, not augmented."""
        return self._evaluate(parameters, self.training)[0]

    def gradient(self, parameters: dict[str, Tensor], batch: Batch | None = None) -> dict[str, Tensor]:
        if batch is None:
            raise ValueError("the gradient over all images is not offered: give batch_size, and a rule that uses it")
        inputs, classes = self._augmented(batch[0])
        # Recorded by the ordinary tape, which is faster than torch.func here.
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        loss = nn_functional.cross_entropy(self.outputs(leaves, inputs), classes)
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    def evaluate(self, parameters: dict[str, Tensor], part: str) -> tuple[Tensor, Tensor]:
        """Loss and accuracy on "source" (training images), "validation", every second of these ("validation even",
        "validation odd") or "target".
        """
        numbers = {
            "source": self.training,
            "validation": self.validation,
            "validation even": self.validation[::2],
            "validation odd": self.validation[1::2],
            "target": self.target,
        }[part]
        return self._evaluate(parameters, numbers)

    def part_loss(self, part: str, samples: int | None = None) -> Callable[[dict[str, Tensor]], Tensor]:
        """The loss on at most `samples` evenly spaced images of a part ("source" or "target"), not augmented."""
        numbers = self.training if part == "source" else self.target
        total = len(numbers)
        if samples is not None and samples < total:
            numbers = numbers[torch.arange(samples) * total // samples]
        inputs, classes = self._plain(numbers)
        return lambda parameters: nn_functional.cross_entropy(self.outputs(parameters, inputs), classes)

    @torch.no_grad()
    def _evaluate(self, parameters: dict[str, Tensor], numbers: Tensor) -> tuple[Tensor, Tensor]:
        loss, right = 0.0, 0.0
        for some in numbers.split(CHUNK):
            inputs, classes = self._plain(some)
            outputs = self.outputs(parameters, inputs)
            loss = loss + nn_functional.cross_entropy(outputs, classes, reduction="sum")
            right = right + (outputs.argmax(-1) == classes).sum()
        return torch.as_tensor(loss / len(numbers)), torch.as_tensor(right / len(numbers))

    def _plain(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        return self._normalised(self.images.read(numbers.cpu().numpy()).to(self.device)), self._classes(numbers)

    def _augmented(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        chosen = np.array(numbers.tolist(), np.int64)  # also inside torch.func.grad, where a tensor has no memory
        pictures = self.images.read(chosen).to(self.device)
        if self.images.photographs:
            pictures = augment_photographs(pictures, self.seed, counter=zlib.crc32(chosen.tobytes()))
        return self._normalised(pictures), self._classes(numbers)

    def _classes(self, numbers: Tensor) -> Tensor:
        return self.images.classes[numbers.cpu()].to(self.device)

    def _normalised(self, pictures: Tensor) -> Tensor:
        mean, deviation = (
            torch.tensor(value, device=self.device)[:, None, None]
            for value in (self.images.mean, self.images.deviation)
        )
        return (pictures - mean) / deviation


def left_out_images(
    images: DomainImages,
    seed: int,
    target: int | str,
    *,
    width: int = 64,
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
) -> LeftOutImages:
    """The data set with the domain `target` (number or name) left out.

    A fifth of every source is kept for validation; the target's loss and accuracy are those of four fifths of it. The
    network is ResNet-50, for RotatedMNIST DomainBed's; `width` scales it (64: as published). weights: a file with ImageNet
    weights, without which it starts from random ones of this seed. device: the GPU where there is one.
    """
    place = torch.device(device) if device is not None else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numbers = torch.arange(len(images.classes))
    listed = Data(
        images.name, numbers, images.classes, numbers[:0], images.classes[:0], images.class_names,
        train_domains=images.domains, test_domains=images.domains[:0], domain_names=images.domain_names,
    )  # fmt: skip
    parts = leave_one_domain_out(listed, target, seed)
    order = draws.permutation(seed, len(parts.target_inputs), stream="target split")
    reported = parts.target_inputs[order[: max(1, round(TARGET_SHARE * len(order)))]]
    sizes = torch.unique_consecutive(parts.train_domains, return_counts=True)[1]
    network = _network(images, seed, width, weights).eval().to(place)
    return LeftOutImages(
        images, network, parts.train_inputs, tuple(sizes.tolist()), parts.validation_inputs, reported, seed, place
    )


def _network(images: DomainImages, seed: int, width: int, weights: str | os.PathLike[str] | None) -> nn.Module:
    # Modules draw from torch's global generator, which belongs to the user.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not images.photographs:
            return rotated_mnist_cnn(len(images.class_names), width=width)
        network = ResNet50(len(images.class_names), width=width)
    if weights is not None:
        load_backbone(network, os.fspath(weights))
    return network
