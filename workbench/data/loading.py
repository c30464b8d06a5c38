"""One function that gives a real data set by its name."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from workbench.data import catalogue, sources
from workbench.data.names import position
from workbench.data.preparing import transforms
from workbench.data.preparing.splitting import split, subset
from workbench.data.readers import corrupted
from workbench.data.readers.raw import Raw
from workbench.data.record import Data


def load(
    name: str,
    *,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    train: int | None = None,
    test: int | None = None,
    seed: int | Tensor | None = 0,
    classes: Sequence[int | str] | None = None,
    size: int | None = None,
    grey: bool = False,
    flatten: bool = False,
    centre: bool = False,
    standardise: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Data:
    """Load a data set as tensors: `load("digits", train=1000)`.

    Embedded names never touch the disk or the network. Others are read from `root`, else from the folder named by the
    environment variable WORKBENCH_DATA, else from the cache folder; only `download=True` fetches them (verified).
    `workbench data list` shows all names.

    train, test: how many samples. Where the set has an official split, a class-balanced subset of each part (`subset`);
        else a random split (`split`) in which the test part is the rest unless `test` is given. Without either, an
        official split is kept whole and a set without one is all training part.
    seed: of the subset or split; None takes the first samples of each class in their official order (needs an
        official split). For "rotated-digits" also of the assignment of images to domains.
    classes: keep these, by name or position, relabelled 0, 1, ... in the order given. A number that is the position of one
        class and the name of another is refused.
    size: images are average-pooled by an integer factor to size x size; images in folders are resized and cropped.
    grey: one luminance channel. flatten: samples become vectors.
    centre: subtract the mean sample. standardise: "features", "all" (one mean and deviation for all features) or
        "channels" (published constants of the colours where there are any). The statistics are those of all samples
        of a set without an official split (so they do not depend on the seed), else, and for images in folders, of
        the training samples kept.
    dtype: of the inputs and of regression targets. torch.uint8 keeps an image set's bytes untouched (0..255).

    Raises DataNotFoundError if the set is not on this machine, DataError if a file is damaged, ValueError for an
    option out of range.
    """
    entry = catalogue.entry(name)
    in_files = entry.kind in ("classes", "domains")
    _check_dtype(
        dtype, () if in_files else ("size", "grey"), size=size, grey=grey, centre=centre, standardise=standardise
    )
    raw = sources.read(entry, root, download, size, grey, seed)
    if classes is not None:
        raw = _only(raw, classes)
    data = _as_stored(entry.name, raw)
    cut_first = raw.test_inputs is not None or in_files
    if cut_first:
        data = _cut(data, raw, seed, train, test)
    if raw.decode is not None:
        data, size, grey = _decoded(data, raw.decode), None, False
    data = _transformed(data, raw, size, grey, centre, standardise, dtype)
    if not cut_first:
        data = _cut(data, raw, seed, train, test)
    return _replace(data, lambda inputs: inputs.flatten(1)) if flatten else data


def load_corrupted(
    corruption: str,
    severity: int,
    *,
    of: str = "cifar10",
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    test: int | None = None,
    seed: int | Tensor | None = 0,
    size: int | None = None,
    grey: bool = False,
    flatten: bool = False,
    standardise: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Data:
    """CIFAR-10-C or CIFAR-100-C: the test images under one corruption at severity 1..5; the training part is empty.

    Options as in `load`. With the official CIFAR files, `load(of, test=n, seed=s)` has the same test images clean.
    The file is memory-mapped: only the severity asked for is read. standardise: only "channels" (published constants).
    """
    entry = catalogue.entry(f"{of}-c")
    if standardise not in (None, "channels"):
        raise ValueError(f'standardise must be "channels" or None for corrupted images, got {standardise!r}')
    _check_dtype(dtype, ("size", "grey"), size=size, grey=grey, centre=False, standardise=standardise)
    corrupted.check(corruption, severity)
    folder, words = sources.locate(entry, root, download)
    raw = corrupted.read_severity(folder, corruption, severity, entry.class_names, words)
    raw = dataclasses.replace(raw, channel_mean=entry.mean, channel_deviation=entry.deviation)
    data = _cut(_as_stored(entry.name, raw), raw, seed, None, test)
    data = _transformed(data, raw, size, grey, False, standardise, dtype)
    return _replace(data, lambda inputs: inputs.flatten(1)) if flatten else data


def _check_dtype(dtype: torch.dtype, excluded: tuple[str, ...], **options: object) -> None:
    if not dtype.is_floating_point and dtype != torch.uint8:
        raise ValueError(f"dtype must be a floating-point type or torch.uint8, got {dtype}")
    for name in (*excluded, "centre", "standardise"):
        if dtype == torch.uint8 and options[name] not in (None, False):
            raise ValueError(f"dtype=torch.uint8 keeps the bytes as they are, so {name} cannot be given with it")


def _cut(data: Data, raw: Raw, seed: int | Tensor | None, train: int | None, test: int | None) -> Data:
    if train is None and test is None:
        return data
    if raw.test_inputs is not None:
        return subset(data, seed, train=train, test=test)
    if seed is None:
        raise ValueError(f"seed must be a number: {data.name} has no official split and its samples are sorted")
    n = len(data.train_inputs)
    return split(data, seed, train=n - (test or 0) if train is None else train, test=test)


def _decoded(data: Data, decode: Callable[[np.ndarray], np.ndarray]) -> Data:
    images = torch.from_numpy(decode(data.inputs.numpy()))
    n = len(data.train_inputs)
    return dataclasses.replace(data, train_inputs=images[:n], test_inputs=images[n:])


def _only(raw: Raw, classes: Sequence[int | str]) -> Raw:
    if not raw.class_names:
        raise ValueError("classes cannot be chosen in a regression set")
    numbers = [position(wanted, raw.class_names, "classes") for wanted in classes]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"classes must be one or more different classes, got {list(classes)}")
    relabel = np.full(len(raw.class_names), -1)
    relabel[numbers] = np.arange(len(numbers))
    keep = relabel[raw.targets] >= 0
    changed: dict[str, object] = {
        "inputs": raw.inputs[keep],
        "targets": relabel[raw.targets[keep]],
        "class_names": tuple(raw.class_names[number] for number in numbers),
        "domains": None if raw.domains is None else raw.domains[keep],
    }
    if raw.test_inputs is not None and raw.test_targets is not None:
        keep = relabel[raw.test_targets] >= 0
        changed |= {"test_inputs": raw.test_inputs[keep], "test_targets": relabel[raw.test_targets[keep]]}
    return dataclasses.replace(raw, **changed)  # type: ignore[arg-type]


def _as_stored(key: str, raw: Raw) -> Data:
    # Copies: the arrays of embedded sets are shared by all who load them, and those of files are read-only.
    inputs, targets = torch.tensor(raw.inputs), torch.tensor(raw.targets)
    test_inputs = inputs[:0] if raw.test_inputs is None else torch.tensor(raw.test_inputs)
    test_targets = targets[:0] if raw.test_targets is None else torch.tensor(raw.test_targets)
    domain = None if raw.domains is None else torch.tensor(raw.domains)
    return Data(
        key, inputs, targets, test_inputs, test_targets, raw.class_names, raw.source, raw.verification,
        domain, None if domain is None else domain[:0], raw.domain_names,
    )  # fmt: skip


def _transformed(
    data: Data, raw: Raw, size: int | None, grey: bool, centre: bool, standardise: str | None, dtype: torch.dtype
) -> Data:
    image = data.train_inputs.dim() == 4
    if not image and (size is not None or grey):
        raise ValueError(f"size and grey apply to images; {data.name} is a table")
    if dtype == torch.uint8:
        if data.train_inputs.dtype != torch.uint8:
            raise ValueError(f"dtype=torch.uint8 needs a set that is stored as bytes; {data.name} is not")
        return data

    def numbers(inputs: Tensor) -> Tensor:
        values = inputs.to(dtype, copy=True).div_(raw.scale)
        values = transforms.pooled(values, size) if size is not None else values
        return transforms.greyed(values) if grey else values

    data = _replace(data, numbers)
    if not data.class_names:
        data = dataclasses.replace(
            data, train_targets=data.train_targets.to(dtype), test_targets=data.test_targets.to(dtype)
        )
    if not centre and standardise is None:
        return data
    location, scale = transforms.location_and_scale(
        data.train_inputs, centre, standardise, raw.channel_mean, raw.channel_deviation
    )
    return _replace(data, lambda inputs: ((inputs.to(torch.float64) - location) / scale).to(dtype))


def _replace(data: Data, change: Callable[[Tensor], Tensor]) -> Data:
    return dataclasses.replace(data, train_inputs=change(data.train_inputs), test_inputs=change(data.test_inputs))
