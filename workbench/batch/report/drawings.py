"""Small vector drawings for the report: an interval against its threshold, and an estimate over a swept parameter.

Colours come from the page's style sheet through classes, so that one drawing serves light and dark pages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from workbench.batch.jobs import shorten
from workbench.claims.shown import words
from workbench.claims.shown.numbers import plain
from workbench.claims.verdict import Measurement
from workbench.claims.written.regions import TICKS, compressed

MARKS = {
    "reproduced": "M-5.5,0a5.5,5.5 0 1,0 11,0a5.5,5.5 0 1,0 -11,0z",
    "contradicted": "M-6,-4l2,-2l4,4l4,-4l2,2l-4,4l4,4l-2,2l-4,-4l-4,4l-2,-2l4,-4z",
    "inconclusive": "M0,-7l7,7l-7,7l-7,-7z",
    "consistent, not tested": "M-5.5,0a5.5,5.5 0 1,0 11,0a5.5,5.5 0 1,0 -11,0z",
    "not run": "M-4,-1h8v2h-8z",
}


def _class(verdict: Any) -> str:
    return css(verdict) if verdict in MARKS else "v-not-run"


def css(verdict: str) -> str:
    """The class of a verdict in the page's style sheet."""
    # pyrefly: ignore[unnecessary-type-conversion]
    return "v-" + str(verdict).replace(",", "").replace(" ", "-")


def _mark(verdict: Any) -> Markup:
    shape = MARKS.get(verdict, MARKS["not run"])
    return Markup('<path class="mark {}" d="{}"/>').format(_class(verdict), shape)


def _percent(share: float) -> str:
    return f"{50 + 47 * compressed(share):.2f}%"


def forest_axis() -> Markup:
    """The marks of the axis that all rows share."""
    last = TICKS[-1][0]
    words = Markup("").join(
        Markup('<text x="{}" y="11" text-anchor="{}">{}</text>').format(
            "0%" if share == -last else "100%" if share == last else _percent(share),
            {-last: "start", last: "end"}.get(share, "middle"),
            text,
        )
        for share, text in TICKS
    )
    return Markup('<svg class="axis" aria-hidden="true" width="100%" height="15">{}</svg>').format(words)


def forest_row(one: Measurement) -> Markup:
    """One condition's interval on the shared axis: the threshold in the middle, the claimed side on the right.

    Widths are percentages, so the drawing follows its column without scaling its marks.
    """
    low, high = (one.low, one.high) if one.condition.random else (one.estimate, one.estimate)
    place = one.condition.region.position(low, one.estimate, high)
    label = f"measured {words.number(one) or 'nothing'}, claimed {words.claimed(one.condition)}: {one.verdict}"
    parts = [
        Markup('<rect class="claimed" x="50%" y="0" width="50%" height="100%"/>'),
        *(
            Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="100%"/>').format(_percent(share))
            for share, _ in TICKS
            if share
        ),
        Markup('<line class="edge" x1="50%" x2="50%" y1="0" y2="100%"/>'),
    ]
    if place is None:
        parts.append(Markup('<text x="51%" y="15">not measured</text>'))
    else:
        low, middle, high = (_percent(share) for share in place)
        colour = _class(one.verdict)
        parts.append(Markup('<line class="bar {}" x1="{}" x2="{}" y1="11" y2="11"/>').format(colour, low, high))
        for share, direction in ((place.low, -1), (place.high, 1)):
            if compressed(place.high) - compressed(place.low) < 0.05:
                continue  # the mark is wider than the interval
            # An end beyond the axis becomes an arrow, so that it does not look like an end.
            cut = abs(share) > TICKS[-1][0]
            shape = f"M0,-5l{5 * direction},5l{-5 * direction},5" if cut else "M0,-5v10"
            end = Markup('<svg x="{}" y="11" overflow="visible"><path class="cap {}" d="{}"/></svg>')
            parts.append(end.format(_percent(share), colour, shape))
        parts.append(Markup('<svg x="{}" y="11" overflow="visible">{}</svg>').format(middle, _mark(one.verdict)))
    return Markup('<svg class="forest" role="img" aria-label="{}" width="100%" height="22">{}</svg>').format(
        label, Markup("").join(parts)
    )


WIDTH, HEIGHT = 260, 160
LEFT, RIGHT, TOP, BOTTOM = 48, 250, 10, 126


