"""The measurements behind the claims on minimisers, as labelled arrays (those on runs: `leaving`)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench import curvature, draws
from workbench.papers.deep_matrix_factorization.minimisers import (
    flat_minimiser,
    gauge_transform,
    misaligned_pair,
    random_minimiser,
    unbalanced_flat_triple,
)
from workbench.papers.deep_matrix_factorization.sharpness import (
    balance,
    depth_two_excess,
    exact_sharpness,
    flattest_sharpness,
    rounding,
    sharpness_matrix,
    upper_bound,
)
from workbench.problems.factorised.deep_linear import deep_linear

LARGEST_HESSIAN = 2000
"""Parameters up to which the whole Hessian is formed for comparison."""


def exactness(
    depths: Sequence[int],
    shapes: Sequence[Sequence[int]],
    n_minimisers: int,
    *,
    spread: float = 0.3,
    null_scale: float = 0.5,
    residual: float = 0.0,
    seed0: int = 0,
) -> xr.Dataset:
    """Formula against the whole autodiff Hessian: an entry per depth, shape (d_0, d_L, width) and minimiser (the last is flat).

    `residual` is a control: the same points with the target (1 + residual) M, where they are no minimisers.

    Returns:
        hessian and formula (lambda_max both ways), lower and upper bounds, tau (`rounding`), spectrum_error and rest (largest
        distance of a Hessian eigenvalue from 2 eig(K), and of the others from 0), with coordinates depth, shape, flat.

    Raises:
        ValueError: for a network of more than 2000 parameters.
    """
    rows, places = [], []
    for depth in depths:
        for shape in shapes:
            d0, d1, width = shape
            size = width * (d0 + d1) + width * width * (depth - 2)
            if size > LARGEST_HESSIAN:
                raise ValueError(
                    f"shapes: {list(shape)} at depth {depth} has {size} parameters; the whole Hessian is formed up to "
                    f"{LARGEST_HESSIAN}; take a smaller width"
                )
            for number in range(n_minimisers):
                seed = seed0 + number
                target = draws.normal(seed, (d1, d0), stream=f"target {depth} {d0} {d1} {width}")
                widths, flat = [width] * (depth - 1), number == n_minimisers - 1
                layers = (
                    flat_minimiser(target, widths, seed=seed)
                    if flat
                    else random_minimiser(
                        target, widths, number % depth, spread=spread, null_scale=null_scale, seed=seed
                    )
                )
                rows.append(_compared(layers, (1 + residual) * target))
                places.append((depth, "x".join(str(one) for one in shape), flat, seed))
    names = ("hessian", "formula", "lower", "upper", "tau", "spectrum_error", "rest")
    result = xr.Dataset({name: ("case", np.array([row[name] for row in rows])) for name in names})
    depth, shape, flat, seed = zip(*places, strict=True)
    return result.assign_coords(
        depth=("case", list(depth)), shape=("case", list(shape)), flat=("case", list(flat)), seed=("case", list(seed))
    )


def _compared(layers: list[Tensor], target: Tensor) -> dict[str, float]:
    depth = len(layers)
    problem = deep_linear(target, [layer.shape[0] for layer in layers[:-1]])
    point = {f"W{i + 1}": layer for i, layer in enumerate(layers)}
    # pyrefly: ignore[bad-argument-type]
    whole = curvature.spectrum(problem.loss, point).sort(descending=True).values
    own = 2 * torch.linalg.eigvalsh(sharpness_matrix(layers)).flip(0)
    kept = min(len(own), len(whole))
    return {
        "hessian": float(whole[0]),
        "formula": float(own[0]),
        "lower": float(flattest_sharpness(target, depth)),
        "upper": float(upper_bound(layers)),
        "tau": float(rounding(layers)),
        "spectrum_error": float((whole[:kept] - own[:kept]).abs().max()),
        "rest": max(
            float(whole[kept:].abs().max()) if len(whole) > kept else 0.0,
            float(own[kept:].abs().max()) if len(own) > kept else 0.0,
        ),
    }


def depth_two(
    n: int, *, spread: float = 0.3, null_scale: float = 0.5, norm: str = "spectral", seed0: int = 0
) -> xr.Dataset:
    """excess = lambda_max - 4 m and the law 2 (a - b)^2 + 4 (ab - m) at n minimisers 3 x 5 x 3; with its two terms."""
    rows = []
    for seed in range(seed0, seed0 + n):
        target = draws.normal(seed, (3, 3), stream="target")
        layers = random_minimiser(target, [5], seed % 2, spread=spread, null_scale=null_scale, seed=seed)
        kind: float | str = 2 if norm == "spectral" else "fro"
        a, b, m = (float(torch.linalg.matrix_norm(one, kind)) for one in (layers[0], layers[1], target))
        value, law = float(exact_sharpness(layers)[0]), float(depth_two_excess(layers, target, norm))
        rows.append((value - 4 * m, law, 2 * (a - b) ** 2, 4 * (a * b - m), float(rounding(layers))))
    names = ("excess", "law", "imbalance", "misalignment", "tau")
    columns = np.array(rows).T
    return xr.Dataset(
        {name: ("seed", column) for name, column in zip(names, columns, strict=True)},
        coords={"seed": range(seed0, seed0 + n)},
    )


def gauge_path(*, seed: int = 0, points: int = 121) -> xr.Dataset:
    """lambda(g) of W_2 -> g W_2, W_1 -> W_1/g at a random minimiser, with the gauges that balance either norm."""
    target = draws.normal(seed, (3, 3), stream="target")
    layers = random_minimiser(target, [5], 0, seed=seed)
    norms = [[float(torch.linalg.matrix_norm(layer, kind)) for layer in layers] for kind in (2, "fro")]
    balanced = (norms[0][0] / norms[0][1]) ** 0.5
    g = balanced * np.geomspace(1 / 3, 3, points)
    sharpness = [float(exact_sharpness(gauge_transform(layers, one))[0]) for one in g]
    return xr.Dataset(
        {
            "sharpness": ("g", sharpness),
            "spectral": ((), balanced),
            "frobenius": ((), (norms[1][0] / norms[1][1]) ** 0.5),
            "flattest": ((), float(flattest_sharpness(target, 2))),
        },
        coords={"g": g},
    )


def pair_and_triple(misalignment: float = 1.0, a: float = 1.1) -> dict[str, np.ndarray]:
    """The hand-made examples: excess and law of `misaligned_pair` for k = 1/2, 1, 3, and `unbalanced_flat_triple`, with tau."""
    rows = []
    for k in (0.5, 1.0, 3.0):
        layers, _ = misaligned_pair(k, misalignment)
        rows.append((float(exact_sharpness(layers)[0]) / 4 - 1, k * k, float(rounding(layers)) / 4))
    layers, _ = unbalanced_flat_triple(a)
    products = balance(layers)
    excess, law, tau = np.array(rows).T
    return {
        "excess": excess,
        "law": law,
        "tau": tau,
        "triple": np.array([float(exact_sharpness(layers)[0]), 6.0, float(rounding(layers))]),
        "products": np.array([float(products.max() - products.min()), float(rounding(layers))]),
    }


def flat_points(
    depths: Sequence[int], n: int, *, split: str = "random", top_split: float = 0.0, seed0: int = 0
) -> xr.Dataset:
    """Flat minimisers 3 x 3, width 5: distance from the flattest in tau, smallest gap between two layers' Frobenius norms."""
    excess, gap = np.zeros((n, len(depths))), np.zeros((n, len(depths)))
    for i, j in np.ndindex(n, len(depths)):
        seed, depth = seed0 + i, depths[j]
        target = draws.normal(seed, (3, 3), stream="target")
        layers = flat_minimiser(target, [5] * (depth - 1), seed=seed, split=split, top_split=top_split)
        excess[i, j] = float((exact_sharpness(layers)[0] - flattest_sharpness(target, depth)).abs() / rounding(layers))
        norms = sorted(float(layer.norm()) for layer in layers)
        gap[i, j] = min(b - a for a, b in itertools.pairwise(norms)) / norms[-1]
    dims = ("seed", "depth")
    return xr.Dataset(
        {"excess": (dims, excess), "gap": (dims, gap)}, coords={"seed": range(seed0, seed0 + n), "depth": list(depths)}
    )


