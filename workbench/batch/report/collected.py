"""What a report says, as plain data: read from the run store, tolerant of whatever is missing there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench import claims
from workbench.batch import papers
from workbench.batch.results.store import REMEDY, DamagedError, Record, read_record
from workbench.claims import CardError, ParameterError
from workbench.claims.recording import load
from workbench.claims.scoreboard import beside_printed
from workbench.claims.shown import words
from workbench.claims.verdict import VERDICTS, Measurement, Verdict

MAIN_PRESETS = ("laptop", "paper", "smoke")


def collect(store: Path) -> dict[str, Any]:
    """Every job of a run store, sorted into papers.

    Returns:
        `papers` (one dict per paper with its `main` job, its `others`, newest first, and its `sweeps`), `failed` jobs,
        `unreadable` folders (names relative to the store, with the reason), `waiting` (papers with a card but without a
        finished job), `counts` of the main jobs' verdicts, and `newest`, the time at which the newest job ended.
    """
    jobs, failed, unreadable = [], [], []
    for folder in _folders(store):
        job, problem = _job(folder)
        if job is None:
            unreadable.append({"folder": folder.relative_to(store).as_posix(), "reason": problem})
        else:
            (jobs if job["status"] == "finished" else failed).append(job)
            unreadable += [{"folder": folder.relative_to(store).as_posix(), "reason": one} for one in job["damaged"]]
    found = [_paper(slug, [job for job in jobs if job["paper"] == slug]) for slug in sorted({j["paper"] for j in jobs})]
    return {
        "papers": found,
        "failed": sorted(failed, key=lambda job: (job["paper"], job["ended"], job["name"])),
        "unreadable": unreadable,
        "waiting": [slug for slug in _known() if slug not in {paper["slug"] for paper in found}],
        "counts": {name: sum(paper["counts"][name] for paper in found) for name in VERDICTS},
        "newest": max((job["ended"] for job in jobs + failed), default=""),
    }


def _known() -> list[str]:
    try:
        return sorted(papers.known())
    except (CardError, OSError):
        return []


def _folders(store: Path) -> Iterator[Path]:
    if not store.is_dir():
        return
    for paper in sorted(store.iterdir()):
        if paper.is_dir() and not paper.name.startswith("."):
            yield from sorted(p for p in paper.iterdir() if p.is_dir() and not p.name.startswith("."))


def _job(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """One folder of the store, or None with the reason why it is not a complete job."""
    content = read_record(folder)
    if content is None:
        return None, "half-written or damaged: the next run will redo it"
    record = Record(folder, content)
    try:
        card, origin = (_json(record, name) for name in ("claims.json", "provenance.json"))
    except DamagedError as problem:
        return None, f"{problem}; {REMEDY}"
    if content["status"] == "finished" and not isinstance(card.get("claims"), list):
        return None, "claims.json is missing or unreadable"
    try:
        summary = _with_court([load(claim) for claim in card.get("claims", [])], str(content.get("paper", "")))
    except (ValueError, AttributeError) as problem:
        return None, f"{problem}; run it again"
    return {
        "name": folder.name,
        "folder": folder,
        "status": content["status"],
        "paper": str(content.get("paper") or folder.parent.name),
        "preset": str(content.get("preset", "")),
        "parameters": dict(content.get("parameters") or {}),
        "error": content.get("error"),
        "claims": beside_printed(summary),
        "counts": {name: sum(claim.verdict == name for claim in summary) for name in VERDICTS},
        "family": card.get("family") or 0,
        "provenance": origin,
        "damaged": record.damage(["notebook.ipynb"]),  # its figures are left out
        "ended": str(origin.get("finished", "")),
    }, ""


def _json(record: Record, name: str) -> dict[str, Any]:
    content = record.json(name) if name in record.content["files"] else {}
    return content if isinstance(content, dict) else {}


def _with_court(verdicts: list[Verdict], slug: str) -> list[Verdict]:
    """The verdicts with what court.json says of them now: seals and the last audit. Without the card: as recorded."""
    try:
        return claims.card(slug).with_court(verdicts)
    except (CardError, OSError, ValueError):
        return verdicts


def _paper(slug: str, jobs: list[dict]) -> dict[str, Any]:
    citation, usual = {}, None
    try:
        citation = claims.card(slug).paper.model_dump()
        usual = papers.resolve(slug, "laptop", {})
    except (CardError, ParameterError, OSError):
        pass  # a store read elsewhere, without the cards: slugs instead of titles
    jobs = sorted(jobs, key=lambda job: (job["ended"], job["name"]), reverse=True)
    main = min(jobs, key=lambda job: (_rank(job["preset"]), usual is not None and job["parameters"] != usual))
    return {
        "slug": slug,
        "title": citation.get("title") or slug,
        "authors": ", ".join(citation.get("authors", [])),
        "year": citation.get("year", ""),
        "venue": citation.get("venue", ""),
        "theme": citation.get("theme", ""),
        "question": citation.get("question", ""),
        "link": _link(citation),
        "main": main,
        "others": [job for job in jobs if job is not main],
        "counts": main["counts"],
        "audit": _audit(slug),
        "sweeps": sweeps(jobs),
    }


def _audit(slug: str) -> str:
    try:
        return claims.card(slug).audit
    except (CardError, OSError, ValueError):
        return ""


def _rank(preset: str) -> int:
    return MAIN_PRESETS.index(preset) if preset in MAIN_PRESETS else len(MAIN_PRESETS)


def _link(citation: Mapping) -> str:
    url = citation.get("url") or ""
    if url.startswith(("https://", "http://")):
        return url
    return f"https://arxiv.org/abs/{citation['arxiv']}" if citation.get("arxiv") else ""


def sweeps(jobs: list[dict]) -> list[dict[str, Any]]:
    """Groups of jobs that differ in exactly one parameter, the largest group first; then, among the jobs in none of them,
    groups that differ in parameters which change together (`--zip`).

    Args:
        jobs: finished jobs of one paper, newest first; of two with equal preset and parameters the newer one counts.

    Returns:
        per group `name` of the swept parameter ("a (with b)"), `fixed` (parameters that differ between groups of
        the same name), `preset` and `points`, pairs (value of the first swept parameter, job) in the order of the values.
    """
    newest: dict[str, dict] = {}
    for job in jobs:
        newest.setdefault(_text([job["preset"], job["parameters"]]), job)
    unique = list(newest.values())
    single = _groups(unique, [[name] for name in _varied(unique)])
    drawn = [id(job) for sweep in single for _, job in sweep["points"]]
    left = [job for job in unique if id(job) not in drawn]
    return single + _groups(left, _changing_together(left))


def _varied(jobs: list[dict]) -> list[str]:
    return [name for name in _names(jobs) if len({_text(job["parameters"].get(name)) for job in jobs}) > 1]


def _changing_together(jobs: list[dict]) -> list[list[str]]:
    """Bundles of at least two parameters of which each determines the others."""
    bundles: dict[tuple[int, ...], list[str]] = {}
    for name in _varied(jobs):
        values = [_text(job["parameters"].get(name)) for job in jobs]
        bundles.setdefault(tuple(values.index(value) for value in values), []).append(name)
    return [names for names in bundles.values() if len(names) > 1]


def _groups(jobs: list[dict], bundles: list[list[str]]) -> list[dict[str, Any]]:
    """For each bundle of parameters the groups of at least two jobs that agree in all others."""
    varied, found = _varied(jobs), []
    for bundle in bundles:
        groups: dict[str, list[dict]] = {}
        for job in jobs:
            rest = {key: value for key, value in job["parameters"].items() if key not in bundle}
            groups.setdefault(_text([job["preset"], rest]), []).append(job)
        for members in groups.values():
            points = sorted(
                ((job["parameters"].get(bundle[0]), job) for job in members), key=lambda one: _order(one[0])
            )
            if len({_text(value) for value, _ in points}) < 2:
                continue
            kept = members[0]["parameters"].items()
            fixed = {key: value for key, value in kept if key in varied and key not in bundle}
            name = bundle[0] if len(bundle) == 1 else f"{bundle[0]} (with {', '.join(bundle[1:])})"
            found.append(
                {
                    "name": name,
                    "fixed": fixed,
                    "preset": members[0]["preset"],
                    "points": points,
                }
            )
    return sorted(found, key=lambda sweep: (-len(sweep["points"]), sweep["name"], _text(sweep["fixed"])))


def _names(jobs: list[dict]) -> list[str]:
    return sorted({name for job in jobs for name in job["parameters"]})


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _order(value: Any) -> tuple:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (0, value, "") if numeric else (1, 0, _text(value))


def essence(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a later report needs in order to tell what changed: the main jobs' claims, without folders and times."""
    return {
        "format": 3,
        "newest": data["newest"],
        "papers": {
            paper["slug"]: {
                "job": paper["main"]["name"],
                "preset": paper["main"]["preset"],
                "parameters": paper["main"]["parameters"],
                "code": _code(paper["main"]["provenance"]),
                "claims": {claim.id: _compared(claim) for claim in paper["main"]["claims"]},
            }
            for paper in data["papers"]
        },
    }


def _code(origin: Mapping[str, Any]) -> dict[str, str]:
    """Commit and versions that made a job's numbers, as far as they were recorded."""
    git, packages = origin.get("git") or {}, origin.get("packages") or {}
    commit = (
        {"commit": git["commit"][:10] + (" with uncommitted changes" if git.get("dirty") else "")}
        if git.get("commit")
        else {}
    )
    return commit | {str(name): str(version) for name, version in packages.items()}


def _past(one: Measurement) -> float:
    """Share of the threshold by which the estimate lies inside the region, negative outside."""
    place = one.condition.region.position(one.estimate, one.estimate, one.estimate)
    return math.nan if place is None else place.middle


def _compared(verdict: Verdict) -> dict[str, Any]:
    conditions = {
        one.condition.name: {
            "claimed": words.claimed(one.condition),
            "measured": words.number(one),
            **{key: recorded(getattr(one, key)) for key in ("estimate", "low", "high")},
            "past": recorded(_past(one)),
        }
        for one in verdict.conditions
    }
    return {"verdict": verdict.verdict, "conditions": conditions}


def recorded(value: float) -> Any:
    """A number as JSON holds it: those that are not finite are text."""
    return value if math.isfinite(value) else str(value)
