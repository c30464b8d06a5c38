"""Numbers and axis labels out of whatever holds them: lists, NumPy arrays, torch tensors, xarray objects."""

from typing import Any

import numpy as np

#: Anything `numbers` understands: a number, nested lists, numpy.ndarray, torch.Tensor, xarray.DataArray.
Values = Any

GREEK = {
    name: rf"$\{name}$" for name in ("alpha", "beta", "gamma", "delta", "eta", "kappa", "mu", "rho", "sigma", "tau")
}


def numbers(values: Values) -> np.ndarray:
    """`values` as a float64 array (a boolean becomes 0 or 1), detached from any graph and brought to the CPU."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    elif hasattr(values, "to_numpy"):
        values = values.to_numpy()
    return np.asarray(values, dtype=np.float64)


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


def set_labels(ax, x: str = "", y: str = "") -> None:
    """Label the axes that have no label yet, so that the caller's words are never overwritten."""
    if x and not ax.get_xlabel():
        ax.set_xlabel(x)
    if y and not ax.get_ylabel():
        ax.set_ylabel(y)
