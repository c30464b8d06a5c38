"""Explorers without a kernel: pictures computed beforehand, chosen by sliders, in one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from workbench.explorers.frame import Control, Explorer

BUDGET = 2_000_000
"""Bytes of a page."""
MOST_STATES = 72
"""More would only make a page slow to build."""
_COLOURS = 64
_KINDS = tuple((number, crossed) for crossed in (2, 0) for number in (9, 7, 5, 4, 3)) + ((2, 0), (1, 0))
"""Positions of a slider, and of how many sliders all combinations are there: the finest that fits is taken."""

SCRIPT = (Path(__file__).parent / "static.js").read_text(encoding="utf-8")
"""What a page with explorers runs, once, at its end."""
SCRIPT_HASH = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
"""For the page's content security policy."""
STYLE = """
.static-explorer { max-width: 66rem; }
.static-explorer label { display: flex; flex-wrap: wrap; gap: .2rem .8rem; align-items: center; padding: .15rem 0; }
.static-explorer label > span { flex: 0 0 15rem; }
.static-explorer input[type=range] { flex: 0 1 18rem; }
.static-explorer small { opacity: .75; }
.static-explorer .picture { position: relative; background: #fff; width: fit-content; }
.static-explorer .picture img { display: block; max-width: 100%; height: auto; }
.static-explorer .picture img + img { position: absolute; inset: 0; background: none; }
.static-explorer .picture img[hidden] { display: none; }
.static-explorer .picture.none { visibility: hidden; }
.static-explorer .readout { display: block; min-height: 1.5em; }
.static-explorer code { overflow-wrap: anywhere; }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
script-src '{script_hash}'; base-uri 'none'; form-action 'none'">
<link rel="icon" href="data:,"><title>{title}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 66rem; padding: 0 1rem; }}{style}</style>
</head><body><main>
{fragment}
</main><script>{script}</script></body></html>
"""


@dataclass(frozen=True)
class _State:
    """A picture's difference to the first one as PNG ("" where there is none, None without a picture), its read-out and rerun."""

    picture: str | None
    text: str
    command: str

    @property
    def size(self) -> int:
        return len(self.picture or "") + len(self.text) + len(self.command) + 40


def page(explorer: Explorer, budget: int = BUDGET) -> str:
    """The explorer as one HTML file of at most `budget` bytes, whose content security policy lets its one script alone run."""
    outside = len(_PAGE) + len(SCRIPT) + len(STYLE)
    return _PAGE.format(
        title=escape(explorer.title),
        style=STYLE,
        script=SCRIPT,
        script_hash=SCRIPT_HASH,
        fragment=fragment(explorer, budget - outside, level=1),
    )


def fragment(explorer: Explorer, budget: int = BUDGET, level: int = 3) -> str:
    """The explorer as a part of a page that has `STYLE` and, at its end, `SCRIPT`; of at most `budget` bytes.

    At first every slider's start; then each slider alone, and all combinations of the first two, as finely as fits.
    level: of the heading.
    Raises ValueError where not even one picture fits.
    """
    explorer.reset()
    first = np.array(Image.open(io.BytesIO(explorer.picture)).convert("RGB"))
    image = _png(first)
    controls = list(explorer.controls.values())
    frame = len(image) + 1200 + 400 * len(controls)
    seen: dict[tuple, _State] = {}
    for number, crossed in _KINDS:
        positions = [_positions(control, number) for control in controls]
        starts = [values.index(control.value) for values, control in zip(positions, controls, strict=True)]
        keys = list(_keys(positions, starts, crossed))
        typical = sum(state.size for state in seen.values()) / len(seen) if seen else 0
        if len(keys) > MOST_STATES or frame + len(keys) * typical > 1.1 * budget:
            continue
        states, total = {}, frame
        for key in keys:
            values = tuple(entries[place] for entries, place in zip(positions, key, strict=True))
            if values not in seen:
                seen[values] = _state(explorer, dict(zip(explorer.controls, values, strict=True)), first)
            states[",".join(map(str, key))] = seen[values]
            total += seen[values].size
            if total > budget:
                break
        else:
            explorer.reset()
            return _html(explorer, positions, starts, crossed, states, image, first.shape, level)
    explorer.reset()
    raise ValueError(f"budget = {budget} bytes hold not even the first picture of {explorer.title!r}; it needs {frame}")


