"""Eigenvalues of 24 hard spectra in 576 calls: what is wrong, what is announced."""

from __future__ import annotations

from benchmarks.measure import once
from benchmarks.spectra import HARD, answers


def rows() -> list[dict[str, object]]:
    """A row a spectrum: calls by outcome."""
    table = []
    for name in HARD:
        found: list[set[str]] = []
        seconds = once(lambda name=name, found=found: found.extend(answers(name)))
        table.append(
            {
                "spectrum": name,
                "calls": len(found),
                "silently wrong": sum("wrong" in said and "announced" not in said for said in found),
                "wrong, announced": sum({"wrong", "announced"} <= said for said in found),
                "right, but a miss not excluded to .001 and announced": sum("announced" in said for said in found)
                - sum({"wrong", "announced"} <= said for said in found),
                "miss above .001, not announced": sum("unannounced" in said for said in found),
                "residual untrue": sum("untrue residual" in said for said in found),
                "did not converge, said so": sum("gave up" in said for said in found),
                "CPU s": f"{seconds:.1f}",
            }
        )
    total = {key: sum(row[key] for row in table) for key in table[0] if key not in ("spectrum", "CPU s")}  # type: ignore[misc]
    return [*table, {"spectrum": "all", **total, "CPU s": f"{sum(float(str(row['CPU s'])) for row in table):.1f}"}]
