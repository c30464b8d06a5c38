"""SAM on the chain: what the claims of Theorem 7 measure, and the slip in the choice of the trigger's weight."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from scipy.stats import binomtest

from workbench.dynamics import sweep
from workbench.dynamics.iterates import iterates, suffix_averages
from workbench.papers.flat_minima_sco.chain_constants import ChainConstants
from workbench.papers.flat_minima_sco.methods import method
from workbench.papers.flat_minima_sco.sam_chain import chain_gates, first_step_factor, reduced_sam_chain
from workbench.papers.flat_minima_sco.unseen_coordinates import coins
from workbench.papers.flat_minima_sco.walks import exponent

FIXED_ETAS = (0.25, 1.0, 2.0)
"""Step sizes at n = 6 of the study of the printed weight."""


def _on_chain(seed, constants: ChainConstants, swap: str = "none", unseen: int = 1):
    """One run; risks NaN where the reduced state is not exact (gate "others")."""
    k = 0 if swap == "no-unseen" else unseen
    problem = reduced_sam_chain(coins(seed, constants.n, k), constants, k)
    path = iterates(problem, method("SAM", swap, constants.step_size, constants.rho), constants.T)
    averages, gates = suffix_averages(path), chain_gates(problem, path)
    # pyrefly: ignore[bad-argument-type]
    risk = torch.where(gates["others"], torch.func.vmap(problem.population_risk)(averages), torch.nan)
    return {
        "least": risk.amin(),
        "full": risk[0],
        "closed": constants.suffix_risk(problem.trace).amin(),
        # pyrefly: ignore[bad-argument-type]
        "F_S": torch.func.vmap(problem.loss)(averages).amax(),
        "gates": torch.stack(list(gates.values())).all(),
    }


def chains(seeds: Sequence[int], constants: ChainConstants, swap: str = "none", unseen: int = 1) -> xr.Dataset:
    """ "least" population risk over suffix averages, "full" average's, "closed" form of the least (one unseen block),
    largest "F_S", and whether all "gates" of the construction held; [seed]."""
    return sweep(lambda seed: _on_chain(seed, constants, swap, unseen), seed=list(seeds), progress=False)


def chain_constants(
    n: int, T: int, eta: float, c: float, delta: float = 0.03, gamma_rule: str = "corrected"
) -> ChainConstants:
    """Constants at the radius r = c/(eta sqrt T)."""
    return ChainConstants(n, T, eta, c / (eta * math.sqrt(T)), delta, gamma_rule)  # type: ignore[arg-type]


def chain_path(seed: int, constants: ChainConstants) -> np.ndarray:
    """-w_t(I)(j)/(eta r) of SAM in the unseen block, [t, j = 3..T]."""
    problem = reduced_sam_chain(coins(seed, constants.n, 1), constants, 1)
    path = iterates(problem, method("SAM", "none", constants.step_size, constants.rho), constants.T)
    return (-path["tail"][:, 0] / (constants.step_size * constants.rho)).numpy()


def chain_doubling(seed: int, n: int, last: int, eta: float, delta: float, swap: str = "none") -> dict[str, float]:
    """Exponents of the least risk from one doubling: radius and step size at T = 64, iterates at T = last/2 -> last."""
    r = min(0.5, 0.5 / (eta * math.sqrt(last)))

    def risk(r, eta, T):
        return float(_on_chain(seed, ChainConstants(n, T, eta, r, delta), swap)["least"])

    return {
        "radius": exponent(risk(r / 2, eta, 64), risk(r, eta, 64)),
        "step size": exponent(risk(r, eta / 2, 64), risk(r, eta, 64)),
        "iterates": exponent(risk(r, eta, last // 2), risk(r, eta, last)),
    }


def slip_cases(sizes: Sequence[int]) -> list[tuple[int, float]]:
    """(n, eta): the theorem's step size 1/24 at several n, and n = 6 at larger steps."""
    return [(n, 1 / 24) for n in sizes] + [(6, eta) for eta in FIXED_ETAS]


def slip(seeds: Sequence[int], cases: Sequence[tuple[int, float]], swap: str = "none", T: int = 16) -> xr.Dataset:
    """Whether every gate holds with the "printed" and the "corrected" weight, and the printed one's "factor"; [case, seed].

    factor: (eta/max(1, eta)) M(S), the exact criterion (`first_step_factor`). Weights exchanged by swap = "paper-weight" (for
    the corrected) and "corrected-weight" (for the printed); "elementwise": the proof's own estimate as criterion.
    """
    rules = {"printed": "paper", "corrected": "corrected"}
    rules |= {"paper-weight": {"corrected": "paper"}, "corrected-weight": {"printed": "corrected"}}.get(swap, {})

    def held(n, eta, rule):
        constants = chain_constants(n, T, eta, 0.5, gamma_rule=rule)
        return sweep(lambda seed: {"held": _on_chain(seed, constants)["gates"]}, seed=list(seeds), progress=False).held

    def factors(n, eta):
        constants = chain_constants(n, T, eta, 0.5, gamma_rule="paper")
        return [float(first_step_factor(coins(s, n, 1), constants, elementwise=swap == "elementwise")) for s in seeds]

    arrays = {name: np.stack([held(n, eta, rule).values for n, eta in cases]) for name, rule in rules.items()}
    arrays["factor"] = np.array([factors(n, eta) for n, eta in cases])
    coords = {
        "n": ("case", [n for n, _ in cases]),
        "eta": ("case", [eta for _, eta in cases]),
        "seed": list(seeds),
    }
    return xr.Dataset({name: (("case", "seed"), array) for name, array in arrays.items()}, coords=coords)


def fails_mostly(found: xr.Dataset) -> xr.Dataset:
    """The cases in which the printed weight is claimed to fail on most samples: n >= 12 at eta = 1/24, eta >= 1 at n = 6."""
    return found.isel(case=np.flatnonzero((found.n >= 12) | (found.eta >= 1)))


def share_holding(found: xr.Dataset, n: int, eta: float) -> tuple[int, int, float, float]:
    """Samples of a case on which the printed weight works, all samples, and the share's exact 95 % interval."""
    held = found.printed.values[(found.n.values == n) & (found.eta.values == eta)].astype(bool)
    interval = binomtest(int(held.sum()), held.size).proportion_ci(method="exact")
    return int(held.sum()), held.size, interval.low, interval.high


def by_unseen(seed: int, constants: ChainConstants, most: int = 3) -> dict[int, float]:
    """Least risk of one run by the number of unseen blocks."""
    return {k: float(_on_chain(seed, constants, unseen=k)["least"]) for k in range(most + 1)}
