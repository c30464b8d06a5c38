"""Names of classes and domains: compared in one Unicode form, and never confused with positions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from numbers import Integral


def composed(name: str) -> str:
    """A name in Unicode's composed form: the same for `é` however a file system spells it."""
    return unicodedata.normalize("NFC", name)


def position(wanted: object, names: Sequence[str], what: str) -> int:
    """Where a name, or the entry of a position, stands among sorted names.

    Raises:
        ValueError: for what is neither, and for a number that is the name of one entry and the position of another.
    """
    known = [composed(name) for name in names]
    if isinstance(wanted, str) and composed(wanted) in known:
        return known.index(composed(wanted))
    listed = f"one of {', '.join(names)}, or a position 0..{len(names) - 1}"
    if not isinstance(wanted, Integral) or isinstance(wanted, bool):
        raise ValueError(f"{what} must be {listed}, got {wanted!r}")
    number = int(wanted)
    named = _named(number, names)
    if not 0 <= number < len(names):
        if len(named) == 1:
            return named[0][0]  # no position, so only the name can be meant
        raise ValueError(f"{what} must be {listed}, got {number}")
    if others := [name for place, name in named if place != number]:
        raise ValueError(
            f"{what}: {number} is both the position of {names[number]!r} and the name {others[0]!r}; write a name as text"
        )
    return number


def _named(number: int, names: Sequence[str]) -> list[tuple[int, str]]:
    """The entries whose name is this number, also with leading zeros, and where they stand."""
    return [(place, name) for place, name in enumerate(names) if name.strip().isdecimal() and int(name) == number]
