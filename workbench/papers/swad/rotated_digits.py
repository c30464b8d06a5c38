"""Domain generalisation in seconds: train on the digits at five rotations, test on the sixth (after arXiv:2102.08604)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import draws
from workbench.checks import require_count
from workbench.data import label_noise as noisy_labels
from workbench.data import rotated_digits
from workbench.draws import Seed
from workbench.problems.base import Measure
from workbench.problems.classifier import Classifier
from workbench.problems.networks.multilayer import Multilayer

N_DOMAINS = 6
N_CLASSES = 10
EVALUATION = torch.float32
HOLDOUT = 0.2
"""Share of every source that is kept for validation, as in DomainBed."""


@dataclass(frozen=True, eq=False)
class LeftOutDigits(Classifier):
    """A fully connected network on five source domains; the test part is the domain left out.

    `strata` makes every minibatch hold equally many samples of each source. Weights and biases start uniform on
    +-1/sqrt(fan_in). Training is in double precision, in which a run is the same on every machine; in single precision
    rounding is enough to switch a ReLU now and then, and what follows is another run. Evaluations are in single precision.
    """

    validation_inputs: Float[Tensor, "validation feature"]
    validation_targets: Float[Tensor, "validation output"]

    @property
    def strata(self) -> tuple[int, ...]:
        return (len(self.inputs) // (N_DOMAINS - 1),) * (N_DOMAINS - 1)

    def initial(self, seed: Seed) -> dict[str, Tensor]:
        network, parameters, used = self.network, {}, 0
        assert isinstance(network, Multilayer)
        numbers = draws.uniform(
            seed, (network.n_parameters,), low=-1.0, high=1.0, stream="initial", dtype=self.inputs.dtype
        )
        for index, (fan_in, fan_out) in enumerate(network.layers):
            pieces = numbers[used : used + (fan_in + 1) * fan_out] / math.sqrt(fan_in)
            parameters[f"{2 * index}.weight"] = pieces[: fan_in * fan_out].reshape(fan_out, fan_in)
            parameters[f"{2 * index}.bias"] = pieces[fan_in * fan_out :]
            used += (fan_in + 1) * fan_out
        return parameters

    def evaluate(self, parameters: dict[str, Tensor], part: str) -> tuple[Tensor, Tensor]:
        """Loss and accuracy in one forward pass. Parts: "source" (training samples with the labels trained on),
        "validation" (held-out samples of the sources; "validation even", "validation odd" every second of them), "target"
        (the domain left out, true labels).
        """
        inputs, targets = self._samples(part)
        outputs = self.outputs(_single(parameters), inputs)
        right = (outputs.argmax(-1) == targets.argmax(-1)).to(outputs.dtype).mean()
        finite = torch.isfinite(outputs).all()
        loss = -(targets * torch.log_softmax(outputs, -1)).sum(-1).mean()
        return loss, torch.where(finite, right, torch.nan)

    def part_loss(self, part: str, samples: int | None = None) -> Callable[[dict[str, Tensor]], Tensor]:
        """The loss on a part ("source" or "target") as a function of the parameters: what flatness is measured on.

        With `samples`, on that many evenly spaced ones: of every source, and of redrawn labels, their share.
        """
        inputs, targets = self._samples(part)
        total = len(inputs)
        if samples is not None and samples < total:
            spaced = torch.arange(samples, device=inputs.device) * total // samples
            inputs, targets = inputs.index_select(0, spaced), targets.index_select(0, spaced)
        return lambda parameters: self.data_loss(_single(parameters), inputs, targets)

    def _samples(self, part: str) -> tuple[Tensor, Tensor]:
        if part == "source":
            return self.inputs.to(EVALUATION), self.targets.to(EVALUATION)
        if part == "target":
            return self.test_inputs, self.test_targets
        taken = {"validation": slice(None), "validation even": slice(0, None, 2), "validation odd": slice(1, None, 2)}[
            part
        ]
        return self.validation_inputs[taken], self.validation_targets[taken]

    @property
    def measures(self) -> Mapping[str, Measure]:
        training = {name: measure for name, measure in super().measures.items() if not name.startswith("test")}
        own = {
            f"{part}_{name}": Measure(
                lambda parameters, part=part, index=index: self.evaluate(parameters, part)[index],
                f"{part} {name}",
                "fraction" if index else "",
            )
            for part in ("validation", "target")
            for index, name in enumerate(("loss", "accuracy"))
        }
        return {**training, **own}


def _single(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.to(EVALUATION) for name, value in parameters.items()}


def left_out_digits(
    seed: Seed, target: int | Tensor, *, label_noise: float | Tensor = 0.1, hidden: int = 64
) -> LeftOutDigits:
    """Rotated 8 x 8 digits (0, 15, ..., 75 degrees) with the domain `target` (0..5) left out; seed and target may be vmapped.

    Each domain has 299 images of its own. Of each source, 59 are kept for validation and 240 trained on. A share
    `label_noise` of the sources' labels, training and validation, is redrawn uniformly (so 9 of 10 of these are wrong);
    the target keeps its true labels. The network has one hidden layer of ReLUs; the loss is the cross-entropy.
    Raises ValueError for a target that is no domain.

    >>> problem = left_out_digits(0, 2)
    >>> problem.inputs.shape, problem.validation_inputs.shape, problem.test_inputs.shape
    (torch.Size([1200, 64]), torch.Size([295, 64]), torch.Size([299, 64]))
    """
    if not isinstance(target, Tensor) and not (isinstance(target, int) and 0 <= target < N_DOMAINS):
        raise ValueError(f"target must be a domain 0..{N_DOMAINS - 1}, got {target!r}")
    require_count("hidden", hidden)
    images, labels = rotated_digits(seed, flatten=True)
    left_out = torch.as_tensor(target, device=images.device)
    sources = (left_out + 1 + torch.arange(N_DOMAINS - 1, device=images.device)) % N_DOMAINS
    goal = left_out.reshape(1)
    kept = int(HOLDOUT * images.shape[1])
    chosen, chosen_labels = images.index_select(0, sources), labels.index_select(0, sources)

    def redrawn(part: Tensor, stream: str) -> Tensor:
        # In turns from the domains: the redrawn labels come first, and each domain shall have its share.
        taken = part.transpose(0, 1)
        noisy, _ = noisy_labels(
            taken.flatten(), seed, label_noise, n_classes=N_CLASSES, self_flips=True, stream=f"{stream} noise"
        )
        return noisy.reshape(taken.shape).transpose(0, 1).flatten()

    def encoded(classes: Tensor) -> Tensor:
        return functional.one_hot(classes, N_CLASSES).to(images.dtype)

    return LeftOutDigits(
        Multilayer((images.shape[-1], hidden, N_CLASSES), "relu"),
        chosen[:, kept:].flatten(0, 1).to(torch.float64),
        encoded(redrawn(chosen_labels[:, kept:], "training")).to(torch.float64),
        images.index_select(0, goal)[0],
        encoded(labels.index_select(0, goal)[0]),
        loss_function="cross_entropy",
        weight_decay=0.0,
        init="he",
        classification=True,
        validation_inputs=chosen[:, :kept].flatten(0, 1),
        validation_targets=encoded(redrawn(chosen_labels[:, :kept], "validation")),
    )
