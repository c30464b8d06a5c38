"""All claims of a paper with their verdicts, after the family ladder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .shown import rendering
from .verdict import REPRODUCED, VERDICTS, Verdict


def beside_printed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The card's order, but every corrected claim right after the printed one it corrects."""
    ids = {verdict.id for verdict in verdicts}
    first = [verdict for verdict in verdicts if verdict.claim.printed not in ids]
    return [one for verdict in first for one in (verdict, *(o for o in verdicts if o.claim.printed == verdict.id))]


@dataclass(frozen=True, repr=False)
class Scoreboard:
    """The claims of one paper; readable as text, in a notebook and (through rich) in a terminal."""

    title: str
    verdicts: tuple[Verdict, ...]
    audit: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """How many claims have each verdict; all verdicts are always there."""
        found = [verdict.verdict for verdict in self.verdicts]
        return {name: found.count(name) for name in VERDICTS}

    @property
    def summary_lines(self) -> list[str]:
        """Counts, what the family costs, what was changed after its verdict, the last audit."""
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        lines = [f"{len(self.verdicts)} claims: {counts}."]
        family = max((one.family for one in self.verdicts), default=0)
        if family:
            lost = [one.id for one in self.verdicts if one.level is not None and one.alone != one.verdict]
            words = (
                f"Family of {family} claims over seeds, judged so that any wrong verdict among them has a chance of 5 %"
            )
            lines.append(words + (f"; undecided only because of it: {', '.join(lost)}." if lost else "."))
        if exact := sum(one.verdict == REPRODUCED and one.level is None for one in self.verdicts):
            lines.append(f"Exact statements, which no seed can change: {exact} reproduced.")
        if broken := [one.id for one in self.verdicts if one.unsealed]:
            lines.append(f"Changed after their verdict without an amendment: {', '.join(broken)}.")
        if amended := sum(one.amendments for one in self.verdicts):
            lines.append(f"Amendments: {amended}.")
        return lines + ([self.audit] if self.audit else [])

    def __repr__(self) -> str:
        return rendering.scoreboard_text(self.title, self.verdicts, self.summary_lines)

    def _repr_html_(self) -> str:
        return rendering.scoreboard_html(self.title, self.verdicts, self.summary_lines)

    def __rich__(self):
        from rich.console import Group

        return Group(rendering.scoreboard_table(self.title, self.verdicts), *self.summary_lines)
