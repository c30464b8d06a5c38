"""From a catalogue entry to its arrays: which reader, which folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workbench.data.catalogue import Entry
from workbench.data.errors import DataNotFoundError
from workbench.data.fetching import download, places
from workbench.data.preparing import domains
from workbench.data.readers import cifar, embedded, idx, trees
from workbench.data.readers.raw import Raw

Root = str | os.PathLike[str] | None


def read(entry: Entry, root: Root, fetch: bool, size: int | None, grey: bool, seed: int | Tensor | None) -> Raw:
    """The arrays of a data set. `size` and `grey` only reach the decoder of image files, `seed` only made domains."""
    if entry.name in embedded.EMBEDDED:
        return embedded.EMBEDDED[entry.name]()
    if entry.name == "rotated-digits":
        return _rotated_digits(_integer(entry, seed))
    if entry.name in ("image-folder", "domain-folder"):
        folder, words = _given(entry, root), "the folder given as root"
    else:
        folder, words = locate(entry, root, fetch)
    if entry.kind == "idx":
        raw = idx.read_folder(folder, entry.official, entry.class_names, words)
        if entry.name == "rotated-mnist":
            raw = _rotated_images(raw, _integer(entry, seed))
    elif entry.kind in ("cifar10", "cifar100"):
        raw = cifar.read_folder(folder, entry.class_names, words)
    elif entry.kind == "corrupted":
        raise ValueError(f'{entry.name} is loaded by data.load_corrupted(corruption, severity, of="{entry.name[:-2]}")')
    elif entry.kind == "classes":
        raw = _image_folder(folder, words, size, grey)
    else:
        tree = trees.domain_tree(folder, entry.domains)
        raw = _undecoded(tree, words, size, grey, domains=tree.groups, domain_names=tree.group_names)
    return replace(raw, channel_mean=entry.mean, channel_deviation=entry.deviation)


def locate(entry: Entry, root: Root, fetch: bool) -> tuple[Path, str]:
    """The set's folder and its place in words; fetched first if asked for and absent."""
    try:
        return places.find(entry, root)
    except DataNotFoundError:
        if not fetch:
            raise
    download.fetch(entry.name, root=root)
    return places.find(entry, root)


def _given(entry: Entry, root: Root) -> Path:
    if root is None:
        raise ValueError(f"{entry.name} needs root=, the folder that holds {entry.tree}")
    folder = places.home(root)
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder} is no folder; {entry.name} expects {entry.tree}")
    return folder


def _integer(entry: Entry, seed: int | Tensor | None) -> int:
    if isinstance(seed, Tensor) or seed is None:
        raise ValueError(f"{entry.name} needs an integer seed; in a sweep use data.rotated_digits(seed)")
    return seed


def _rotated_digits(seed: int) -> Raw:
    images, targets = domains.rotated_digits(seed, dtype=torch.float64)
    n_domains, members = targets.shape
    return Raw(
        images.flatten(0, 1).numpy(),
        targets.flatten().numpy(),
        tuple(str(digit) for digit in range(10)),
        1.0,
        "scikit-learn's load_digits (embedded), rotated",
        "embedded",
        domains=np.repeat(np.arange(n_domains), members),
        domain_names=_angle_names(),
    )


def _rotated_images(raw: Raw, seed: int) -> Raw:
    """RotatedMNIST: both parts pooled, dealt out to the domains, rotated with bicubic interpolation."""
    assert raw.test_inputs is not None and raw.test_targets is not None
    images = np.concatenate([raw.inputs, raw.test_inputs])[:, 0]
    targets = np.concatenate([raw.targets, raw.test_targets])
    members = domains.domain_members(seed, len(images), len(domains.ANGLES)).numpy()
    turned = np.stack([
        np.asarray(Image.fromarray(images[member]).rotate(angle, resample=Image.Resampling.BICUBIC))
        for angle, dealt in zip(domains.ANGLES, members, strict=True)
        for member in dealt
    ])  # fmt: skip
    return replace(
        raw,
        inputs=turned[:, None],
        targets=targets[members.flatten()],
        source=f"{raw.source}, rotated",
        test_inputs=None,
        test_targets=None,
        domains=np.repeat(np.arange(len(members)), members.shape[1]),
        domain_names=_angle_names(),
    )


def _angle_names() -> tuple[str, ...]:
    return tuple(f"{angle:g}°" for angle in domains.ANGLES)


def _image_folder(folder: Path, words: str, size: int | None, grey: bool) -> Raw:
    if not ((folder / "train").is_dir() and (folder / "test").is_dir()):
        return _undecoded(trees.class_tree(folder), words, size, grey)
    others = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if others := [name for name in others if name not in ("train", "test")]:
        warnings.warn(
            f"{folder} holds train and test, and beside them {', '.join(others)}, which is not read", stacklevel=4
        )
    tree = trees.domain_tree(folder, ("train", "test"))
    raw = _undecoded(tree, words, size, grey)
    training = tree.groups == tree.group_names.index("train")
    return replace(
        raw,
        inputs=raw.inputs[training],
        targets=raw.targets[training],
        test_inputs=raw.inputs[~training],
        test_targets=raw.targets[~training],
    )


def _undecoded(
    tree: trees.Tree,
    words: str,
    size: int | None,
    grey: bool,
    domains: np.ndarray | None = None,
    domain_names: tuple[str, ...] = (),
) -> Raw:
    return Raw(
        np.arange(len(tree.files)),
        tree.targets,
        tree.class_names,
        255.0,
        words,
        "local, not verified",
        domains=domains,
        domain_names=domain_names,
        decode=_decoder(tree.files, size, grey),
    )


def _decoder(paths: tuple[Path, ...], size: int | None, grey: bool) -> Callable[[np.ndarray], np.ndarray]:
    def decode(numbers: np.ndarray) -> np.ndarray:
        return trees.read_images([paths[number] for number in numbers], size, grey)

    return decode
