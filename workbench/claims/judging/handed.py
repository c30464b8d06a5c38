"""What a notebook hands to `card.check`, sorted by condition and size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import did_you_mean
from ..written.schema import Claim


def by_condition(claim: Claim, samples: Any) -> dict[str, Any]:
    """Samples of each condition; along a size, of each condition at each size.

    Raises:
        ValueError: for missing or unknown conditions, or samples without sizes.
    """
    names = [condition.name for condition in claim.condition]
    keyed = _is_dict(samples) and all(isinstance(key, str) for key in samples)
    if not keyed:
        if len(names) > 1:
            raise ValueError(f"{claim.id} has {len(names)} conditions: pass a dict with {', '.join(names)}")
        samples = {names[0]: samples}
    wrong = [f"{key!r} is not a condition{did_you_mean(key, names)}" for key in samples if key not in names]
    wrong += [f"{name!r} is missing" for name in names if name not in samples]
    if wrong:
        raise ValueError(f"{claim.id}: {'; '.join(wrong)}. Its conditions: {', '.join(names)}")
    if claim.along:
        return {name: _by_size(claim, samples[name]) for name in names}
    return {name: samples[name] for name in names}


def _is_dict(samples: Any) -> bool:
    # An xarray Dataset is a Mapping too, from variable to samples, and serves as one.
    return isinstance(samples, Mapping)


def _by_size(claim: Claim, samples: Any) -> dict[float, Any]:
    """Samples by size: a dict, or a labelled array with the size as a dimension."""
    if _is_dict(samples):
        return {float(size): one for size, one in samples.items()}
    if claim.along in getattr(samples, "dims", ()):
        sizes = samples[claim.along].values
        return {float(size): samples.sel({claim.along: size}) for size in sizes}
    raise ValueError(f"{claim.id} runs along {claim.along}: pass a dict from {claim.along} to samples")
