"""The audit of a paper: its claims on fresh blocks of seeds and under their negative controls, as ordinary jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench import claims
from workbench.batch.grid import Request, plan
from workbench.batch.jobs import Job
from workbench.batch.provenance import now
from workbench.batch.results.store import Record
from workbench.claims.card import Card
from workbench.claims.court import seals
from workbench.claims.recording import load
from workbench.claims.shown import words
from workbench.claims.verdict import CONSISTENT, NOT_RUN, REPRODUCED, Verdict

FIRST_SEED, APART = 100_000, 10_000
"""Blocks are further apart than any seed count, and none that the cards were tried on."""


@dataclass(frozen=True)
class Audit:
    """The jobs of one paper's audit: as committed, per block of seeds, per control."""

    slug: str
    committed: Job
    blocks: tuple[Job, ...]
    controls: Mapping[str, Job]

    @property
    def jobs(self) -> list[Job]:
        return [self.committed, *self.blocks, *self.controls.values()]


def audit_of(slug: str, blocks: int, controls: bool, first_seed: int = FIRST_SEED, preset: str = "laptop") -> Audit:
    """The jobs that an audit needs; those already in the store are not run again."""

    def job(**given: Any) -> Job:
        return plan([Request([slug], preset, given)])[0]

    card = claims.card(slug)
    seeds = [first_seed + APART * block for block in range(blocks)]
    named = {name: job(control=name) for name in card.controls} if controls else {}
    return Audit(slug, job(), tuple(job(seed0=seed) for seed in seeds), named)


@dataclass(frozen=True)
class Row:
    """One claim in an audit.

    Attributes:
        blocks: its verdict in each block.
        controls: per control the verdict under it by itself, whether that flips the claim, and whether the arms were
            identical by construction (it flips, but proves less).
    """

    claim: claims.Claim
    committed: str
    blocks: tuple[str, ...]
    controls: Mapping[str, Mapping[str, Any]]

    @property
    def random(self) -> bool:
        """Whether a seed can change it."""
        return any(condition.random for condition in self.claim.condition)

    @property
    def agreeing(self) -> int:
        return sum(verdict == self.committed for verdict in self.blocks)

    @property
    def unflipped(self) -> bool:
        """Reproduced, and a control was tried of which none flips one of its conditions."""
        if self.committed != REPRODUCED or not self.controls:
            return False
        names = {condition.name for condition in self.claim.condition}
        covered = set()
        for control in self.claim.control:
            if self.controls.get(control.name, {}).get("flipped"):
                covered |= set(control.conditions) or names
        return covered != names


def rows(card: Card, committed: Record, blocks: Sequence[Record], controls: Mapping[str, Record]) -> list[Row]:
    """Every claim of a card, from the records of the audit's jobs."""
    base, by_block = _verdicts(committed), [_verdicts(record) for record in blocks]
    by_control = {name: _verdicts(record) for name, record in controls.items()}
    found = []
    for name, claim in card.claims.items():
        tried = {
            one.name: _flip(claim, one.conditions, by_control[one.name][name])
            for one in claim.control
            if one.name in by_control and base[name].verdict != NOT_RUN
        }
        found.append(Row(claim, base[name].verdict, tuple(block[name].verdict for block in by_block), tried))
    return found


def _verdicts(record: Record) -> dict[str, Verdict]:
    return {entry["id"]: load(entry) for entry in record.json("claims.json")["claims"]}


def _flip(claim: claims.Claim, conditions: list[str], under: Verdict) -> dict[str, Any]:
    """What a control did to a claim. The verdict by itself counts: being undecided only because of the family is no flip."""
    judged = [one for one in under.conditions if not conditions or one.condition.name in conditions]
    if conditions:
        flipped = bool(judged) and all(one.verdict != REPRODUCED for one in judged)
        verdict = ", ".join(one.verdict for one in judged) or under.verdict
    else:
        flipped, verdict = under.alone not in (REPRODUCED, NOT_RUN), under.alone
    random = [one for one in judged if one.condition.random]
    identical = bool(random) and all(
        one.low == one.high == one.estimate and one.estimate in (0.0, 1.0) for one in random
    )
    return {"verdict": verdict, "flipped": flipped, "identical": identical}


def summary(found: Sequence[Row]) -> str:
    """Agreement of random and of exact rows, and what no control flips, in a sentence."""
    parts = []
    for label, members in (("random", [r for r in found if r.random]), ("exact", [r for r in found if not r.random])):
        members = [row for row in members if row.committed != NOT_RUN]
        total = sum(len(row.blocks) for row in members)
        if total:
            agreeing = sum(row.agreeing for row in members)
            parts.append(f"{agreeing} of {total} verdicts of {label} rows agree ({agreeing / total:.1%})")
    if any(row.controls for row in found):
        tried = [row for row in found if row.committed == REPRODUCED]
        unflipped = [row.claim.id for row in tried if row.unflipped]
        parts.append(
            f"controls flip {len(tried) - len(unflipped)} of {len(tried)} reproduced claims"
            + (f" (not: {', '.join(unflipped)})" if unflipped else "")
        )
    return "; ".join(parts)


def kept(audit: Audit, found: Sequence[Row], committed: Record) -> dict[str, Any]:
    """What court.json keeps of an audit."""
    modules = sorted(committed.content["identity"]["modules"])
    return {
        "date": now()[:10],
        "blocks": len(audit.blocks),
        "seeds": [job.parameters["seed0"] for job in audit.blocks],
        "preset": audit.committed.preset,
        "agreement": summary(found),
        "modules": modules,
        "modules_hash": seals.modules_hash(modules),
        "claims": {
            row.claim.id: {
                "committed": row.committed,
                "blocks": list(row.blocks),
                "controls": {name: dict(one) for name, one in row.controls.items()},
            }
            for row in found
        },
    }


def record(card: Card, audit: Audit, found: Sequence[Row], committed: Record) -> None:
    """Write the audit, and seals for claims that have none, to the card's court.json."""
    assert card.folder is not None
    date = now()[:10]
    verdicts = {row.claim.id: row.committed for row in found}
    sealed = seals.with_seals(card.content, seals.read(card.folder), verdicts, date)
    seals.write(card.folder, {**sealed, **({"audit": kept(audit, found, committed)} if audit.blocks else {})})


def table(card: Card, found: Sequence[Row]) -> RenderableType:
    """Verdict by block, agreement, controls."""
    shown = Table(title=card.slug, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for heading in ("claim", "committed", "blocks", "agree", "controls"):
        shown.add_column(heading, overflow="fold", no_wrap=heading == "agree")
    for row in found:
        marks = Text()
        for verdict in row.blocks:
            marks.append(words.SYMBOLS[verdict], style=words.STYLES[verdict])
        controls = "\n".join(
            f"{name} {'flips' if one['flipped'] else 'DOES NOT FLIP'} ({one['verdict']})"
            + (", arms identical" if one["identical"] else "")
            for name, one in row.controls.items()
        )
        style = "bold red" if row.unflipped else ""
        badge = Text(f"{words.SYMBOLS[row.committed]} {row.committed}", style=words.STYLES[row.committed])
        if row.claim.expected not in (None, row.committed):
            badge.append(f" (expected: {row.claim.expected})", style="bold red")
        agree = f"{row.agreeing}/{len(row.blocks)}" if row.blocks else ""
        if not row.claim.control and row.committed == CONSISTENT:
            controls = "none can"
        shown.add_row(Text(row.claim.id), badge, marks, agree, Text(controls, style=style))
    return Group(shown, Text(summary(found)))
