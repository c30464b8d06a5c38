"""Swept parameters as the dimensions of what many jobs measured."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas
from xarray.indexes import PandasIndex


class LabelIndex(PandasIndex):
    """An index of truth values that takes `sel(flag=[True, False])` for two labels, where xarray takes it for a mask."""

    def sel(self, labels: dict[Any, Any], method: str | None = None, tolerance: Any = None) -> Any:
        (label,) = labels.values()
        wanted = np.asarray(getattr(label, "values", label))
        if wanted.dtype.kind == "b" and wanted.ndim == 1:
            places = self.index.get_indexer(pandas.Index(wanted))
            if (places < 0).any():
                raise KeyError(f"not all of {wanted.tolist()} are among {self.index.tolist()}")
            one = super().sel(dict.fromkeys(labels, self.index[0]))
            return replace(one, dim_indexers={self.dim: places})
        return super().sel(labels, method=method, tolerance=tolerance)


def axes(parameters: Sequence[Mapping[str, Any]]) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, np.ndarray]]]:
    """The swept parameters of some jobs: those that become dimensions, and those that depend on one of these.

    Returns:
        Dimension name to its value per job, and dependent name to (dimension, its value per job). None among numbers is NaN;
        lists, and whole numbers beyond 64 bits, become JSON text.
    """
    texts = {
        name: [_text(point.get(name)) for point in parameters] for name in dict.fromkeys(itertools.chain(*parameters))
    }
    names = [name for name, column in texts.items() if len(set(column)) > 1]
    values = {name: _column([point.get(name) for point in parameters]) for name in names}
    dimensions: dict[str, np.ndarray] = {}
    dependent: dict[str, tuple[str, np.ndarray]] = {}
    for name in names:
        for other in dimensions:
            # Zipped: one value for each value of the other.
            if len(set(zip(texts[other], texts[name], strict=True))) == len(set(texts[other])):
                dependent[name] = (other, values[name])
                break
        else:
            dimensions[name] = values[name]
    return dimensions, dependent


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _column(values: list[Any]) -> np.ndarray:
    """Values of one parameter as an array of one type that holds each of them exactly."""
    given = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in given):
        if len(given) == len(values):
            return np.array(values)
        return np.array(["null" if value is None else _text(value) for value in values])
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        if len(given) == len(values) and all(isinstance(value, int) for value in values):
            for kind in (np.int64, np.uint64):
                if all(np.iinfo(kind).min <= value <= np.iinfo(kind).max for value in values):
                    return np.array(values, kind)
        elif all(float(value) == value for value in given):
            return np.array([np.nan if value is None else float(value) for value in values])
    return np.array([value if isinstance(value, str) else _text(value) for value in values])


def places(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values in order (a missing one last), and for each entry of the column where its value stands."""
    different, where = np.unique(column, return_inverse=True, equal_nan=True)
    return different, where
