"""Enforces the shapes written in public signatures while the tests run.

Only jaxtyping's array annotations are checked, and only for tensors: other types are the type checker's business, and bad
values must reach the library's own messages.
"""

import functools
import inspect
import typing

import torch
from jaxtyping import AbstractArray


def check(function):
    """The type checker that jaxtyping's import hook puts around every function."""
    try:
        hints = typing.get_type_hints(function)
    except NameError:  # annotations that only a type checker can resolve
        return function
    wanted = {name: hint for name, hint in hints.items() if inspect.isclass(hint) and issubclass(hint, AbstractArray)}
    if not wanted:
        return function
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args, **kwargs):
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            _refuse(function, name, value, wanted)
        result = function(*args, **kwargs)
        _refuse(function, "return", result, wanted)
        return result

    return checked


def _refuse(function, name, value, wanted):
    if name in wanted and isinstance(value, torch.Tensor) and not isinstance(value, wanted[name]):
        raise TypeError(
            f"{function.__qualname__}: {name} has shape {tuple(value.shape)} {value.dtype}, not {wanted[name]}"
        )
