"""All eigenvalues of a symmetric matrix: torch's `eigvalsh` beside the other drivers at hand, on one core."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch

from benchmarks.measure import compare, row

REPEATS = 3


def rows() -> list[dict[str, object]]:
    """Random matrices of the size of small networks' Hessians, in both precisions."""
    kinds = ((1200, torch.float64), (2400, torch.float64), (2400, torch.float32))
    return [entry for size, dtype in kinds for entry in _drivers(size, dtype)]


def _drivers(size: int, dtype: torch.dtype) -> list[dict[str, object]]:
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=dtype)
    matrix = matrix + matrix.mT
    array = matrix.numpy()

    def scipys(driver: str) -> np.ndarray:
        return scipy.linalg.eigh(array, eigvals_only=True, driver=driver)

    ours = "torch.linalg.eigvalsh"
    seconds = compare(
        {
            ours: lambda: torch.linalg.eigvalsh(matrix),
            "numpy eigvalsh": lambda: np.linalg.eigvalsh(array),
            **{f"scipy eigh, {driver}": lambda driver=driver: scipys(driver) for driver in ("ev", "evd", "evr")},
        },
        REPEATS,
    )
    what = f"{size:,} eigenvalues, {str(dtype).removeprefix('torch.')}"
    return [row(what, seconds[ours], name, taken) for name, taken in seconds.items() if name != ours]
