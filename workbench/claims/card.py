"""A paper's card: its claims, its parameters, and the verdicts measured so far."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from . import asked, loading, recording
from .errors import CardError, ParameterError, did_you_mean
from .judgement import judge
from .schema import CardFile, Citation, Claim, Parameter, Preset
from .scoreboard import Scoreboard, beside_printed
from .values import Parameters, Rule, allowed, resolve
from .verdict import Verdict


class Card:
    """What a paper claims and what was measured of it.

    `card.parameters(...)` validates a notebook's parameters, `card.check(id, samples)` measures a claim,
    `card.scoreboard()` shows them all, `card.save(name=dataset)` keeps arrays. With the environment variable
    WORKBENCH_JOB naming a folder, everything is also written there (claims.json, results.nc).
    """

    def __init__(self, content: CardFile):
        self._content = content
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
    def claims(self) -> dict[str, Claim]:
        """Every claim by id, in the card's order."""
        return {claim.id: claim for claim in self._content.claim}

    @property
    def parameter_specs(self) -> dict[str, Parameter]:
        """Every parameter's type, default, range and meaning."""
        return dict(self._content.parameters)

    @property
    def presets(self) -> dict[str, dict[str, Any]]:
        """The presets of this card; `laptop` (the defaults) is always there."""
        return {"laptop": {}, **self._content.presets}

    @property
    def preset(self) -> str:
        """The preset in force: the one `parameters` applied, else WORKBENCH_PRESET, else laptop."""
        return self._parameters.preset if self._parameters is not None else self._preset_name(None)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Every claim's verdict so far, in the card's order; "not run" for claims not checked yet."""
        return {claim.id: self._verdicts.get(claim.id) or self._not_run(claim) for claim in self._content.claim}

    def _preset_name(self, preset: str | None) -> str:
        name = preset or os.environ.get("WORKBENCH_PRESET") or "laptop"
        if name not in self.presets:
            what = "this card does not define it" if name in get_args(Preset) else "unknown"
            hint = did_you_mean(name, self.presets)
            raise ParameterError(f"preset {name!r}: {what}{hint}; {self.slug} has {', '.join(self.presets)}")
        return name

    def parameters(self, *, preset: str | None = None, rules: Iterable[Rule] = (), **values: Any) -> Parameters:
        """The parameters of this run, checked against the card before anything is computed.

        Values equal to the card's default count as left at the default and follow the preset; others win over it.

        Args:
            preset: "smoke", "laptop" or "paper"; default: the environment variable WORKBENCH_PRESET, else "laptop".
            rules: what must hold between parameters, as pairs (function of the parameters, message if it is false):
                `rules=[(lambda p: p.n < p.d, "needs n < d (over-parametrised)")]`.
            values: parameters by name.

        Raises:
            ParameterError: listing every unknown name, every value that is not allowed, every rule that is broken.
        """
        name = self._preset_name(preset)
        self._parameters = resolve(self._content.parameters, name, self.presets[name], values, rules)
        if folder := recording.job_folder():
            asked.confirm(folder, self.slug, self._parameters.model_dump())
        return self._parameters

    def _claim(self, claim_id: str) -> Claim:
        claims = self.claims
        if claim_id not in claims:
            hint = did_you_mean(claim_id, claims)
            raise CardError(f"{self.slug} has no claim {claim_id!r}{hint}. Its claims: {', '.join(claims)}")
        return claims[claim_id]

    def _not_run(self, claim: Claim) -> Verdict:
        if claim.presets is not None and self.preset not in claim.presets:
            return Verdict(claim, reason=f"not run: needs preset {' or '.join(claim.presets)}")
        return Verdict(claim)

    def wants(self, claim_id: str) -> bool:
        """Whether the claim is measured under the preset in force: skip its computation when not."""
        claim = self._claim(claim_id)
        return claim.presets is None or self.preset in claim.presets

    def check(self, claim_id: str, samples: Any) -> Verdict:
        """The verdict on one claim from its samples.

        Args:
            claim_id: a claim of this card.
            samples: for a claim with one condition its samples (see `judgement.judge`: one value per seed, or
                `[comparison, seed]`); for several conditions a dict from condition name to samples. None leaves the
                claim "not run", and so does a preset the card does not list for it.

        Raises:
            ValueError: for an unknown claim, missing or unknown conditions, samples of the wrong kind.
        """
        claim = self._claim(claim_id)
        names = [condition.name for condition in claim.condition]
        if samples is None or not self.wants(claim_id):
            verdict = self._not_run(claim)
        else:
            if not _is_dict(samples):
                if len(names) > 1:
                    raise ValueError(f"{claim_id} has {len(names)} conditions: pass a dict with {', '.join(names)}")
                samples = {names[0]: samples}
            wrong = [f"{key!r} is not a condition{did_you_mean(key, names)}" for key in samples if key not in names]
            wrong += [f"{name!r} is missing" for name in names if name not in samples]
            if wrong:
                raise ValueError(f"{claim_id}: {'; '.join(wrong)}. Its conditions: {', '.join(names)}")
            try:
                measured = tuple(judge(condition, samples[condition.name]) for condition in claim.condition)
            except ValueError as error:
                raise ValueError(f"{claim_id}: {error}") from None
            verdict = Verdict(claim, measured)
        self._verdicts[claim_id] = verdict
        self._record()
        return verdict

    def scoreboard(self) -> Scoreboard:
        """All claims with their verdicts, corrected ones beside the printed ones, with Holm's correction."""
        self._record()
        title = f"{self.paper.title} ({self.slug}, preset {self.preset})"
        return Scoreboard(title, tuple(beside_printed(list(self.verdicts.values()))))

    def record(self) -> dict[str, Any]:
        """What claims.json holds: parameters, every claim with its measurements, the count of each verdict."""
        verdicts = self.verdicts
        board = Scoreboard(self.paper.title, tuple(verdicts.values()))
        return {
            "paper": self.slug,
            "preset": self.preset,
            "parameters": self._parameters.model_dump() if self._parameters is not None else {},
            "claims": [recording.record(verdict) for verdict in verdicts.values()],
            "summary": board.counts,
            "holm": {"level": 0.05, "family": len(board.holm), "reproduced": board.reproduced_after_holm},
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

    def __repr__(self) -> str:
        paper = self.paper
        lines = [f"{paper.title} ({', '.join(paper.authors)}, {paper.year})", "claims"]
        lines += [f"  {claim.id:<32} {claim.statement}" for claim in self._content.claim]
        lines += ["parameters"] if self._content.parameters else []
        for name, parameter in self._content.parameters.items():
            lines.append(f"  {name} = {parameter.default!r}: {parameter.meaning} ({allowed(parameter)})")
        return "\n".join(lines)


def _is_dict(samples: Any) -> bool:
    # An xarray Dataset is a Mapping too, from variable to samples, and serves as one.
    return isinstance(samples, Mapping)


def card(slug: str) -> Card:
    """The card of a paper, with nothing measured yet.

    Raises:
        CardError: for an unknown slug (lists the known ones) or a card that breaks the rules (names file, key, reason).
    """
    return Card(loading.read(loading.find(slug)))


def cards() -> dict[str, Card]:
    """Every known card by slug.

    Raises:
        CardError: for the first card that breaks the rules.
    """
    return {slug: Card(loading.read(path)) for slug, path in loading.paths().items()}
