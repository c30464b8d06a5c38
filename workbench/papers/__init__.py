"""One room per paper: its explorer and the mechanics that only this paper uses.

Nothing but the paper's notebook, the lab and tests/papers/<paper>/ imports a room; what a second paper needs moves into
the library.
"""

from __future__ import annotations

import importlib.util
import pkgutil


def explorers() -> dict[str, str]:
    """Room -> module of its explorer, for the rooms that have one."""
    rooms = sorted(one.name for one in pkgutil.iter_modules(__path__) if one.ispkg)
    modules = {room: f"{__name__}.{room}.explorer" for room in rooms}
    return {room: module for room, module in modules.items() if importlib.util.find_spec(module)}
