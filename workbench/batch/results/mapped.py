"""Combined results on disk as plain memory-mapped arrays: loaded page by page when used, no file kept open.

Not netCDF: several open handles on one file crash netCDF4 1.7 when they are collected in an unlucky order.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from workbench.batch.jobs import digest
from workbench.batch.results import combine
from workbench.batch.results.store import REMEDY, DamagedError, Record
from workbench.claims.arrays import Group, attributes_as_json, attributes_from_json, read_results

LAYOUT = 2  # of the folders in the cache


def load(records: Sequence[Record], cache: Path) -> tuple[dict[str, xarray.Dataset], list[Record]]:
    """Each group of the records' results as one Dataset, from a copy in the cache that is made on the first use.

    Returns:
        The datasets by group, and the records in them: those whose results are damaged are left out with a warning.

    Raises:
        ValueError: where no results are left.
    """
    contents = [record.content for record in records]
    name = digest([LAYOUT, [[content["hash"], content["files"]["results.nc"][1]] for content in contents]], 20)
    folder = cache / f"{contents[0]['paper']}-{name}"
    if folder.is_dir() and (found := _read(folder)) is not None:
        return found, list(records)
    files, sound, problems = [], [], []
    for record in records:
        try:
            files.append(read(record))
            sound.append(record)
        except DamagedError as error:
            problems.append(str(error))
    if problems:
        text = "\n".join([*problems, REMEDY])
        if not sound:
            raise ValueError(text)
        warnings.warn(f"{len(problems)} of {len(records)} jobs are left out:\n{text}", stacklevel=3)
    groups = dict.fromkeys(group for file in files for group in file)
    datasets = {group: combine.combine([file.get(group) for file in files], sound) for group in groups}
    if problems:
        return datasets, sound
    try:
        _write(folder, datasets)
    except OSError:
        return datasets, sound  # a store that cannot be written to still opens
    return _read(folder) or datasets, sound


def read(record: Record) -> dict[str, Group]:
    """The results of one job, compared with the hash that was noted when it finished.

    Raises:
        DamagedError: naming the file and what is wrong with it.
    """
    content = record.read("results.nc")
    try:
        return read_results(content)
    except Exception as error:  # netCDF's errors are of many types
        where = f"{record.content['paper']}/{record.folder.name}/results.nc"
        raise DamagedError(f"{where}: cannot be read ({type(error).__name__}: {error})") from None


def _write(folder: Path, datasets: Mapping[str, xarray.Dataset]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part"))
    try:
        index: dict[str, Any] = {}
        for number, (group, dataset) in enumerate(datasets.items()):
            entries = {}
            for position, (name, variable) in enumerate(dataset.variables.items()):
                file = f"{number}-{position}.npy"
                np.save(part / file, np.asarray(variable.values), allow_pickle=False)
                entries[str(name)] = {
                    "file": file,
                    "sha256": _hash(part / file),
                    "dims": variable.dims,
                    "attrs": attributes_as_json(variable.attrs),
                    "coord": name in dataset.coords,
                }
            index[group] = {"variables": entries, "attrs": attributes_as_json(dataset.attrs)}
        text = json.dumps(index)
        (part / "index.json").write_text(hashlib.sha256(text.encode()).hexdigest() + "\n" + text, encoding="utf-8")
        if folder.is_dir():
            shutil.rmtree(folder)  # a damaged one
        os.rename(part, folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process was faster
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(folder: Path) -> dict[str, xarray.Dataset] | None:
    """The datasets of a folder in the cache, None unless every file is as it was written."""
    found = {}
    try:
        checksum, _, text = (folder / "index.json").read_text(encoding="utf-8").partition("\n")
        if hashlib.sha256(text.encode()).hexdigest() != checksum:
            return None
        for group, content in json.loads(text).items():
            variables: dict[bool, dict[str, xarray.Variable]] = {True: {}, False: {}}
            for name, entry in content["variables"].items():
                if _hash(folder / entry["file"]) != entry["sha256"]:
                    return None
                values = np.load(folder / entry["file"], mmap_mode="r", allow_pickle=False)
                variable = xarray.Variable(entry["dims"], values, attributes_from_json(entry["attrs"]))
                variables[entry["coord"]][name] = variable
            found[group] = combine.as_dataset(variables[False], variables[True], attributes_from_json(content["attrs"]))
    except (OSError, ValueError, KeyError):
        return None
    return found


def sound(folder: Path) -> bool:
    """Whether a folder in the cache is as it was written."""
    return _read(folder) is not None
