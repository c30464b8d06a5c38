"""What a card may contain: pydantic models of papers/<slug>/paper.toml.

The models are strict: unknown keys are refused, a number in quotes is not a number, and a threshold must fit its
relation and statistic. Rules that span several parts of a card are in `loading`.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Statistic = Literal["value", "mean", "ratio", "median", "proportion", "bootstrap"]
Relation = Literal["<", "<=", ">", ">=", "in", "=="]
Origin = Literal["printed", "derived", "corrected"]
Preset = Literal["smoke", "laptop", "paper"]
ParameterType = Literal["int", "float", "bool", "str", "list[int]", "list[float]", "list[bool]", "list[str]"]

RESERVED_NAMES = frozenset(
    {"preset", "rules", "keys", "values", "items", "get", "model_dump", "self", "None", "True", "False"}
)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Citation(_Strict):
    """The `[paper]` table: who wrote what, and what it is about."""

    slug: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str = Field(min_length=1)
    authors: list[str] = Field(min_length=1)
    year: int = Field(ge=1900, le=2200)
    venue: str = ""
    arxiv: str = ""
    url: str = ""
    question: str = ""
    summary: str = ""
    theme: str = ""

    @field_validator("authors", mode="before")
    @classmethod
    def _one_author_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Parameter(_Strict):
    """One `[parameters.<name>]` table: type, default, meaning and what is allowed.

    Bounds and choices hold for every entry of a list. A nullable parameter without a default is None.
    """

    type: ParameterType
    default: Any = None
    meaning: str = Field(min_length=1)
    unit: str = ""
    min: float | None = None
    max: float | None = None
    exclusive_min: float | None = None
    exclusive_max: float | None = None
    min_items: int | None = Field(default=None, ge=0)
    choices: list[Any] | None = Field(default=None, min_length=1)
    nullable: bool = False

    @property
    def is_list(self) -> bool:
        return self.type.startswith("list[")

    @property
    def entry_type(self) -> str:
        return self.type[5:-1] if self.is_list else self.type

    @model_validator(mode="after")
    def _bounds_fit(self) -> Parameter:
        bounds = {key: getattr(self, key) for key in ("min", "max", "exclusive_min", "exclusive_max")}
        given = [key for key, bound in bounds.items() if bound is not None]
        if given and self.entry_type not in ("int", "float"):
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
        return self


class Condition(_Strict):
    """One measured quantity of a claim and the region the claim puts it in.

    `tolerance` widens the region at both ends (for exact statements: what rounding may cost). `margin` is the half
    width of an equivalence claim (`==` on a statistic over seeds). `standard_errors = k` replaces the Student-t
    interval of a mean by mean +- k standard errors, for papers that state their claim so.
    """

    name: str = Field(default="value", min_length=1)
    quantity: str = Field(min_length=1)
    unit: str = ""
    statistic: Statistic
    relation: Relation
    threshold: float | list[float]
    tolerance: float = Field(default=0.0, ge=0)
    margin: float | None = Field(default=None, gt=0)
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    standard_errors: float | None = Field(default=None, gt=0)

    @field_validator("threshold", mode="before")
    @classmethod
    def _number_or_pair(cls, value: Any) -> Any:
        if _is_number(value):
            return float(value)
        if isinstance(value, list) and len(value) == 2 and all(_is_number(end) for end in value):
            return [float(end) for end in value]
        raise ValueError("must be a finite number, or two finite numbers [low, high] for the relation 'in'")

    @model_validator(mode="after")
    def _threshold_fits(self) -> Condition:
        if isinstance(self.threshold, list):
            if self.relation != "in":
                raise ValueError(
                    f"threshold: the relation {self.relation!r} needs one number, got a pair; use relation 'in'"
                )
            if self.threshold[0] >= self.threshold[1]:
                raise ValueError(f"threshold: [low, high] needs low < high, got {self.threshold}")
        elif self.relation == "in":
            raise ValueError(f"threshold: the relation 'in' needs [low, high], got {self.threshold:g}")
        ends = self.threshold if isinstance(self.threshold, list) else [self.threshold]
        if self.statistic == "proportion" and not all(0 <= end <= 1 for end in ends):
            raise ValueError(f"threshold: a proportion lies in [0, 1], got {self.threshold}")
        if self.statistic == "ratio" and not all(end > 0 for end in ends):
            raise ValueError(f"threshold: a ratio is positive, got {self.threshold}")
        equivalence = self.relation == "==" and self.statistic != "value"
        if equivalence and self.margin is None:
            raise ValueError(
                f"margin: '==' on a {self.statistic} over seeds is an equivalence claim and needs its margin"
            )
        if self.margin is not None and not equivalence:
            raise ValueError("margin: only for '==' on a statistic over seeds; use tolerance for exact statements")
        if self.standard_errors is not None and self.statistic != "mean":
            raise ValueError(f"standard_errors: only for the statistic 'mean', not {self.statistic!r}")
        return self


class Claim(_Strict):
    """One falsifiable statement: its words, where it stands, what the paper reports and the conditions to measure."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    statement: str = Field(min_length=1)
    source: str = Field(min_length=1)
    origin: Origin
    paper: str | float = ""
    printed: str | None = None
    presets: list[Preset] | None = Field(default=None, min_length=1)
    condition: list[Condition] = Field(min_length=1)

    @field_validator("paper", mode="before")
    @classmethod
    def _text_or_number(cls, value: Any) -> Any:
        if isinstance(value, str) or _is_number(value):
            return value
        raise ValueError("must be text or a finite number")

    @model_validator(mode="after")
    def _consistent(self) -> Claim:
        names = [condition.name for condition in self.condition]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"condition: the name {name!r} is used {names.count(name)} times; names must differ")
        if self.origin == "corrected" and self.printed is None:
            raise ValueError("printed: a corrected claim must name the id of the printed claim it corrects")
        if self.origin != "corrected" and self.printed is not None:
            raise ValueError(f"printed: only a claim of origin 'corrected' has it; this one is {self.origin!r}")
        return self


class CardFile(_Strict):
    """A whole paper.toml."""

    paper: Citation
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    presets: dict[Preset, dict[str, Any]] = Field(default_factory=dict)
    claim: list[Claim] = Field(min_length=1)
