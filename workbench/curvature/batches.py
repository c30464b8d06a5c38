"""Batches as loaders give them: tensors, tuples and dicts, one by one or all of a loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree
from torch.utils.data import DataLoader, RandomSampler

Batch: TypeAlias = Any
"""A tensor, or a tuple, list or dict of tensors (nested if need be) with a leading sample dimension."""


def plain(batch: Batch) -> Batch:
    """The same with mappings of other kinds (a tokenizer's encoding) as dicts and named sequences as they are."""
    if isinstance(batch, Mapping):
        return {key: plain(value) for key, value in batch.items()}
    return [plain(entry) for entry in batch] if type(batch) is list else batch


def tensors(batch: Batch) -> list[Tensor]:
    """Its tensors that have samples."""
    leaves = [batch] if isinstance(batch, Tensor) else batch if _flat(batch) else tree.tree_leaves(batch)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim > 0]


def _flat(batch: Batch) -> bool:
    """The usual case, which is spared the cost of a tree."""
    return type(batch) is tuple and all(isinstance(entry, Tensor) for entry in batch)


def count(name: str, batch: Batch) -> int:
    """The number of samples.

    Raises:
        ValueError: no tensors, or different numbers of samples.
    """
    sizes = {len(leaf) for leaf in tensors(batch)}
    if len(sizes) != 1:
        kind = type(batch).__name__
        raise ValueError(
            f"{name} ({kind}) must be tensors with the same number of samples in their first dimension, got "
            f"{sorted(sizes) if sizes else 'no tensors with a first dimension'}"
        )
    return sizes.pop()


def take(batch: Batch, index: Any) -> Batch:
    """Some samples of it."""
    if isinstance(batch, Tensor):
        return batch[index] if batch.ndim > 0 else batch
    if type(batch) is tuple:  # the usual case, without the cost of a tree
        return tuple(take(entry, index) for entry in batch)
    return tree.tree_map(lambda leaf: leaf[index] if isinstance(leaf, Tensor) and leaf.ndim > 0 else leaf, batch)


def single(sample: Batch) -> Batch:
    """One sample as a batch of one."""
    if isinstance(sample, Tensor):
        return sample[None]
    return tree.tree_map(lambda leaf: leaf[None] if isinstance(leaf, Tensor) else leaf, sample)


def to(batch: Batch, device: torch.device) -> Batch:
    """On a device."""
    return tree.tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, batch)


def call(model: nn.Module, inputs: Batch) -> Any:
    """The model's outputs: a dict of inputs as keyword arguments, a tuple or list as arguments, a tensor alone."""
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)


def is_loader(thing: Any) -> bool:
    """Whether it hands out batches instead of being one."""
    return isinstance(thing, Iterable) and not isinstance(thing, (Tensor, Mapping, tuple, str))


def gather(loader: Iterable[Any]) -> Batch:
    """All batches of a loader as one.

    Raises:
        ValueError: an empty loader, or one that leaves out samples by chance.
    """
    refuse_chance(loader)
    batches = [plain(batch) for batch in loader]
    if not batches:
        raise ValueError("the loader has no batches; at least one sample is needed")
    return _together(batches)


def joined(loader: Iterable[Any], size: int) -> Iterator[Batch]:
    """The loader's batches put together or cut to multiples of `size` samples, but for the last.

    Raises:
        ValueError: an empty loader, or one that leaves out samples by chance.
    """
    refuse_chance(loader)
    kept, number, empty = [], 0, True
    for batch in loader:
        batch = plain(batch)
        kept.append(tuple(batch) if type(batch) is list else batch)
        number, empty = number + count("batch", kept[-1]), False
        if number >= size:
            whole, number = _together(kept), number % size
            cut = count("batch", whole) - number
            yield take(whole, slice(0, cut))
            kept = [take(whole, slice(cut, None))] if number else []
    if empty:
        raise ValueError("the loader has no batches; at least one sample is needed")
    if kept:
        yield _together(kept)


def _together(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    if all(_flat(batch) for batch in batches):
        return tuple(torch.cat(entries) for entries in zip(*batches, strict=True))
    return tree.tree_map(lambda *leaves: torch.cat(leaves) if isinstance(leaves[0], Tensor) else leaves[0], *batches)


def refuse_chance(loader: Iterable[Any]) -> None:
    """Refuse loaders whose samples are others each time: shuffled with the last ones dropped, or drawn with replacement."""
    if isinstance(loader, Iterator):
        raise ValueError("batches can be iterated over only once; pass a DataLoader or a list, not an iterator")
    if not isinstance(loader, DataLoader) or not isinstance(loader.sampler, RandomSampler):
        return
    size, batch = len(loader.sampler), loader.batch_size or 1
    if loader.sampler.replacement or (loader.drop_last and size % batch):
        why = (
            "draws with replacement"
            if loader.sampler.replacement
            else f"drops {size % batch} of {size} shuffled samples"
        )
        raise ValueError(
            f"the loader {why}, so that every pass over it is another loss; use shuffle=False or drop_last=False"
        )
