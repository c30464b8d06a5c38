"""Run the benchmarks and write benchmarks/RESULTS.md."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from pathlib import Path

import torch

HERE = Path(__file__).parent
KEEPING = {"MALLOC_TRIM_THRESHOLD_": "2000000000", "MALLOC_MMAP_THRESHOLD_": "2000000000"}
"""glibc keeps freed memory. Else how often a contender touches memory for the first time, which can take longer than its
arithmetic, depends on who ran before it."""


def main(names: list[str]) -> None:
    """Run the named benchmarks (all by default); sections not run keep their previous table."""
    known = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"unknown benchmark {', '.join(unknown)}; known are {', '.join(known)}")
    torch.set_num_threads(1)
    results = HERE / "RESULTS.md"
    sections = _previous(results)
    for name in names or known:
        module = importlib.import_module(f"benchmarks.bench_{name}")
        title = (module.__doc__ or name).strip().splitlines()[0]
        print(f"{name}: {title}", flush=True)
        table = _table(module.rows())
        print(table, flush=True)
        sections[name] = f"## {name}\n\n{title}\n\n{table}\n"
    machine = f"{platform.machine()}, one thread, torch {torch.__version__}, Python {platform.python_version()}"
    heading = (
        f"# Results\n\nCPU seconds, medians, contenders in alternating order. Measured on {machine}.\n"
        "Freed memory is kept by the process for every contender alike (glibc's trimming is off).\n"
    )
    results.write_text("\n".join([heading, *(sections[name] for name in sorted(sections))]))


def _previous(results: Path) -> dict[str, str]:
    if not results.exists():
        return {}
    parts = results.read_text().split("\n## ")[1:]
    return {part.split("\n", 1)[0].strip(): f"## {part.rstrip()}\n" for part in parts}


def _table(rows: list[dict[str, object]]) -> str:
    if not rows:
        return "(nothing to compare with)"
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row.get(key, "")) for key in head] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    if not KEEPING.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], os.environ | KEEPING)
    main(sys.argv[1:])
