"""How far corrupted images are from clean ones, in pixels and in a network's features, and which of them tells the error."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from workbench.data.preparing import corruptions
from workbench.papers.adversarial_training_corruptions import digits
from workbench.problems.attacks import unit

Features = Literal["trained", "untrained", "pixels"]
MEASURES = ("l2", "squared_l2", "unit_norm", "untrained", "trained")


def feature_distance(
    clean: Sequence[Float[Tensor, "seed sample width"]], changed: Sequence[Float[Tensor, "seed sample width"]]
) -> Float[Tensor, "seed sample"]:
    """Sum over layers of the squared distance between values divided by their length: LPIPS without learned weights."""
    parts = [(unit(a, (-1,)) - unit(b, (-1,))).square().sum(-1) for a, b in zip(clean, changed, strict=True)]
    return torch.stack(parts).sum(0)


def on_digits(
    standard: digits.Trained,
    data: digits.Split,
    names: Sequence[str],
    severities: Sequence[int],
) -> xr.Dataset:
    """Mean distance of each seed's test images per corruption and severity, dims (seed, corruption, severity).

    l2, its square, the squared distance of images of unit norm, and feature distances of the *next* seed's network, before and
    after its training: not those of the network whose error is to be told.
    """
    n = len(data.seeds)
    beside = [(k + 1) % n for k in range(n)]
    fresh = standard.network.initial([data.seeds[k] for k in beside])
    start = standard.network.statistics(fresh, data.train_images[beside])
    trained = {name: value[beside] for name, value in standard.parameters.items()}
    ended = [(mean[beside], variance[beside]) for mean, variance in standard.statistics]
    nets = {"untrained": (fresh, start), "trained": (trained, ended)}

    def hidden(which: str, images: Tensor) -> list[Tensor]:
        parameters, statistics = nets[which]
        return standard.network.hidden(parameters, images, statistics=statistics)

    clean = digits.digits()[0][data.test_rows]
    before = {which: hidden(which, clean) for which in nets}
    found: dict[str, list[Tensor]] = {measure: [] for measure in MEASURES}
    for name in names:
        for severity in severities:
            images = digits.corrupted(name, severity)[data.test_rows].to(torch.float32) / 255
            squares = (images - clean).square().sum(-1)
            found["l2"].append(squares.sqrt().mean(-1))
            found["squared_l2"].append(squares.mean(-1))
            found["unit_norm"].append(feature_distance([clean], [images]).mean(-1))
            for which, own in before.items():
                found[which].append(feature_distance(own, hidden(which, images)).mean(-1))
    shape = (n, len(names), len(severities))
    return xr.Dataset(
        {
            measure: (("seed", "corruption", "severity"), torch.stack(values, -1).double().numpy().reshape(shape))
            for measure, values in found.items()
        },
        {"seed": list(data.seeds), "corruption": list(names), "severity": list(severities)},
    )


def correlations(distance: xr.Dataset, error: xr.DataArray) -> xr.Dataset:
    """arctanh of Pearson's correlation of distance and error over the severities: dims (seed, corruption).

    To be averaged over corruptions: correlations near 1 are skewed, their arctanh is less so.
    """
    return xr.Dataset(
        {
            name: np.arctanh(xr.corr(values, error, "severity").clip(-1 + 1e-12, 1 - 1e-12))
            for name, values in distance.items()
        }
    )


def lead(z: xr.Dataset, features: Features, over: str) -> xr.DataArray:
    """By how much the features tell the error better than the distance `over`: dims (seed, corruption)."""
    chosen = {"trained": "trained", "untrained": "untrained", "pixels": "unit_norm"}
    if features not in chosen:
        raise ValueError(f"features must be one of {', '.join(chosen)}, got {features!r}")
    return z[chosen[features]] - z[over]


@functools.cache
def photograph_patches(side: int = 32) -> Float[Tensor, "sample 3 side side"]:
    """The two photographs in scikit-learn, cut into squares that do not overlap."""
    from sklearn.datasets import load_sample_images

    cut = []
    for image in load_sample_images().images:
        whole = torch.from_numpy(np.array(image)).permute(2, 0, 1).to(torch.float32) / 255
        rows, columns = whole.shape[1] // side, whole.shape[2] // side
        tiles = whole[:, : rows * side, : columns * side].unfold(1, side, side).unfold(2, side, side)
        cut.append(tiles.permute(1, 2, 0, 3, 4).flatten(0, 1))
    return torch.cat(cut)


def severity_distances(
    name: str, seeds: Sequence[int], severities: Sequence[int] = (1, 2, 3, 4, 5), images: Tensor | None = None
) -> xr.DataArray:
    """Mean l2 distance of photograph patches per generator seed and severity, CIFAR constants."""
    images = photograph_patches() if images is None else images
    rows = [
        [
            float((corruptions.apply(images, name, severity, seed=seed) - images).flatten(1).norm(dim=1).mean())
            for severity in severities
        ]
        for seed in seeds
    ]
    return xr.DataArray(
        rows,
        {"seed": list(seeds), "severity": list(severities)},
        ("seed", "severity"),
        attrs={"long_name": "l2 distance"},
    )
