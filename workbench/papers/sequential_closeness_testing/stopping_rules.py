"""When to stop tossing a coin that may be fair: rules that are symmetric in heads and tails (arXiv:2205.06069, n = 2).

After t tosses with S heads, M = max(S, t - S). A rule rejects p = 1/2 for M >= reject[t] and otherwise accepts it for
M <= accept[t]; reject[t] = t + 1 and accept[t] < t/2 mean "not yet".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from workbench.papers.sequential_closeness_testing.bernoulli import batch_size_bernoulli, first_true, kl, require_test


class StoppingRule(Protocol):
    """What `sequential_dp` asks of a rule: the error it allows itself, and its two boundaries at given times."""

    @property
    def delta(self) -> float: ...
    def boundaries(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class GLR:
    """Rejects when kl(S/t, 1/2) > theta_t; accepts when |S/t - 1/2| < eps and kl(S/t, 1/2 +- eps) > theta_t for both signs.

    theta_t = threshold_scale ln(2 t (t + 1)/delta)/t; union_bound=False takes ln(1/delta)/t, which pays for a single time only.
    """

    eps: float
    delta: float
    union_bound: bool = True
    threshold_scale: float = 1.0
    name = "glr"

    def __post_init__(self) -> None:
        _require(self.eps, self.delta, self.threshold_scale)

    def threshold(self, t: np.ndarray) -> np.ndarray:
        """theta_t."""
        tries = np.log(2 * t * (t + 1.0)) if self.union_bound else 0.0
        return self.threshold_scale * (tries - math.log(self.delta)) / t

    def boundaries(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        theta, least = self.threshold(t), (t + 1) // 2
        reject = first_true(lambda most: kl(most / t, 0.5) > theta, least, t)

        def too_far(most: np.ndarray) -> np.ndarray:
            return (most / t - 0.5 >= self.eps) | (kl(most / t, 0.5 + self.eps) <= theta)

        return reject, first_true(too_far, least, t) - 1


@dataclass(frozen=True)
class MixtureSPRT:
    """Rejects when (L_+ + L_-)/2 >= 1/delta and accepts when L_+ <= delta and L_- <= delta.

    L_+- are the likelihoods of 1/2 +- eps over that of 1/2. Ville's inequality bounds both errors by delta, for every p at
    least eps away. `threshold_scale` multiplies ln(1/delta).
    """

    eps: float
    delta: float
    threshold_scale: float = 1.0
    name = "sprt"

    def __post_init__(self) -> None:
        _require(self.eps, self.delta, self.threshold_scale)

    def boundaries(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # ln L_+- = -drift t +- slope (S - t/2), hence ln of the mixture = -drift t + ln cosh(slope (S - t/2))
        evidence = -self.threshold_scale * math.log(self.delta)
        drift = -0.5 * math.log1p(-4 * self.eps**2)
        slope = math.log1p(2 * self.eps) - math.log1p(-2 * self.eps)
        height = evidence + drift * t
        arccosh = height + np.log1p(np.sqrt(-np.expm1(-2 * height)))
        reject = np.ceil(t / 2 + arccosh / slope).astype(np.int64)
        accept = np.floor(t / 2 + (drift * t - evidence) / slope).astype(np.int64)
        return np.minimum(reject, t + 1), accept


@dataclass(frozen=True)
class Looks:
    """Another rule that may decide only at every `every`-th sample."""

    of: StoppingRule
    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be >= 1, got {self.every!r}: fewer looks than samples of the batch test")

    @property
    def delta(self) -> float:
        return self.of.delta

    def boundaries(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reject, accept = self.of.boundaries(t)
        look = t % self.every == 0
        return np.where(look, reject, t + 1), np.where(look, accept, -1)


def stopping_rule(
    name: str, eps: float, delta: float, *, union_bound: bool = True, threshold_scale: float = 1.0, looks: int = 0
) -> StoppingRule:
    """The rule "sprt" or "glr" for a distance eps and an error delta.

    looks > 0 lets it decide only at multiples of m*/looks, m* the size of the fixed-size test.
    """
    if name == "glr":
        rule: StoppingRule = GLR(eps, delta, union_bound, threshold_scale)
    elif name == "sprt":
        rule = MixtureSPRT(eps, delta, threshold_scale)
    else:
        raise ValueError(f"rule must be one of glr, sprt, got {name!r}")
    return Looks(rule, batch_size_bernoulli(eps, delta) // looks) if looks else rule


def _require(eps: float, delta: float, threshold_scale: float) -> None:
    require_test(eps, delta)
    if not (math.isfinite(threshold_scale) and threshold_scale > 0):
        raise ValueError(f"threshold_scale must be a finite number > 0, got {threshold_scale!r}")
