"""An update rule in a notebook: its name, its pass band, and the filter's curve as a small drawing."""

from __future__ import annotations

from html import escape

import numpy as np

from workbench.optimizers.pass_band import admissible_set, filter_ratio
from workbench.optimizers.rule import Rule

_WIDTH, _HEIGHT, _TOP = 320, 96, 2.0
_BAND = "#029e73"


def rule_html(rule: Rule) -> str:
    """Name and hyper-parameters, then the eigenvalues at which the rule can come to rest (arXiv:2510.09034).

    Rules without a filter (normalised SAM, schedules, one value per run) are their text alone, with the reason.
    """
    name = f"<b>{escape(repr(rule))}</b>"
    try:
        intervals = admissible_set(rule)
    except ValueError as error:
        return f'<div>{name}<br><span style="opacity:0.7">{escape(str(error))}</span></div>'
    words = " and ".join(f"[{low:.4g}, {high:.4g}]" for low, high in intervals)
    return f"<div>{name}<br>can come to rest where every Hessian eigenvalue lies in {words}{_drawing(rule, intervals)}</div>"


def _drawing(rule: Rule, intervals: list[tuple[float, float]]) -> str:
    low, high = 1.15 * min(intervals[0][0], 0.0), 1.3 * intervals[-1][1]
    low = low or -0.08 * high
    eigenvalues = np.linspace(low, high, 121)
    ratios = np.clip(np.asarray(filter_ratio(rule, eigenvalues), dtype=float), -0.5, _TOP)
    across = _WIDTH / (high - low)

    def place(eigenvalue: float, ratio: float) -> str:
        return f"{(eigenvalue - low) * across:.1f},{_HEIGHT * (_TOP - ratio) / (_TOP + 0.5):.1f}"

    def line(*points: tuple[float, float], style: str) -> str:
        return f'<polyline points="{" ".join(place(*point) for point in points)}" fill="none" {style}/>'

    bars = "".join(
        f'<rect x="{(left - low) * across:.1f}" y="0" width="{max((right - left) * across, 1.5):.1f}" height="{_HEIGHT}" '
        f'fill="{_BAND}" fill-opacity="0.18"/>'
        for left, right in intervals
    )
    thin = 'stroke="currentColor" stroke-opacity="0.4" stroke-width="1"'
    parts = [
        bars,
        line((low, 0.0), (high, 0.0), style=thin),
        line((low, 1.0), (high, 1.0), style=f'{thin} stroke-dasharray="4 3"'),
        line(*zip(eigenvalues, ratios, strict=True), style='stroke="#0173b2" stroke-width="2"'),
    ]
    ends = "".join(
        f'<text x="{(end - low) * across:.1f}" y="{_HEIGHT + 13}" font-size="11" fill="currentColor" '
        f'text-anchor="middle">{end:.3g}</text>'
        for end in sorted({round(end, 12) for end in (0.0, intervals[0][0], intervals[-1][1])})
    )
    return (
        f'<br><svg width="{_WIDTH}" height="{_HEIGHT + 18}" viewBox="0 0 {_WIDTH} {_HEIGHT + 18}" role="img" '
        f'aria-label="pass band"><title>alpha p(lambda)/c over eigenvalues: it passes between 0 and the dashed line at 1'
        f"</title>{''.join(parts)}{ends}</svg>"
    )


# A rule does not know how it is drawn: whoever draws it says so.
Rule._repr_html_ = rule_html  # type: ignore[attr-defined]
