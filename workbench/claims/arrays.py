"""Measured arrays on disk: what `card.save` accepts comes back bit for bit, all else is refused by name before it is written.

A results file is netCDF-4 with one group per dataset, readable by any netCDF program. Types and attributes stand once more,
exactly, in the group's attribute `workbench`, and only that is believed when this package reads the file: what xarray makes of
attributes such as `scale_factor`, `dtype` or units of time differs from version to version. Stored as something else are truth
values (bytes 0 and 1), dates and durations (their 64-bit counts), complex numbers (a last dimension of two) and half precision
(its bits).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

FORMAT = 2
OWN_NAMES = frozenset({"job"})
"""Names that `open_runs` gives itself: the coordinate of the jobs' folders."""
_PAIR = "__complex__"
_READABLE = re.compile(r"[a-z][a-z0-9_]*")
# Attributes by which netCDF programs change values or types.
_INTERPRETED = frozenset(
    {
        "scale_factor",
        "add_offset",
        "missing_value",
        "valid_min",
        "valid_max",
        "valid_range",
        "dtype",
        "coordinates",
        "calendar",
    }
    | {"workbench", "grid_mapping", "ancillary_variables", "cell_measures", "formula_terms"}
)


@dataclass(frozen=True)
class Array:
    """One variable as it was saved."""

    dims: tuple[str, ...]
    values: np.ndarray
    attrs: Mapping[str, Any]
    coordinate: bool


@dataclass(frozen=True)
class Group:
    """One dataset as it was saved."""

    arrays: Mapping[str, Array]
    attrs: Mapping[str, Any]


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and rename it to `path`."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def as_dataset(name: str, array: Any) -> xarray.Dataset:
    """A Dataset or DataArray as a Dataset that can be stored.

    Raises:
        ValueError: naming every variable, dimension and attribute that cannot be kept as it is, and what to do.
    """
    import xarray

    if isinstance(array, xarray.DataArray):
        array = array.to_dataset(name=array.name if array.name is not None else name)
    if not isinstance(array, xarray.Dataset):
        raise ValueError(f"card.save({name}=...): needs an xarray Dataset or DataArray, got {type(array).__name__}")
    problems = list(_problems(name, array))
    if problems:
        raise ValueError("\n".join(f"card.save({name}=...): {problem}" for problem in problems))
    return array.copy(deep=True)


def _problems(group: str, dataset: xarray.Dataset) -> Iterator[str]:
    if reason := _unwritable(group):
        yield f"the name {group!r} {reason}"
    for dim in dataset.dims:
        if dim not in dataset.variables:
            yield from _name_problems("dimension", dim)
    yield from _attribute_problems("the dataset", dataset.attrs)
    for name, variable in dataset.variables.items():
        yield from _name_problems("variable", name)
        yield from _attribute_problems(f"variable {name!r}", variable.attrs)
        if reason := _unstorable(variable):
            yield f"variable {name!r} {reason}"


def _name_problems(what: str, name: object) -> Iterator[str]:
    if not isinstance(name, str):
        yield f"{what} {name!r}: its name is a {type(name).__name__}, not text"
    elif reason := _unwritable(name):
        yield f"{what} {name!r}: its name {reason}"
    elif name in OWN_NAMES or name == _PAIR:
        yield f"{what} {name!r}: this name is taken by open_runs; choose another one"


def _unwritable(name: str) -> str | None:
    """Why netCDF would not keep a name, None where it does."""
    if not name or "/" in name or any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return "is empty, or holds a slash or a control character; rename it"
    if name != name.strip() or not (name[0].isalnum() or name[0] == "_" or ord(name[0]) > 127):
        return "begins or ends with a blank or a sign; rename it"
    if unicodedata.normalize("NFC", name) != name:
        return "is written with combining characters; use unicodedata.normalize('NFC', ...)"
    return None