def _positions(control: Control, number: int) -> list[Any]:
    """At most that many of a control's values, the start among them."""
    low, high, start = control.low, control.high, control.value
    if control.kind == "choice":
        listed = list(control.choices)
        extra = max(0, number - 1)
        kept = {listed.index(start), *[place for place in range(len(listed)) if listed[place] != start][:extra]}
        return [listed[place] for place in sorted(kept)]
    if number == 1:
        return [start]
    if control.name.startswith("seed"):
        return list(range(int(start), min(int(high), int(start) + number - 1) + 1))
    shares = [place / (number - 1) for place in range(number)]
    if control.kind == "log":
        values = [float(f"{low * (high / low) ** share:.3g}") for share in shares]
    else:
        step = (control.step or 1) if control.kind == "int" else control.step or (high - low) / 100
        values = [round(low + round((high - low) * share / step) * step, 10) for share in shares]
        values = [int(value) for value in values] if control.kind == "int" else values
    values = [min(max(value, low), high) for value in values]
    distance = [abs(math.log(value / start)) if control.kind == "log" else abs(value - start) for value in values]
    values[distance.index(min(distance))] = start
    return sorted(set(values))


def _keys(positions: Sequence[Sequence[Any]], starts: Sequence[int], crossed: int) -> Iterator[tuple[int, ...]]:
    """Positions by control: all combinations of the first `crossed` controls, and every other control alone."""
    known = set()
    pair = [range(len(values)) if i < crossed else [starts[i]] for i, values in enumerate(positions)]
    alone = [
        (*starts[:i], place, *starts[i + 1 :]) for i, values in enumerate(positions) for place in range(len(values))
    ]
    for key in [tuple(starts), *alone, *itertools.product(*pair)]:
        if key not in known:
            known.add(key)
            yield key


def _state(explorer: Explorer, values: dict[str, Any], first: np.ndarray) -> _State:
    explorer.set(**values)
    command = explorer.command() if explorer.shared else ""
    if explorer.failed:
        return _State(None, explorer.readout, command)
    pixels = np.array(Image.open(io.BytesIO(explorer.picture)).convert("RGB"))
    changed = (pixels != first).any(-1)
    return _State(_png(pixels, changed) if changed.any() else "", explorer.readout, command)


def _png(pixels: np.ndarray, shown: np.ndarray | None = None) -> str:
    """The pixels in few colours as PNG in base64, transparent where not shown."""
    made = Image.fromarray(pixels).quantize(_COLOURS, dither=Image.Dither.NONE)
    options: dict[str, Any] = {}
    if shown is not None:
        places = np.array(made)
        places[~shown] = _COLOURS
        palette = made.getpalette()
        assert palette is not None
        made = Image.fromarray(places, "P")
        made.putpalette([*palette[: 3 * _COLOURS], 0, 0, 0])
        options["transparency"] = _COLOURS
    file = io.BytesIO()
    made.save(file, "PNG", optimize=True, **options)
    return base64.b64encode(file.getvalue()).decode()


def _html(
    explorer: Explorer,
    positions: Sequence[Sequence[Any]],
    starts: Sequence[int],
    crossed: int,
    states: dict[str, _State],
    image: str,
    shape: tuple[int, ...],
    level: int,
) -> str:
    rows = [
        _control(control, values, start, explorer)
        for control, values, start in zip(explorer.controls.values(), positions, starts, strict=True)
    ]
    content = {
        "states": {key: [state.picture, state.text, state.command] for key, state in states.items()},
        "starts": starts,
        "crossed": crossed,
    }
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
    together = f"the first {crossed} sliders move together, the others" if crossed and len(rows) > 1 else "sliders move"
    rerun = '<p>Rerun: <code class="command"></code></p>\n' if explorer.shared else ""
    title = escape(explorer.title)
    size = f'width="{shape[1]}" height="{shape[0]}"'
    return f"""<section class="static-explorer">
<h{level} class="title">{title}</h{level}>
<form hidden>
{"".join(rows)}<button type="reset">Reset</button>
<p><small>Computed beforehand: {together} one at a time. In JupyterLab all move freely.</small></p>
</form>
<output class="readout" aria-live="polite">{escape(next(iter(states.values())).text)}</output>
<div class="picture"><img {size} alt="{title}" src="data:image/png;base64,{image}"><img {size} alt="" decoding="sync" hidden>
</div>
{rerun}<script type="application/json">{data}</script>
</section>
"""


def _control(control: Control, values: Sequence[Any], start: int, explorer: Explorer) -> str:
    words = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]
    label = escape(control.label)
    shown = f"{label} [{escape(control.unit)}]" if control.unit else label
    note = "" if control.name in explorer.shared or not explorer.shared else " <small>view only</small>"
    common = f'data-label="{label}" data-words="{escape(json.dumps(words))}" title="{escape(control.meaning or control.label)}"'
    if control.kind == "choice":
        options = "".join(
            f'<option value="{i}"{" selected" if i == start else ""}>{escape(word)}</option>'
            for i, word in enumerate(words)
        )
        return f"<label><span>{shown}</span><select {common}>{options}</select><output hidden></output>{note}</label>\n"
    field = f'<input type="range" min="0" max="{len(values) - 1}" step="1" value="{start}" {common}>'
    return f"<label><span>{shown}</span>{field}<output>{escape(words[start])}</output>{note}</label>\n"
