"""Fingerprints trained by contrastive learning on worst-case queries (arXiv:2202.12860), any network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_count, require_nonnegative
from workbench.problems.embeddings import contrastive_loss
from workbench.problems.networks.training import sgd, warm_cosine

Direction = Literal["ascent", "reversed", "noise"]
Parameters = dict[str, Tensor]
Forward = Callable[[Parameters, Tensor], Tensor]
"""(parameters, inputs [..., sample, *image]) -> outputs [..., sample, feature]."""
Values = Callable[[Tensor], Tensor]
"""Queries -> a loss per query."""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    radius: l-infinity bound of the queries' perturbations (0: standard); inner_steps: K sign steps of size 1.5 radius / K from
    a uniform start; direction: up the loss, down ("reversed"), or none ("noise": the start alone); ramp_share: the radius
    grows from 0 over this share of the updates (0: no ramp).
    """

    radius: float = 0.0
    inner_steps: int = 2
    direction: Direction = "ascent"
    ramp_share: float = 0.5

    def __post_init__(self) -> None:
        require_nonnegative("radius", self.radius)
        require_count("inner_steps", self.inner_steps, 1)
        if self.radius > 1:
            raise ValueError(f"radius must be at most 1, the range of a pixel, got {self.radius}")
        if self.direction not in get_args(Direction):
            raise ValueError(f"direction must be one of {', '.join(get_args(Direction))}, got {self.direction!r}")
        if not 0 <= self.ramp_share <= 1:
            raise ValueError(f"ramp_share must be in [0, 1], got {self.ramp_share}")

    @property
    def steps(self) -> int:
        """Sign steps before each update."""
        return self.inner_steps if self.radius > 0 and self.direction != "noise" else 0

    @property
    def label(self) -> str:
        """For tables and figures."""
        if not self.radius:
            return "standard"
        words = {"ascent": "robust", "reversed": "reversed", "noise": "noise"}[self.direction]
        return f"{words} {self.radius:.3g}" + ("" if self.ramp_share else ", no ramp")

    def radius_at(self, step: int, steps: int) -> float:
        """The ramp: radius * min(1, step / (ramp_share * steps))."""
        return self.radius * min(1.0, step / (self.ramp_share * steps)) if self.ramp_share else self.radius


@dataclass
class Count:
    """Image passes of the network: one forward, one for the gradient of the inputs, one for that of the parameters."""

    passes: int = 0
    query_gradients: int = 0
    parameter_gradients: int = 0

    def watched(self, forward: Forward) -> Forward:
        """`forward`, counted."""

        def counted(parameters: Parameters, inputs: Tensor) -> Tensor:
            trained = any(value.requires_grad for value in parameters.values())
            self.passes += inputs.shape[-2 if inputs.dim() < 4 else -4] * (3 if trained else 1 + inputs.requires_grad)
            self.query_gradients += inputs.requires_grad
            self.parameter_gradients += trained
            return forward(parameters, inputs)

        return counted


@dataclass(frozen=True)
class Objective:
    """What is learnt: a loss per query; `attacked` is what the inner problem raises, with everything but the queries fixed."""

    attacked: Callable[[Parameters, Tensor], Values]
    loss: Callable[[Parameters, Tensor, Tensor], Tensor]


def contrast(embed: Forward, temperature: float) -> Objective:
    """The symmetric contrastive loss; the keys stay where they are during the attack."""

    def attacked(parameters: Parameters, originals: Tensor) -> Values:
        with torch.no_grad():
            keys = embed(parameters, originals)
        return lambda queries: contrastive_loss(embed(parameters, queries), keys, temperature)

    def loss(parameters: Parameters, queries: Tensor, originals: Tensor) -> Tensor:
        return contrastive_loss(embed(parameters, queries), embed(parameters, originals), temperature)

    return Objective(attacked, loss)


def worst_queries(
    values: Values, queries: Tensor, start: Tensor, radius: float, arm: Arm
) -> Float[Tensor, "... sample *image"]:
    """The queries after the arm's projected sign steps from queries + radius * start, in the ball and in [0, 1]."""
    moved = (queries + radius * start).clamp(0, 1)
    sign = -1.0 if arm.direction == "reversed" else 1.0
    for _ in range(arm.steps):
        point = moved.detach().requires_grad_()
        (slope,) = torch.autograd.grad(values(point).sum(), point)
        moved = moved + sign * 1.5 * radius / arm.steps * slope.sign()
        moved = torch.minimum(torch.maximum(moved, queries - radius), queries + radius).clamp(0, 1)
    return moved.detach()


@dataclass
class Progress:
    """The mean loss of every update, [update] or [update, seed]."""

    losses: list[Tensor] = field(default_factory=list)

    def last(self, updates: int) -> Tensor:
        """Mean over the last updates."""
        return torch.stack(self.losses[-updates:]).mean(0)


def train(
    arm: Arm,
    objective: Objective,
    parameters: Parameters,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    updates: int,
    *,
    step_size: float,
    weight_decay: float,
) -> Progress:
    """SGD with momentum .9, 5 % warm-up and a cosine, in place.

    batches: (queries, what they are compared with, uniform start in [-1, 1)) of each of the `updates`, the same for all arms.
    """
    progress, velocities = Progress(), [torch.zeros_like(value) for value in parameters.values()]
    for update, (queries, others, start) in enumerate(batches):
        radius = arm.radius_at(update, updates)
        if radius > 0:
            fixed = {name: value.detach() for name, value in parameters.items()}
            values = objective.attacked(fixed, others) if arm.steps else torch.sum
            queries = worst_queries(values, queries, start, radius, arm)
        leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        loss = objective.loss(leaves, queries, others).mean(-1)
        gradients = list(torch.autograd.grad(loss.sum(), list(leaves.values())))
        progress.losses.append(loss.detach())
        now = warm_cosine(update, updates, step_size)
        sgd(list(parameters.values()), gradients, velocities, now, weight_decay)
    return progress
