"""Combined results on disk as plain memory-mapped arrays: loaded page by page when used, no file kept open.

Not netCDF: several open handles on one file crash netCDF4 1.7 when they are collected in an unlucky order.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from workbench.batch.jobs import digest
from workbench.batch.results import combine
from workbench.batch.results.store import Record


def load(records: Sequence[Record], cache: Path) -> dict[str, xarray.Dataset]:
    """Each group of the records' results as one Dataset, from a copy in the cache that is made on the first use."""
    contents = [record.content for record in records]
    name = digest([[content["hash"], content["files"]["results.nc"][1]] for content in contents], 20)
    folder = cache / f"{contents[0]['paper']}-{name}"
    if not folder.is_dir():
        files = [combine.read(record.folder / "results.nc") for record in records]
        groups = list(dict.fromkeys(group for file in files for group in file))
        datasets = {group: combine.unfold(combine.stack(files, group), records) for group in groups}
        try:
            _write(folder, datasets)
        except OSError:
            return datasets  # a store that cannot be written to still opens
    return _read(folder)


def _write(folder: Path, datasets: Mapping[str, xarray.Dataset]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part"))
    try:
        index: dict[str, Any] = {}
        for number, (group, dataset) in enumerate(datasets.items()):
            entries = {}
            for position, (name, variable) in enumerate(dataset.variables.items()):
                values = np.asarray(variable.values)
                if values.dtype.kind in "OT":
                    values = values.astype(str)
                file = f"{number}-{position}.npy"
                np.save(part / file, values, allow_pickle=False)
                attrs = {str(key): _plain(value) for key, value in variable.attrs.items()}
                entries[str(name)] = {
                    "file": file,
                    "dims": variable.dims,
                    "attrs": attrs,
                    "coord": name in dataset.coords,
                }
            index[group] = entries
        (part / "index.json").write_text(json.dumps(index))
        os.rename(part, folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was faster
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _read(folder: Path) -> dict[str, xarray.Dataset]:
    found = {}
    for group, entries in json.loads((folder / "index.json").read_text()).items():
        variables: dict[bool, dict[str, xarray.Variable]] = {True: {}, False: {}}
        for name, entry in entries.items():
            values = np.load(folder / entry["file"], mmap_mode="r")
            variables[entry["coord"]][name] = xarray.Variable(entry["dims"], values, entry["attrs"])
        found[group] = xarray.Dataset(variables[False], variables[True])
    return found
