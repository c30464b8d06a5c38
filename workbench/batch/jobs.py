"""What a job is, and whether a finished one still stands for it.

A job is one execution of a paper's notebook with one set of parameters. Its *key* names the request (paper, preset,
parameters) and is known beforehand. Its *hash* also covers everything the result depends on: the notebook's code cells, the
card's claims, the sources of the `workbench` modules that it imported, its data and the versions of the packages that
compute. Which modules and data those are is known only after it has run and is written down then; therefore an edit elsewhere
in the package does not make a job out of date, and prose in a notebook never does.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.batch.running import kernel

# Packages whose version can change a result or a figure.
LOCKED = ("torch", "numpy", "scipy", "scikit-learn", "xarray", "pandas", "matplotlib", "seaborn")


def digest(value: Any, length: int = 12) -> str:
    """First hex digits of the SHA-256 of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Job:
    """One execution that was asked for.

    Attributes:
        paper: slug of the paper.
        notebook, card: their files.
        preset: preset of the card.
        parameters: every parameter with its value.
        swept: names of the parameters that differ between the jobs of one request (for display).
    """

    paper: str
    notebook: Path
    card: Path
    preset: str
    parameters: Mapping[str, Any]
    swept: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def key(self) -> str:
        """Twelve hex digits that name the request."""
        return digest([self.paper, self.preset, dict(self.parameters)])

    @property
    def label(self) -> str:
        """The paper and its swept parameters on one line."""
        values = " ".join(f"{name}={shorten(self.parameters[name])}" for name in self.swept)
        return f"{self.paper} {values}".strip()


def shorten(value: Any, width: int = 24) -> str:
    """A parameter's value on one line of at most `width` characters, without control characters."""
    text = value if isinstance(value, str) and value.isprintable() and value else json.dumps(value, ensure_ascii=False)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= width else text[: width - 1] + "…"


def code_hash(notebook: Path) -> str:
    """Hash of a notebook's code cells: neither prose nor outputs nor metadata count."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]).strip() for cell in cells if cell["cell_type"] == "code"]
    return digest([source for source in sources if source], 16)


def claims_hash(card: Path) -> str:
    """Hash of the card's claims as data: comments, citation and parameter descriptions don't count."""
    return digest(tomllib.loads(card.read_text(encoding="utf-8")).get("claim", []), 16)


@cache
def environment() -> dict[str, str]:
    """Python's minor version and the versions of the packages that compute."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in LOCKED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def data_roots() -> list[str]:
    """The folders that hold data sets: the one named by WORKBENCH_DATA, and the cache of downloads."""
    import pooch

    named = os.environ.get("WORKBENCH_DATA")
    return [*([str(Path(named).expanduser())] if named else []), str(pooch.os_cache("workbench"))]


def folder_hash(folder: Path, end: int = 65536) -> str:
    """Hash of a folder's (or one file's) content: names, sizes, and the first and last bytes of each file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else [folder]
    total = hashlib.sha256()
    for path in files:
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                total.update(f"{path.relative_to(folder)}\0{size}\0".encode())
                total.update(file.read(end))
                file.seek(max(size - end, 0))
                total.update(file.read(end))
        except OSError:
            total.update(b"unreadable")
    return total.hexdigest()[:16]


class Sources:
    """What results depend on, as it is on the disk now: read once, then asked about many jobs."""

    def __init__(self) -> None:
        self.modules = kernel.module_hashes()
        self.environment = environment()
        self._files: dict[Path, str] = {}

    def _hash(self, path: Path, function: Callable[[Path], str]) -> str:
        if path not in self._files:
            self._files[path] = function(path)
        return self._files[path]

    def data(self, name: str) -> str:
        """Hash of the data set in the folder of this name, "" where there is none."""
        places = [Path(root) / name for root in data_roots()]
        return next((self._hash(place, folder_hash) for place in places if place.exists()), "")

    def identity(self, job: Job, modules: Iterable[str] = (), data: Iterable[str] = ()) -> dict[str, Any]:
        """All parts of a job's identity, given the names of the modules and the data that it used."""
        return {
            "key": job.key,
            "notebook": self._hash(job.notebook, code_hash),
            "claims": self._hash(job.card, claims_hash),
            "environment": self.environment,
            "modules": {name: self.modules.get(name, "") for name in sorted(modules)},
            "data": {name: self.data(name) for name in sorted(data)},
        }

    def changes(self, job: Job, content: Mapping[str, Any]) -> list[str]:
        """What has changed since a job was recorded, in words; empty when its result still stands.

        Args:
            content: the job.json of a job with the same key.
        """
        recorded = content["identity"]
        now = self.identity(job, recorded["modules"])
        changes = ["a module was edited while it ran"] if content.get("sources_changed") else []
        if recorded["notebook"] != now["notebook"]:
            changes.append("code cells of the notebook")
        if recorded["claims"] != now["claims"]:
            changes.append("claims in the card")
        then = recorded["environment"]
        for name in sorted({*then, *self.environment}):
            if then.get(name) != self.environment.get(name):
                changes.append(f"{name} {then.get(name, 'absent')} -> {self.environment.get(name, 'absent')}")
        for name, source in recorded["modules"].items():
            if now["modules"][name] != source:
                changes.append(f"module {name}" if now["modules"][name] else f"module {name} (gone)")
        changes += [f"data set {name}" for name, content in recorded["data"].items() if self.data(name) != content]
        return changes
