"""Spectra that are hard on Lanczos processes, and how each of `top_eigenpairs`' answers on them is judged."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from workbench.curvature import ConvergenceError, top_eigenpairs

SIZE = 160
BULK = np.linspace(-0.1, 1, SIZE)
_NEXT = np.diag(np.ones(SIZE - 1), 1)
HARD = {
    "tight cluster of outliers": [*(10 - 1e-5 * np.arange(6)), *BULK[6:]],
    "gaps of 1e-12 among the outliers": [*(5 - 1e-12 * np.arange(4)), *BULK[4:]],
    "gap of 1e-12 inside the wanted": [7, 6, 6 - 1e-12, 5, 4, 3, *BULK[6:]],
    "outlier of multiplicity 7": [*[5.0] * 7, *BULK[7:]],
    "pairs of opposite sign": [*np.outer([9, 8, 7, 6, 5], [1, -1]).ravel(), *BULK[10:]],
    "pairs of nearly opposite sign": [9, -9 + 1e-9, 8, -8 + 1e-9, 7, -7, *BULK[6:]],
    "rank one": [3.0, *np.zeros(SIZE - 1)],
    "rank one, negative": [-3.0, *np.zeros(SIZE - 1)],
    "rank three, equal": [*[2.0] * 3, *np.zeros(SIZE - 3)],
    "zero": np.zeros(SIZE),
    "identity": np.ones(SIZE),
    "minus the identity": -np.ones(SIZE),
    "a reflection": np.resize([1.0, -1.0], SIZE),
    "huge": 1e12 * np.array([10, 9, 8, -9, *BULK[4:]]),
    "tiny": 1e-12 * np.array([10, 9, 8, -9, *BULK[4:]]),
    "huge and tiny": [1e8, 1e8 - 1, *(1e-8 * np.linspace(1, 2, SIZE - 2))],
    "geometric over twelve decades": 10.0 ** -np.linspace(0, 12, SIZE),
    "no gaps": np.linspace(0, 1, SIZE),
    "clusters at both ends": [
        *(1 - 1e-7 * np.arange(20)),
        *(1e-7 * np.arange(20) - 1),
        *np.linspace(-0.5, 0.5, SIZE - 40),
    ],
    "a crowd behind one outlier": [2, *(1 - 1e-6 * np.arange(SIZE - 1))],
    "Wilkinson's matrix": np.linalg.eigvalsh(np.diag(np.abs(np.arange(SIZE) - (SIZE - 1) / 2)) + _NEXT + _NEXT.T),
    "an outlier close to a crowded edge": [1.02, *np.cos(np.pi * (np.arange(SIZE - 1) + 0.5) / (SIZE - 1))],
    "all negative": -np.linspace(1, 2, SIZE),
    "one negative below a positive crowd": [-1e-3, *np.linspace(1, 1.001, SIZE - 1)],
}
"""Eigenvalues in a random basis."""
WHICH: tuple[Literal["largest", "smallest", "magnitude"], ...] = ("largest", "smallest", "magnitude")
COUNTS = (1, 3, 6, 10)
DTYPES = (torch.float64, torch.float32)
_PROMISED = 1e-3


def matrix(name: str) -> Tensor:
    """The symmetric matrix with this spectrum, in float64."""
    normal = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.linalg.qr(normal)[0]
    entries = (basis * torch.as_tensor(np.asarray(HARD[name], dtype=float))) @ basis.mT
    return (entries + entries.mT) / 2


def answers(
    name: str, counts: tuple[int, ...] = COUNTS, dtypes: tuple[torch.dtype, ...] = DTYPES
) -> Iterator[set[str]]:
    """What is to be said of each call: any of "wrong", "announced", "unannounced", "untrue residual", "gave up"."""
    exact = matrix(name)
    for dtype in dtypes:
        entries = exact.to(dtype)
        truth = torch.linalg.eigvalsh(entries.double())
        for which in WHICH:
            order = {"largest": -truth, "smallest": truth, "magnitude": -truth.abs()}[which].argsort()
            for k in counts:
                yield _judged(entries, truth[order[:k]], which, k)


def _judged(entries: Tensor, truth: Tensor, which: Literal["largest", "smallest", "magnitude"], k: int) -> set[str]:
    origin = torch.zeros(SIZE, dtype=entries.dtype)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            pairs = top_eigenpairs(lambda w: 0.5 * w @ entries @ w, origin, k, which=which, seed=k)
        except ConvergenceError:
            return {"gave up"}
    values, vectors, residuals = pairs.values.double(), pairs.vectors.double(), pairs.residuals.double()
    allowed = torch.maximum(2 * residuals, 1e-6 * truth.abs())
    # Of a pair of opposite sign and equal magnitude either may come first.
    found, right = (values.abs(), truth.abs()) if which == "magnitude" else (values, truth)
    measured = (vectors @ entries.double() - values[:, None] * vectors).norm(dim=1)
    announced = any("may have been missed" in str(warning.message) for warning in heard)
    said = {
        "wrong": bool(((found - right).abs() > allowed).any()),
        "announced": announced,
        "unannounced": pairs.miss_probability > _PROMISED and not announced,
        "untrue residual": bool((measured > 1.5 * residuals).any()),
    }
    return {word for word, holds in said.items() if holds}
