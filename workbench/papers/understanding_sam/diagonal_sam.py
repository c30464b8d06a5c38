"""Unnormalised SAM on diagonal networks in closed form, for runs of 10^4 steps and more.

The displacement of a single sample is rank one in the inputs, so the residual of the displaced network is a polynomial in
rho whose coefficients are products with the inputs' entrywise powers. Five small matrix products then replace n displaced
networks. In (w+, w-) and in (u, v) alike: the two have the same dynamics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from workbench.checks import require_count
from workbench.optimizers.momentum import Descent
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam import m_sam, usam
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, tree_map
from workbench.problems.factorised.diagonal_network import DiagonalNetwork

Owner = Literal["own", "next"]


@dataclass(frozen=True, eq=False)
class OneSampleSAM(EffectiveGradient):
    """g~(x) = mean_i grad l_i(x + rho grad l_j(x)) over all samples of a diagonal network, j = i (1-SAM, arXiv:2206.06232).

    With `owner="next"` sample i is displaced by the gradient of sample j = i + 1: the same lengths, the wrong owner. With
    g_j = r_j x_j, b = beta, s = w+^2 + w-^2 and entrywise products of inputs, the displaced residuals are
        r'_i = r_i + 2 rho r_j (x_i x_j) s + rho^2 r_j^2 (x_i x_j^2) b,
    and g~ is the gradient that the correlation X^T r'/n gives, plus c = rho mean_i r_j r'_i x_i x_j times the parameters.
    """

    network: DiagonalNetwork
    rho: HyperParameter
    owner: Owner = "own"
    name = "m_usam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        assert isinstance(parameters, Tensor)
        network, inputs, rho = self.network, self.network.inputs, at(self.rho, oracle.step)
        beta, scale = network.predictor(parameters), network.squared_scale(parameters)
        residuals = inputs @ beta - network.targets
        along, ascent = inputs, rho * residuals
        if self.owner == "next":
            along, ascent = inputs.roll(-1, 0), ascent.roll(-1, 0)
        crossed = inputs * along
        displaced = residuals + ascent * (2 * (crossed @ scale) + ascent * ((crossed * along) @ beta))
        # Under vmap a vector times a matrix copies the matrix for every run; the transpose times the vector does not.
        correlation = inputs.mT @ (displaced / inputs.shape[0])
        shrink = crossed.mT @ (ascent * displaced / inputs.shape[0])
        return network.pulled_back(parameters, correlation) + shrink * parameters


@dataclass(frozen=True)
class NextGroupSAM(EffectiveGradient):
    """m-SAM without normalisation whose groups are displaced by the next group's gradient: the null of "each group its own"."""

    rho: HyperParameter
    m: int
    name = "m_usam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        groups = oracle.groups(self.m)
        rho = at(self.rho, oracle.step)
        displaced = tree_map(lambda x, ascent: x + rho * ascent.roll(-1, 0), parameters, groups.gradients(parameters))
        return tree_map(lambda gradient: gradient.mean(0), groups.gradients_at(displaced))


def unnormalised_sam(
    network: DiagonalNetwork, step_size: HyperParameter, rho: HyperParameter, m: int, owner: Owner = "own"
) -> Descent:
    """m-SAM without normalisation on a diagonal network: every step takes all samples in groups of m.

    m = 1 is 1-SAM in closed form, m = n is n-SAM; in between the groups are consecutive samples of each step's batch, so
    run it with `batch_size=n` for a fresh random partition at every step. Equal to `optimizers.m_sam(step_size, rho, m,
    normalize=False)` but for rounding. `owner="next"` displaces each group by the next one's gradient.
    Raises ValueError when m does not divide the number of samples, or for an unknown owner.
    """
    n = network.n_samples
    require_count("m", m, 1, n)
    if n % m:
        raise ValueError(f"m must divide the number of samples n = {n}, got m={m}")
    if owner not in ("own", "next"):
        raise ValueError(f"owner must be 'own' or 'next', got {owner!r}")
    if m == 1:
        return Descent(OneSampleSAM(network, rho, owner), step_size)
    if m == n:
        return usam(step_size, rho)
    return m_sam(step_size, rho, m, normalize=False) if owner == "own" else Descent(NextGroupSAM(rho, m), step_size)
