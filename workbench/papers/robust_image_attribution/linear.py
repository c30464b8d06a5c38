"""A linear fingerprint z = W x matched by Euclidean distance: the exact smallest perturbation that breaks a match.

A query q is matched to i where 2<W^T(z_j - z_i), q> < |z_j|^2 - |z_i|^2 for all j: half-spaces. So in the l-infinity norm
the radius is the least of gap_j / (2 |W^T(z_j - z_i)|_1), in l2 with the 2-norm (derived here; the box of pixels is ignored).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench import draws
from workbench.checks import require_count, require_nonnegative
from workbench.data.readers import embedded
from workbench.problems import attacks

Method = Literal["pgd", "away", "targets"]


class Evasion(NamedTuple):
    """Radius (below 0: already mismatched), the competitor that binds, and the perturbation that reaches it."""

    radius: Float[Tensor, " query"]
    rival: Int[Tensor, " query"]
    perturbation: Float[Tensor, "query pixel"]


def half_spaces(
    W: Float[Tensor, "feature pixel"],
    database: Float[Tensor, "entry pixel"],
    queries: Float[Tensor, "query pixel"],
    index: Int[Tensor, " query"],
) -> tuple[Float[Tensor, "query entry"], Float[Tensor, "query entry pixel"]]:
    """|z_j|^2 - |z_i|^2 - 2<z_j - z_i, W q> (infinite at j = i) and the normals W^T(z_j - z_i).

    Raises ValueError for shapes that do not fit, fewer than two entries, an index outside the database.
    """
    if database.shape[-1] != W.shape[-1] or queries.shape[-1] != W.shape[-1] or len(index) != len(queries):
        raise ValueError(
            f"W [feature, pixel], database [entry, pixel] and queries [query, pixel] must fit, with one index per query; got "
            f"{tuple(W.shape)}, {tuple(database.shape)}, {tuple(queries.shape)}, {tuple(index.shape)}"
        )
    if len(database) < 2:
        raise ValueError(f"database must have at least two entries, got {len(database)}: there is nothing to confuse")
    if index.numel() and not (index.min() >= 0 and index.max() < len(database)):
        raise ValueError(f"index must lie in 0..{len(database) - 1}, got {int(index.min())} to {int(index.max())}")
    z = database @ W.mT
    own = z[index]
    apart = z - own[:, None]
    # |z_j|^2 - |z_i|^2 as a product loses nothing where the two are close.
    gap = (apart * (z + own[:, None])).sum(-1) - 2 * (apart @ (queries @ W.mT)[:, :, None])[..., 0]
    gap[torch.arange(len(queries)), index] = torch.inf
    return gap, apart @ W


def linear_evasion(
    W: Float[Tensor, "feature pixel"],
    database: Float[Tensor, "entry pixel"],
    queries: Float[Tensor, "query pixel"],
    index: Int[Tensor, " query"],
    norm: attacks.Norm = "linf",
) -> Evasion:
    """The exact radius with what attains it. database: the originals x_k, not their embeddings.

    An entry with the original's own embedding cannot be told apart: radius 0. Raises ValueError as `half_spaces` does.
    """
    return _evasion(*half_spaces(W, database, queries, index), norm)


def _evasion(gap: Tensor, normals: Tensor, norm: attacks.Norm) -> Evasion:
    width = _dual(normals, norm)
    radii = torch.where(width > 0, gap / torch.where(width > 0, 2 * width, 1.0), gap.clamp(min=0))
    radius, rival = radii.min(-1)
    normal = normals[torch.arange(len(gap)), rival]
    step = normal.sign() if norm == "linf" else attacks.unit(normal, (-1,))
    return Evasion(radius, rival, radius[:, None] * step)


def _dual(normals: Tensor, norm: attacks.Norm) -> Tensor:
    """The 1-norm for l-infinity perturbations, the 2-norm for l2 ones."""
    if norm not in get_args(attacks.Norm):
        raise ValueError(f"norm must be one of {', '.join(get_args(attacks.Norm))}, got {norm!r}")
    return normals.abs().sum(-1) if norm == "linf" else torch.linalg.vector_norm(normals, dim=-1)


def linear_evasion_radius(
    W: Float[Tensor, "feature pixel"],
    database: Float[Tensor, "entry pixel"],
    queries: Float[Tensor, "query pixel"],
    index: Int[Tensor, " query"],
    norm: attacks.Norm = "linf",
) -> Float[Tensor, " query"]:
    """r(q) = min_{j != i} (|z_j|^2 - |z_i|^2 - 2<z_j - z_i, W q>) / (2 |W^T(z_j - z_i)|_1); the 2-norm for norm="l2"."""
    return linear_evasion(W, database, queries, index, norm).radius


def matched(W: Tensor, database: Tensor, points: Tensor, index: Tensor) -> Bool[Tensor, "... query"]:
    """Whether each point [..., query, pixel] is strictly nearer to its own entry's embedding than to every other."""
    return mismatch(W, database, index)(points) < 0


