"""Seals: a claim's words, region, statistic and seeds as they were when its first verdict was recorded.

A later change needs `[[claim.amended]]`; without one the row says so and the report counts it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.texts import code_hash

from ..errors import ParameterError
from ..parameters.values import Parameters
from ..recording import write_atomically
from ..written.schema import CardFile, Claim

FILE = "court.json"


def read(folder: Path | None) -> dict[str, Any]:
    """The court.json beside a card; empty where there is none."""
    path = folder / FILE if folder else None
    if path is None or not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path}: is not JSON; `git checkout` it, or remove it to seal anew") from None
    return content if isinstance(content, dict) else {}


def write(folder: Path, content: Mapping[str, Any]) -> None:
    """Write court.json, all at once."""
    text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    write_atomically(folder / FILE, lambda part: part.write_text(text, encoding="utf-8"))


def seal(claim: Claim, card: CardFile) -> str:
    """Hash of what a verdict rests on: statement, conditions with their regions, statistics and seeds, sizes, controls."""
    conditions = []
    for one in claim.condition:
        seeds = claim.seeds_of(one, "laptop")
        number = card.parameters[seeds].default if isinstance(seeds, str) and seeds in card.parameters else seeds
        conditions.append({**one.model_dump(exclude={"seeds", "draws"}, exclude_defaults=True), "seeds": number})
    content = {
        "statement": " ".join(claim.statement.split()),
        "require": claim.require,
        "along": [claim.along, claim.range],
        "conditions": conditions,
        "controls": [[one.name, one.conditions] for one in claim.control] or claim.control_none,
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def broken(card: CardFile, court: Mapping[str, Any]) -> dict[str, str]:
    """Claims that were changed or removed since they were sealed, without an amendment that says so."""
    claims, found = {claim.id: claim for claim in card.claim}, {}
    for name, sealed in court.get("seals", {}).items():
        if name not in claims:
            found[name] = "removed after its verdict was recorded"
        elif seal(claims[name], card) != sealed["seal"] and len(claims[name].amended) <= sealed["amendments"]:
            found[name] = "changed after its verdict was recorded, without [[claim.amended]]"
    return found


def with_seals(card: CardFile, court: Mapping[str, Any], recorded: Mapping[str, str], date: str) -> dict[str, Any]:
    """`court` with a seal for every claim of `recorded` (id -> verdict) that has none, or that was amended since."""
    seals = dict(court.get("seals", {}))
    for claim in card.claim:
        if recorded.get(claim.id, "not run") == "not run":
            continue
        old, new = seals.get(claim.id), seal(claim, card)
        if old is None or (old["seal"] != new and len(claim.amended) > old["amendments"]):
            seals[claim.id] = {
                "seal": new,
                "amendments": len(claim.amended),
                "date": date,
                "verdict": recorded[claim.id],
            }
    return {**court, "seals": seals}


def refuse_selection(card: CardFile, parameters: Parameters) -> None:
    """Refuse seeds on which a value fixed in the card was chosen.

    Raises:
        ParameterError: naming the parameter and the seeds.
    """
    first = parameters["seed0"]
    counts = [claim.seeds_of(one, parameters.preset) for claim in card.claim for one in claim.condition]
    numbers = [parameters.get(n, 0) if isinstance(n, str) else n or 0 for n in counts]
    last = first + max([n for n in numbers if isinstance(n, int)], default=1) - 1
    for name, parameter in card.parameters.items():
        if parameter.selected_on and first <= parameter.selected_on[1] and parameter.selected_on[0] <= last:
            raise ParameterError(
                f"seed0 = {first}: seeds {first} to {last} overlap {parameter.selected_on[0]} to "
                f"{parameter.selected_on[1]}, on which {name} was chosen; judge on other seeds"
            )


def stale(court: Mapping[str, Any]) -> bool:
    """Whether a module that the audit's jobs used has changed since."""
    audit = court.get("audit")
    if not audit:
        return False
    return modules_hash(audit.get("modules", [])) != audit.get("modules_hash")


def modules_hash(names: list[str]) -> str:
    """Hash of the code of the package's modules, by name."""
    package = Path(__file__).resolve().parents[3]
    total = hashlib.sha256()
    for name in sorted(names):
        base = package.joinpath(*name.split("."))
        source = next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)
        total.update(f"{name}\0{code_hash(source) if source else ''}\0".encode())
    return total.hexdigest()[:16]


def audit_line(court: Mapping[str, Any], is_stale: bool = False) -> str:
    """The last audit in a sentence; empty without one."""
    audit = court.get("audit")
    if not audit:
        return ""
    text = f"Audit on {audit['blocks']} fresh blocks of seeds ({audit['date']}): {audit['agreement']}"
    return text + (". Stale: the code has changed since." if is_stale else ".")
