"""What a notebook hands over, as arrays of real numbers with the seeds last."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_array(samples: Any) -> np.ndarray:
    """Numbers, lists, arrays, tensors (any device, with or without gradient) or labelled arrays as a real array.

    A labelled array's `seed` (or `run`) dimension is put last. Masked entries and missing values of pandas become NaN.

    Raises:
        ValueError: for anything that is not an array of real numbers or booleans.
    """
    dims = getattr(samples, "dims", None)
    if dims is not None and hasattr(samples, "transpose"):
        last = next((name for name in ("seed", "run") if name in dims), None)
        samples = samples.transpose(..., last) if last else samples
    elif dims is not None and hasattr(samples, "value"):
        samples = samples.value
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu()
        samples = samples.numpy() if hasattr(samples, "numpy") else samples
    if hasattr(samples, "to_numpy") and hasattr(samples, "isna"):
        samples = samples.to_numpy(dtype=float, na_value=np.nan)
    if isinstance(samples, np.ma.MaskedArray):
        samples = np.ma.filled(samples.astype(float), np.nan)
    try:
        array = np.asarray(samples)
    except ValueError:
        raise ValueError("samples must be a rectangular array of numbers; the rows differ in length") from None
    if array.dtype == object and array.size:
        missing = [entry is None or type(entry).__name__ == "NAType" for entry in array.ravel()]
        array = np.where(np.reshape(missing, array.shape), np.nan, array)
        try:
            array = array.astype(float)
        except (TypeError, ValueError):
            raise ValueError(f"samples must be numbers, got entries like {array.ravel()[0]!r}") from None
    if array.dtype.kind not in "biufO":
        raise ValueError(f"samples must be real numbers or booleans, got an array of {array.dtype}")
    return array


def rows(samples: Any) -> np.ndarray:
    """Samples as [comparison, seed], in float64."""
    array = as_array(samples).astype(float)
    if array.size == 0:
        return np.empty((1, 0))
    return np.atleast_2d(array).reshape(-1, array.shape[-1] if array.ndim else 1)


def parts(samples: Any, names: tuple[str, ...]) -> list[np.ndarray]:
    """A tuple of arrays such as (x, y), each as [comparison, seed] with equally many comparisons.

    Raises:
        ValueError: for another number of arrays, or arrays that do not fit together.
    """
    if not isinstance(samples, tuple) or len(samples) != len(names):
        raise ValueError(f"needs a tuple ({', '.join(names)}) of samples with the same seeds")
    found = [rows(part) for part in samples]
    if len({part.shape for part in found}) > 1:
        raise ValueError(f"{', '.join(names)} differ in shape: {', '.join(str(part.shape) for part in found)}")
    return found
