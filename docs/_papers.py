"""The page that lists the papers by theme, written from their cards."""

from __future__ import annotations

from pathlib import Path

from workbench.lab.start import papers

HEAD = """\
# Papers

Each page is a notebook as committed: claims, measurements, verdicts. {open} opens them live.
"""


def write(folder: Path) -> None:
    """Write papers.md and copy the notebooks it links to beside it."""
    parts, names = [HEAD.format(open="`make lab`")], []
    for theme, lines in papers().themes.items():
        parts.append(f"## {theme[0].upper()}{theme[1:]}\n")
        for line in lines:
            verdicts = ", ".join(f"{count} {verdict}" for verdict, count in line.counts.items() if count)
            name = f"[{line.title}](notebooks/{line.notebook})" if line.notebook else line.title
            parts.append(f"{name} ({line.year})\n: {line.question} {verdicts or line.source}\n")
            names += [line.notebook] if line.notebook else []
    parts.append("```{toctree}\n:hidden:\n\n" + "\n".join(f"notebooks/{name}" for name in names) + "\n```\n")
    _update(folder / "papers.md", "\n".join(parts).encode())
    for name in names:
        _update(folder / "notebooks" / name, (folder.parent / "notebooks" / name).read_bytes())
    for stale in (folder / "notebooks").glob("*.ipynb"):
        if stale.name not in names:
            stale.unlink()


def _update(target: Path, content: bytes) -> None:
    # Unchanged files keep their time, so that a rebuild has nothing to do.
    if not target.exists() or target.read_bytes() != content:
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
