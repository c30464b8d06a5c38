"""Base training in a flat region: the loss averaged over noise in the weights, with prototypes that must not move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from workbench.data import pad_crop_flip
from workbench.papers.f2m.embeddings import Embedding, Parameters, classifier, logits
from workbench.papers.f2m.episodes import Episodes, minibatch_order
from workbench.papers.f2m.noise import BoxNoise
from workbench.papers.f2m.prototypes import ncm_predict, prototypes, sorted_labels
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
        """The guard: a loss of at most 1 % of the chance loss, and no collapse."""
        return (self.loss <= 0.01 * math.log(self.prototypes.shape[1])) & self.learnt

    @property
    def learnt(self) -> Tensor:
        """Accuracy of at least twice chance."""
        return self.accuracy >= least_accuracy(self.prototypes.shape[1])

    def part(self, first: int, last: int) -> Bases:
        """Those of some of the seeds, by position."""
        kept = {name: value[first:last] for name, value in self.parameters.items()}
        of = slice(first, last)
        return Bases(self.network, self.recipe, kept, self.prototypes[of], self.loss[of], self.accuracy[of])

    def at(self, parameters: Parameters) -> Bases:
        """The same bases with other weights; the stored prototypes stay."""
        return replace(self, parameters=parameters)


def cross_entropy(
    network: Embedding,
    parameters: Parameters,
    inputs: Float[Tensor, "net batch_class sample ..."],
    classes: Int[Tensor, "net batch_class"],
) -> Float[Tensor, " net"]:
    """L_CE of the base classifier on samples of these classes."""
    return _class_loss(parameters, network.embed(parameters, inputs.flatten(1, 2)), classes)


def _class_loss(
    parameters: Parameters, embedded: Float[Tensor, "net sample feature"], classes: Int[Tensor, "net batch_class"]
) -> Float[Tensor, " net"]:
    outputs = logits(parameters, embedded)
    labels = classes.repeat_interleave(embedded.shape[1] // classes.shape[1], 1)
    return sample_cross_entropy(outputs, functional.one_hot(labels, outputs.shape[-1]).to(outputs.dtype)).mean(-1)


def least_accuracy(n_base: int) -> float:
    """Twice chance in percent; of two classes, where that would be 100, half-way from chance to there."""
    return min(200 / n_base, 50 * (1 + 1 / n_base))


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
    inputs: Float[Tensor, "seed batch_class sample ..."],
    classes: Int[Tensor, "seed batch_class"],
    noise: dict[str, Float[Tensor, "draw seed ..."]],
    lam: float,
    pf_gradient: bool = True,
) -> tuple[Float[Tensor, "draw seed"], Float[Tensor, "draw seed"]]:
    """L_base and its cross entropy at phi + epsilon_j for every draw j: L_CE + lam * mean over c of |p_c - p*_c|^2, p and p* are
    the minibatch's prototypes with and without the noise. Gradients flow through both.
    """
    seeds = len(inputs)
    nets = moved(parameters, noise)
    if lam == 0:
        nets = {name: value[:-seeds] for name, value in nets.items()}
    copies = len(next(iter(nets.values()))) // seeds
    flat = inputs.flatten(1, 2)
    embedded = network.embed(nets, flat.expand(copies, *flat.shape).flatten(0, 1))
    cross = _class_loss(nets, embedded, classes.repeat(copies, 1)).unflatten(0, (copies, seeds))
    if lam == 0:
        return cross, cross
    centres = prototypes(embedded.unflatten(1, inputs.shape[1:3])).unflatten(0, (copies, seeds))
    drift = (centres[:-1] - centres[-1]).square().sum(-1).mean(-1)
    if not pf_gradient:
        drift = drift.detach()
    return cross[:-1] + lam * drift, cross[:-1]


def base_loss(
    network: Embedding,
    recipe: BaseTraining,
    parameters: Parameters,
    inputs: Float[Tensor, "seed batch_class sample ..."],
    classes: Int[Tensor, "seed batch_class"],
    noise: dict[str, Float[Tensor, "draw seed ..."]],
) -> tuple[Float[Tensor, " seed"], Float[Tensor, " seed"]]:
    """The objective of a step, mean over the draws plus std_weight standard deviations, and the mean cross entropy.

    Without noise (b = 0) it is the cross entropy.
    """
    if recipe.b == 0:
        cross = cross_entropy(network, parameters, inputs, classes)
        return cross, cross
    losses, cross = noisy_losses(network, parameters, inputs, classes, noise, recipe.lam, recipe.pf_gradient)
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

    augment: minibatches mirrored and shifted by one pixel at random. together: seeds trained at once, which changes no result.
    Raises RuntimeError where the mean accuracy on the base classes stays below twice chance: noise and PF have drawn all
    features to 0.
    """
    parts = [
        _train(network, recipe, episodes.of(first, first + together), augment)
        for first in range(0, len(episodes.seeds), together)
    ]
    bases = Bases(
        network,
        recipe,
        {name: torch.cat([part.parameters[name] for part in parts]) for name in parts[0].parameters},
        torch.cat([part.prototypes for part in parts]),
        torch.cat([part.loss for part in parts]),
        torch.cat([part.accuracy for part in parts]),
    )
    reached = float(bases.accuracy.mean())
    if not reached >= least_accuracy(episodes.n_base):
        raise RuntimeError(
            f"embedding collapsed, lower lam or b: mean base accuracy {reached:.1f} % with "
            f"lam={recipe.lam:g}, b={recipe.b:g}"
        )
    return bases


