"""Real data sets as tensors: embedded ones, local folders and verified downloads."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.data.errors import DataError, DataNotFoundError
    from workbench.data.fetching.download import fetch
    from workbench.data.loading import load, load_corrupted
    from workbench.data.preparing import corruptions
    from workbench.data.preparing.affine import affine, random_affine
    from workbench.data.preparing.augmentation import pad_crop_flip
    from workbench.data.preparing.domains import LeftOut, domain_members, leave_one_domain_out, rotate, rotated_digits
    from workbench.data.preparing.incremental import Sessions, sessions
    from workbench.data.preparing.labels import label_noise
    from workbench.data.preparing.pasting import paste
    from workbench.data.preparing.photographs import augment_photographs
    from workbench.data.preparing.photometric import photometric
    from workbench.data.preparing.splitting import split, subset
    from workbench.data.readers.pairs import read_pairs
    from workbench.data.readers.trees import Tree, class_tree, domain_tree, read_images
    from workbench.data.record import Data

_NAMES = {
    "Data": "record",
    "DataError": "errors",
    "DataNotFoundError": "errors",
    "LeftOut": "preparing.domains",
    "Sessions": "preparing.incremental",
    "Tree": "readers.trees",
    "affine": "preparing.affine",
    "augment_photographs": "preparing.photographs",
    "class_tree": "readers.trees",
    "domain_members": "preparing.domains",
    "domain_tree": "readers.trees",
    "fetch": "fetching.download",
    "label_noise": "preparing.labels",
    "leave_one_domain_out": "preparing.domains",
    "load": "loading",
    "load_corrupted": "loading",
    "pad_crop_flip": "preparing.augmentation",
    "paste": "preparing.pasting",
    "photometric": "preparing.photometric",
    "random_affine": "preparing.affine",
    "read_images": "readers.trees",
    "read_pairs": "readers.pairs",
    "rotate": "preparing.domains",
    "rotated_digits": "preparing.domains",
    "sessions": "preparing.incremental",
    "split": "preparing.splitting",
    "subset": "preparing.splitting",
}

__all__ = [
    "Data",
    "DataError",
    "DataNotFoundError",
    "LeftOut",
    "Sessions",
    "Tree",
    "affine",
    "augment_photographs",
    "class_tree",
    "corruptions",
    "domain_members",
    "domain_tree",
    "fetch",
    "label_noise",
    "leave_one_domain_out",
    "load",
    "load_corrupted",
    "pad_crop_flip",
    "paste",
    "photometric",
    "random_affine",
    "read_images",
    "read_pairs",
    "rotate",
    "rotated_digits",
    "sessions",
    "split",
    "subset",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that `workbench data list` does not wait for torch.
    if name == "corruptions":
        return importlib.import_module("workbench.data.preparing.corruptions")
    if name in _NAMES:
        return getattr(importlib.import_module(f"workbench.data.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'workbench.data' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