def _unstorable(variable: xarray.Variable) -> str | None:
    """Why a variable's values cannot be kept, None where they can."""
    kind = variable.dtype
    if not isinstance(kind, np.dtype):
        return f"has the type {kind}: convert it to plain numbers or text, as with .astype(float) or .astype(str)"
    try:
        values = np.asarray(variable.values)
    except Exception as error:
        return f"cannot be read ({type(error).__name__}: {error})"
    if kind.kind in "biu" or (kind.kind in "fc" and kind.itemsize in (2, 4, 8, 16) and kind != np.dtype(np.longdouble)):
        return None
    if kind.kind in "mM":
        return None if np.datetime_data(kind)[0] != "generic" else "is a time without a unit"
    if kind.kind in "UTO":
        entries = values.ravel().tolist()
        if not all(isinstance(entry, str) for entry in entries):
            odd = next(entry for entry in entries if not isinstance(entry, str))
            if isinstance(odd, tuple):
                return "is an index of several levels: unstack it, or use reset_index"
            return f"holds Python objects (such as {_short(odd)}): give it one type, as with .astype(float) or .astype(str)"
        odd = [entry for entry in entries if "\0" in entry or any("\ud800" <= c <= "\udfff" for c in entry)]
        return f"holds text with a zero character or half a character: {_short(odd[0])}" if odd else None
    return f"has the type {kind}, which cannot be kept: convert it, as with .astype(float) or .astype(str)"


def _short(value: object) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 60 else text[:59] + "…"


def _attribute_problems(where: str, attributes: Mapping[Any, Any]) -> Iterator[str]:
    for key, value in attributes.items():
        if not isinstance(key, str):
            yield f"{where}: the attribute {key!r} has a name that is not text"
            continue
        try:
            json.dumps(_plain(value), ensure_ascii=False).encode("utf-8")
        except (TypeError, ValueError, RecursionError):
            yield f"{where}: the attribute {key!r} is a {type(value).__name__}, which cannot be kept; make it text"


def _plain(value: Any) -> Any:
    """An attribute as JSON that says which type it had."""
    if value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
        return value
    if (
        isinstance(value, (np.ndarray, np.generic))
        and value.dtype.kind in "biufmMU"
        and value.dtype.itemsize <= 1 << 20
    ):
        kind = value.dtype
        entries = np.asarray(value)
        entries = (
            entries.view(np.int64) if kind.kind in "mM" else entries.astype(float) if kind.kind == "f" else entries
        )
        scalar = isinstance(value, np.generic)
        return {
            "numpy": kind.str,
            "shape": None if scalar else list(np.shape(value)),
            "values": entries.ravel().tolist(),
        }
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, tuple):
        return {"tuple": [_plain(entry) for entry in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _plain(entry) for key, entry in value.items()}}
    raise TypeError