def mismatch(W: Tensor, database: Tensor, index: Tensor) -> attacks.Objective:
    """|Wq - z_i|^2 - min_{j != i} |Wq - z_j|^2: above 0 where the match is broken."""
    z = database @ W.mT
    own = z[index]

    def objective(points: Tensor) -> Tensor:
        seen = points @ W.mT
        with torch.no_grad():
            score = 2 * seen @ z.mT - z.square().sum(-1)
            score.scatter_(-1, index.expand(score.shape[:-1])[..., None], -torch.inf)
            rival = z[score.argmax(-1)]
        return ((rival - own) * (2 * seen - rival - own)).sum(-1)

    return objective


def distance(W: Tensor, database: Tensor, index: Tensor) -> attacks.Objective:
    """|Wq - z_i|^2, for the attack away from the original."""
    own = database[index] @ W.mT
    return lambda points: (points @ W.mT - own).square().sum(-1)


def targeted_sign(
    W: Float[Tensor, "feature pixel"],
    database: Float[Tensor, "entry pixel"],
    queries: Float[Tensor, "query pixel"],
    index: Int[Tensor, " query"],
    radius: float,
    k: int,
) -> Bool[Tensor, " query"]:
    """Which matches hold under one step radius * sign(W^T(z_j - z_i)) towards each of the k nearest competitors."""
    require_nonnegative("radius", radius)
    require_count("k", k, 1, len(database) - 1)
    gap, normals = half_spaces(W, database, queries, index)
    z, seen = database @ W.mT, queries @ W.mT
    apart = torch.cdist(seen, z, compute_mode="donot_use_mm_for_euclid_dist")
    apart[torch.arange(len(queries)), index] = torch.inf
    held = gap.amin(-1) > 0
    for rival in apart.topk(k, -1, largest=False).indices.unbind(-1):
        step = radius * normals[torch.arange(len(queries)), rival].sign()
        held &= matched(W, database, queries + step, index)
    return held


@dataclass(frozen=True, eq=False)
class Example:
    """One seed's digits, matrix and queries (float64)."""

    W: Float[Tensor, "feature pixel"]
    database: Float[Tensor, "entry pixel"]
    queries: Float[Tensor, "query pixel"]
    index: Int[Tensor, " query"]


def example(seed: int, entries: int = 800, queries: int = 100, features: int = 32, noise: float = 0.1) -> Example:
    """`entries` digits, W with entries N(0, 1/64), and the first `queries` of the digits plus noise * N(0, 1)."""
    raw = embedded.digits()
    images = torch.from_numpy(raw.inputs).to(torch.float64).reshape(len(raw.inputs), -1) / raw.scale
    require_count("entries", entries, 2, len(images))
    require_count("queries", queries, 1, entries)
    database = images[draws.permutation(seed, len(images), stream="linear digits")[:entries]]
    W = draws.normal(seed, (features, images.shape[1]), stream="linear matrix") / 8
    moved = database[:queries] + noise * draws.normal(seed, (queries, images.shape[1]), stream="linear queries")
    return Example(W, database, moved, torch.arange(queries))


