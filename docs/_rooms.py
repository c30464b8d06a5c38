"""The rooms, what one paper alone uses, as API pages: every module that a notebook imports."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import workbench.papers

HEAD = """\
# Rooms

What one paper alone uses, by paper: the modules that its notebook imports. They are written to be read beside the notebook, and
change with it; what several papers use is in the pages above.

```{toctree}
:maxdepth: 1

"""


def write(folder: Path) -> None:
    """Write api/rooms.md and a page for each room below api/rooms/."""
    target = folder / "api" / "rooms"
    target.mkdir(exist_ok=True)
    rooms = [room.name for room in pkgutil.iter_modules(workbench.papers.__path__) if room.ispkg]
    for room in rooms:
        package = f"workbench.papers.{room}"
        path = [str(Path(str(workbench.papers.__path__[0])) / room)]
        modules = sorted(module.name for module in pkgutil.walk_packages(path, f"{package}."))
        blocks = [f"# {room.replace('_', '-')}", "", f"`from workbench.papers import {room} as room`", ""]
        for module in modules:
            options = "   :no-imported-members:\n   :no-index:\n"
            blocks.append(
                f"## {module.removeprefix(package + '.')}\n\n```{{eval-rst}}\n.. automodule:: {module}\n{options}```\n"
            )
        _update(target / f"{room}.md", "\n".join(blocks))
    for stale in target.glob("*.md"):
        if stale.stem not in rooms:
            stale.unlink()
    _update(folder / "api" / "rooms.md", HEAD + "".join(f"rooms/{room}\n" for room in rooms) + "```\n")


def _update(target: Path, text: str) -> None:
    # Unchanged files keep their time, so that a rebuild has nothing to do.
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")
