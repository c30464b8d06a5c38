"""The verdict on one claim."""

from __future__ import annotations

from dataclasses import dataclass

from . import rendering
from .judgement import CONTRADICTED, INCONCLUSIVE, NOT_RUN, REPRODUCED, Measurement
from .schema import Claim


@dataclass(frozen=True, repr=False)
class Verdict:
    """A claim with what was measured for it; readable as text and in a notebook.

    Attributes:
        claim: the statement, from the card.
        conditions: one measurement per condition of the claim; empty when the claim was not run.
        reason: why it was not run.
    """

    claim: Claim
    conditions: tuple[Measurement, ...] = ()
    reason: str = "not run"

    @property
    def id(self) -> str:
        return self.claim.id

    @property
    def verdict(self) -> str:
        """ "contradicted" if any condition is, "reproduced" if all are, else "inconclusive"; "not run" without any."""
        verdicts = {one.verdict for one in self.conditions}
        if not verdicts:
            return NOT_RUN
        if CONTRADICTED in verdicts:
            return CONTRADICTED
        return REPRODUCED if verdicts == {REPRODUCED} else INCONCLUSIVE

    @property
    def p_value(self) -> float | None:
        """The largest p-value of the conditions with one (all must hold); None for purely deterministic claims.

        A claim whose deterministic conditions do not hold has p-value 1.
        """
        p_values = [one.p_value for one in self.conditions if one.p_value is not None]
        if not p_values:
            return None
        exact = [one.verdict for one in self.conditions if one.p_value is None]
        return max(p_values) if all(verdict == REPRODUCED for verdict in exact) else 1.0

    def __repr__(self) -> str:
        return rendering.verdict_text(self)

    def _repr_html_(self) -> str:
        return rendering.verdict_html(self)