def exactness(seed: int, tau: float = 1e-6, norm: attacks.Norm = "linf") -> dict[str, float]:
    """The theorem tried: of the queries that match, the share lost at (1 + tau) r along the binding direction, and how many
    half-spaces are reached at (1 - tau) r by the vertex that reaches farthest. `norm`: of the radius; the box stays l-infinity.

    `rounding` is the largest relative rounding of r: the terms of its sums times eps, over the gap.
    """
    one = example(seed)
    gap, normals = half_spaces(one.W, one.database, one.queries, one.index)
    found = _evasion(gap, normals, norm)
    matching = found.radius > 0
    step = normals[torch.arange(len(one.queries)), found.rival].sign()
    lost = ~matched(one.W, one.database, one.queries + (1 + tau) * found.radius[:, None] * step, one.index)
    z, seen = one.database @ one.W.mT, one.queries @ one.W.mT
    crossings = 0
    for q in matching.nonzero()[:, 0].tolist():
        vertices = one.queries[q] + (1 - tau) * found.radius[q] * normals[q].sign()
        own, places = z[one.index[q]], vertices @ one.W.mT
        # The own entry has normal 0, so its vertex is the query itself, which is as near to itself as to itself.
        nearer = (places - z).square().sum(-1) < (places - own).square().sum(-1)
        crossings += int(nearer.sum())
    picked = torch.arange(len(one.queries)), found.rival
    size = z.square().sum(-1)[found.rival] + z.square().sum(-1)[one.index]
    size = size + 2 * ((z[found.rival] - z[one.index]) * seen).abs().sum(-1)
    rounding = torch.finfo(torch.float64).eps * sum(one.W.shape) * size / gap[picked].abs()
    return {
        "flipped": float(lost[matching].double().mean()),
        "crossings": float(crossings),
        "rounding": float(rounding[matching].max()),
    }


def recall_curves(
    seeds: Sequence[int],
    radii: Sequence[float],
    methods: Sequence[Method] = ("pgd",),
    *,
    steps: int = 20,
    k: int = 20,
    stretch: float = 1.0,
) -> xr.Dataset:
    """Recall over the radius: `exact`, and under attacks, dims (seed, radius). `stretch` multiplies the attacks' radius."""
    found = [_curves(example(seed), radii, methods, steps, k, stretch) for seed in seeds]
    return xr.concat(found, pd.Index(list(seeds), name="seed"))


def _curves(
    one: Example, radii: Sequence[float], methods: Sequence[Method], steps: int, k: int, stretch: float
) -> xr.Dataset:
    problem = one.W, one.database
    exact = linear_evasion_radius(*problem, one.queries, one.index)
    sizes = torch.tensor(list(radii), dtype=torch.float64)
    curves = {"exact": (exact > sizes[:, None]).double().mean(-1)}
    queries = one.queries.expand(len(sizes), *one.queries.shape)
    for method in methods:
        if method == "targets":
            held = [targeted_sign(*problem, one.queries, one.index, stretch * float(size), k) for size in sizes]
            curves[method] = torch.stack(held).double().mean(-1)
            continue
        objective = (mismatch if method == "pgd" else distance)(*problem, one.index)
        moved = attacks.pgd(objective, queries, stretch * sizes[:, None], "linf", steps=steps, box=None).inputs
        kept = matched(*problem, moved, one.index) & matched(*problem, queries, one.index)
        curves[method] = kept.double().mean(-1)
    return xr.Dataset(
        {name: ("radius", np.asarray(values)) for name, values in curves.items()},
        {"radius": ("radius", list(radii), {"long_name": "radius, l-infinity"})},
    )
