"""What a job is, and whether a finished one still stands for it.

A job is one execution of a paper's notebook with one set of parameters. Its *key* names the request (paper, preset,
parameters) and is known beforehand. Its *hash* also covers everything the result depends on: the notebook's code cells, the
card's claims, the sources of the `workbench` modules that it imported, every file of the user's that it read (modules and tables
beside the notebook, data sets) and the versions of the packages that compute. Which modules and files those are is known only
after it has run and is written down then; therefore an edit elsewhere in the package does not make a job out of date, and prose
in a notebook never does.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from workbench.batch.watching import inputs, traces
from workbench.batch.watching.inputs import Places, Used
from workbench.texts import read_text

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
    """Hash of a notebook's code cells: neither prose nor outputs nor metadata count.

    Raises:
        ValueError: for a file that is no notebook; names it.
    """
    try:
        cells = json.loads(read_text(notebook))["cells"]
        sources = ["".join(cell["source"]).strip() for cell in cells if cell["cell_type"] == "code"]
    except (json.JSONDecodeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{notebook}: is no notebook ({type(error).__name__}: {error})") from None
    return digest([source for source in sources if source], 16)


def claims_hash(card: Path) -> str:
    """Hash of the card's claims as data: comments, citation and parameter descriptions don't count."""
    return digest(tomllib.loads(read_text(card)).get("claim", []), 16)


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


class Sources:
    """What results depend on, as it is on the disk now: read once, then asked about many jobs."""

    def __init__(self) -> None:
        self.modules = traces.module_hashes()
        self.environment = environment()
        self._files: dict[Path, str] = {}
        self._inputs: dict[str, str] = {}

    def _hash(self, path: Path, function: Callable[[Path], str]) -> str:
        if path not in self._files:
            try:
                self._files[path] = function(path)
            except (OSError, ValueError):
                self._files[path] = ""  # running the job says what is wrong with it
        return self._files[path]

    def input(self, job: Job, name: str) -> str:
        """Hash of one of the files that a job read, "" where there is none (any more)."""
        path = places_of(job).path(name)
        if path not in self._inputs:
            self._inputs[path] = inputs.content_hash(path)
        return self._inputs[path]

    def identity(self, job: Job, used: Used | None = None) -> dict[str, Any]:
        """All parts of a job's identity, given what it used."""
        used = used or Used()
        return {
            "key": job.key,
            "notebook": self._hash(job.notebook, code_hash),
            "claims": self._hash(job.card, claims_hash),
            "environment": self.environment,
            "modules": {name: self.modules.get(name, "") for name in used.modules},
            "files": {name: self.input(job, name) for name in used.files},
        }

    def changes(self, job: Job, content: Mapping[str, Any]) -> list[str]:
        """What has changed since a job was recorded, in words; empty when its result still stands.

        Args:
            content: the job.json of a job with the same key.
        """
        recorded = content["identity"]
        if "files" not in recorded:
            return ["the version that ran it, which did not note the files that it read"]
        changes = ["a file that it used was edited while it ran"] if content.get("sources_changed") else []
        if recorded["notebook"] != self._hash(job.notebook, code_hash):
            changes.append("code cells of the notebook")
        if recorded["claims"] != self._hash(job.card, claims_hash):
            changes.append("claims in the card")
        then = recorded["environment"]
        for name in sorted({*then, *self.environment}):
            if then.get(name) != self.environment.get(name):
                changes.append(f"{name} {then.get(name, 'absent')} -> {self.environment.get(name, 'absent')}")
        for name, source in recorded["modules"].items():
            if self.modules.get(name, "") != source:
                changes.append(f"module {name}" if name in self.modules else f"module {name} (gone)")
        for name, content_then in recorded["files"].items():
            if self.input(job, name) != content_then:
                what = "names in" if name.endswith("/") else "files" if name.endswith("/*") else "file"
                changes.append(f"{what} {name}" if self.input(job, name) else f"{what} {name} (gone)")
        return changes


def places_of(job: Job) -> Places:
    """From where the names of a job's files count: the repository of its card, the folders of data, the home folder."""
    return Places(job.card.parents[2])
