"""Few-shot sessions inside the box: fine-tuning on the stored shots, with the weights clamped around the base."""

from __future__ import annotations

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench.papers.f2m.base import Bases
from workbench.papers.f2m.embeddings import Embedding, Parameters
from workbench.papers.f2m.episodes import Episodes
from workbench.papers.f2m.noise import clamp_to_box
from workbench.papers.f2m.prototypes import cosines, ncm_predict, prototypes
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
    labels = n_base + torch.arange(n_new).repeat_interleave(count)
    targets = functional.one_hot(labels, n_base + n_new).to(embedded.dtype)
    return sample_cross_entropy(scale * cosines(embedded, centres), targets).mean(-1)


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


def incremental_sessions(bases: Bases, episodes: Episodes, session: Session) -> xr.Dataset:
    """All sessions from the base on. `accuracy` in percent: (seed, session, group, rule), mean over the draws of the shots.

    group: test images of all classes seen, of the base, of the new ones; rule: nearest prototype with (PN) and without
    normalisation. `farthest` (seed): the largest distance of a weight from its base value after any step; `largest` (seed): the
    largest weight. A session starts from the weights of the one before; the clamp stays around the base.
    """
    network, copies = bases.network, episodes.shots.shape[1]
    center = {name: value.repeat_interleave(copies, 0) for name, value in bases.parameters.items()}
    shots, test = episodes.shots.flatten(0, 1), episodes.test.repeat_interleave(copies, 0)
    stored = bases.prototypes.repeat_interleave(copies, 0)
    parameters, farthest, rows = center, torch.zeros(len(shots)), []
    for count in range(0, shots.shape[1] + 1, episodes.way):
        seen, centres = shots[:, :count], stored
        if count:
            parameters, reached = fine_tune(network, parameters, center, seen, stored, session)
            farthest = farthest.maximum(reached)
            new = prototypes(_embed(network, parameters, seen))
            centres = torch.cat([stored, new], 1)
        rows.append(_accuracies(network, parameters, test[:, : episodes.n_base + count], centres, episodes.n_base))
    accuracy = torch.stack(rows, 1).unflatten(0, (len(episodes.seeds), copies)).mean(1)
    largest = torch.stack([center[name].abs().flatten(1).amax(-1) for name in network.noisy]).amax(0)
    by_seed = (len(episodes.seeds), copies)
    return xr.Dataset(
        {
            "accuracy": (("seed", "session", "group", "rule"), accuracy.numpy(), {"units": "%"}),
            "farthest": ("seed", farthest.unflatten(0, by_seed).amax(1).double().numpy()),
            "largest": ("seed", largest.unflatten(0, by_seed).amax(1).double().numpy()),
        },
        {"seed": list(episodes.seeds), "session": range(len(rows)), "group": list(GROUPS), "rule": list(RULES)},
    )


@torch.no_grad()
def _embed(network: Embedding, parameters: Parameters, inputs: Tensor) -> Tensor:
    return network.embed(parameters, inputs.flatten(1, 2)).unflatten(1, inputs.shape[1:3])


def _accuracies(
    network: Embedding, parameters: Parameters, test: Tensor, centres: Tensor, n_base: int
) -> Float[Tensor, "net group rule"]:
    embedded = _embed(network, parameters, test).flatten(1, 2)
    classes, count = test.shape[1:3]
    labels = torch.arange(classes).repeat_interleave(count)
    found = []
    for rule in RULES:
        right = 100 * (ncm_predict(embedded, centres, rule == "normalised") == labels).double()
        base, new = right[:, : n_base * count], right[:, n_base * count :]
        found.append(torch.stack([right.mean(-1), base.mean(-1), new.mean(-1)], -1))
    return torch.stack(found, -1)
