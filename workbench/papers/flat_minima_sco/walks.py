"""SA-GD in the hidden valley: what the claims of Theorem 3 measure, as labelled arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from workbench.dynamics import Labelled, sweep
from workbench.dynamics.iterates import iterates, suffix_averages
from workbench.optimizers.inner_maximisation import PowerIteration
from workbench.papers.flat_minima_sco.adversaries import (
    ExtraCoordinate,
    FreshCoordinate,
    SameCoordinate,
    WeightedCoordinate,
)
from workbench.papers.flat_minima_sco.methods import method
from workbench.papers.flat_minima_sco.unseen_coordinates import coins, fair_signs, first_unseen, never_shown
from workbench.papers.flat_minima_sco.visible_norm import HiddenValley, tie_breaking_weights

FULL_STATE = 2**14
"""Up to 2^n T of this many entries the whole state is simulated; beyond it block I alone."""

ORACLES = ("adversarial", "tie-weighted", "power", "extra")


def _walk(seed, rho, excess, *, n, T, eta, swap="none", full=False):
    """One run from 0 with radius r = rho + excess; risks NaN where another block than I has moved."""
    samples, r = coins(seed, n), rho + excess
    block = (1 - never_shown(samples)).argmax() if swap == "seen" else first_unseen(samples)
    row = (torch.arange(2**n) == block).double()
    alone = HiddenValley(((1 - 2 * samples) @ row)[:, None], T, rho)  # what the sample says about block I
    problem, row = (HiddenValley(1 - 2 * samples, T, rho), row) if full else (alone, torch.ones(1).double())
    adversary = SameCoordinate if swap == "same-coordinate" else FreshCoordinate
    rule = method("SA-GD", swap, eta, r, adversary(block if full else 0))

    def kept(w):
        rest = ((1 - row)[:, None] * w["blocks"]).abs().amax() + w["extra"].abs()
        return {"block": row @ w["blocks"], "rest": rest}

    path = iterates(problem, rule, T, keep=kept)
    average = suffix_averages(path["block"])
    # pyrefly: ignore[bad-index]
    points = {"blocks": average[:, None], "extra": torch.zeros(T).double()}
    # pyrefly: ignore[bad-argument-type]
    risk = torch.where(path["rest"].amax() == 0, alone.block_risk(average), torch.nan)
    saer = torch.func.vmap(lambda w: alone.sharpness_aware_risk(w, r))(points)
    return {
        "risk": Labelled(risk, ("tau",)),
        "saer": Labelled(saer, ("tau",)),
        "F_S": torch.func.vmap(alone.loss)(points).amax(),
        "norm": path["block"].norm(dim=1).amax(),
    }


def walks(
    seeds: Sequence[int], rhos: Sequence[float], n: int, T: int, eta: float, c: float, swap: str = "none"
) -> xr.Dataset:
    """ "risk" and "saer" (F_S^r) of every suffix average, largest "F_S" of them and "norm" of the iterates; [seed, rho, tau].

    Radius r = rho + c/(eta sqrt T), or rho + 1 under swap = "fixed-radius".
    """
    full = 2**n * T <= FULL_STATE
    excess = 1.0 if swap == "fixed-radius" else c / (eta * math.sqrt(T))
    return sweep(
        lambda seed, rho: _walk(seed, rho, excess, n=n, T=T, eta=eta, swap=swap, full=full),
        seed=list(seeds),
        rho=list(rhos),
        chunk_size=max(1, 2**18 // (2**n * T)) if full else None,
        progress=False,
    )


def last_doubling(seed: int, n: int, last: int, eta: float, c: float, swap: str = "none") -> dict[str, float]:
    """Exponents of the least risk over suffixes at rho = 0 from one doubling: radius and step size at T = 64, T to `last`.

    NaN where a risk is 0.
    """
    r = c / (eta * math.sqrt(last))

    def risk(r, eta, T):
        return float(_walk(seed, 0.0, r, n=n, T=T, eta=eta, swap=swap)["risk"].value.min())

    pairs = {
        "radius": (risk(r / 2, eta, 64), risk(r, eta, 64)),
        "iterates": (risk(r, eta, last // 2), risk(r, eta, last)),
        "step size": (risk(r, eta / 2, 64), risk(r, eta, 64)),
    }
    return {name: exponent(*risks) for name, risks in pairs.items()}


def exponent(low: float, high: float) -> float:
    """log2(high/low); NaN where one of the two is not positive."""
    return math.log2(high / low) if low > 0 and high > 0 else math.nan


def phase_plane(seed: int, n: int, T: int, eta: float, swap: str = "none") -> xr.Dataset:
    """Simulated risk of the full average on 20 x 20 cells (rho, c), "wrong" where its sign is not the boundary's.

    boundary: bad iff rho < c sqrt((T - 1)(2T - 1)/6)/T; rho < c/3 under swap = "theorem-boundary".
    """
    cells = np.linspace(0.0125, 0.4875, 20)
    plane = sweep(
        lambda rho, c: {
            "risk": _walk(seed, rho, c / (eta * math.sqrt(T)), n=n, T=T, eta=eta, swap=swap)["risk"].value[0]
        },
        rho=cells,
        c=2 * cells,
        progress=False,
    )
    factor = 1 / 3 if swap == "theorem-boundary" else math.sqrt((T - 1) * (2 * T - 1) / 6) / T
    plane["wrong"] = (plane.risk > 0) != (plane.rho < factor * plane.c)
    return plane


def by_oracle(
    seeds: Sequence[int], n: int, eta: float, c: float, spread: float, swap: str = "none", rho: float = 0.1
) -> xr.DataArray:
    """Population risk of SA-GD's full average by inner maximiser, from 4000 fresh z; [seed, T, oracle], T = 16, 64.

    "tie-weighted" runs on the loss whose weights spread by `spread`; swap = "adversarial" puts the adversary in the place
    of the oracle that prefers w(d), "extra" that oracle (and the loss with ties) in the place of the tie-free one.
    """
    size = min(n, 6)
    fresh = fair_signs(min(seeds), 4000, 2**size)
    instead = {"adversarial": {"extra": "adversarial"}, "extra": {"tie-weighted": "extra"}}.get(swap, {})

    def at(seed, T, oracle):
        chosen = instead.get(oracle, oracle)
        samples = coins(seed, size)
        signs, weights = 1 - 2 * samples, tie_breaking_weights(2**size, T, spread)
        weighted = {"weights": weights, "extra_weight": 1 - 2 * spread} if chosen == "tie-weighted" else {}
        # pyrefly: ignore[bad-argument-type]
        problem = HiddenValley(signs, T, rho, **weighted)
        oracles = {
            "adversarial": FreshCoordinate(first_unseen(samples)),
            "tie-weighted": WeightedCoordinate(signs, weights),
            "extra": ExtraCoordinate(),
            "power": PowerIteration(10),
        }
        rule = method("SA-GD", "none", eta, rho + c / (eta * math.sqrt(T)), oracles[chosen])
        average = {name: leaf.mean(0) for name, leaf in iterates(problem, rule, T, seed=seed).items()}
        return {"risk": problem.batch_loss(average, (fresh,))}

    return sweep(at, seed=list(seeds), T=[16, 64], oracle=list(ORACLES), static=["T"], progress=False).risk
