"""Measurements on the loss of Theorem 1: its properties, the flat and the sharp minimum, the certificate of F_S^r."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench import draws
from workbench.dynamics import Labelled, sweep
from workbench.papers.flat_minima_sco.methods import positive_part
from workbench.papers.flat_minima_sco.unseen_coordinates import coins, first_unseen, unseen_probability
from workbench.papers.flat_minima_sco.visible_norm import FlatButBad, hinge
from workbench.parameters import normalised

LARGEST = 8
"""Samples beyond this number add dimensions but nothing else to the loss's properties and to the certificate."""

EVENTS = {"some": "any", "exactly one": 1}
OFFSETS = ("rho/2", "rho", "rho + 0.1", "rho + 0.3")


def loss_properties(seed: int, n: int, rhos: Sequence[float], swap: str = "none", pairs: int = 5000) -> xr.Dataset:
    """By how much random pairs break smoothness, convexity and the Lipschitz constant, over the rounding of 8 d operations.

    Half of the pairs are close to each other, a quarter of the samples show everything; lengths are uniform in [0, 1].
    Returns "smooth", "convex", "Lipschitz" (at most 1 where the property holds) and "slope" |grad|, [rho, pair].
    """
    d = 2 ** min(n, LARGEST) + 1
    directions = draws.normal(seed, (2, pairs, d), stream="pairs")
    points = draws.uniform(seed, (2, pairs, 1), stream="lengths") * directions / directions.norm(dim=-1, keepdim=True)
    a, index = points[0], torch.arange(pairs)[:, None]
    b = torch.where(index % 2 == 0, a + 0.01 * (points[1] - a), points[1])
    z = draws.integers(seed, 2, (pairs, d - 1), stream="fresh").double()
    z = torch.cat([torch.where((index // 2) % 4 == 0, 1.0, z), torch.ones(pairs, 1)], 1)
    rounding, found = 8 * d * np.finfo(float).eps, {}
    for rho in rhos:
        slopes = [positive_part((z * w.square()).sum(1).sqrt(), rho, swap)[:, None] * z * w for w in (a, b)]
        change, step = slopes[0] - slopes[1], a - b
        length, steepest = step.norm(dim=1), slopes[0].norm(dim=1)
        found[rho] = {
            "smooth": (change.norm(dim=1) / length - 1) * length / rounding,
            "convex": -(change * step).sum(1) / length / rounding,
            "Lipschitz": (steepest - (1 - rho)) / rounding,
            "slope": steepest,
        }
    arrays = {name: np.stack([found[rho][name].numpy() for rho in rhos]) for name in found[rhos[0]]}
    return xr.Dataset({name: (("rho", "pair"), array) for name, array in arrays.items()}, coords={"rho": list(rhos)})


def hidden_counts(seed: int, n: int, samples: int, swap: str = "none") -> np.ndarray:
    """How many of 2^n coordinates each of `samples` drawn samples of n words of 2^n random bits leaves at 0 throughout.

    swap = "loaded-coin": a bit is 1 with probability 3/4.
    """
    generator, words = draws.generator(seed, "words", n), max(1, 2**n // 64)
    mask, block = np.uint64(2 ** min(2**n, 64) - 1), max(1, 2**21 // words)
    counts = []
    for first in range(0, samples, block):
        size = (min(block, samples - first), words)
        seen = np.zeros(size, dtype=np.uint64)
        for _ in range(2 * n if swap == "loaded-coin" else n):  # two fair bits or-ed are 1 with probability 3/4
            seen |= generator.integers(0, 2**64, size, dtype=np.uint64)
        counts.append(2**n - np.bitwise_count(seen & mask).sum(1).astype(int))
    return np.concatenate(counts)


def unseen_events(seed: int, ns: Sequence[int], samples: int, swap: str = "none") -> xr.Dataset:
    """Whether each drawn sample leaves some (exactly one) coordinate unseen: "happened" and the formula's "probability".

    Dimensions event, n, sample. swap = "few-coordinates": the formula for n coordinates instead of 2^n.
    """
    counts = np.stack([hidden_counts(seed, n, samples, swap) for n in ns])
    happened = np.stack([counts >= 1, counts == 1])
    return xr.Dataset(
        {"happened": (("event", "n", "sample"), happened), "probability": event_probabilities(ns)},
        coords={"event": list(EVENTS), "n": list(ns)},
    )


def event_probabilities(ns: Sequence[int], swap: str = "none") -> xr.DataArray:
    """The formula for both events, [event, n]; swap = "few-coordinates": n coordinates instead of 2^n."""
    rows = [
        # pyrefly: ignore[bad-argument-type]
        [unseen_probability(n, event, coordinates=n if swap == "few-coordinates" else None) for n in ns]
        for event in EVENTS.values()
    ]
    return xr.DataArray(rows, coords={"event": list(EVENTS), "n": list(ns)}, dims=("event", "n"))


def corner_points(
    seed: int | Tensor, rho: float | Tensor, n: int, swap: str = "none"
) -> tuple[FlatButBad, Tensor, Tensor]:
    """The problem, the flat bad minimum e_I and the sharp good one rho e_d; exchanged, or with a seen I, by `swap`."""
    samples, places = coins(seed, n), torch.arange(2**n + 1)
    hidden = first_unseen(samples)
    chosen = samples.amax(0).argmax() if swap == "seen" else hidden
    e_I, e_d = (places == chosen).double(), (places == 2**n).double()
    points = (e_I, rho * e_d)
    # pyrefly: ignore[bad-return]
    return FlatButBad(samples, rho), *(points[::-1] if swap == "exchange" else points)


def population_risk(problem: FlatButBad, w: Tensor) -> Tensor:
    """F of a point with at most one non-zero coordinate but w(d): z of that coordinate is 0 or 1 with probability 1/2."""
    ones = torch.ones_like(problem.samples[0])
    return problem.batch_loss(w, (torch.stack([0 * ones, ones]),))


def radii(rho: float | Tensor) -> Tensor:
    """The four radii at which the two minima are compared, in the order of OFFSETS."""
    rho = torch.as_tensor(rho, dtype=torch.float64)
    return torch.stack([rho / 2, rho, rho + 0.1, rho + 0.3])


def corners(seeds: Sequence[int], rhos: Sequence[float], n: int, swap: str = "none") -> xr.Dataset:
    """ "flat_risk", "sharp_risk", "flat_saer", "sharp_saer" (F_S^r) of both minima, and "r"; [seed, rho, radius].

    Where a sample shows the point, F_S^r has no closed form and max F_S(w + v) over v = r w, r e_d is given, a lower bound.
    """

    def at(seed, rho):
        problem, flat, sharp = corner_points(seed, rho, n, swap)

        def saer(w, r):
            last = torch.arange(len(w)) == len(w) - 1
            below = torch.maximum(problem.loss(w + r * normalised(w)), problem.loss(w + r * last))
            closed = problem.sharpness_aware_risk(w, r)
            return torch.where(closed.isnan(), below, closed)

        every = radii(rho)
        found = {"r": every} | {
            name: torch.stack([saer(w, r) for r in every]) for name, w in (("flat_saer", flat), ("sharp_saer", sharp))
        }
        risks = {"flat_risk": population_risk(problem, flat), "sharp_risk": population_risk(problem, sharp)}
        return {name: Labelled(value, ("radius",)) for name, value in found.items()} | risks

    return sweep(at, seed=list(seeds), rho=list(rhos), progress=False)


def fresh_losses(seed: int, rho: float, n: int, fresh: int, swap: str = "none") -> np.ndarray:
    """f(e_I, z) for `fresh` new samples z."""
    problem, flat, _ = corner_points(seed, rho, n, swap)
    found, block = [], max(1, 2**22 // 2**n)
    for counter, first in enumerate(range(0, fresh, block)):
        size = (min(block, fresh - first), 2**n)
        z = draws.integers(seed, 2, size, stream="fresh", counter=counter).double()
        found.append(hinge(problem.shown(flat, z), rho))
    return torch.cat(found).numpy()


def certificate(seed0: int, rhos: Sequence[float], n: int, swap: str = "none", starts: int = 64) -> xr.Dataset:
    """Power ascent v <- r grad F_S(w + v)/|.| against the closed form of F_S^r, and the value at v = r e_d.

    Returns "found", "attained", "closed"; dimensions seed (start), rho, case (of OFFSETS), point (0: e_I, 1: rho e_d).
    swap = "first-order": F_S + r |grad F_S| as closed form; "other-axis": v = r e_1 instead of r e_d.
    """
    size = min(n, LARGEST)

    def climb(seed, rho, case, point):
        problem, e_I, rho_e_d = corner_points(seed0, rho, size)
        r = torch.where(case == 0, rho / 2, rho + torch.where(case == 2, 0.1, torch.where(case == 3, 0.3, 0.0)))
        w = torch.where(point == 0, e_I, rho_e_d)
        # pyrefly: ignore[unsupported-operation]
        v = r * normalised(draws.normal(seed, (len(e_I),), stream="ascent"))
        for _ in range(200):
            # pyrefly: ignore[unsupported-operation]
            v = r * normalised(problem.gradient(w + v))
        axis = (torch.arange(len(w)) == (0 if swap == "other-axis" else len(w) - 1)).double()
        closed = problem.sharpness_aware_risk(w, r)
        if swap == "first-order":
            closed = problem.loss(w) + r * problem.gradient(w).norm()
        return {"found": problem.loss(w + v), "attained": problem.loss(w + r * axis), "closed": closed}

    starts_of = list(range(seed0, seed0 + starts))
    return sweep(climb, seed=starts_of, rho=list(rhos), case=[0, 1, 2, 3], point=[0, 1], progress=False)
