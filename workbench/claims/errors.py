"""The two refusals of the claims package, and the sentence that points at a likely typing error."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class CardError(ValueError):
    """A card that cannot be used: names the file, the key and the reason of every problem found."""


class ParameterError(ValueError):
    """Parameters a card does not allow: names each parameter, its value, what is allowed and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: the words. The way through the library to them is of no use to who typed the value."""
        return [f"{type(self).__name__}: {self}"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'rho'?)"` when one of the known names is close to `name`, else an empty string."""
    # pyrefly: ignore[unnecessary-type-conversion]
    close = get_close_matches(str(name), [str(other) for other in known], n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""
