"""Numbers and axis labels out of whatever holds them: lists, NumPy arrays, torch tensors, xarray objects."""

import numbers as abstract
from collections.abc import Sequence
from typing import Any

import numpy as np

#: Anything `numbers` understands: a number, nested lists, numpy.ndarray, torch.Tensor, xarray.DataArray.
Values = Any

GREEK = {
    name: rf"$\{name}$" for name in ("alpha", "beta", "gamma", "delta", "eta", "kappa", "mu", "rho", "sigma", "tau")
}


def numbers(values: Values, name: str = "values") -> np.ndarray:
    """`values` as a float64 array (a boolean becomes 0 or 1, what is masked NaN), detached from any graph, on the CPU.

    Raises:
        ValueError: complex numbers, dates, durations or texts; `name` says whose.
    """
    array = _array(values)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} is complex: plot abs, real or imag of it")
    if array.dtype.kind in "mM":
        raise ValueError(f"{name} holds dates or durations ({array.dtype}): turn them into numbers first")
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError):
        kinds = sorted({type(entry).__name__ for entry in array.ravel()})
        raise ValueError(f"{name} holds {', '.join(kinds)}: numbers are needed here") from None


def _array(values: Values) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        # NumPy has no bfloat16.
        return (values.double() if values.is_floating_point() else values).numpy()
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(np.float64), np.nan)
    return np.asarray(values)


def places(values: Values, name: str) -> np.ndarray:
    """Places along an axis: numbers or dates.

    Raises:
        ValueError: texts, complex numbers, and places that are not finite; `name` is the axis' or its dimension's.
    """
    array = _array(values)
    if array.dtype.kind == "M":
        if np.isnat(array).any():
            raise ValueError(f"{name} has missing dates: leave them out")
        return array
    if array.dtype.kind in "USO" and any(isinstance(entry, str) for entry in array.ravel()):
        raise ValueError(
            f"{name} has texts, but an axis needs numbers or dates: give it as hue, or use heatmap or paired_ratio"
        )
    array = numbers(array, name)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has places that are not finite: leave them out")
    return array


def is_labelled(values: Values) -> bool:
    """Whether `values` carries dimension names and coordinates, as an xarray.DataArray does."""
    return hasattr(values, "dims") and hasattr(values, "coords") and hasattr(values, "transpose")


def label_of(values: Values) -> str:
    """The axis label that labelled values ask for: long name (or name) and unit, empty for plain arrays.

    >>> label_of([1.0, 2.0])
    ''
    """
    if not is_labelled(values):
        return ""
    name = values.attrs.get("long_name") or (str(values.name).replace("_", " ") if values.name else "")
    return with_unit(name, values.attrs.get("units", ""))


def with_unit(name: str, unit: str = "") -> str:
    """A label with its unit in brackets; no brackets where there is no unit or the unit is 1.

    >>> with_unit("time", "s")
    'time [s]'
    >>> with_unit("ratio", "1")
    'ratio'
    """
    return f"{name} [{unit}]" if name and unit and unit != "1" else name


def coordinate(values: Values, dim: str) -> tuple[np.ndarray, str]:
    """Coordinate of `dim` and its axis label; a dimension without coordinate counts from 0."""
    if dim not in values.dims:
        raise ValueError(f"no dimension {dim!r} in the array with dimensions {tuple(values.dims)}: name one of these")
    axis = values[dim]
    name = axis.attrs.get("long_name") or GREEK.get(dim, dim.replace("_", " "))
    return np.asarray(axis.to_numpy()), with_unit(name, axis.attrs.get("units", ""))


def texts(values: Sequence | np.ndarray) -> list[str]:
    """The shortest texts that tell all `values` apart; integers in full, words without their underscores.

    >>> texts([0.1, 0.05, 1]), texts([1000001, 1000002]), texts([1.0000001, 1.0])
    (['0.1', '0.05', '1'], ['1000001', '1000002'], ['1.0000001', '1'])
    """
    entries = [
        value.item() if isinstance(value, np.generic) and value.dtype.kind in "biuf" else value for value in values
    ]
    different = len(dict.fromkeys(entries)) if all(isinstance(entry, abstract.Real) for entry in entries) else 0
    digits = 6
    while digits < 17 and len({_text(entry, digits) for entry in entries}) < different:
        digits += 1
    words = [_text(entry, digits) for entry in entries]
    # Two names may differ in their underscores alone.
    return words if len(set(words)) == len({str(entry) for entry in entries}) else [str(entry) for entry in entries]


def _text(value: Any, digits: int) -> str:
    if isinstance(value, str):
        return value.replace("_", " ")
    if isinstance(value, bool) or not isinstance(value, abstract.Real):
        return str(value)[:10] if str(value).endswith("T00:00:00.000000000") else str(value)
    return str(value) if isinstance(value, abstract.Integral) else f"{float(value):.{digits}g}"


def set_labels(ax, x: str = "", y: str = "") -> None:
    """Label the axes that have no label yet, so that the caller's words are never overwritten."""
    if x and not ax.get_xlabel():
        ax.set_xlabel(x)
    if y and not ax.get_ylabel():
        ax.set_ylabel(y)
