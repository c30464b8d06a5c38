"""What a card says of one measured quantity: its statistic and the region the claim puts it in."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..parameters.specification import Strict, is_number
from .regions import Region, shifted

Preset = Literal["smoke", "laptop", "paper"]
Seeds = str | int | dict[Preset, str | int]
Statistic = Literal[
    "value",
    "mean",
    "ratio",
    "median",
    "share",
    "error_rate",
    "agreement",
    "slope",
    "correlation",
    "pooled",
    "position",
    "bounded",
]
Relation = Literal["<", "<=", ">", ">=", "in", "=="]

SKEWED = ("mean", "ratio", "slope", "agreement", "pooled", "position", "correlation")
"""Statistics whose test leans on the samples' shape: at least 5 seeds, better 10."""


_NONE = 1.7e308
_END = {"inf": math.inf, "-inf": -math.inf}


class Condition(Strict):
    """One measured quantity of a claim and the region the claim puts it in.

    Attributes:
        threshold: of the relation; [low, high] for "in".
        ends: for "in", which ends belong to the region: "[]" (default), "()", "[)", "(]".
        tolerance: the computed error of the quantity. It widens the closed ends of a `value`; strict ends must be passed
            by more than it. Rounding tolerances count the operations.
        margin: half-width of an equivalence (`==` on a statistic over seeds).
        bounds: [low, high] of every sample of `bounded`; "inf" and "-inf" for a side without one.
        shape: "symmetric" where the samples' law is symmetric by construction; `shape_reason` says why.
        censored: samples known only to lie beyond their value on that side.
        signed: for `pooled`, samples that may be negative.
        at: for `position`, the place between a (0) and b (1) that is tested.
        seeds: number of seeds, where it differs from the claim's.
        draws: what is averaged inside a seed, for the reader.
    """

    name: str = Field(default="value", min_length=1)
    quantity: str = Field(min_length=1)
    unit: str = ""
    statistic: Statistic
    relation: Relation
    threshold: float | list[float]
    ends: Literal["[]", "()", "[)", "(]"] = "[]"
    tolerance: float = Field(default=0.0, ge=0)
    margin: float | None = Field(default=None, gt=0)
    bounds: list[float] | None = None
    shape: Literal["symmetric"] | None = None
    shape_reason: str = ""
    censored: Literal["above", "below"] | None = None
    signed: bool = False
    at: float = 0.5
    seeds: Seeds | None = None
    draws: str | int | None = None

    @field_validator("threshold", mode="before")
    @classmethod
    def _number_or_pair(cls, value: Any) -> Any:
        if is_number(value):
            return float(value)
        if isinstance(value, list) and len(value) == 2 and all(is_number(end) for end in value):
            return [float(end) for end in value]
        raise ValueError("must be a finite number, or two finite numbers [low, high] for the relation 'in'")

    @field_validator("bounds", mode="before")
    @classmethod
    def _pair_of_bounds(cls, value: Any) -> Any:
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError('must be two numbers [low, high]; "inf" or "-inf" for a side without a bound')
        low, high = (_END.get(end, end) if isinstance(end, str) else end for end in value)
        if not (isinstance(low, (int, float)) and isinstance(high, (int, float)) and low < high):
            raise ValueError(f"must be two numbers low < high, got {value}")
        # JSON and TOML have no infinity that all readers share: `sides` reads the largest numbers as none.
        return [max(float(low), -_NONE), min(float(high), _NONE)]

    @property
    def random(self) -> bool:
        """Whether it speaks of the population of seeds (everything but `value`)."""
        return self.statistic != "value"

    @property
    def sides(self) -> tuple[float | None, float | None]:
        """The bounds of `bounded`, None for a side without one."""
        low, high = self.bounds or [-_NONE, _NONE]
        return (None if low == -_NONE else low, None if high == _NONE else high)

    @property
    def region(self) -> Region:
        """Where the quantity is claimed to lie."""
        slack = self.tolerance if self.statistic == "value" else 0.0
        if isinstance(self.threshold, list):
            low, high = shifted(self.threshold[0], -slack), shifted(self.threshold[1], slack)
            return Region(low, high, self.ends[0] == "[", self.ends[1] == "]", self.tolerance)
        if self.relation == "==":
            slack += self.margin or 0.0
            ends = shifted(self.threshold, -slack), shifted(self.threshold, slack)
            return Region(*ends, error=self.tolerance, centre=self.threshold)
        closed = self.relation in ("<=", ">=")
        slack = slack if closed else 0.0
        if self.relation in ("<", "<="):
            return Region(high=shifted(self.threshold, slack), high_closed=closed, error=self.tolerance)
        return Region(low=shifted(self.threshold, -slack), low_closed=closed, error=self.tolerance)

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
        if self.ends != "[]" and self.relation != "in":
            raise ValueError("ends: only for the relation 'in'; use < or > for a strict end")
        self._statistic_fits(self.threshold if isinstance(self.threshold, list) else [self.threshold])
        return self

    def _statistic_fits(self, ends: list[float]) -> None:
        name = self.statistic
        if name in ("share", "error_rate") and not all(0 <= end <= 1 for end in ends):
            raise ValueError(f"threshold: a share lies in [0, 1], got {self.threshold}")
        if name in ("share", "error_rate") and any(impossible for impossible in self._unreachable(ends)):
            raise ValueError(
                f"threshold: no number of seeds puts an interval on the claimed side of {self.threshold:g} "
                "(every draw: use 'value'; else a share that can be reached, such as 0.9)"
            )
        if name == "error_rate" and self.relation not in ("<", "<="):
            raise ValueError("relation: an error_rate is claimed to stay below its level: use '<='")
        if name in ("ratio", "pooled") and not self.signed and not all(end > 0 for end in ends):
            raise ValueError(f"threshold: a ratio is positive, got {self.threshold}")
        if name == "correlation" and not all(-1 <= end <= 1 for end in ends):
            raise ValueError(f"threshold: a correlation lies in [-1, 1], got {self.threshold}")
        if name == "position" and any(ends):
            raise ValueError(
                f"threshold: a position is judged by its contrast to the place `at` (1/2 by default): 0, got {self.threshold}"
            )
        equivalence = self.relation == "==" and self.random
        if equivalence and self.margin is None:
            raise ValueError(f"margin: '==' on a {name} over seeds is an equivalence claim and needs its margin")
        if self.margin is not None and not equivalence:
            raise ValueError("margin: only for '==' on a statistic over seeds; use tolerance for exact statements")
        if name == "agreement" and not equivalence:
            raise ValueError("relation: 'agreement' is equivalence with an exact number: use '==' and margin")
        if name == "bounded":
            if self.bounds is None:
                raise ValueError("bounds: 'bounded' needs the bounds of its samples, [low, high]")
            low, high = self.sides
            region = self.region
            if (math.isfinite(region.low) and low is None) or (math.isfinite(region.high) and high is None):
                raise ValueError("bounds: an end of the region needs the bound on its side ('>= b' the lower one)")
        elif self.bounds is not None:
            raise ValueError("bounds: only for the statistic 'bounded'")
        if (self.shape is None) != (not self.shape_reason):
            raise ValueError("shape: 'symmetric' and shape_reason belong together")
        if self.signed and name != "pooled":
            raise ValueError("signed: only for the statistic 'pooled'")
        if self.censored and name != "mean":
            raise ValueError("censored: only for a mean; hand censored samples of a median over as (lows, highs)")

    def _unreachable(self, ends: list[float]) -> list[bool]:
        if self.relation in (">", ">="):
            return [ends[0] >= 1]
        return [ends[0] <= 0] if self.relation in ("<", "<=") else []
