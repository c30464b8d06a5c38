"""A paper's card: its claims, its parameters, and the verdicts measured so far."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from . import asked, loading, recording, sections
from .court import seals
from .errors import CardError, ParameterError, did_you_mean
from .judging.handed import by_condition
from .parameters.specification import Parameter
from .parameters.values import Parameters, Rule, allowed, resolve
from .scoreboard import Scoreboard, beside_printed
from .verdict import Verdict, badges, verdict_along, verdict_of
from .written import reach
from .written.schema import CardFile, Citation, Claim, Preset


class Card:
    """What a paper claims and what was measured of it.

    `card.parameters(globals())` validates a notebook's parameters, `card.section(ids)` opens a cell that only some claims
    need, `card.check(id, samples)` measures a claim, `card.scoreboard()` shows them all, `card.save(name=dataset)` keeps
    arrays. With the environment variable WORKBENCH_JOB naming a folder, everything is also written there (claims.json,
    results.nc).
    """

    def __init__(self, content: CardFile, folder: Path | None = None):
        self._content = loading.with_standing_parameters(content)
        self._folder = folder
        self._court = seals.read(folder)
        self._verdicts: dict[str, Verdict] = {}
        self._parameters: Parameters | None = None
        self._saved: dict[str, Any] = {}

    @property
    def paper(self) -> Citation:
        """The citation."""
        return self._content.paper

    @property
    def slug(self) -> str:
        return self.paper.slug

    @property
    def folder(self) -> Path | None:
        """Where the card, its published tables and court.json lie."""
        return self._folder

    @property
    def content(self) -> CardFile:
        """The card as it is written."""
        return self._content

    @property
    def claims(self) -> dict[str, Claim]:
        """Every claim by id, in the card's order."""
        return {claim.id: claim for claim in self._content.claim}

    @property
    def parameter_specs(self) -> dict[str, Parameter]:
        """Every parameter's type, default, range and meaning; `seed0` and `control` among them."""
        return dict(self._content.parameters)

    @property
    def presets(self) -> dict[str, dict[str, Any]]:
        """The presets of this card; `laptop` (the defaults) is always there."""
        return {"laptop": {}, **self._content.presets}

    @property
    def controls(self) -> dict[str, dict[str, Any]]:
        """What each named control sets."""
        return loading.control_sets(self._content)

    @property
    def preset(self) -> str:
        """The preset in force: the one `parameters` applied, else WORKBENCH_PRESET, else laptop."""
        return self._parameters.preset if self._parameters is not None else self._preset_name(None)

    @property
    def control(self) -> str:
        """The control in force, "none" in an ordinary run."""
        return str(self._values.get("control", "none"))

    @property
    def _values(self) -> Mapping[str, Any]:
        if self._parameters is not None:
            return self._parameters
        return {name: parameter.default for name, parameter in self._content.parameters.items()}

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Every claim's verdict so far, after the family ladder, in the card's order."""
        members = reach.members(self._content.claim, self.preset, self._values)
        found = {claim.id: self._verdicts.get(claim.id) or self._not_run(claim) for claim in self._content.claim}
        judged = self.with_court(badges(found, members).values(), now=False)
        return {one.id: replace(one, control=self.control) for one in judged}

    def with_court(self, verdicts: Iterable[Verdict], *, now: bool = True) -> list[Verdict]:
        """Verdicts with what court.json says of their claims: broken seals and the last audit.

        Args:
            now: mark an audit as stale where the code has changed since. Notebooks do not: their outputs are committed, and
                must not change with a module that computes the same.
        """
        broken, audit = seals.broken(self._content, self._court), self._court.get("audit", {}).get("claims", {})
        old = {"stale": True} if now and self._stale else {}
        return [
            replace(one, unsealed=broken.get(one.id, ""), audit={**audit[one.id], **old} if one.id in audit else {})
            for one in verdicts
        ]

    @property
    def audit(self) -> str:
        """The last audit in a sentence; empty without one."""
        return seals.audit_line(self._court, self._stale)

    @cached_property
    def _stale(self) -> bool:
        return seals.stale(self._court)

    def _preset_name(self, preset: str | None) -> str:
        name = preset or os.environ.get("WORKBENCH_PRESET") or "laptop"
        if name not in self.presets:
            what = "this card does not define it" if name in get_args(Preset) else "unknown"
            hint = did_you_mean(name, self.presets)
            raise ParameterError(f"preset {name!r}: {what}{hint}; {self.slug} has {', '.join(self.presets)}")
        return name

    def parameters(
        self,
        cell: Mapping[str, Any] | None = None,
        *,
        preset: str | None = None,
        rules: Iterable[Rule] = (),
        **values: Any,
    ) -> Parameters:
        """The parameters of this run, checked against the card before anything is computed.

        A notebook says `p = card.parameters(globals())`. A line of its parameters cell that still says the card's default
        follows the preset; a changed line, and everything a job or a keyword gives, is explicit and wins over it.

        Args:
            cell: the notebook's `globals()`; names that are no parameters of the card are left alone.
            preset: "smoke", "laptop" or "paper"; default: the environment variable WORKBENCH_PRESET, else "laptop".
            rules: further relations, (function of the parameters, message if it is false); those of the card always hold.
            values: parameters by name.

        Raises:
            ParameterError: listing every unknown name, every value that is not allowed, every rule that is broken.
        """
        name = self._preset_name(preset)
        specs = self._content.parameters
        if cell is not None:
            job = bool(os.environ.get("WORKBENCH_JOB"))
            here = {key: cell[key] for key in specs if key in cell}
            changed = {key: value for key, value in here.items() if job or not _same(value, specs[key].default)}
            values = {**changed, **values}
        relations = [(rule.requires, rule.message) for rule in self._content.rule]
        self._parameters = resolve(specs, name, self.presets[name], values, relations, self.controls, rules)
        seals.refuse_selection(self._content, self._parameters)
        if folder := recording.job_folder():
            asked.confirm(folder, self.slug, self._parameters.model_dump())
        return self._parameters

    def _claim(self, claim_id: str) -> Claim:
        claims = self.claims
        if claim_id not in claims:
            hint = did_you_mean(claim_id, claims)
            raise CardError(f"{self.slug} has no claim {claim_id!r}{hint}. Its claims: {', '.join(claims)}")
        return claims[claim_id]

    def _why_not(self, claim: Claim) -> str:
        if self.control != "none" and self.control not in [control.name for control in claim.control]:
            return f"control {self.control!r} is not for this claim"
        return reach.wanted(claim, self.preset, self._values)

    def _not_run(self, claim: Claim) -> Verdict:
        reason = self._why_not(claim)
        return Verdict(claim, reason=f"not run: {reason}" if reason else "not run")

    def wants(self, claim_id: str) -> bool:
        """Whether the claim is measured under the preset, parameters and control in force."""
        return not self._why_not(self._claim(claim_id))

    def section(self, *claim_ids: str) -> bool:
        """Open a cell that only these claims need: `card.section("claim-a", "claim-b")` as its first statement.

        Where none of them is measured the rest of the cell is skipped (see `sections`). Without a claim: a cell that a
        control job can do without, such as an explorer.

        Raises:
            CardError: for an unknown claim.
        """
        return any(list(map(self.wants, claim_ids))) if claim_ids else self.control == "none"

    def check(self, claim_id: str, samples: Any) -> Verdict:
        """The verdict on one claim from its samples.

        The badge is the one after the family ladder, with the claims measured so far; the scoreboard has the whole family.

        Args:
            claim_id: a claim of this card.
            samples: for a claim with one condition its samples (see `measuring.measure`: one value per seed, or
                `[comparison, seed]`); for several conditions a dict from condition name to samples. Along a size, for
                each condition a dict from size to samples. None leaves the claim "not run", and so does a preset, a
                parameter or a control that does not ask for it.

        Raises:
            ValueError: for an unknown claim, missing or unknown conditions, samples of the wrong kind.
        """
        claim = self._claim(claim_id)
        if samples is None or not self.wants(claim_id):
            verdict = self._not_run(claim)
        else:
            given = by_condition(claim, samples)
            try:
                verdict = verdict_along(claim, given) if claim.along else verdict_of(claim, given)
            except ValueError as error:
                raise ValueError(f"{claim_id}: {error}") from None
        self._verdicts[claim_id] = verdict
        self._record()
        return self.verdicts[claim_id]

    def scoreboard(self) -> Scoreboard:
        """All claims with their verdicts after the family ladder, corrected ones beside the printed ones."""
        self._record()
        title = f"{self.paper.title} ({self.slug}, preset {self.preset}"
        title += f", control {self.control})" if self.control != "none" else ")"
        return Scoreboard(title, tuple(beside_printed(list(self.verdicts.values()))), seals.audit_line(self._court))

    def record(self) -> dict[str, Any]:
        """What claims.json holds: parameters, every claim with its measurements, the count of each verdict."""
        verdicts = self.verdicts
        return {
            "format": recording.FORMAT,
            "paper": self.slug,
            "preset": self.preset,
            "parameters": self._parameters.model_dump() if self._parameters is not None else {},
            "claims": [recording.record(verdict) for verdict in verdicts.values()],
            "summary": Scoreboard(self.paper.title, tuple(verdicts.values())).counts,
            "family": reach.members(self._content.claim, self.preset, self._values),
        }

    def _record(self) -> None:
        if folder := recording.job_folder():
            recording.write_claims(folder / "claims.json", self.record())

    def save(self, **datasets: Any) -> None:
        """Keep measured arrays: `card.save(training=dataset)` adds the group "training" to the job's results.nc.

        Raises:
            ValueError: for anything but an xarray Dataset or DataArray.
        """
        for name, dataset in datasets.items():
            self._saved[name] = recording.as_dataset(name, dataset)
        if folder := recording.job_folder():
            recording.write_results(folder / "results.nc", self._saved)

    def published(self, name: str) -> Any:
        """A published table of the paper, papers/<slug>/<name>.csv, as a pandas DataFrame.

        Raises:
            CardError: when there is no such table; lists those there are.
        """
        import pandas

        path = self._folder / f"{name}.csv" if self._folder else Path(f"{name}.csv")
        if not path.is_file():
            tables = sorted(one.stem for one in path.parent.glob("*.csv"))
            hint = did_you_mean(name, tables)
            raise CardError(f"{self.slug} has no table {name!r}{hint}; it has {', '.join(tables) or 'none'}")
        return pandas.read_csv(path, comment="#", encoding="utf-8-sig")

    def __repr__(self) -> str:
        paper = self.paper
        lines = [f"{paper.title} ({', '.join(paper.authors)}, {paper.year})", "claims"]
        lines += [f"  {claim.id:<32} {claim.statement}" for claim in self._content.claim]
        lines += ["parameters"] if self._content.parameters else []
        for name, parameter in self._content.parameters.items():
            lines.append(f"  {name} = {parameter.default!r}: {parameter.meaning} ({allowed(parameter)})")
        return "\n".join(lines)


def _same(one: Any, other: Any) -> bool:
    return list(one) == list(other) if isinstance(one, (list, tuple)) and isinstance(other, list) else one == other


def card(slug: str) -> Card:
    """The card of a paper, with nothing measured yet. In a notebook, `card.section(...)` then gates cells.

    Raises:
        CardError: for an unknown slug (lists the known ones) or a card that breaks the rules (names file, key, reason).
    """
    path = loading.find(slug)
    sections.install()
    return Card(loading.read(path), path.parent)


def cards() -> dict[str, Card]:
    """Every known card by slug.

    Raises:
        CardError: for the first card that breaks the rules.
    """
    return {slug: Card(loading.read(path), path.parent) for slug, path in loading.paths().items()}
