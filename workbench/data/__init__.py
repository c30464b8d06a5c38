"""Real data sets as tensors: embedded ones, local folders and verified downloads."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.data.augmentation import pad_crop_flip
    from workbench.data.domains import LeftOut, domain_members, leave_one_domain_out, rotate, rotated_digits
    from workbench.data.download import fetch
    from workbench.data.errors import DataError, DataNotFoundError
    from workbench.data.incremental import Sessions, sessions
    from workbench.data.labels import label_noise
    from workbench.data.loading import load, load_corrupted
    from workbench.data.pairs import read_pairs
    from workbench.data.photographs import augment_photographs
    from workbench.data.record import Data
    from workbench.data.splitting import split, subset
    from workbench.data.trees import Tree, class_tree, domain_tree, read_images

_NAMES = {
    "Data": "record",
    "DataError": "errors",
    "DataNotFoundError": "errors",
    "LeftOut": "domains",
    "Sessions": "incremental",
    "Tree": "trees",
    "augment_photographs": "photographs",
    "class_tree": "trees",
    "domain_members": "domains",
    "domain_tree": "trees",
    "fetch": "download",
    "label_noise": "labels",
    "leave_one_domain_out": "domains",
    "load": "loading",
    "load_corrupted": "loading",
    "pad_crop_flip": "augmentation",
    "read_images": "trees",
    "read_pairs": "pairs",
    "rotate": "domains",
    "rotated_digits": "domains",
    "sessions": "incremental",
    "split": "splitting",
    "subset": "splitting",
}

__all__ = [
    "Data",
    "DataError",
    "DataNotFoundError",
    "LeftOut",
    "Sessions",
    "Tree",
    "augment_photographs",
    "class_tree",
    "domain_members",
    "domain_tree",
    "fetch",
    "label_noise",
    "leave_one_domain_out",
    "load",
    "load_corrupted",
    "pad_crop_flip",
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
    if name in _NAMES:
        return getattr(importlib.import_module(f"workbench.data.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'workbench.data' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
