"""Where a measured interval lies relative to what is claimed, on one scale for all units.

The scale is the signed distance to the claimed region's edge as a share of the threshold (of the half-width for a
two-sided region), positive on the claimed side: 0.1 means 10 % beyond the threshold. A threshold of 0 has no share:
the distance is then measured in units of the interval's own far end.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from .numbers import exact, plain, rounded

#: Shares below this are drawn on a linear, above it on a logarithmic scale.
LINEAR = 1e-2


class Position(NamedTuple):
    """Ends and middle of an interval as signed shares, positive = claimed side; low <= middle <= high."""

    low: float
    middle: float
    high: float


def number(value) -> float:
    """A recorded number: JSON has none that are not finite, so these are the strings "inf", "-inf" and "nan"."""
    try:
        return math.nan if value is None else float(value)
    except (TypeError, ValueError):
        return math.nan


def position(condition: Mapping) -> Position | None:
    """Position of a recorded condition (an entry of claims.json), None if nothing was measured or it is unreadable.

    >>> position({"relation": "<=", "threshold": 0.8, "estimate": 0.72, "low": 0.64, "high": 0.88}).middle
    0.1
    """
    middle = number(condition.get("estimate"))
    if math.isnan(middle):
        return None
    low, high = number(condition.get("low")), number(condition.get("high"))
    low, high = (middle if math.isnan(end) else end for end in (low, high))
    low, high = min(low, middle, high), max(low, middle, high)
    ends = region(condition)
    if ends is None:
        return None
    left, right = ends
    if math.isinf(left) or math.isinf(right):
        edge, sign = (right, -1.0) if math.isinf(left) else (left, 1.0)
        scale = abs(edge) or max((abs(end) for end in (low, middle, high) if math.isfinite(end)), default=1.0) or 1.0
        shares = sorted(_rounded(sign * (end - edge) / scale) for end in (low, high))
        return Position(shares[0], _rounded(sign * (middle - edge) / scale), shares[1])
    centre, half = (left + right) / 2, (right - left) / 2
    scale = half or abs(centre) or 1.0

    def depth(value: float) -> float:
        distance = abs(value - centre)
        return 1.0 if distance == half == 0 else _rounded((half - distance) / scale)

    ends = sorted((depth(low), depth(high)))
    top = depth(centre) if low <= centre <= high and half > 0 else max(ends[1], depth(middle))
    return Position(min(ends[0], depth(middle)), depth(middle), max(top, ends[1]))


def region(condition: Mapping) -> tuple[float, float] | None:
    """The region [left, right] that a recorded condition claims, widened by tolerance and margin; None if unreadable."""
    relation, threshold = condition.get("relation"), condition.get("threshold")
    slack = _or_zero(condition.get("tolerance")) + _or_zero(condition.get("margin"))
    if relation in ("<", "<="):
        left, right = -math.inf, number(threshold) + slack
    elif relation in (">", ">="):
        left, right = number(threshold) - slack, math.inf
    elif relation == "in" and isinstance(threshold, (list, tuple)) and len(threshold) == 2:
        left, right = number(threshold[0]) - slack, number(threshold[1]) + slack
    elif relation == "==":
        left, right = number(threshold) - slack, number(threshold) + slack
    else:
        return None
    return None if math.isnan(left) or math.isnan(right) or (math.isinf(left) and math.isinf(right)) else (left, right)


def _or_zero(value) -> float:
    value = number(value)
    return 0.0 if math.isnan(value) else value


def _rounded(share: float) -> float:
    # 0.08 / 0.8 is 0.0999...: twelve digits are more than a picture shows.
    return share if not math.isfinite(share) else float(f"{share:.12g}")


def measured(condition: Mapping) -> str:
    """What was measured, in words: `0.676 [0.61, 0.75] pp`; empty if nothing was.

    >>> measured({"relation": "<=", "threshold": 0.8, "estimate": 0.6761, "low": 0.6102, "high": 0.7513})
    '0.676 [0.61, 0.751]'
    """
    middle, low, high = (number(condition.get(key)) for key in ("estimate", "low", "high"))
    if math.isnan(middle):
        return ""
    left, right = region(condition) or (-math.inf, math.inf)
    unit = _unit(condition)
    threshold = condition.get("threshold")
    widened = [end for end in (left, right) if math.isfinite(end)]
    ends = [*widened, *(number(t) for t in (threshold if isinstance(threshold, (list, tuple)) else [threshold]))]
    if not low < high:
        text = exact(middle, left, right).replace("<=", "≤").replace(">=", "≥")
        # With a tolerance, the threshold itself is worth telling from the value too.
        return (rounded(middle, ends) if text == rounded(middle, widened) else text) + unit
    scale = max((abs(end) for end in (low, high) if math.isfinite(end)), default=None)
    middle, low, high = (rounded(value, ends, scale) for value in (middle, low, high))
    return f"{middle} [{low}, {high}]{unit}"


def claimed(condition: Mapping) -> str:
    """What is claimed, in words: `≤ 0.8 pp`, `in [0.8, 1.25]`, `= 2 ± 0.1`.

    >>> claimed({"relation": "==", "threshold": 2.0, "margin": 0.1})
    '= 2 ± 0.1'
    """
    relation, threshold = str(condition.get("relation", "")), condition.get("threshold")
    sign = {"<=": "≤", ">=": "≥", "==": "="}.get(relation, relation)
    pair = isinstance(threshold, (list, tuple))
    bound = f"[{', '.join(plain(number(end)) for end in threshold)}]" if pair else plain(number(threshold))
    slack = _or_zero(condition.get("tolerance")) + _or_zero(condition.get("margin"))
    loose = f" ± {plain(slack)}" if slack and relation == "==" else f" (tolerance {plain(slack)})" if slack else ""
    return f"{sign} {bound}{loose}{_unit(condition)}" if relation else ""


def _unit(condition: Mapping) -> str:
    unit = str(condition.get("unit") or "")
    return f" {unit}" if unit not in ("", "1") else ""


def compressed(share: float, largest: float = 10.0) -> float:
    """Share mapped to [-1, 1] for drawing: sign-preserving, logarithmic beyond `LINEAR`, cut at +-`largest`.

    >>> compressed(0.0), compressed(1e9), compressed(float("-inf"))
    (0.0, 1.0, -1.0)
    """
    cut = min(abs(share), largest)
    return math.copysign(math.log1p(cut / LINEAR) / math.log1p(largest / LINEAR), share) if share else 0.0


#: (share, words) of the marks along the axis.
TICKS = (
    (-10.0, "−10×"),
    (-1.0, "−100 %"),
    (-0.1, "−10 %"),
    (0.0, "threshold"),
    (0.1, "+10 %"),
    (1.0, "+100 %"),
    (10.0, "+10×"),
)
