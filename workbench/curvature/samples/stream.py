"""Samples that come from a loader: a few batches at a time, as fast as from one tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

from workbench.curvature import batches
from workbench.parameters import Parameters

from .source import SampleLoss, Source, chunk_size, sample_problem


def sources(
    loss: SampleLoss, parameters: Parameters, data: tuple[Any, ...], chunk: int | None, skip: int = 0
) -> Iterator[Source]:
    """All data as one source, or as many as a loader's batches fill with whole chunks; those wholly among the first `skip`
    samples are left out.

    Raises ValueError where the data are refused.
    """
    if not _of_loader(data):
        yield Source(loss, parameters, data, chunk)
        return
    known, before = None, 0
    for batch in batches.joined(data[0], chunk_size(loss, parameters, chunk)):
        number = batches.count("batch", batch)
        if before + number > skip:
            piece = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
            known = known or Source(loss, parameters, piece, chunk)
            yield known.over(piece, before)
        before += number


def gradient_blocks(
    loss: SampleLoss, parameters: Parameters, data: tuple[Any, ...], chunk: int | None
) -> Iterator[Tensor]:
    """The gradients [sample, parameter] of one chunk after the other."""
    for source in sources(loss, parameters, data, chunk):
        for start in source.starts:
            yield source.gradients(start)


def count_samples(loss: SampleLoss, data: tuple[Any, ...]) -> int:
    """How many samples the data have; a loader that does not say is gone through once.

    Raises ValueError where there are none.
    """
    if not _of_loader(data):
        return batches.count("data", sample_problem(loss, data)[1])
    loader = data[0]
    batches.refuse_chance(loader)
    if isinstance(loader, DataLoader) and loader.batch_size is not None and hasattr(loader.sampler, "__len__"):
        number = len(loader.sampler)  # pyrefly: ignore[bad-argument-type]
        return number - number % loader.batch_size if loader.drop_last else number
    return sum(batches.count("batch", batches.plain(batch)) for batch in loader)


def require_one_order(data: tuple[Any, ...], purpose: str) -> None:
    """Refuse a shuffled loader where it is gone through more than once.

    Raises ValueError.
    """
    if _of_loader(data) and isinstance(data[0], DataLoader) and isinstance(data[0].sampler, RandomSampler):
        raise ValueError(f"{purpose} goes through the loader more than once, and it shuffles; use shuffle=False")


def _of_loader(data: tuple[Any, ...]) -> bool:
    return len(data) == 1 and batches.is_loader(data[0])
