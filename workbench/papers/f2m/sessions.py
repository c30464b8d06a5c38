"""Few-shot sessions inside the box: fine-tuning on the stored shots, with the weights clamped around the base."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench.papers.f2m.base import Bases, embed
from workbench.papers.f2m.embeddings import Embedding, Parameters
from workbench.papers.f2m.episodes import Episodes
from workbench.papers.f2m.noise import clamp_to_box
from workbench.papers.f2m.prototypes import cosines, ncm_predict, prototypes, sorted_labels
from workbench.papers.f2m.settings import MOMENTUM, Session
from workbench.problems.networks import sample_cross_entropy

GROUPS = ("all", "base", "new")
RULES = ("normalised", "euclidean")


def session_loss(
    network: Embedding,
    parameters: Parameters,
    shots: Float[Tensor, "net new_class shot ..."],
    base_prototypes: Float[Tensor, "net base_class feature"],
    scale: float,
) -> Float[Tensor, " net"]:
    """Cross entropy of scale * cos(f(x), p_c) over all classes seen, mean over the stored shots.

    The prototypes of new classes are the shots' mean embeddings, with their gradient; those of the base are constants.
    """
    n_base, n_new, count = base_prototypes.shape[1], shots.shape[1], shots.shape[2]
    embedded = network.embed(parameters, shots.flatten(1, 2))
    centres = torch.cat([base_prototypes, prototypes(embedded.unflatten(1, (n_new, count)))], 1)
    labels = n_base + sorted_labels(n_new, count)
    outputs = scale * cosines(embedded, centres)
    targets = functional.one_hot(labels, n_base + n_new).to(outputs.dtype)
    return sample_cross_entropy(outputs, targets.expand_as(outputs)).mean(-1)


def fine_tune(
    network: Embedding,
    parameters: Parameters,
    center: Parameters,
    shots: Float[Tensor, "net new_class shot ..."],
    base_prototypes: Float[Tensor, "net base_class feature"],
    session: Session,
) -> tuple[Parameters, Float[Tensor, " net"]]:
    """One session's full-batch steps on the noisy weights, each followed by the clamp; the rest of the network is frozen.

    Also gives the farthest that a weight was from its base value after any step.
    """
    tuned = {name: parameters[name].clone().requires_grad_() for name in network.noisy}
    velocities = {name: torch.zeros_like(value) for name, value in tuned.items()}
    farthest = torch.zeros(len(shots))
    for _ in range(session.ft_steps):
        loss = session_loss(network, parameters | tuned, shots, base_prototypes, session.scale)
        if session.pull > 0:
            for name, value in tuned.items():
                loss = loss + session.pull * (value - center[name]).abs().flatten(1).sum(-1)
        slopes = torch.autograd.grad(loss.sum(), list(tuned.values()))
        with torch.no_grad():
            for (name, value), slope in zip(tuned.items(), slopes, strict=True):
                value.sub_(session.ft_lr * velocities[name].mul_(MOMENTUM).add_(slope))
                if session.clamp is not None:
                    value.copy_(clamp_to_box(value, center[name], session.clamp))
                farthest = farthest.maximum((value - center[name]).abs().flatten(1).amax(-1))
    return parameters | {name: value.detach() for name, value in tuned.items()}, farthest


class Stage(NamedTuple):
    """After a session: weights and prototypes of all classes seen; nets are [seed * draw]."""

    parameters: Parameters
    prototypes: Float[Tensor, "net class feature"]
    farthest: Float[Tensor, " net"]


def stages(bases: Bases, episodes: Episodes, session: Session) -> Iterator[Stage]:
    """The base, then every session in turn, which starts from the weights of the one before; the clamp stays around the base.

    The stored prototypes of the base classes never change. farthest: the largest distance of a weight from its base value
    after any step so far.
    """
    network, copies = bases.network, episodes.shots.shape[1]
    center = {name: value.repeat_interleave(copies, 0) for name, value in bases.parameters.items()}
    stored, shots = bases.prototypes.repeat_interleave(copies, 0), episodes.shots.flatten(0, 1)
    parameters, farthest = center, torch.zeros(len(shots))
    yield Stage(parameters, stored, farthest)
    for count in range(episodes.way, shots.shape[1] + 1, episodes.way):
        seen = shots[:, :count]
        parameters, reached = fine_tune(network, parameters, center, episodes.images[seen], stored, session)
        farthest = farthest.maximum(reached)
        new = prototypes(embed(network, parameters, episodes.images, seen))
        yield Stage(parameters, torch.cat([stored, new], 1), farthest)


def incremental_sessions(bases: Bases, episodes: Episodes, session: Session) -> xr.Dataset:
    """All sessions from the base on. `accuracy` in percent: (seed, session, group, rule), mean over the draws of the shots.

    group: test images of all classes seen, of the base, of the new ones; rule: nearest prototype with (PN) and without
    normalisation. `farthest` (seed): the largest distance of a weight from its base value after any step; `largest` (seed): the
    largest of the base's weights that are fine-tuned.
    """
    network, copies, n_base = bases.network, episodes.shots.shape[1], episodes.n_base
    test, rows = episodes.test.repeat_interleave(copies, 0), []
    farthest = torch.zeros(len(test))
    for parameters, centres, reached in stages(bases, episodes, session):
        farthest = farthest.maximum(reached)
        tested = embed(network, parameters, episodes.images, test[:, : centres.shape[1]])
        rows.append(accuracies(tested, centres, n_base))
    by_seed = (len(episodes.seeds), copies)
    accuracy = torch.stack(rows, 1).unflatten(0, by_seed).mean(1)
    largest = torch.stack([bases.parameters[name].abs().flatten(1).amax(-1) for name in network.noisy]).amax(0)
    return xr.Dataset(
        {
            "accuracy": (("seed", "session", "group", "rule"), accuracy.numpy(), {"units": "%"}),
            "farthest": ("seed", farthest.unflatten(0, by_seed).amax(1).double().numpy()),
            "largest": ("seed", largest.double().numpy()),
        },
        {"seed": list(episodes.seeds), "session": range(len(rows)), "group": list(GROUPS), "rule": list(RULES)},
    )


def accuracies(
    embedded: Float[Tensor, "net class sample feature"], centres: Float[Tensor, "net class feature"], n_base: int
) -> Float[Tensor, "net group rule"]:
    """Percent of the test samples whose nearest prototype is their class's, over all, base and new classes."""
    classes, count = embedded.shape[1:3]
    found = []
    for rule in RULES:
        guessed = ncm_predict(embedded.flatten(1, 2), centres, rule == "normalised")
        right = 100 * (guessed == sorted_labels(classes, count)).double()
        base, new = right[:, : n_base * count], right[:, n_base * count :]
        found.append(torch.stack([right.mean(-1), base.mean(-1), new.mean(-1)], -1))
    return torch.stack(found, -1)
