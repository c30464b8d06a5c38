"""A problem with one domain left out, by the name of its data."""

from __future__ import annotations

import os
from typing import TypeAlias

from torch import Tensor

from workbench.draws import Seed
from workbench.papers.swad.image_folders import LeftOutImages, domain_images, left_out_images
from workbench.papers.swad.rotated_digits import N_DOMAINS, LeftOutDigits, left_out_digits

DIGITS = "rotated-digits"
LeftOut: TypeAlias = LeftOutDigits | LeftOutImages


def left_out(
    dataset: str,
    seed: Seed,
    target: int | Tensor,
    *,
    label_noise: float | Tensor = 0.0,
    root: str | os.PathLike[str] | None = None,
    image_size: int = 224,
    width: int = 64,
    weights: str | os.PathLike[str] | None = None,
) -> LeftOut:
    """`left_out_digits` for "rotated-digits", `left_out_images` for everything else.

    Raises ValueError for label noise on images, whose labels are the data set's own, and what the two raise.
    """
    if dataset == DIGITS:
        return left_out_digits(seed, target, label_noise=label_noise)
    if isinstance(label_noise, Tensor) or label_noise != 0:
        raise ValueError(f"label_noise must be 0 for {dataset}; only {DIGITS} redraws labels, got {label_noise}")
    if isinstance(seed, Tensor) or isinstance(target, Tensor):
        raise ValueError(f"{dataset} is trained one model at a time: name seed and target in static= of the sweep")
    images = domain_images(dataset, root=root, size=image_size)
    return left_out_images(images, seed, target, width=width, weights=weights)


def n_domains(dataset: str, *, root: str | os.PathLike[str] | None = None, image_size: int = 224) -> int:
    """Number of domains. Raises DataNotFoundError naming the folder where the data are expected."""
    return N_DOMAINS if dataset == DIGITS else len(domain_images(dataset, root=root, size=image_size).domain_names)
