"""What noise in the box does to a trained base: to its loss, its prototypes, the gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import draws
from workbench.checks import require_count, require_nonnegative, require_positive
from workbench.papers.f2m.base import TOGETHER, Bases, cross_entropy, embed
from workbench.papers.f2m.embeddings import logits
from workbench.papers.f2m.episodes import Episodes
from workbench.papers.f2m.noise import BoxNoise
from workbench.papers.f2m.prototypes import cosines, ncm_predict, prototypes, sorted_labels
from workbench.problems.networks import sample_cross_entropy


@torch.no_grad()
def under_noise(bases: Bases, episodes: Episodes, radii: Sequence[float], n: int = 20) -> xr.Dataset:
    """Two measures on the base's training samples, mean over n uniform draws in the box of half-width `radius`: (radius, seed).

    loss_change: (L(theta + epsilon) - L(theta))^2, L the cross entropy of the base classifier. drift: mean over base classes of
    |p_c(theta + epsilon) - p_c(theta)| / |p_c(theta)|. All radii share the draws, and so do all bases of a seed.
    """
    require_count("n", n)
    for radius in radii:
        require_nonnegative("every entry of radii", radius)
    if len(episodes.seeds) > TOGETHER:
        parts = range(0, len(episodes.seeds), TOGETHER)
        pieces = [under_noise(bases.part(k, k + TOGETHER), episodes.of(k, k + TOGETHER), radii, n) for k in parts]
        return xr.concat(pieces, "seed")
    network, parameters = bases.network, bases.parameters
    draw = BoxNoise(episodes.seeds, stream="measures")
    plain_loss, plain = _loss_and_prototypes(bases, episodes)
    change, drift = np.zeros((2, len(radii), len(episodes.seeds)))
    for _ in range(n):
        unit = {name: draw(1, parameters[name])[0] for name in network.noisy}
        for k, radius in enumerate(radii):
            shifted = parameters | {name: parameters[name] + radius * one for name, one in unit.items()}
            loss, centres = _loss_and_prototypes(bases.at(shifted), episodes)
            change[k] += (loss - plain_loss).square().numpy() / n
            drift[k] += ((centres - plain).norm(dim=-1) / plain.norm(dim=-1)).mean(-1).numpy() / n
    dims = ("radius", "seed")
    return xr.Dataset(
        {"loss_change": (dims, change), "drift": (dims, drift)},
        {"radius": list(radii), "seed": list(episodes.seeds)},
    )


def _loss_and_prototypes(bases: Bases, episodes: Episodes) -> tuple[Tensor, Tensor]:
    embedded = embed(bases.network, bases.parameters, episodes.images, episodes.train)
    outputs = logits(bases.parameters, embedded.flatten(1, 2))
    targets = functional.one_hot(sorted_labels(*embedded.shape[1:3]), outputs.shape[-1]).to(outputs.dtype)
    loss = sample_cross_entropy(outputs, targets.expand_as(outputs)).mean(-1)
    return loss.double(), prototypes(embedded).double()


def gradient_variance(
    bases: Bases,
    episodes: Episodes,
    m_draws: Sequence[int] = (1, 2, 4, 8),
    *,
    radius: float = 0.1,
    gradients: int = 64,
    per_class: int = 4,
    same_noise: bool = False,
) -> xr.DataArray:
    """Trace of the covariance of FM's gradient on one fixed minibatch, (m_draws, seed): what is left of it is V_noise / M.

    Independent draws are averaged in groups of M; `gradients` of these averages give the unbiased variance of every weight.
    same_noise: the M draws of an average are one and the same.
    """
    require_positive("radius", radius)
    require_count("gradients", gradients, 2)
    require_count("per_class", per_class, 1, episodes.train.shape[2])
    for count in m_draws:
        require_count("every entry of m_draws", count)
    found = np.zeros((len(m_draws), len(episodes.seeds)))
    for seed in range(len(episodes.seeds)):
        single = _noisy_gradients(
            bases.part(seed, seed + 1), episodes.of(seed, seed + 1), radius, gradients * max(m_draws), per_class
        )
        for k, count in enumerate(m_draws):
            groups = single[: gradients * count].unflatten(0, (gradients, count))
            average = groups[:, 0] if same_noise else groups.mean(1)
            found[k, seed] = float(average.double().var(0).sum())
    return xr.DataArray(found, {"m_draws": list(m_draws), "seed": list(episodes.seeds)}, ("m_draws", "seed"))


def _noisy_gradients(
    bases: Bases, episodes: Episodes, radius: float, n: int, per_class: int, chunk: int = 64
) -> Float[Tensor, "draw weight"]:
    """The gradient of the cross entropy at theta + epsilon with respect to the noisy weights, one row per draw."""
    network, inputs = bases.network, episodes.images[episodes.train[:, :, :per_class]]
    classes = torch.arange(episodes.n_base)
    draw, rows = BoxNoise(episodes.seeds, stream="gradients"), []
    for first in range(0, n, chunk):
        count = min(chunk, n - first)
        copies = {name: value.expand(count, *value.shape[1:]) for name, value in bases.parameters.items()}
        for name in network.noisy:
            copies[name] = (copies[name] + radius * draw(count, bases.parameters[name])[:, 0]).requires_grad_()
        losses = cross_entropy(network, copies, inputs.expand(count, *inputs.shape[1:]), classes.expand(count, -1))
        slopes = torch.autograd.grad(losses.sum(), [copies[name] for name in network.noisy])
        rows.append(torch.cat([slope.flatten(1) for slope in slopes], 1))
    return torch.cat(rows)


def labels_that_differ(
    seed: int, n: int = 500, *, classes: int = 10, features: int = 64, normalise: bool = True
) -> int:
    """Of n random points with entries >= 0, how many have another nearest prototype than prototype of largest cosine, in float64.

    Points whose two largest cosines are closer than 1e-13 are left out.
    """
    require_count("n", n)
    require_count("classes", classes, 2)
    require_count("features", features)
    numbers = draws.normal(seed, (n + classes, features), stream="points").relu()
    # Lengths that differ by up to an order of magnitude, as those of trained prototypes do.
    lengths = torch.exp(draws.normal(seed, (n + classes, 1), stream="lengths"))
    points, centres = (lengths * numbers).split([n, classes])
    alike = cosines(points, centres)
    best = alike.topk(2, -1).values
    clear = (best[:, 0] - best[:, 1] >= 1e-13) & (points.norm(dim=-1) > 0)
    return int((clear & (ncm_predict(points, centres, normalise) != alike.argmax(-1))).sum())
