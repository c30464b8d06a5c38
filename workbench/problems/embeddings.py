"""Matching by embeddings: normalised vectors, class prototypes, nearest neighbours and recall in chunks, contrastive loss.

Leading dimensions [...] stand for many embeddings of different networks at once. A database may be a tensor over a memory map
(`torch.from_numpy(numpy.load(path, mmap_mode="c"))`): it is read block by block.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from workbench import memory
from workbench.checks import require_count, require_positive

Metric = Literal["cosine", "euclidean"]
BLOCK_BYTES = 32 << 20
"""Similarities computed at once: more does not make it faster."""


class Nearest(NamedTuple):
    """Rows of the database, nearest first, and their scores: larger is nearer."""

    scores: Float[Tensor, "... query k"]
    rows: Int[Tensor, "... query k"]


def normalised(vectors: Num[Tensor, "*lead feature"], floor: float = 1e-12) -> Float[Tensor, "*lead feature"]:
    """Each vector over its Euclidean length, or over the floor where it is shorter. Differentiable, zero stays zero.

    Raises ValueError for a floor that is not positive, and for integers.
    """
    require_positive("floor", floor)
    _require_real("vectors", vectors)
    return torch.nn.functional.normalize(vectors, dim=-1, eps=floor)


def class_prototypes(
    embeddings: Float[Tensor, "*lead sample feature"], labels: Int[Tensor, "..."], n_classes: int
) -> Float[Tensor, "*lead label feature"]:
    """The mean embedding of every class (arXiv:1703.05175, equation 1); differentiable in the embeddings.

    labels [sample] or [..., sample]: one row for all leading dimensions, or one for each. Raises ValueError for labels outside
    0..n_classes-1 and for a class without a sample.
    """
    _require_real("embeddings", embeddings)
    require_count("n_classes", n_classes)
    if labels.is_floating_point() or embeddings.dim() < 2 or labels.shape[-1:] != embeddings.shape[-2:-1]:
        raise ValueError(
            f"labels must be integers, one per sample, got {labels.dtype} {tuple(labels.shape)} "
            f"for embeddings {tuple(embeddings.shape)}"
        )
    if labels.numel() and not (labels.min() >= 0 and labels.max() < n_classes):
        raise ValueError(f"labels must lie in 0..{n_classes - 1}, got {int(labels.min())} to {int(labels.max())}")
    member = torch.nn.functional.one_hot(labels.long(), n_classes).to(embeddings)
    counts = member.sum(-2)
    if bool((counts == 0).any()):
        empty = sorted({int(row[-1]) for row in (counts == 0).nonzero()})
        raise ValueError(f"classes {empty} have no sample: a prototype is a mean, so give each class at least one")
    return (member / counts[..., None, :]).mT @ embeddings


def nearest(
    queries: Float[Tensor, "... query feature"],
    database: Float[Tensor, "... entry width"],
    k: int = 1,
    *,
    metric: Metric = "cosine",
) -> Nearest:
    """The k nearest entries of every query, in chunks, so that the memory stays bounded whatever the database's length.

    Scores are cosines, or minus squared distances for "euclidean". For k = 1 the first of equal entries is given.
    Raises ValueError for shapes that do not fit, k outside 1..entries, an unknown metric.
    """
    _check(queries, database, metric)
    require_count("k", k, 1, database.shape[-2])
    lead = torch.broadcast_shapes(queries.shape[:-2], database.shape[:-2])
    queries = queries.expand(*lead, *queries.shape[-2:])
    parts = [_nearest_of(part, database, k, metric) for part in _query_parts(queries)]
    scores, rows = (torch.cat(column, -2) for column in zip(*parts, strict=True))
    if metric == "euclidean":
        scores = (scores - queries.square().sum(-1, keepdim=True)).clamp(max=0)
    return Nearest(scores, rows)


def nearest_prototype(
    queries: Float[Tensor, "... query feature"],
    prototypes: Float[Tensor, "... label width"],
    *,
    metric: Metric = "euclidean",
) -> Int[Tensor, "... query"]:
    """The class whose prototype is nearest (arXiv:1703.05175, equation 2); the first of equal ones."""
    return nearest(queries, prototypes, metric=metric).rows[..., 0]


def attributed(
    queries: Float[Tensor, "... query feature"],
    database: Float[Tensor, "... entry width"],
    own: Int[Tensor, "..."],
    k: int = 1,
    *,
    metric: Metric = "cosine",
) -> Bool[Tensor, "... query"]:
    """Whether a query's own entry is among its k nearest: fewer than k others are as near, or nearer.

    Ties count against the own entry, and what rounding cannot tell apart is a tie. In chunks. `own` [query] or [..., query] has a
    row of the database for each query. Raises ValueError as `nearest` does, and for rows outside the database.
    """
    _check(queries, database, metric)
    entries = database.shape[-2]
    require_count("k", k, 1, entries)
    if own.is_floating_point() or own.shape[-1:] != queries.shape[-2:-1]:
        raise ValueError(f"own must be integers, one row per query, got {own.dtype} {tuple(own.shape)}")
    if own.numel() and not (own.min() >= 0 and own.max() < entries):
        raise ValueError(f"own must lie in 0..{entries - 1}, got {int(own.min())} to {int(own.max())}")
    lead = torch.broadcast_shapes(queries.shape[:-2], database.shape[:-2])
    queries, own = queries.expand(*lead, *queries.shape[-2:]), own.expand(*lead, queries.shape[-2])
    found, start = [], 0
    for part in _query_parts(queries):
        rows = own[..., start : start + part.shape[-2]]
        start += part.shape[-2]
        found.append(_others_as_near(part, database, rows, metric) < k)
    return torch.cat(found, -1)


def recall(
    queries: Float[Tensor, "... query feature"],
    database: Float[Tensor, "... entry width"],
    own: Int[Tensor, "..."],
    k: int = 1,
    *,
    metric: Metric = "cosine",
) -> Float[Tensor, "..."]:
    """recall@k, the share of queries whose own entry is among their k nearest (`attributed`), in [0, 1]."""
    return attributed(queries, database, own, k, metric=metric).to(torch.float64).mean(-1)


def contrastive_loss(
    queries: Float[Tensor, "*lead pair feature"],
    keys: Float[Tensor, "..."],
    temperature: float,
    *,
    symmetric: bool = True,
) -> Float[Tensor, "*lead pair"]:
    """The loss of each pair of a minibatch, -log softmax_k(<q_i, x_k> / temperature) at k = i (arXiv:1807.03748, equation 4).

    symmetric: the mean of it and of the same with queries and keys exchanged. Chance is log(number of pairs). Inner products
    are taken as given: normalise first. Raises ValueError for other shapes, fewer than two pairs, a temperature <= 0.
    """
    require_positive("temperature", temperature)
    _require_real("queries", queries)
    if queries.shape != keys.shape or queries.dim() < 2 or queries.shape[-2] < 2:
        raise ValueError(
            f"queries and keys must have one shape [..., pair, feature] with at least two pairs, got "
            f"{tuple(queries.shape)} and {tuple(keys.shape)}"
        )
    similarity = queries @ keys.mT / temperature
    own = similarity.diagonal(dim1=-2, dim2=-1)
    forward = torch.logsumexp(similarity, -1) - own
    return 0.5 * (forward + torch.logsumexp(similarity, -2) - own) if symmetric else forward


def embed(
    network: Callable[[Float[Tensor, "sample ..."]], Float[Tensor, "sample feature"]],
    inputs: Float[Tensor, "sample ..."],
    *,
    rows: int = 1024,
    path: str | os.PathLike[str] | None = None,
) -> Float[Tensor, "sample feature"]:
    """The network's outputs, `rows` inputs at a time, without gradients; written to `path` (a .npy file, memory-mapped) if given.

    Raises ValueError for no inputs or rows below 1.
    """
    require_count("rows", rows)
    if not len(inputs):
        raise ValueError("inputs is empty: there is nothing to embed")
    kept: Tensor | None = None
    with torch.no_grad():
        for start in range(0, len(inputs), rows):
            part = network(inputs[start : start + rows])
            if kept is None:
                kept = _storage((len(inputs), *part.shape[1:]), part, path)
            kept[start : start + len(part)] = part
    assert kept is not None
    return kept


def _storage(shape: tuple[int, ...], like: Tensor, path: str | os.PathLike[str] | None) -> Tensor:
    if path is None:
        return like.new_empty(shape)
    dtype = like.cpu().numpy().dtype
    return torch.from_numpy(np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape))


def _check(queries: Tensor, database: Tensor, metric: str) -> None:
    if metric not in get_args(Metric):
        raise ValueError(f"metric must be one of {', '.join(get_args(Metric))}, got {metric!r}")
    _require_real("queries", queries)
    if queries.dim() < 2 or database.dim() < 2 or queries.shape[-1] != database.shape[-1]:
        raise ValueError(
            f"queries [..., query, feature] and database [..., entry, feature] must have equal features, got "
            f"{tuple(queries.shape)} and {tuple(database.shape)}"
        )
    if queries.dtype != database.dtype:
        raise ValueError(f"queries and database must have one dtype, got {queries.dtype} and {database.dtype}")
    if not queries.shape[-2] or not database.shape[-2]:
        raise ValueError("queries and database must have at least one row each")


def _require_real(name: str, values: Tensor) -> None:
    if not values.is_floating_point():
        raise ValueError(f"{name} must be floating-point numbers, got {values.dtype}: convert them")


def _query_parts(queries: Tensor) -> tuple[Tensor, ...]:
    """At most 1024 queries at a time over all leading dimensions, at least one of each."""
    networks = max(1, queries.shape[:-2].numel())
    return queries.split(max(1, 1024 // networks), -2)


def _blocks(queries: Tensor, database: Tensor, metric: str) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(first row, scores [..., query, row], largest length of an entry [..., 1, 1]) for stretches of the database.

    Euclidean scores lack the query's own square, which changes no order.
    """
    room = min(BLOCK_BYTES, memory.budget() / 4)
    rows = max(1, int(room // (queries[..., 0].numel() * queries.element_size())))
    left = normalised(queries) if metric == "cosine" else queries
    for start in range(0, database.shape[-2], rows):
        block = database[..., start : start + rows, :]
        lengths = torch.linalg.vector_norm(block, dim=-1)[..., None, :]
        scores = left @ block.mT
        scores = scores / lengths.clamp(min=1e-12) if metric == "cosine" else 2 * scores - lengths.square()
        yield start, scores, lengths.amax(-1, keepdim=True)


def _nearest_of(queries: Tensor, database: Tensor, k: int, metric: str) -> Nearest:
    best: Nearest | None = None
    for start, scores, _ in _blocks(queries, database, metric):
        if k == 1:  # unlike topk, max gives the first of equal ones
            values, places = scores.max(-1, keepdim=True)
        else:
            values, places = scores.topk(min(k, scores.shape[-1]), -1)
        found = Nearest(values, places + start)
        if best is not None:
            values, rows = torch.cat([best.scores, values], -1), torch.cat([best.rows, found.rows], -1)
            values, places = torch.sort(values, dim=-1, descending=True, stable=True)
            found = Nearest(values[..., :k], rows.gather(-1, places)[..., :k])
        best = found
    assert best is not None
    return best


def _others_as_near(queries: Tensor, database: Tensor, own: Tensor, metric: str) -> Tensor:
    """How many other entries are at least as near as the own one, up to the rounding of their scores."""
    picked = database.expand(*queries.shape[:-2], *database.shape[-2:]).gather(
        -2, own[..., None].expand(*own.shape, database.shape[-1])
    )
    length = torch.linalg.vector_norm(picked, dim=-1)
    product = ((normalised(queries) if metric == "cosine" else queries) * picked).sum(-1)
    score = product / length.clamp(min=1e-12) if metric == "cosine" else 2 * product - length.square()
    # The rounding of an inner product of n terms is at most about n eps |q| |z|; in practice its root.
    unit = torch.finfo(queries.dtype).eps * queries.shape[-1] ** 0.5
    size = torch.linalg.vector_norm(queries, dim=-1)
    count = torch.zeros_like(own)
    for start, scores, longest in _blocks(queries, database, metric):
        most = torch.maximum(longest[..., 0], length)
        slack = unit if metric == "cosine" else unit * (2 * size * most + most.square())
        near = scores >= (score - slack)[..., None]
        place = own - start
        inside = (place >= 0) & (place < scores.shape[-1])
        itself = near.gather(-1, place.clamp(0, scores.shape[-1] - 1)[..., None])[..., 0] & inside
        count += near.sum(-1) - itself.long()
    return count
