"""What a card says of one parameter."""

from __future__ import annotations

import math
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..errors import did_you_mean

_SCALAR = r"(?:int|float|bool|str)"
_ENTRY = rf"(?:{_SCALAR}|(?:int|float) \| str|record)"
_TYPE = re.compile(rf"{_ENTRY}|list\[{_ENTRY}\]|list\[list\[{_SCALAR}\]\]")
KINDS = "int, float, bool, str, 'int | str', 'float | str', record, list[...] of these, or list[list[...]]"


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Parameter(Strict):
    """One `[parameters.<name>]` table: type, default, meaning and what is allowed.

    Bounds and choices hold for every entry of a list (of a list). A nullable parameter without a default is None.

    Attributes:
        type: "float | str" is a number or one of `words`; "record" a table with `fields`.
        default_from: an expression of other parameters that gives the default, such as "10 / d"; the notebook's cell then
            says None.
        selected_on: [first, last] seed on which a value fixed in the card was chosen; `seed0` may not overlap.
    """

    type: str
    default: Any = None
    default_from: str | None = None
    meaning: str = Field(min_length=1)
    unit: str = ""
    min: float | None = None
    max: float | None = None
    exclusive_min: float | None = None
    exclusive_max: float | None = None
    min_items: int | None = Field(default=None, ge=0)
    choices: list[Any] | None = Field(default=None, min_length=1)
    words: list[str] | None = Field(default=None, min_length=1)
    fields: dict[str, Parameter] | None = None
    nullable: bool = False
    selected_on: list[int] | None = Field(default=None, min_length=2, max_length=2)

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if not _TYPE.fullmatch(value):
            simple = ["int", "float", "bool", "str", "record", "list[int]", "list[float]", "list[bool]", "list[str]"]
            raise ValueError(f"{value!r} is not one of {KINDS}{did_you_mean(value, simple)}")
        return value

    @property
    def depth(self) -> int:
        """How many lists are around an entry."""
        return self.type.count("list[")

    @property
    def is_list(self) -> bool:
        return self.depth > 0

    @property
    def entry_type(self) -> str:
        return self.type.replace("list[", "").replace("]", "")

    @model_validator(mode="after")
    def _bounds_fit(self) -> Parameter:
        bounds = {key: getattr(self, key) for key in ("min", "max", "exclusive_min", "exclusive_max")}
        given = [key for key, bound in bounds.items() if bound is not None]
        if given and not self.entry_type.startswith(("int", "float")):
            raise ValueError(f"{given[0]} makes no sense for type {self.type!r}: remove it or use a numeric type")
        for one, other in (("min", "exclusive_min"), ("max", "exclusive_max")):
            if one in given and other in given:
                raise ValueError(f"give either {one} or {other}, not both")
        lower = self.min if self.min is not None else self.exclusive_min
        upper = self.max if self.max is not None else self.exclusive_max
        open_end = self.exclusive_min is not None or self.exclusive_max is not None
        if lower is not None and upper is not None and (lower > upper or (lower == upper and open_end)):
            raise ValueError(f"no value is allowed: the lower bound {lower:g} is not below the upper bound {upper:g}")
        if self.min_items is not None and not self.is_list:
            raise ValueError(f"min_items makes no sense for type {self.type!r}: remove it or use a list type")
        if self.words is not None and "|" not in self.entry_type:
            raise ValueError("words: only for 'int | str' and 'float | str'; use choices")
        if (self.entry_type == "record") != (self.fields is not None):
            raise ValueError("fields: a record needs them, and nothing else has them")
        if self.default is not None and self.default_from is not None:
            raise ValueError("give either default or default_from, not both")
        return self


Parameter.model_rebuild()
