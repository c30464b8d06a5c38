"""The papers' explorers as pages of the site: pictures computed beforehand, no kernel."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from workbench.batch.report.explorers import explorer_module
from workbench.explorers import static


def write(folder: Path, slugs: list[str]) -> list[str]:
    """Write _static/explorers/<slug>.html for the papers with an explorer, and say which have one.

    Pages younger than the explorer's code stay. WORKBENCH_STATIC_EXPLORERS names the papers (separated by commas) where not all
    are wanted: all take a minute or two.
    """
    wanted = os.environ.get("WORKBENCH_STATIC_EXPLORERS")
    chosen = [slug for slug in slugs if wanted is None or slug in wanted.split(",")]
    target = folder / "_static" / "explorers"
    found = []
    for slug in chosen:
        module = explorer_module(slug)
        if not module:
            continue
        room = Path(str(importlib.import_module(module).__file__)).parent
        sources = [*room.glob("*.py"), *Path(str(static.__file__)).parent.glob("*.*")]
        page = target / f"{slug}.html"
        if not page.is_file() or page.stat().st_mtime < max(path.stat().st_mtime for path in sources):
            text = static.page(importlib.import_module(module).explorer())
            target.mkdir(parents=True, exist_ok=True)
            page.write_text(text, encoding="utf-8")
        found.append(slug)
    for stale in target.glob("*.html"):
        if stale.stem not in slugs:
            stale.unlink()
    return found
