"""A tensor with named dimensions, coordinates, unit and long name: what becomes a variable of a Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor


@dataclass(frozen=True)
class Labelled:
    """`value` has one name in `dims` per dimension; `coords` gives values along some of them.

    >>> import torch
    >>> import workbench as wb
    >>> result = wb.sweep(lambda a: {'power': wb.Labelled(a ** torch.arange(3), ('exponent',))}, a=[2.0, 3.0])
    >>> result.power.sel(a=3.0).values.tolist()
    [1.0, 3.0, 9.0]
    """

    value: Tensor
    dims: tuple[str, ...] = ()
    coords: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""
    long_name: str = ""

    def __post_init__(self) -> None:
        if len(self.dims) != self.value.dim():
            raise ValueError(f"{self.value.dim()} dimensions need as many names, got dims={self.dims}")

    def with_value(self, value: Tensor) -> Labelled:
        """The same labels on another tensor."""
        return replace(self, value=value)

    def array(self) -> xr.DataArray:
        """As an xarray DataArray."""
        return data_array(self.value, self.dims, self.coords, self.unit, self.long_name)


def label(value: Tensor | Labelled, name: str) -> Labelled:
    """A plain tensor gets the dimension names `name_0`, `name_1`, ..."""
    if isinstance(value, Labelled):
        return value
    return Labelled(value, tuple(f"{name}_{axis}" for axis in range(value.dim())))


def data_array(
    value: Tensor | np.ndarray, dims: Sequence[str], coords: Mapping[str, Any], unit: str = "", long_name: str = ""
) -> xr.DataArray:
    """A DataArray with `units` and `long_name` attributes where they are known."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
    attributes = {key: text for key, text in (("long_name", long_name), ("units", unit)) if text}
    return xr.DataArray(array, dims=tuple(dims), coords=dict(coords), attrs=attributes)
