"""What a swept function receives: one value per run that behaves as the number it stands for, and words where it cannot."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map_only

_HOST = {
    "item",
    "tolist",
    "numpy",
    "__int__",
    "__float__",
    "__bool__",
    "__index__",
    "__complex__",
    "__array__",
    "__len__",
}
_FLOATING = {
    "__truediv__", "__rtruediv__", "__div__", "__rdiv__", "true_divide", "__rpow__", "float_power", "reciprocal", "sqrt",
    "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sigmoid",
    "mean", "std", "var", "lgamma", "erf",
}  # fmt: skip
_PLACES = {
    "__getitem__", "__setitem__", "index_select", "index_add", "index_copy", "index_fill", "select", "gather", "scatter",
    "scatter_add", "take", "take_along_dim", "embedding", "one_hot", "bincount",
}  # fmt: skip
"""Functions in which a whole number is a place, not a value."""


class SweptValueError(RuntimeError, ValueError):
    """A value that differs from run to run is asked for as one number."""


class Swept(Tensor):
    """A 0-dim tensor with one value per run that counts as the Python number of its run: whole numbers meet fractions in double
    precision, and other tensors keep their type.
    """

    axis: str

    @classmethod
    def of(cls, value: Tensor, axis: str) -> Swept:
        """The value of an axis."""
        made = value.as_subclass(cls)
        made.axis = axis
        return made

    def __hash__(self) -> int:
        """Refused: a look-up in a dict or a set would find the wrapper, never the number."""
        raise SweptValueError(_words([self.axis], "look-up (in a dict or a set)"))

    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        flat = tree_flatten((args, kwargs))[0]
        swept = [value for value in flat if isinstance(value, Swept)]
        if name in _HOST:
            raise SweptValueError(_words([value.axis for value in swept], f"{name.strip('_')}()"))
        others = [value for value in flat if isinstance(value, Tensor) and not isinstance(value, Swept)]
        floats = [value.dtype for value in others if value.is_floating_point()]
        with torch._C.DisableTorchFunctionSubclass():
            real = any(isinstance(value, (float, complex)) for value in flat)
            real |= any(value.is_floating_point() for value in swept)
            if name in _PLACES:
                pass
            elif floats:
                dtype = floats[0]
                for other in floats[1:]:
                    dtype = torch.promote_types(dtype, other)
                args, kwargs = tree_map_only(Swept, lambda value: value.to(dtype), (args, kwargs))
            elif real or name in _FLOATING or _fractional(name, args, kwargs):
                args, kwargs = tree_map_only(Swept, lambda value: value.double(), (args, kwargs))
            result = func(*args, **kwargs)
            number = isinstance(result, Tensor) and result.dim() == 0 and result.dtype != torch.bool
            return cls.of(result, swept[0].axis) if number and swept and not others else result


def _fractional(name: str, args: tuple, kwargs: dict) -> bool:
    if name in ("div", "divide"):
        return kwargs.get("rounding_mode") is None
    if name in ("pow", "__pow__"):
        exponent = args[1] if len(args) > 1 else kwargs.get("exponent")
        return not (isinstance(exponent, int) and exponent >= 0)
    return False


def plain(value: Tensor) -> Tensor:
    """A tensor without the manners of a swept number: whole ones in double precision."""
    if not isinstance(value, Swept):
        return value
    bare = value.as_subclass(Tensor)
    return bare if bare.is_floating_point() else bare.double()


def _words(axes: Sequence[str], what: str) -> str:
    named = ", ".join(dict.fromkeys(axes))
    return (
        f"{what} of a value of the axis {named} that differs from run to run: inside a sweep every numeric axis is a tensor, "
        f"and if, int(), float(), range() and shapes need one number. Name it in static=['{axes[0]}'], which calls the function "
        "once per value, or write it with torch (torch.where, torch.sqrt, ...); for random numbers use wb.draws"
    )


_SIGNS = ("vmap", "detach views in-place", "data-dependent control flow", ".item()", "functorch", "BatchedTensor")


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def in_words(axes: Sequence[str]) -> Iterator[None]:
    """Torch's errors about values that differ from run to run, in the words of a sweep."""
    try:
        yield
    except SweptValueError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        if "random" in str(error):
            text = (
                "the swept function draws from torch's own generator, whose numbers all runs of a chunk would share; use "
                "wb.draws.normal(seed, ...), whose numbers follow the run's seed"
            )
        else:
            text = _words(list(axes), "one number")
        raise SweptValueError(f"{text} (torch says: {str(error).splitlines()[0]})") from error
