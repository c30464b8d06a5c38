"""What a card may contain: pydantic models of papers/<slug>/paper.toml.

The models are strict: unknown keys are refused, a number in quotes is not a number, and a threshold must fit its
relation and statistic. Rules that span several parts of a card are in `loading`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..parameters.specification import Parameter, Strict, is_number
from .condition import Condition, Preset, Seeds

Origin = Literal["printed", "derived", "corrected", "published numbers"]
VerdictName = Literal["reproduced", "contradicted", "inconclusive", "consistent, not tested", "not run"]


class Citation(Strict):
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


class Control(Strict):
    """A change of the physics under which the claim must not be reproduced.

    Attributes:
        name: value of the notebook's parameter `control`.
        set: the parameters it changes; may be left out where another claim's control of this name says it.
        conditions: names of the conditions it is for; default: the claim as a whole.
        null: the mechanism's null: the same algorithm without the ingredient that the claim credits.
        meaning: what it does, in words.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    set: dict[str, Any] = Field(default_factory=dict)
    conditions: list[str] = Field(default_factory=list)
    null: bool = False
    meaning: str = ""


class Amendment(Strict):
    """A change of a sealed claim: when, what it was, why."""

    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    was: str = Field(min_length=1)
    why: str = Field(min_length=1)


class Claim(Strict):
    """One falsifiable statement: its words, where it stands, what the paper reports and the conditions to measure.

    Attributes:
        statement: may hold TeX between dollar signs; `plain` is its form for the terminal where the automatic one is poor.
        setting: where data or size substitute the paper's; the claim is then about the direction.
        require: whether "all" conditions must hold or "some" of them.
        seeds: number of seeds: a number, the name of a parameter, or one of these per preset.
        along: the size along which the claim runs; its samples are given per size.
        range: [first, last] size of the claimed range; default: every size that was tested.
        when: parameters (with their values) under which the claim is measured; `when_reason` says why.
        control_none: why no control can flip it: the badge then reads "consistent, not tested".
        expected: the verdict of the laptop preset; a test notices when it changes.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    statement: str = Field(min_length=1)
    plain: str = ""
    source: str = Field(min_length=1)
    origin: Origin
    paper: str | float = ""
    printed: str | None = None
    setting: str = ""
    presets: list[Preset] | None = Field(default=None, min_length=1)
    when: dict[str, Any] = Field(default_factory=dict)
    when_reason: str = ""
    require: Literal["all", "some"] = "all"
    seeds: Seeds | None = None
    along: str | None = None
    range: list[float] | None = None
    control_none: str = ""
    expected: VerdictName | None = None
    condition: list[Condition] = Field(min_length=1)
    control: list[Control] = Field(default_factory=list)
    amended: list[Amendment] = Field(default_factory=list)

    @field_validator("paper", mode="before")
    @classmethod
    def _text_or_number(cls, value: Any) -> Any:
        if isinstance(value, str) or is_number(value):
            return value
        raise ValueError("must be text or a finite number")

    @property
    def random(self) -> bool:
        """Whether it belongs to the family: a condition over seeds, and a control that could flip it."""
        return any(condition.random for condition in self.condition) and not self.control_none

    def seeds_of(self, condition: Condition, preset: str) -> str | int | None:
        """Declared seeds of a condition under a preset: a number or a parameter's name."""
        seeds = condition.seeds if condition.seeds is not None else self.seeds
        return seeds.get(preset, seeds.get("laptop")) if isinstance(seeds, dict) else seeds  # type: ignore[call-overload]

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
        if self.control and self.control_none:
            raise ValueError("control_none: a claim with controls has none of it; remove one of the two")
        for control in self.control:
            if unknown := [name for name in control.conditions if name not in names]:
                raise ValueError(f"control {control.name!r}: no condition is called {unknown[0]!r}")
        if self.range is not None and (self.along is None or len(self.range) != 2 or self.range[0] > self.range[1]):
            raise ValueError("range: [first, last] of the sizes of a claim with 'along'")
        return self


class Relations(Strict):
    """A `[[rule]]`: what must hold between parameters, and the words that refuse it."""

    requires: str = Field(min_length=1)
    message: str = Field(min_length=1)


class CardFile(Strict):
    """A whole paper.toml."""

    paper: Citation
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    presets: dict[Preset, dict[str, Any]] = Field(default_factory=dict)
    rule: list[Relations] = Field(default_factory=list)
    claim: list[Claim] = Field(min_length=1)