def _restored(value: Any) -> Any:
    """The attribute that `_plain` has written."""
    if isinstance(value, list):
        return [_restored(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(_restored(entry) for entry in value["tuple"])
    if "dict" in value:
        return {key: _restored(entry) for key, entry in value["dict"].items()}
    kind = np.dtype(value["numpy"])
    entries = np.array(value["values"], dtype=np.int64 if kind.kind in "mM" else kind)
    entries = entries.view(kind) if kind.kind in "mM" else entries
    return entries[0] if value["shape"] is None else entries.reshape(value["shape"])


def attributes_as_json(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as plain JSON from which `attributes_from_json` makes the same ones."""
    return {key: _plain(value) for key, value in attributes.items()}


def attributes_from_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that were given to `attributes_as_json`."""
    return {key: _restored(value) for key, value in content.items()}


def write_results(path: Path, datasets: Mapping[str, xarray.Dataset]) -> None:
    """Write results.nc: one group per dataset, each of which `as_dataset` has let through."""
    import netCDF4

    def write(temporary: Path) -> None:
        with netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
            for name, dataset in datasets.items():
                _write_group(file.createGroup(name), dataset)

    write_atomically(path, write)


def _write_group(group: Any, dataset: xarray.Dataset) -> None:
    for dim, size in dataset.sizes.items():
        group.createDimension(dim, size)
    described = {}
    coordinates = [str(name) for name in dataset.coords if name not in dataset.dims and " " not in str(name)]
    for name, variable in dataset.variables.items():
        values, dims = np.asarray(variable.values), tuple(map(str, variable.dims))
        kind = "str" if values.dtype.kind in "UTO" else values.dtype.str
        stored, native = _stored(values), dict(_readable(variable.attrs))
        if kind == "str":
            target = group.createVariable(name, str, dims)
        else:
            if values.dtype.kind == "c":
                if _PAIR not in group.dimensions:
                    group.createDimension(_PAIR, 2)
                dims = (*dims, _PAIR)
            target = group.createVariable(name, stored.dtype.newbyteorder("="), dims, fill_value=False)
        target.set_auto_maskandscale(False)
        if stored.size:
            target[...] = stored
        if values.dtype.kind == "b":
            native["dtype"] = "bool"  # xarray's own sign of a truth value
        if coordinates and name not in dataset.coords:
            native["coordinates"] = " ".join(coordinates)
        for key, value in native.items():
            target.setncattr(key, value)
        described[name] = [kind, name in dataset.coords, attributes_as_json(variable.attrs)]
    content = {"format": FORMAT, "variables": described, "attrs": attributes_as_json(dataset.attrs)}
    for key, value in _readable(dataset.attrs):
        group.setncattr(key, value)
    group.setncattr_string("workbench", json.dumps(content, ensure_ascii=False))


def _stored(values: np.ndarray) -> np.ndarray:
    kind = values.dtype.kind
    if kind in "UTO":
        return values.astype(object)
    if kind == "b":
        return values.astype(np.int8)
    if values.dtype.byteorder not in "=|":
        values = values.astype(values.dtype.newbyteorder("="))
    values = np.ascontiguousarray(values).reshape(values.shape)
    if kind in "mM":
        return values.view(np.int64)
    if kind == "c":
        return np.stack([values.real, values.imag], -1)
    return values.view(np.uint16) if values.dtype == np.float16 else values


def _readable(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The attributes that are also written as netCDF's own, for other programs to show."""
    for key, value in attributes.items():
        if _READABLE.fullmatch(key) and key not in _INTERPRETED and type(value) in (str, int, float) and value != "":
            if type(value) is int and not -(2**63) <= value < 2**63:
                continue
            yield key, value


def read_results(source: bytes) -> dict[str, Group]:
    """The groups of a results file, given its bytes; far cheaper than a Dataset per file.

    Raises:
        OSError, ValueError, KeyError: for bytes that are no results file.
    """
    import netCDF4

    found: dict[str, Group] = {}
    # Without weak references a group outlives its file until some later garbage collection, which then closes whichever
    # file has got the same number since.
    with netCDF4.Dataset("results", memory=source, keepweakref=True) as file:
        for name, group in file.groups.items():
            group.set_auto_maskandscale(False)
            found[name] = _read_group(group) if "workbench" in group.ncattrs() else _read_older(group)
    return found


def _read_group(group: Any) -> Group:
    content = json.loads(group.getncattr("workbench"))
    arrays = {}
    for name, (kind, coordinate, attrs) in content["variables"].items():
        variable = group.variables[name]
        values, dims = np.asarray(variable[...]), variable.dimensions
        if kind == "str":
            values = values.astype(str)
        else:
            dtype = np.dtype(kind)
            if dtype.kind == "c":
                values, dims = np.asarray(np.ascontiguousarray(values).view(dtype)[..., 0]), dims[:-1]
            elif dtype.kind in "mM" or dtype == np.float16:
                values = values.view(dtype.newbyteorder("="))
            elif dtype.kind == "b":
                values = values.astype(bool)
        arrays[name] = Array(dims, values, attributes_from_json(attrs), coordinate)
    return Group(arrays, attributes_from_json(content["attrs"]))


def _read_older(group: Any) -> Group:
    """A group of a file from before types were written down: xarray's conventions."""
    import xarray

    raw = {
        name: (v.dimensions, np.asarray(v[...]), {a: v.getncattr(a) for a in v.ncattrs()})
        for name, v in group.variables.items()
    }
    dataset = xarray.decode_cf(xarray.Dataset(raw), decode_timedelta=False)
    arrays = {
        str(name): Array(tuple(map(str, v.dims)), np.asarray(v.values), dict(v.attrs), name in dataset.coords)
        for name, v in dataset.variables.items()
    }
    return Group({n: a if a.values.dtype.kind != "O" else _as_text(a) for n, a in arrays.items()}, {})


def _as_text(array: Array) -> Array:
    return Array(array.dims, array.values.astype(str), array.attrs, array.coordinate)
