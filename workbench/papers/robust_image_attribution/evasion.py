"""Attacks on attribution: away from the original, towards competitors, and the battery that a query must survive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.checks import require_count, require_nonnegative
from workbench.papers.robust_image_attribution.pictures import Trial
from workbench.problems import attacks
from workbench.problems.embeddings import attributed

Embed = Callable[[Tensor], Tensor]
"""Images [..., sample, *image] -> unit vectors [..., sample, feature]."""
Kind = Literal["none", "signs", "away", "margin", "battery"]
Start = Literal["zero", "random"]


@dataclass(frozen=True)
class Attack:
    """An attack on the queries. Radii in pixels of [0, 1]; `starts` and `targets` are of the battery.

    kind: "none"; "signs", random corners of the box; "away", down the similarity to the own original; "margin", up the lead
    of the nearest competitor; "battery", unperturbed, margin from every start, and aimed at each of the `targets` nearest.
    queries: "edited" or "benign"; database: entries searched (None: all of the trial's main database); aim: "database", or
    "elsewhere" for competitors outside; clip: steps are projected on [0, 1], or the images are
    clipped "inside" the objective, so that pixels beyond the range have no gradient (l-infinity).
    """

    kind: Kind = "none"
    radius: float = 0.05
    norm: attacks.Norm = "linf"
    steps: int = 20
    start: Start = "zero"
    starts: int = 3
    targets: int = 5
    queries: Literal["edited", "benign"] = "edited"
    database: int | None = None
    aim: Literal["database", "elsewhere"] = "database"
    clip: Literal["projected", "inside"] = "projected"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.start not in get_args(Start):
            raise ValueError(f"start must be one of {', '.join(get_args(Start))}, got {self.start!r}")
        require_nonnegative("radius", self.radius)
        require_count("steps", self.steps)
        require_count("starts", self.starts)
        require_count("targets", self.targets, 0)
        if self.clip == "inside" and self.norm != "linf":
            raise ValueError(f"clip='inside' is for sign steps, norm='linf', got norm={self.norm!r}")


def away(embed: Embed, keys: Float[Tensor, "... query feature"]) -> attacks.Objective:
    """Minus the similarity to the own original."""
    return lambda points: -(embed(points) * keys).sum(-1)


def margin(
    embed: Embed,
    keys: Float[Tensor, "... query feature"],
    rivals: Float[Tensor, "... rival feature"],
    own: Int[Tensor, "... query"] | None = None,
) -> attacks.Objective:
    """max_k <f(q), z_k> - <f(q), z_i>: above 0 where the query is attributed to a competitor.

    own: the rows of the originals among the rivals, which are no competitors; None where the rivals are others.
    """

    def objective(points: Tensor) -> Tensor:
        vectors = embed(points)
        with torch.no_grad():
            similarity = vectors @ rivals.mT
            if own is not None:
                similarity.scatter_(-1, own.expand(similarity.shape[:-1])[..., None], -torch.inf)
            # The gradient needs the nearest competitor alone.
            lead = rows(rivals, similarity.argmax(-1)) - keys
        return (vectors * lead).sum(-1)

    return objective


def rows(table: Float[Tensor, "... row feature"], chosen: Int[Tensor, "... query"]) -> Tensor:
    """The chosen rows, [..., query, feature]."""
    chosen = chosen.expand(*table.shape[:-2], chosen.shape[-1])
    return torch.take_along_dim(table, chosen[..., None], -2)


def survivors(
    embed: Embed,
    trial: Trial,
    database: Float[Tensor, "... entry feature"],
    attack: Attack,
    elsewhere: Float[Tensor, "... other feature"] | None = None,
) -> Bool[Tensor, "... query"]:
    """Which queries are still attributed to their own original under the attack, among the entries of the database.

    database: embeddings of the trial's originals, the queried ones first; elsewhere: competitors outside, where the attack
    aims there. Only queries that are not yet lost are attacked further.
    """
    queries, own = getattr(trial, attack.queries), trial.own
    keys = database[..., : queries.shape[-4], :]
    alive = _kept(embed, queries, database, own)
    if attack.kind == "none":
        return alive
    if attack.kind == "signs":
        corners = trial.chance("signs", 0).sign()
        return _kept(embed, (queries + attack.radius * corners).clamp(0, 1), database, own)
    if attack.kind == "battery":
        return _battery(embed, trial, queries, database, attack, alive)
    if attack.kind == "away":
        objective = away(embed, keys)
    elif attack.aim == "elsewhere":
        if elsewhere is None:
            raise ValueError("aim='elsewhere' needs the embeddings of images outside the database")
        objective = margin(embed, keys, elsewhere)
    else:
        objective = margin(embed, keys, database, own)
    start = None if attack.start == "zero" else attack.radius * trial.chance("attack start", 1)
    return alive & _kept(embed, _attacked(objective, queries, attack, start), database, own)


def _kept(embed: Embed, queries: Tensor, database: Tensor, own: Tensor) -> Tensor:
    with torch.no_grad():
        return attributed(embed(queries), database, own)


def _attacked(objective: attacks.Objective, queries: Tensor, attack: Attack, start: Tensor | None) -> Tensor:
    if attack.clip == "inside":
        return _clipped_inside(objective, queries, attack, torch.zeros_like(queries) if start is None else start)
    warm = None if start is None else queries + start
    return attacks.pgd(
        objective, queries, attack.radius, attack.norm, steps=attack.steps, starts=int(warm is None), warm=warm
    ).inputs


def _clipped_inside(objective: attacks.Objective, queries: Tensor, attack: Attack, perturbation: Tensor) -> Tensor:
    """Sign steps on q + perturbation whose gradient goes through the clipping, so that it vanishes where a pixel is clipped."""
    radius, stride = attack.radius, 2.5 * attack.radius / attack.steps
    for _ in range(attack.steps):
        point = perturbation.detach().requires_grad_()
        (slope,) = torch.autograd.grad(objective((queries + point).clamp(0, 1)).sum(), point)
        perturbation = (perturbation + stride * slope.sign()).clamp(-radius, radius)
    return (queries + perturbation).clamp(0, 1)


def _battery(
    embed: Embed, trial: Trial, queries: Tensor, database: Tensor, attack: Attack, alive: Tensor
) -> Bool[Tensor, "... query"]:
    with torch.no_grad():
        similarity = embed(queries) @ database.mT
    similarity.scatter_(-1, trial.own.expand(alive.shape)[..., None], -torch.inf)
    nearest = similarity.topk(attack.targets, -1).indices if attack.targets else None
    for start in range(attack.starts):
        shift = None if start == 0 else attack.radius * trial.chance("attack start", start)
        alive = _go_on(embed, queries, database, attack, alive, shift, None)
    for target in range(attack.targets):
        assert nearest is not None
        alive = _go_on(embed, queries, database, attack, alive, None, nearest[..., target])
    return alive


def _go_on(
    embed: Embed,
    queries: Tensor,
    database: Tensor,
    attack: Attack,
    alive: Tensor,
    start: Tensor | None,
    target: Tensor | None,
) -> Tensor:
    """`alive` after one more attack on those that are left: equally many of every seed, so that all go at once."""
    count = int(alive.sum(-1).max())
    if not count:
        return alive
    left = (~alive).to(torch.uint8).argsort(dim=-1, stable=True)[..., :count]
    keys = rows(database, left)
    some = _pick(queries, left)
    if target is None:
        objective = margin(embed, keys, database, left)
    else:
        lead = rows(database, target.gather(-1, left)) - keys
        objective = lambda points: (embed(points) * lead).sum(-1)  # noqa: E731
    found = _attacked(objective, some, attack, None if start is None else _pick(start, left))
    with torch.no_grad():
        kept = attributed(embed(found), database, left)
    return alive.scatter(-1, left, alive.gather(-1, left) & kept)


def _pick(images: Tensor, chosen: Tensor) -> Tensor:
    return torch.take_along_dim(images, chosen[..., None, None, None], -4)
