"""Base training in a flat region: the loss averaged over noise in the weights, with prototypes that must not move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench.data import pad_crop_flip
from workbench.papers.f2m.embeddings import Embedding, Parameters, classifier, logits
from workbench.papers.f2m.episodes import Episodes, minibatches
from workbench.papers.f2m.noise import BoxNoise
from workbench.papers.f2m.prototypes import ncm_predict, prototypes
from workbench.papers.f2m.settings import MOMENTUM, WEIGHT_DECAY, BaseTraining
from workbench.problems.networks import sample_cross_entropy

TOGETHER = 10
"""Seeds trained at once: more of them leave the processor's cache and take longer."""


@dataclass(frozen=True, eq=False)
class Bases:
    """Trained bases, one per seed. The prototypes are stored here and never recomputed.

    loss: mean cross entropy of the last tenth of the steps; accuracy: of the base classes' test images, in percent.
    """

    network: Embedding
    recipe: BaseTraining
    parameters: Parameters
    prototypes: Float[Tensor, "seed base_class feature"]
    loss: Float[Tensor, " seed"]
    accuracy: Float[Tensor, " seed"]

    @property
    def converged(self) -> Tensor:
        """The guard: a loss of at most 1 % of the chance loss, an accuracy of at least twice chance."""
        classes = self.prototypes.shape[1]
        return (self.loss <= 0.01 * math.log(classes)) & (self.accuracy >= 200 / classes)

    def part(self, first: int, last: int) -> Bases:
        """Those of some of the seeds, by position."""
        kept = {name: value[first:last] for name, value in self.parameters.items()}
        of = slice(first, last)
        return Bases(self.network, self.recipe, kept, self.prototypes[of], self.loss[of], self.accuracy[of])

    def at(self, parameters: Parameters) -> Bases:
        """The same bases with other weights; the stored prototypes stay."""
        return replace(self, parameters=parameters)


