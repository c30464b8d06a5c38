"""All claims of a paper with their verdicts, and how many survive a correction for their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import rendering, statistics
from .judgement import CONTRADICTED, INCONCLUSIVE, NOT_RUN, REPRODUCED
from .verdict import Verdict

FAMILY_LEVEL = 0.05


def beside_printed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The card's order, but every corrected claim right after the printed one it corrects."""
    ordered = []
    for verdict in verdicts:
        if verdict.claim.printed is None:
            ordered.append(verdict)
            ordered.extend(other for other in verdicts if other.claim.printed == verdict.id)
    return ordered


@dataclass(frozen=True, repr=False)
class Scoreboard:
    """The claims of one paper; readable as text, in a notebook and (through rich) in a terminal."""

    title: str
    verdicts: tuple[Verdict, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many claims have each verdict; the four verdicts are always there."""
        found = [verdict.verdict for verdict in self.verdicts]
        return {name: found.count(name) for name in (REPRODUCED, CONTRADICTED, INCONCLUSIVE, NOT_RUN)}

    @property
    def holm(self) -> dict[str, float]:
        """Holm-adjusted p-value of every claim that rests on seeds, by id."""
        family = {verdict.id: verdict.p_value for verdict in self.verdicts}
        family = {name: p_value for name, p_value in family.items() if p_value is not None}
        return dict(zip(family, statistics.holm(list(family.values())), strict=True))

    @property
    def reproduced_after_holm(self) -> list[str]:
        """Ids of the claims over seeds that stay reproduced when the family's error rate is held at 5 %."""
        adjusted = self.holm
        return [
            verdict.id
            for verdict in self.verdicts
            if verdict.verdict == REPRODUCED and adjusted.get(verdict.id, 1.0) <= FAMILY_LEVEL
        ]

    @property
    def summary_lines(self) -> list[str]:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        lines = [f"{len(self.verdicts)} claims: {counts}."]
        family = self.holm
        reproduced = [one for one in self.verdicts if one.verdict == REPRODUCED]
        over_seeds = [one.id for one in reproduced if one.id in family]
        if family:
            lost = [name for name in over_seeds if name not in self.reproduced_after_holm]
            lines.append(
                f"Holm over the {len(family)} claims measured over seeds, 5 % family level: "
                f"{len(over_seeds) - len(lost)} of {len(over_seeds)} reproduced remain so"
                + (f" (not: {', '.join(lost)})." if lost else ".")
            )
        if exact := len(reproduced) - len(over_seeds):
            lines.append(f"Deterministic, in no need of correction: {exact} of {len(reproduced)} reproduced.")
        return lines

    def __repr__(self) -> str:
        return rendering.scoreboard_text(self)

    def _repr_html_(self) -> str:
        return rendering.scoreboard_html(self)

    def __rich__(self):
        from rich.console import Group

        return Group(rendering.scoreboard_table(self), *self.summary_lines)
