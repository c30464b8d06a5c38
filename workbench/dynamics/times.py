"""When a quantity gets somewhere and how fast it goes there: crossings, times to reach, slopes, limits, worst cases.

Everything takes and returns labelled arrays (`xarray.DataArray`), over whatever dimensions they have besides the one named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import xarray as xr

Direction = Literal["below", "above"]


def local_slopes(values: xr.DataArray, along: str) -> xr.DataArray:
    """d log values / d log `along` between neighbouring places; the new places are the geometric means of the two.

    NaN beside a value that is missing or not positive: one that has reached rounding shows no rate.

    Args:
        values: any dimensions, with at least two places > 0 along `along`, in increasing order.

    Raises:
        ValueError: unordered, non-positive or too few places.

    >>> x = xr.DataArray([1.0, 2.0, 4.0], dims="n", coords={"n": [1.0, 2.0, 4.0]})
    >>> local_slopes(x**-2, "n").values
    array([-2., -2.])
    """
    places = _places(values, along, least=2)
    if places[0] <= 0:
        raise ValueError(f"{along} starts at {places[0]:g}: logarithms need places > 0, select them first")
    logs, at = _logs(values), np.log(places)
    rise = logs.isel({along: slice(1, None)}).drop_vars(along, errors="ignore") - logs.isel(
        {along: slice(None, -1)}
    ).drop_vars(along, errors="ignore")
    run = xr.DataArray(np.diff(at), dims=along)
    slopes = (rise / run).assign_coords({along: np.exp((at[1:] + at[:-1]) / 2)}).transpose(*values.dims)
    slopes[along].attrs = dict(values[along].attrs)
    return slopes.rename("slope").assign_attrs(long_name="local slope", units="")


def log_log_slope(values: xr.DataArray, along: str, *, low: float = 0.0, high: float = np.inf) -> xr.DataArray:
    """Least-squares slope of log values over log `along`, for places in [low, high].

    A fit over a range whose coarse end is not asymptotic is no rate: look at `local_slopes` first, and prefer its last entry.

    Returns:
        One slope per remaining index; NaN where a value in the range is missing or not positive.

    Raises:
        ValueError: fewer than two places in the range, places not ordered or not positive.
    """
    places = _places(values, along, least=2)
    inside = (places >= low) & (places <= high) & (places > 0)
    if inside.sum() < 2:
        raise ValueError(f"{along} has {inside.sum()} places > 0 in [{low:g}, {high:g}]: a slope needs two")
    at = xr.DataArray(np.log(places[inside]), dims=along)
    at = at - at.mean()
    logs = _logs(values).isel({along: np.flatnonzero(inside)}).drop_vars(along, errors="ignore")
    return (logs * at).sum(along, skipna=False) / (at * at).sum()


def first_crossing(
    values: xr.DataArray,
    level: float | xr.DataArray,
    along: str = "step",
    *,
    to: Direction = "below",
    log: bool = False,
) -> xr.DataArray:
    """The place at which `values` first get from one side of `level` to the other, interpolated between the two records.

    Args:
        to: "below" crosses from > level to <= level, "above" from < level to >= level.
        log: interpolate the logarithms of values and level (for what falls like a power or exponentially).

    Returns:
        One place per remaining index. A series that starts on the far side crosses at its first place. +inf where it never
        crosses before its records end or it stops being finite (no place may be read as an early one, and no mean hides it);
        NaN where nothing was recorded at all.

    >>> losses = xr.DataArray([4.0, 2.0, 1.0], dims="step", coords={"step": [0, 10, 20]})
    >>> float(first_crossing(losses, 1.5)), float(first_crossing(losses, 0.5))
    (15.0, inf)
    """
    places = _places(values, along, least=1)

    def crossing(series: np.ndarray, at: float) -> float:
        series, where = _recorded(series, places)
        far = _far(series, at, to)
        if not len(series) or not far.any():
            return np.inf if len(series) else np.nan
        k = int(far.argmax())
        ends = np.array([series[k - 1], series[k], at]) if k else np.array([at, at, at])
        if log and (ends > 0).all():
            ends = np.log(ends)
        before, after, goal = ends
        if not np.isfinite(ends).all() or before == after:
            return float(where[k])
        return float(where[k] - (where[k] - where[k - 1]) * (goal - after) / (before - after))

    return _each(crossing, values, level, along, to)


def time_to_reach(
    values: xr.DataArray, level: float | xr.DataArray, along: str = "step", *, to: Direction = "below", hold: int = 1
) -> xr.DataArray:
    """The first place from which `values` stay at or beyond `level` for `hold` records in a row (0: until the end).

    Returns:
        One place per remaining index, always one of the recorded ones. +inf where the level is never reached and held, be it
        for want of records or because the run diverged; NaN where nothing was recorded at all. Steps that a series does not
        record between others are passed over; one whose last step is missing did not stay until the end (hold = 0).

    Raises:
        ValueError: hold < 0, places not ordered.

    >>> losses = xr.DataArray([4.0, 0.9, 1.2, 0.8, 0.7], dims="step", coords={"step": range(5)})
    >>> [float(time_to_reach(losses, 1.0, hold=hold)) for hold in (1, 2, 3, 0)]
    [1.0, 3.0, inf, 3.0]
    """
    if isinstance(hold, bool) or not isinstance(hold, (int, np.integer)) or hold < 0:
        raise ValueError(f"hold must be an int >= 0 (0: until the end), got {hold!r}")
    places = _places(values, along, least=1)

    def reaching(series: np.ndarray, at: float) -> float:
        stopped = bool(np.isnan(series[-1]))
        series, where = _recorded(series, places)
        far = _far(series, at, to)
        if not len(series):
            return np.nan
        # How many records in a row, from each on, are on the far side.
        near = np.flatnonzero(np.append(~far, True))
        lengths = near[np.searchsorted(near, np.arange(len(far)))] - np.arange(len(far))
        long_enough = lengths >= hold if hold else (lengths == len(far) - np.arange(len(far))) & (not stopped)
        held = far & long_enough
        return float(where[held.argmax()]) if held.any() else np.inf

    return _each(reaching, values, level, along, to)


def worst_over(values: xr.DataArray, over: str = "start", *, largest: bool = True) -> xr.DataArray:
    """The worst case along `over`: the largest value (or the smallest), with the place that has it as coordinate `worst_<over>`.

    A missing value, such as of a run that diverged, is worse than every number: it becomes +inf (-inf for the smallest).

    >>> ends = xr.DataArray([1.0, 3.0, 2.0], dims="start", coords={"start": ["a", "b", "c"]})
    >>> worst = worst_over(ends)
    >>> float(worst), str(worst.worst_start.values)
    (3.0, 'b')
    """
    _along(values, over)
    sign = 1.0 if largest else -1.0
    filled = (sign * values.astype(np.float64)).fillna(np.inf)
    which = filled.argmax(over)
    names = values[over] if over in values.coords else xr.DataArray(np.arange(values.sizes[over]), dims=over)
    worst = sign * filled.isel({over: which}).drop_vars(over, errors="ignore")
    return worst.assign_coords({f"worst_{over}": names.isel({over: which}).drop_vars(over, errors="ignore")})


def halving_limit(values: xr.DataArray, along: str, *, order: float = 1.0) -> xr.Dataset:
    """The limit of values at places that are halved (or doubled) again and again, with a computed error.

    Args:
        values: at least three places along `along`, each half or twice the one before; the last is the finest.
        order: p of the error's leading term, places^p towards 0 or places^-p towards infinity.

    Returns:
        `limit`: Richardson's extrapolation of the last two values, v + (v - v') / (2^p - 1). `error`: the larger of the last two
        changes. A statement on the limit is then |limit - exact| / error <= 1 (CLAIMS, "computed error").

    Raises:
        ValueError: fewer than three places, or places that are not halved or doubled.

    >>> h = xr.DataArray([0.4, 0.2, 0.1], dims="h", coords={"h": [0.4, 0.2, 0.1]})
    >>> round(float(halving_limit(1 + h, "h").limit), 12)
    1.0
    """
    _along(values, along)
    places = np.asarray(values[along].values, dtype=np.float64)
    factors = places[1:] / places[:-1]
    if len(places) < 3 or not (np.allclose(factors, 0.5) or np.allclose(factors, 2.0)):
        raise ValueError(
            f"{along} must be at least three places, each half or twice the one before, got {places.tolist()}"
        )
    if not order > 0:
        raise ValueError(f"order must be > 0, got {order!r}")
    last, middle, first = (values.isel({along: -k}, drop=True) for k in (1, 2, 3))
    changes = xr.concat([abs(last - middle), abs(middle - first)], "_change")
    return xr.Dataset({"limit": last + (last - middle) / (2**order - 1), "error": changes.max("_change", skipna=False)})


def _along(values: xr.DataArray, along: str) -> None:
    if not isinstance(values, xr.DataArray):
        raise ValueError(f"values must be an xarray.DataArray, got {type(values).__name__}")
    if along not in values.dims:
        raise ValueError(f"values has no dimension {along!r}: it has {', '.join(map(str, values.dims)) or 'none'}")


def _places(values: xr.DataArray, along: str, least: int) -> np.ndarray:
    _along(values, along)
    places = np.asarray(values[along].values, dtype=np.float64)
    if len(places) < least or not np.isfinite(places).all() or np.any(np.diff(places) <= 0):
        raise ValueError(f"{along} must be at least {least} finite places in increasing order: sort by {along} first")
    return places


def _logs(values: xr.DataArray) -> xr.DataArray:
    exact = values.astype(np.float64)
    return xr.apply_ufunc(np.log, exact.where((exact > 0) & np.isfinite(exact)))


def _recorded(series: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    known = ~np.isnan(series)
    return series[known], places[known]


def _far(series: np.ndarray, level: float, to: Direction) -> np.ndarray:
    return np.isfinite(series) & (series <= level if to == "below" else series >= level)


def _each(
    function: Callable[[np.ndarray, float], float],
    values: xr.DataArray,
    level: float | xr.DataArray,
    along: str,
    to: Direction,
) -> xr.DataArray:
    """`function` of every series along `along` and its level."""
    if to not in ("below", "above"):
        raise ValueError(f"to must be 'below' or 'above', got {to!r}")
    exact = values.astype(np.float64).drop_vars(along, errors="ignore")
    return xr.apply_ufunc(
        function, exact, level, input_core_dims=[[along], []], vectorize=True, output_dtypes=[np.float64]
    )
