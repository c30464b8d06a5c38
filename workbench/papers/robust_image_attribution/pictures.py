"""What happens to a picture on its way to the query: an edit (a square of another image), then a harmless change.

A seed draws the split, the edits, the changes and the minibatches, so that all arms of a seed see the same queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import draws
from workbench.checks import require_count
from workbench.data.preparing.affine import random_affine
from workbench.data.preparing.pasting import paste
from workbench.data.preparing.photometric import photometric

Images = Float[Tensor, "sample channel row column"]


@dataclass(frozen=True)
class Benign:
    """Strengths of the harmless change: rotation [degrees], scale, shift [half sides], then one of noise, brightness, contrast
    and blur. Negative or impossible ones are refused where they are used.
    """

    rotation: float = 5.0
    scale: float = 0.03
    shift: float = 0.03
    noise: float = 0.05
    brightness: float = 0.1
    contrast: float = 0.3
    blur: float = 0.5

    def apply(self, images: Images, seed: int, stream: str, counter: int = 0) -> Images:
        """Every image changed by its own draws; values in [0, 1]."""
        moved = random_affine(
            images, seed, rotation=self.rotation, scale=self.scale, shift=self.shift, stream=stream, counter=counter
        )
        return photometric(
            moved.clamp(0, 1), seed, noise=self.noise, brightness=self.brightness, contrast=self.contrast,
            blur=self.blur, stream=f"{stream} values", counter=counter,
        )  # fmt: skip


def edit_side(share: float, side: int) -> int:
    """Pixels of the pasted square's side, round(share * side).

    Raises ValueError for a share outside (0, 1) and for a square of less than one pixel.
    """
    if not 0 < share < 1:
        raise ValueError(f"edit_share must be in (0, 1), got {share}")
    pixels = round(share * side)
    if pixels < 1:
        raise ValueError(f"edit_share = {share} of {side} pixels is less than one pixel: take at least {1 / side:.3g}")
    return pixels


def edited(images: Images, donors: Images, side: int, seed: int, stream: str, counter: int = 0) -> Images:
    """The images with a square of `side` pixels of their donors, at the same place."""
    return paste(images, donors, seed, side=side, stream=stream, counter=counter)[0]


def training_queries(images: Images, benign: Benign, side: int, seed: int, counter: int) -> Images:
    """A benign change of every image, the second half edited before; the donor is the next image of the minibatch."""
    half = len(images) // 2
    pasted = edited(images[half:], images.roll(-1, 0)[half:], side, seed, "training edit", counter)
    return benign.apply(torch.cat([images[:half], pasted]), seed, "training change", counter)


@dataclass(frozen=True, eq=False)
class Trial:
    """What all arms are judged on. Leading dimensions [...]: one per seed where all seeds are attacked at once, else none.

    originals: the queried images first, then the rest of the database, then distractors; edited, benign: the queries of the
    first originals; elsewhere: images outside the database.
    """

    seeds: tuple[int, ...]
    originals: Float[Tensor, "... original channel row column"]
    edited: Float[Tensor, "... query channel row column"]
    benign: Float[Tensor, "... query channel row column"]
    elsewhere: Float[Tensor, "... other channel row column"]

    @property
    def own(self) -> Int[Tensor, " query"]:
        """The place of every query's original."""
        return torch.arange(self.edited.shape[-4])

    def chance(self, kind: str, counter: int) -> Float[Tensor, "... query channel row column"]:
        """Uniform numbers on [-1, 1) of the queries' shape, by each seed's own generator."""
        shape = tuple(self.edited.shape[-4:])
        drawn = [draws.uniform(seed, shape, low=-1.0, stream=kind, counter=counter) for seed in self.seeds]
        return torch.stack(drawn).reshape(self.edited.shape).to(self.edited)


def queries_of(
    originals: Images, donors: Images, n: int, benign: Benign, side: int, seed: int
) -> tuple[Images, Images]:
    """(edited then changed, only changed) queries of the first n originals; donors beyond their number are used again."""
    require_count("queries", n, 1, len(originals))
    some = donors[torch.arange(n) % len(donors)]
    pasted = edited(originals[:n], some, side, seed, "edit")
    return benign.apply(pasted, seed, "edited change"), benign.apply(originals[:n], seed, "benign change")


def stacked(trials: Sequence[Trial]) -> Trial:
    """The trials of several seeds with a leading dimension `seed`."""
    return Trial(
        tuple(seed for trial in trials for seed in trial.seeds),
        *(
            torch.stack([getattr(trial, name) for trial in trials])
            for name in ("originals", "edited", "benign", "elsewhere")
        ),
    )