def class_cross_entropy(outputs: Float[Tensor, "net sample base_class"], n_classes: int) -> Float[Tensor, " net"]:
    """Mean cross entropy of samples that are sorted by class, equally many of each."""
    labels = torch.arange(n_classes).repeat_interleave(outputs.shape[1] // n_classes)
    targets = functional.one_hot(labels, n_classes).to(outputs.dtype)
    return sample_cross_entropy(outputs, targets).mean(-1)


def cross_entropy(
    network: Embedding, parameters: Parameters, inputs: Float[Tensor, "net base_class sample ..."]
) -> Float[Tensor, " net"]:
    """L_CE of the base classifier."""
    return class_cross_entropy(logits(parameters, network.embed(parameters, inputs.flatten(1, 2))), inputs.shape[1])


def moved(parameters: Parameters, noise: dict[str, Float[Tensor, "draw seed ..."]]) -> Parameters:
    """The nets of every draw of noise after one another, and last those without noise: [draw * seed + seed, ...]."""
    draws_ = len(next(iter(noise.values())))
    nets = {}
    for name, value in parameters.items():
        if name in noise:
            nets[name] = torch.cat([value + noise[name], value[None]]).flatten(0, 1)
        else:
            nets[name] = value.expand(draws_ + 1, *value.shape).flatten(0, 1)
    return nets


def noisy_losses(
    network: Embedding,
    parameters: Parameters,
    inputs: Float[Tensor, "seed base_class sample ..."],
    noise: dict[str, Float[Tensor, "draw seed ..."]],
    lam: float,
    pf_gradient: bool = True,
) -> tuple[Float[Tensor, "draw seed"], Float[Tensor, "draw seed"]]:
    """L_base and its cross entropy at phi + epsilon_j for every draw j: L_CE + lam * mean over c of |p_c - p*_c|^2, p and p* are
    the minibatch's prototypes with and without the noise. Gradients flow through both.
    """
    seeds, classes, samples = inputs.shape[:3]
    nets = moved(parameters, noise)
    if lam == 0:
        nets = {name: value[:-seeds] for name, value in nets.items()}
    copies = len(next(iter(nets.values()))) // seeds
    flat = inputs.flatten(1, 2)
    embedded = network.embed(nets, flat.expand(copies, *flat.shape).flatten(0, 1))
    cross = class_cross_entropy(logits(nets, embedded), classes).unflatten(0, (copies, seeds))
    if lam == 0:
        return cross, cross
    centres = prototypes(embedded.unflatten(1, (classes, samples))).unflatten(0, (copies, seeds))
    drift = (centres[:-1] - centres[-1]).square().sum(-1).mean(-1)
    if not pf_gradient:
        drift = drift.detach()
    return cross[:-1] + lam * drift, cross[:-1]


def base_loss(
    network: Embedding,
    recipe: BaseTraining,
    parameters: Parameters,
    inputs: Float[Tensor, "seed base_class sample ..."],
    noise: dict[str, Float[Tensor, "draw seed ..."]],
) -> tuple[Float[Tensor, " seed"], Float[Tensor, " seed"]]:
    """The objective of a step, mean over the draws plus std_weight standard deviations, and the mean cross entropy.

    Without noise (b = 0) it is the cross entropy.
    """
    if recipe.b == 0:
        cross = cross_entropy(network, parameters, inputs)
        return cross, cross
    losses, cross = noisy_losses(network, parameters, inputs, noise, recipe.lam, recipe.pf_gradient)
    total = losses.mean(0)
    if recipe.std_weight > 0:
        total = total + recipe.std_weight * losses.std(0)
    return total, cross.mean(0)


def train_bases(
    network: Embedding,
    recipe: BaseTraining,
    episodes: Episodes,
    *,
    augment: bool = False,
    together: int = TOGETHER,
) -> Bases:
    """One base per seed by SGD with momentum .9 and weight decay 5e-4; its weights, minibatches and noise depend on it alone.

    augment: minibatches mirrored and shifted by one pixel at random. Raises RuntimeError where the mean accuracy on the base
    classes stays below twice chance: noise and PF have drawn all features to 0.
    """
    parts = [
        _train(network, recipe, episodes.of(first, first + together), augment)
        for first in range(0, len(episodes.seeds), together)
    ]
    trained = {name: torch.cat([part[0][name] for part in parts]) for name in parts[0][0]}
    loss = torch.cat([part[1] for part in parts])
    centres = torch.cat([part[2] for part in parts])
    accuracy = torch.cat([part[3] for part in parts])
    if float(accuracy.mean()) < 200 / episodes.n_base:
        raise RuntimeError(
            f"embedding collapsed, lower lam or b: mean base accuracy {float(accuracy.mean()):.1f} % with "
            f"lam={recipe.lam:g}, b={recipe.b:g}"
        )
    return Bases(network, recipe, trained, centres, loss, accuracy)


def _train(
    network: Embedding, recipe: BaseTraining, episodes: Episodes, augment: bool
) -> tuple[Parameters, Tensor, Tensor, Tensor]:
    seeds, n_base = episodes.seeds, episodes.n_base
    parameters = network.initial(seeds) | classifier(seeds, network.features, n_base)
    leaves = {name: value.requires_grad_() for name, value in parameters.items()}
    optimizer = torch.optim.SGD(leaves.values(), recipe.base_lr, MOMENTUM, weight_decay=WEIGHT_DECAY)
    order = torch.stack([minibatches(seed, recipe.base_steps, n_base, episodes.train.shape[2]) for seed in seeds])
    rows, classes = torch.arange(len(seeds))[:, None, None], torch.arange(n_base)[:, None]
    draw, tail = BoxNoise(seeds, recipe.noise), []
    for step in range(recipe.base_steps):
        inputs = episodes.train[rows, classes, order[:, step]]
        if augment:
            inputs = _augmented(inputs, seeds, step)
        noise = {}
        if recipe.b > 0:
            noise = {name: recipe.b * draw(recipe.m_draws, leaves[name]) for name in network.noisy}
        loss, cross = base_loss(network, recipe, leaves, inputs, noise)
        optimizer.param_groups[0]["lr"] = recipe.step_size(step)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        if step >= 0.9 * recipe.base_steps:
            tail.append(cross.detach())
    trained = {name: value.detach() for name, value in leaves.items()}
    centres = prototypes(embed_classes(network, trained, episodes.train))
    guessed = ncm_predict(network.embed(trained, episodes.test[:, :n_base].flatten(1, 2)), centres)
    labels = torch.arange(n_base).repeat_interleave(episodes.test.shape[2])
    return trained, torch.stack(tail).mean(0), centres, 100 * (guessed == labels).double().mean(-1)


@torch.no_grad()
def embed_classes(
    network: Embedding, parameters: Parameters, inputs: Float[Tensor, "net class sample ..."]
) -> Float[Tensor, "net class sample feature"]:
    """Embeddings of samples that are sorted by class."""
    return network.embed(parameters, inputs.flatten(1, 2)).unflatten(1, inputs.shape[1:3])


def _augmented(inputs: Tensor, seeds: Sequence[int], step: int) -> Tensor:
    images = [
        pad_crop_flip(one.flatten(0, 1), seed, counter=step, padding=1).unflatten(0, one.shape[:2])
        for one, seed in zip(inputs, seeds, strict=True)
    ]
    return torch.stack(images)
