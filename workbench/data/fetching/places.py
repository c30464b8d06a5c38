"""Where data sets lie on this machine, and what to tell a user when one does not."""

from __future__ import annotations

import os
from pathlib import Path

from workbench.data.catalogue import Entry
from workbench.data.errors import DataNotFoundError

VARIABLE = "WORKBENCH_DATA"


def cache() -> Path:
    """The folder downloads go to when WORKBENCH_DATA is not set."""
    import pooch

    return Path(pooch.os_cache("workbench"))


def home(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that a download would go to: `root`, else WORKBENCH_DATA, else the cache folder."""
    if root is not None:
        return Path(root).expanduser()
    variable = os.environ.get(VARIABLE)
    return Path(variable).expanduser() if variable else cache()


def candidates(entry: Entry, root: str | os.PathLike[str] | None = None) -> list[tuple[Path, str]]:
    """Every path where the set may lie, with the same place in words that hold on any machine.

    `root` may be the folder that holds the set's folder, or the set's folder itself; with it, nothing else is tried.
    """
    if root is not None:
        tops = [(home(root), "the folder given as root")]
    else:
        tops = [(home(), f"{VARIABLE}")] if os.environ.get(VARIABLE) else []
        tops.append((cache(), "the cache folder"))
    found = [(top / name, f"local folder {name} in {words}") for top, words in tops for name in entry.folders]
    if root is not None:
        found.append((home(root), f"local {tops[0][1].removeprefix('the ')}"))
    return found


def find(entry: Entry, root: str | os.PathLike[str] | None = None) -> tuple[Path, str]:
    """The folder of a data set and its place in words; DataNotFoundError with the ways to get it otherwise."""
    places = candidates(entry, root)
    for path, words in places:
        if any(os.path.exists(path / file) for file in entry.evidence):
            return path, words
    raise DataNotFoundError(absent(entry, [path for path, _ in places]))


def absent(entry: Entry, looked: list[Path]) -> str:
    """The message for a data set that is not here: where it was sought, how to get it, what to use instead."""
    lines = [f"{entry.name} ({entry.title}) is not on this machine.", "Looked for it in:"]
    for path in looked:
        state = f" (exists, but holds no {' or '.join(entry.evidence)})" if path.is_dir() else ""
        if any(file.endswith(".bin") and (path / file.removesuffix(".bin")).is_file() for file in entry.evidence):
            state = (
                f" (holds pickles, which can run code and are never opened: {entry.name} is read in its binary version)"
            )
        lines.append(f"  {path}{state}")
    if entry.remote:
        lines += [
            f"Download it ({entry.size}, checksum verified): workbench data fetch {entry.name}",
            f'  or from Python: data.load("{entry.name}", download=True)',
        ]
    else:
        lines += [
            f"It cannot be downloaded by a program. Address: {entry.address}",
            f"  expected folders: {entry.tree}",
        ]
    lines += [
        f"Have it already? Set {VARIABLE} to the folder that holds {entry.folders[0]}/, or pass root=.",
        f'Without it: data.load("{entry.substitute}") is embedded and always there.',
    ]
    return "\n".join(lines)
