"""The user's files that a job read, by names that hold on any machine, and their hashes.

A name is the path below the repository (`notebooks/table.csv`), below a folder of data (`data:mnist/train-images-idx3-ubyte`,
`cache:...`), below the home folder (`~/...`), or the whole path. `folder/` stands for the names in a folder that the job listed,
`folder/*` for all files of a folder of which it read many.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from workbench.batch.watching import traces

MANY = 64  # files read in one folder beyond which the folder as a whole is recorded
LARGE = 1 << 20  # bytes of a file whose hash is kept between runs
_FOREIGN = frozenset({"site-packages", "dist-packages", ".git", ".ipynb_checkpoints"})
_CARD_FILES = frozenset({"paper.toml", "court.json"})  # the claims among them have a hash of their own


@dataclass(frozen=True)
class Used:
    """What a job used.

    Attributes:
        modules: names of modules of this package.
        files: names of the user's files.
        untracked: what else it may have read, in words.
        changed: whether a file was written to, by others, while the job ran.
    """

    modules: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    changed: bool = False


class Places:
    """The folders from which names of files count."""

    def __init__(self, repository: Path) -> None:
        named = os.environ.get("WORKBENCH_DATA")
        data = {"data:": os.path.abspath(os.path.expanduser(named))} if named else {}
        self.data = {**data, "cache:": _cache_folder()}
        self._anchors = {**self.data, "": os.path.abspath(repository), "~/": os.path.expanduser("~")}

    def name(self, path: str) -> str:
        """The name of an absolute path."""
        for one in (path, os.path.realpath(path)):
            for start, folder in self._anchors.items():
                if one.startswith(os.path.join(folder, "")):
                    return start + os.path.relpath(one, folder)
        return path

    def path(self, name: str) -> str:
        """The path of a name."""
        for start, folder in self._anchors.items():
            if start and name.startswith(start):
                return os.path.join(folder, name.removeprefix(start))
        return os.path.join(self._anchors[""], name)


@cache
def _cache_folder() -> str:
    import pooch

    return str(pooch.os_cache("workbench"))


def used_by(raw: Mapping[str, Any], places: Places, papers: Path) -> Used:
    """What a job used, from what `traces.used` and the follower noted.

    Args:
        papers: the folder of cards.
    """
    package = os.path.join(str(traces.package_folder()), "")
    modules, files, changed = set(raw["modules"]), {}, False
    written = set(raw["written"])
    for path, state in raw["files"].items():
        source = _source(path)
        if source is None or _foreign(source) or _is_card(source, papers):
            continue
        if source.startswith(package):
            if source.endswith(".py"):
                modules.add(traces.module_name(Path(source)))
            continue
        now = traces.state_of(source)
        if now is None and source.startswith(os.path.join(tempfile.gettempdir(), "")):
            continue  # it came and went with the job
        if source == path and path not in written and now != (None if state is None else tuple(state)):
            changed = True
        files[source] = None
    folders = _listed(raw, places, papers, package)
    names = [*_grouped(files, places), *(places.name(folder) + "/" for folder in folders)]
    modules = sorted(name for name in modules if not name.startswith(traces.CARRIERS))
    return Used(tuple(modules), tuple(sorted(names)), tuple(raw["beyond"]), changed)


def _source(path: str) -> str | None:
    """The file that counts for one that was opened: the source for compiled Python, nothing for other caches."""
    if "__pycache__" not in path.split(os.sep):
        return path
    try:
        return importlib.util.source_from_cache(path)
    except ValueError:
        return None


def _foreign(path: str) -> bool:
    parts = path.split(os.sep)
    return not _FOREIGN.isdisjoint(parts) or any(part.startswith("torchinductor_") for part in parts)


def _is_card(path: str, papers: Path) -> bool:
    return os.path.basename(path) in _CARD_FILES and os.path.dirname(os.path.dirname(path)) == os.path.abspath(papers)


def _listed(raw: Mapping[str, Any], places: Places, papers: Path, package: str) -> list[str]:
    """Folders whose listing is an input: not those that Python searches for modules, nor those above the notebooks."""
    if not raw["listed"]:
        return []
    searched = {*raw["searched"], os.path.abspath(papers)}
    roots = set(places.data.values())
    above = {str(parent) for folder in (*searched, *roots) for parent in Path(folder).parents}
    temporary = os.path.abspath(tempfile.gettempdir())
    return [
        folder
        for folder in sorted(raw["listed"])
        if folder not in searched | roots | above | {temporary}
        and not _foreign(folder)
        and "__pycache__" not in folder
        and not os.path.join(folder, "").startswith(package)
        and os.path.isdir(folder)
        and not any(path.startswith(os.path.join(folder, "")) for path in raw["written"])
    ]


def _grouped(files: Iterable[str], places: Places) -> list[str]:
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in files:
        by_folder[os.path.dirname(path)].append(path)
    names = []
    for folder, members in by_folder.items():
        if len(members) > MANY:
            names.append(places.name(folder) + "/*")
        else:
            names += [places.name(path) for path in members]
    return names


def content_hash(path: str) -> str:
    """First 16 hex digits of the SHA-256 of a file's bytes, a listing (`/`), a folder's files (`/*`); "" for nothing."""
    if path.endswith("/*"):
        entries = {name: content_hash(os.path.join(path[:-1], name)) for name in _files_in(path[:-2])}
        return _digest(json.dumps(entries)) if entries else ""
    if path.endswith("/"):
        names = _files_in(path, folders=True)
        return _digest(json.dumps(names)) if os.path.isdir(path) else ""
    try:
        found = os.stat(path)
        if found.st_mode & 0o170000 != 0o100000:
            return ""  # a FIFO would wait for ever
        if found.st_size < LARGE:
            with open(path, "rb") as file:
                return hashlib.sha256(file.read()).hexdigest()[:16]
        return _kept_hash(os.path.realpath(path), found)
    except OSError:
        return ""


def _files_in(folder: str, folders: bool = False) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and (folders or e.is_file()))
    except OSError:
        return []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _kept_hash(path: str, found: os.stat_result) -> str:
    """The hash of a large file, remembered as long as the system says that the file has not been touched since."""
    state = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
    place = Path(_cache_folder()) / ".hashes" / f"{_digest(path)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(place.read_text(encoding="utf-8"))
        if kept["state"] == state:
            return str(kept["hash"])
    with open(path, "rb") as file:
        total = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f"{place.name}.{os.getpid()}")
        part.write_text(json.dumps({"state": state, "hash": total}), encoding="utf-8")
        os.replace(part, place)
    return total
