"""Which tensors of a model an ascent treats in its own way: by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def selected(tensors: dict[str, Tensor], wanted: Callable[[str], bool], argument: str) -> set[str]:
    """The names that `wanted` selects. Raises ValueError where there are none."""
    chosen = {name for name in tensors if wanted(name)}
    if not chosen:
        names = ", ".join(map(repr, tensors))
        raise ValueError(
            f"{argument} selects none of the tensors {names}; give a function of the name that does (a single tensor is called "
            "'', and a closure of as_torch shows no names: give it the model and its loss)"
        )
    return chosen
