"""The names that `load` knows."""

from __future__ import annotations

import re

from workbench.data import embedded

_NAMES = (*embedded.EMBEDDED, "rotated-digits")


def key(name: str) -> str:
    """The catalogue's spelling of a name: case, hyphens, underscores and blanks do not matter."""
    wanted = re.sub(r"[-_ ]", "", name).lower()
    for known in _NAMES:
        if re.sub(r"[-_ ]", "", known) == wanted:
            return known
    raise ValueError(f"no data set called {name!r}; there are {', '.join(_NAMES)}")
