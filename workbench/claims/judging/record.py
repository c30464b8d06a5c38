"""What a verdict is as data: read by notebook, terminal, report, figures and store alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..written.condition import Condition
from ..written.schema import Claim
from . import family
from .family import UNDECIDED, Pair

REPRODUCED, CONTRADICTED, INCONCLUSIVE = "reproduced", "contradicted", "inconclusive"
CONSISTENT, NOT_RUN = "consistent, not tested", "not run"
VERDICTS = (REPRODUCED, CONTRADICTED, INCONCLUSIVE, CONSISTENT, NOT_RUN)


@dataclass(frozen=True)
class Measurement:
    """What was measured for one condition, and what follows.

    Several comparisons are represented by the worst one (`estimate`, `low`, `high`); `n` counts the seeds of each, or the
    values of an exact statement; `not_finite` counts NaN and infinite samples of all.

    Attributes:
        p: p-values of the condition: the largest `rep` and the smallest `con` of its comparisons.
        spread: standard deviation over seeds (of an exact statement, the size of the region's end).
    """

    condition: Condition
    p: Pair = UNDECIDED
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    comparisons: int = 1
    not_finite: int = 0
    successes: int | None = None
    note: str = ""
    whole: bool = False
    spread: float = math.nan

    @property
    def inside(self) -> float:
        """How far the estimate lies inside the region, negative outside."""
        return -self.condition.region.excess(self.estimate)

    @property
    def verdict(self) -> str:
        """Of this condition alone."""
        return family.decide(Pair(self.p.rep, min(1.0, self.comparisons * self.p.con)))


@dataclass(frozen=True)
class AtSize:
    """A claim at one size along which it runs: holds, fails or open, with its measurements."""

    size: float
    state: str
    conditions: tuple[Measurement, ...]


@dataclass(frozen=True, repr=False)
class Record:
    """A claim with what was measured for it; `verdict.Verdict` can be shown.

    Attributes:
        claim: the statement, from the card.
        verdict: the badge: after the family of the paper's random claims has been judged.
        alone: the verdict of this claim by itself.
        conditions: one measurement per condition (along a size: of the worst size); empty when the claim was not run.
        sizes: along a size, the claim at each.
        p: the claim's p-values.
        level: at which the family judged it; None outside the family.
        family: number of random claims of the family.
        reason: why it was not run, or what else a reader must know ("the trend leaves the region").
        control: the control in force, under which the claim must not be reproduced.
        amendments: how often the claim was changed after it was sealed.
        unsealed: it was changed after its first verdict without an amendment.
        audit: agreement over fresh blocks and which controls flipped it, from the last audit.
    """

    claim: Claim
    verdict: str = NOT_RUN
    alone: str = NOT_RUN
    conditions: tuple[Measurement, ...] = ()
    sizes: tuple[AtSize, ...] = ()
    p: Pair = UNDECIDED
    level: float | None = None
    family: int = 0
    reason: str = ""
    control: str = "none"
    unsealed: str = ""
    audit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return self.claim.id

    @property
    def amendments(self) -> int:
        return len(self.claim.amended)