def sweep_chart(
    name: str, points: Sequence[tuple[Any, Measurement | None]], among: Sequence[Measurement] = ()
) -> Markup:
    """One condition's estimate and interval over a swept parameter, the claimed region shaded.

    Args:
        name: of the parameter.
        points: (value of the parameter, measurement or None), in the order of the values.
        among: measurements in charts beside this one, which share its vertical scale.
    """
    across, ticks = _across([value for value, _ in points])
    measured = [one for _, one in points]
    last = next(one for one in reversed(measured) if one is not None)
    ends = last.condition.region.low, last.condition.region.high
    numbers = [
        getattr(one, key) for one in [*measured, *among] if one is not None for key in ("estimate", "low", "high")
    ]
    up, heights = _up([*numbers, *ends])
    bottom, top = (BOTTOM if math.isinf(ends[0]) else up(ends[0])), (TOP if math.isinf(ends[1]) else up(ends[1]))
    parts = [
        Markup('<rect class="claimed" x="{}" y="{:.1f}" width="{}" height="{:.1f}"/>').format(
            LEFT, top, RIGHT - LEFT, max(bottom - top, 0.0)
        )
    ]
    line = Markup('<line class="{0}" x1="{1}" x2="{2}" y1="{3:.1f}" y2="{3:.1f}"/>')
    text = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    for value in heights:
        parts.append(line.format("grid", LEFT, RIGHT, up(value)))
        parts.append(text.format(LEFT - 5, up(value) + 4, "end", plain(value, 3)))
    parts += [line.format("edge", LEFT, RIGHT, up(end)) for end in ends if math.isfinite(end)]
    parts += [text.format(x, BOTTOM + 15, "middle", words) for x, words in ticks]
    parts.append(text.format((LEFT + RIGHT) / 2, HEIGHT - 4, "middle", shorten(name)))
    parts += [_point(x, up, one) for x, one in zip(across, measured, strict=True)]
    said = "; ".join(
        f"{shorten(value)}: {(one and words.number(one)) or 'not measured'}, {one.verdict if one else 'not run'}"
        for value, one in points
    )
    return Markup('<svg class="chart" role="img" viewBox="0 0 {} {}" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, f"claimed {words.claimed(last.condition)}; over {name}: {said}", Markup("").join(parts)
    )


def _point(x: float, up, one: Measurement | None) -> Markup:
    if one is None or math.isnan(one.estimate):
        return Markup('<text x="{:.1f}" y="{}" text-anchor="middle">–</text>').format(x, BOTTOM - 4)
    middle, low, high = one.estimate, one.low, one.high
    colour = _class(one.verdict)
    bar = Markup("")
    if low < high and one.condition.random:
        line = Markup('<line class="bar {0}" x1="{1:.1f}" x2="{1:.1f}" y1="{2:.1f}" y2="{3:.1f}"/>')
        bar = line.format(colour, x, up(low), up(high))
    mark = _mark(one.verdict)
    return bar + Markup('<g transform="translate({:.1f},{:.1f})">{}</g>').format(x, up(middle), mark)


def _across(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Horizontal places and tick labels: to scale for numbers (logarithmic over more than a factor 8), else equidistant."""
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    scaled = [float(value) if numeric else k for k, value in enumerate(values)]
    if numeric and min(scaled) > 0 and max(scaled) >= 8 * min(scaled):
        scaled = [math.log(value) for value in scaled]
    low, high = min(scaled), max(scaled)
    margin = 14
    places = [
        LEFT + margin + (RIGHT - LEFT - 2 * margin) * ((value - low) / (high - low) if high > low else 0.5)
        for value in scaled
    ]
    ticks, last = [], -math.inf
    for x, value in zip(places, values, strict=True):
        text = plain(float(value), 3) if numeric else shorten(value, 10)
        if x - last >= 7 * len(text):
            ticks.append((x, text))
            last = x
    return places, ticks


def _up(values: Sequence[float]):
    """Vertical scale that holds all finite values, and the values to mark on it; infinite ones are put at its ends."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    log = low > 0 and high > 30 * low
    change = math.log if log else float
    start, stop = change(low), change(high)
    margin = 0.08 * (stop - start) or 0.1 * abs(stop) or 1.0
    start, stop = start - margin, stop + margin

    def up(value: float) -> float:
        if log and value <= 0:
            return BOTTOM
        share = (change(value) - start) / (stop - start) if math.isfinite(value) else (1.0 if value > 0 else 0.0)
        return BOTTOM - (BOTTOM - TOP) * min(max(share, 0.0), 1.0)

    if log:
        first, last = math.ceil(start / math.log(10)), math.floor(stop / math.log(10))
        every = max(1, math.ceil((last - first + 1) / 4))
        marks = [10.0**k for k in range(first, last + 1, every)]
        return up, marks if len(marks) > 1 else [low, high]
    step = 10 ** math.floor(math.log10((stop - start) / 2))
    step *= next(k for k in (5, 2, 1) if k * step <= (stop - start) / 2 or k == 1)
    return up, [step * k for k in range(math.ceil(start / step), math.floor(stop / step) + 1)]
