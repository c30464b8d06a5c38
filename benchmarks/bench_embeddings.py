"""Recall@1 of 1,000 queries over 10^6 entries of 64 numbers, in blocks, against matmul and topk.

The largest database should take at most 20 seconds, in bounded memory.
"""

from __future__ import annotations

import resource

import torch

from benchmarks.measure import once, row
from workbench.problems import embeddings

ENTRIES, QUERIES, FEATURES = 1_000_000, 1000, 64


def rows() -> list[dict[str, object]]:
    """One search, with the memory that it adds."""
    generator = torch.Generator().manual_seed(0)
    database = torch.nn.functional.normalize(torch.randn(ENTRIES, FEATURES, generator=generator), dim=1)
    own = torch.arange(QUERIES)
    queries = torch.nn.functional.normalize(
        database[:QUERIES] + 0.2 * torch.randn(QUERIES, FEATURES, generator=generator), dim=1
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = []
    ours = once(lambda: found.append(embeddings.recall(queries, database, own)))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    theirs = once(lambda: found.append(_topk(queries, database, own)))
    note = f"at most 20 s; adds {grown:.0f} MiB; recall {float(found[0]):.3f} and {float(found[1]):.3f}"
    return [row(f"recall@1, {QUERIES} queries, {ENTRIES} entries", ours, "torch matmul and topk", theirs, note)]


def _topk(queries: torch.Tensor, database: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """All similarities of a quarter of the queries at a time (1 GB)."""
    best = [(part @ database.T).topk(1).indices[:, 0] for part in queries.split(QUERIES // 4)]
    return (torch.cat(best) == own).double().mean()
