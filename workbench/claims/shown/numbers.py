"""Numbers as text that stays the same when rounding noise changes.

Notebook tests compare the text of verdicts between machines, whose sums differ in the last bits. Three significant
digits hide that for ordinary numbers. Residuals of exact statements are nothing but such noise, so they are shown by
what they stay below. The record (claims.json) has the digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

EXACT = 1e-8
"""A threshold this small belongs to an exact statement: only "within the threshold" is shown."""
NOISE = 1e-12
"""Below this, a number compared with an ordinary threshold is shown as 0."""


def _tidy(text: str) -> str:
    """`1.20e-05` as `1.2e-5`, `-0.00` as `0`."""
    mantissa, _, exponent = text.partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    if float(mantissa) == 0:
        return "0"
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def plain(value: float, digits: int = 6) -> str:
    """A number with at most `digits` significant digits, without padding: thresholds and the like."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return "0" if value == 0 else _fixed(value, math.floor(math.log10(abs(value))) - digits + 1)


def _fixed(value: float, place: int) -> str:
    """`value` rounded at the decimal place 10^place."""
    # A tie (0.3125 at three digits) must not be decided by the last bit: take the noise off first.
    rounded = round(float(f"{value:.10g}"), -place)
    if rounded == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(rounded)))
    if -4 <= magnitude < 6:
        return _tidy(f"{rounded:.{max(0, -place)}f}")
    return _tidy(f"{rounded:.{max(0, magnitude - place)}e}")


def rounded(value: float, ends: Iterable[float] = (), scale: float | None = None) -> str:
    """Three significant digits (of `scale`, if it is the larger), or up to six where fewer would change the side of
    an end.

    Args:
        ends: the ends of the claimed region; 0.9996 against 1 stays 0.9996, not 1.
        scale: size of the numbers shown beside this one; what is noise at that scale is shown as 0.
    """
    if not math.isfinite(value):
        return plain(value)
    size = max(abs(value), abs(scale) if scale is not None and math.isfinite(scale) else 0.0)
    if size < NOISE**2:
        return "0"
    place = math.floor(math.log10(size)) - 2
    sides = [(end, value > end, value < end) for end in ends]
    for finer in range(place, place - 4, -1):
        text = _fixed(value, finer)
        if all((float(text) > end, float(text) < end) == (above, below) for end, above, below in sides):
            return text
    return _fixed(value, place)


def _decade_above(size: float) -> float:
    return 10.0 ** math.ceil(math.log10(size))


def exact(value: float, low: float, high: float, *, whole: bool = False) -> str:
    """A deterministic value against the region [low, high] it is claimed to lie in.

    * against an end of size at most 1e-8 (an exact statement) that holds: `≤ 1e-12`, whatever its digits;
    * against an ordinary end, a value a thousand times smaller: 0 below 1e-12, else the power of ten above it (`<
      1e-9`);
    * everything else: three significant digits, more where fewer would change the side.
    """
    ends = [end for end in (low, high) if math.isfinite(end)]
    size = max((abs(end) for end in ends), default=0.0)
    if whole or not math.isfinite(value) or size == 0:
        return plain(value) if whole else rounded(value, ends)
    if size <= EXACT:
        if low <= value <= high:
            if math.isfinite(low) and math.isfinite(high):
                return f"0 to within {plain(size)}"
            return f"≤ {plain(high)}" if math.isfinite(high) else f"≥ {plain(low)}"
        return _fixed(value, math.floor(math.log10(abs(value)))) if value else "0"
    if abs(value) < NOISE:
        return "0"
    if abs(value) < 1e-3 * size and abs(value) < EXACT:
        return f"{'' if value > 0 else '-'}< {plain(_decade_above(abs(value)))}".replace("-<", "> -")
    return rounded(value, ends)