def with_data(n: int, *, whiten: bool = False, seed0: int = 0) -> xr.DataArray:
    """|autodiff Hessian - formula with Sigma| in units of tau |Sigma|, for data X = diag(2, 1, .5, .3) N(0, 1), n = 20 samples.

    `whiten` is a control: the formula without Sigma.
    """
    depths = (2, 3, 4)
    scales = torch.tensor([2.0, 1.0, 0.5, 0.3], dtype=torch.float64)[:, None]
    errors = np.zeros((n, len(depths)))
    for i, j in np.ndindex(n, len(depths)):
        seed, depth = seed0 + i, depths[j]
        inputs = scales * draws.normal(seed, (4, 20), stream="inputs")
        covariance = inputs @ inputs.mT / 20
        target = draws.normal(seed, (3, 4), stream="target")
        layers = random_minimiser(target, [5] * (depth - 1), i % depth, seed=seed)
        names = [f"W{k + 1}" for k in range(depth)]

        def loss(parameters: dict[str, Tensor], names=names, inputs=inputs, target=target) -> Tensor:
            outputs = inputs
            for name in names:
                outputs = parameters[name] @ outputs
            return (target @ inputs - outputs).square().sum() / 20

        # pyrefly: ignore[bad-argument-type]
        whole = curvature.spectrum(loss, dict(zip(names, layers, strict=True))).max()
        own = exact_sharpness(layers, None if whiten else covariance)[0]
        unit = rounding(layers) * torch.linalg.matrix_norm(covariance, 2)
        errors[i, j] = float((whole - own).abs() / unit)
    return xr.DataArray(errors, dims=("seed", "depth"), coords={"seed": range(seed0, seed0 + n), "depth": list(depths)})