def _train(network: Embedding, recipe: BaseTraining, episodes: Episodes, augment: bool) -> Bases:
    seeds, n_base = episodes.seeds, episodes.n_base
    parameters = network.initial(seeds) | classifier(seeds, network.features, n_base)
    leaves = {name: value.requires_grad_() for name, value in parameters.items()}
    optimizer = torch.optim.SGD(leaves.values(), recipe.base_lr, MOMENTUM, weight_decay=WEIGHT_DECAY)
    orders = [minibatch_order(seed, recipe.base_steps, n_base, episodes.train.shape[2]) for seed in seeds]
    classes, samples = (torch.stack(part) for part in zip(*orders, strict=True))
    draw, tail = BoxNoise(seeds, recipe.noise), []
    for step in range(recipe.base_steps):
        chosen = classes[:, step]
        rows = episodes.train[torch.arange(len(seeds))[:, None, None], chosen[..., None], samples[:, step]]
        inputs = episodes.images[rows]
        if augment:
            inputs = _augmented(inputs, seeds, step)
        noise = {}
        if recipe.b > 0:
            noise = {name: recipe.b * draw(recipe.m_draws, leaves[name]) for name in network.noisy}
        loss, cross = base_loss(network, recipe, leaves, inputs, chosen, noise)
        optimizer.param_groups[0]["lr"] = recipe.step_size(step)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
        if step >= recipe.base_steps - max(1, recipe.base_steps // 10):
            tail.append(cross.detach())
    trained = {name: value.detach() for name, value in leaves.items()}
    centres = prototypes(embed(network, trained, episodes.images, episodes.train))
    tested = embed(network, trained, episodes.images, episodes.test[:, :n_base]).flatten(1, 2)
    right = ncm_predict(tested, centres) == sorted_labels(n_base, episodes.test.shape[2])
    return Bases(network, recipe, trained, centres, torch.stack(tail).mean(0), 100 * right.double().mean(-1))


@torch.no_grad()
def embed(
    network: Embedding,
    parameters: Parameters,
    images: Float[Tensor, "image ..."],
    rows: Int[Tensor, "net class sample"],
) -> Float[Tensor, "net class sample feature"]:
    """Embeddings of images that are sorted by class, class by class."""
    parts = [network.embed(parameters, images[rows[:, k]]) for k in range(rows.shape[1])]
    return torch.stack(parts, 1)


def _augmented(inputs: Tensor, seeds: Sequence[int], step: int) -> Tensor:
    shifted = [
        pad_crop_flip(one.flatten(0, 1), seed, counter=step, padding=1).unflatten(0, one.shape[:2])
        for one, seed in zip(inputs, seeds, strict=True)
    ]
    return torch.stack(shifted)
