"""Samples of 2^n fair coins, and the coordinates that n of them never show: where a flat minimum can hide.

With n samples each coordinate shows 0 throughout with probability 2^-n, and there are 2^n of them: some stay unseen with
probability above 1 - 1/e, exactly one with probability above 1/e, whatever n is (arXiv:2511.03548, proofs of Theorems 1, 3
and 7).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench import draws, memory
from workbench.checks import require_count
from workbench.draws import Seed

Unseen = Literal["any"] | int
MOST_UNSEEN = 5
"""Samples with more unseen coordinates than this are too rare to wait for."""


def unseen_probability(n: int, unseen: Unseen = "any", *, coordinates: int | None = None, shown: float = 0.5) -> float:
    """Probability that n samples leave `unseen` coordinates at 0 throughout ("any": at least one; else exactly so many).

    coordinates: how many there are, 2^n by default; shown: probability that a coordinate is 1 in a sample.
    """
    require_count("n", n)
    count = 2**n if coordinates is None else coordinates
    each = (1.0 - shown) ** n
    if each in (0.0, 1.0):
        certain = count if each == 1.0 else 0
        return float(certain >= 1 if unseen == "any" else certain == unseen)
    if unseen == "any":
        return -math.expm1(count * math.log1p(-each))
    # ln C(m, k) + k ln q, factor by factor: differences of log-gammas would lose all digits at m = 2^n.
    ways = sum(math.log((count - i) / (i + 1) * each) for i in range(unseen))
    return math.exp(ways + (count - unseen) * math.log1p(-each))


def largest_shown(n: int, coordinates: float) -> float:
    """The largest p for which n samples of `coordinates` coins with P(1) = p leave one unseen with probability >= 1/2.

    p* = 1 - (1 - 2^(-1/m))^(1/n) for m coordinates: constant for m = 2^n, about log(m)/n for m polynomial in n.
    """
    require_count("n", n)
    return -math.expm1(math.log(-math.expm1(-math.log(2.0) / coordinates)) / n)


def coins(seed: Seed, n: int, unseen: Unseen = "any") -> Float[Tensor, "sample coordinate"]:
    """n samples of 2^n fair coins (0 or 1), redrawn as a whole until `unseen` coordinates ("any": at least one) are 0 in all.

    Raises ValueError for an `unseen` that is too rare to wait for, `memory.OutOfBudget` for an n that does not fit.
    """
    _refuse(n, unseen)
    return _coins(seed, n, unseen)


def tries(seed: Seed, n: int, unseen: Unseen = "any") -> Int[Tensor, ""]:
    """How many samples `coins` draws for this seed until the event holds."""
    _refuse(n, unseen)
    return _tries(seed, n, unseen)


def never_shown(samples: Float[Tensor, "sample coordinate"]) -> Float[Tensor, " coordinate"]:
    """1.0 for coordinates that are 0 in every sample, else 0.0."""
    return (samples.amax(0) == 0).to(samples.dtype)


def first_unseen(samples: Float[Tensor, "sample coordinate"]) -> Int[Tensor, ""]:
    """Index of the first coordinate that is 0 in every sample (0 if there is none)."""
    return never_shown(samples).argmax()


def _refuse(n: int, unseen: Unseen) -> None:
    require_count("n", n)
    if unseen != "any":
        require_count("unseen", unseen, 0, min(MOST_UNSEEN, 2**n))
    memory.require(24.0 * n * 2.0**n, f"a sample of n={n} vectors with 2^{n} coordinates", "Choose a smaller n.")


def _search(seed: int, n: int, unseen: Unseen) -> tuple[np.ndarray, int]:
    generator, count = np.random.default_rng(seed), 0
    while True:
        count += 1
        samples = generator.integers(0, 2, size=(n, 2**n), dtype=np.int8)
        found = int(np.sum(~samples.any(axis=0)))
        if (found >= 1) if unseen == "any" else (found == unseen):
            return samples, count


@draws.seeded
def _coins(seed: int, n: int, unseen: Unseen) -> np.ndarray:
    return _search(seed, n, unseen)[0].astype(np.float64)


@draws.seeded
def _tries(seed: int, n: int, unseen: Unseen) -> np.ndarray:
    return np.array(_search(seed, n, unseen)[1])


def fair_signs(seed: Seed, samples: int, coordinates: int) -> Float[Tensor, "sample coordinate"]:
    """Fresh samples of fair coins in {-1, 1}, for Monte Carlo estimates of a population risk."""
    memory.require(24.0 * samples * coordinates, f"{samples} fresh samples of {coordinates} coins", "Draw fewer.")
    return draws.signs(seed, (samples, coordinates), stream="fresh", dtype=torch.float64)
