"""Unnormalised SAM on diagonal networks in closed form, for runs of 10^4 steps and more.

The displacement of a single sample is rank one in the inputs: with g_i = r_i x_i the network displaced along it has
w+ (1 + rho g_i), w- (1 - rho g_i), so its residual is a polynomial in rho whose coefficients are products with the
inputs' entrywise powers. Five small matrix products then replace n displaced networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_count
from workbench.optimizers.momentum import Descent
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam import m_sam, usam
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters
from workbench.problems.factorised.diagonal_network import SquaresNetwork


@dataclass(frozen=True, eq=False)
class OneSampleSAM(EffectiveGradient):
    """g~(x) = mean_i grad l_i(x + rho grad l_i(x)) over all samples of a `SquaresNetwork` (1-SAM, arXiv:2206.06232).

    With b = w+^2 - w-^2, s = w+^2 + w-^2 and entrywise powers of X, the displaced residuals are
        r' = r + 2 rho r (X^2 s) + rho^2 r^2 (X^3 b),
    and g~ = ((a + c) w+, (c - a) w-) with a = X^T r'/n and c = rho (X^2)^T (r r')/n.
    """

    inputs: Float[Tensor, "sample feature"]
    targets: Float[Tensor, " sample"]
    rho: HyperParameter
    name = "m_usam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        assert isinstance(parameters, Tensor)
        rho, inputs = at(self.rho, oracle.step), self.inputs
        squared_inputs = inputs * inputs
        squares = parameters * parameters
        beta, scale = squares[0] - squares[1], squares[0] + squares[1]
        residuals = inputs @ beta - self.targets
        ascent = rho * residuals
        displaced = residuals + ascent * (2 * (squared_inputs @ scale) + ascent * ((squared_inputs * inputs) @ beta))
        # Under vmap a vector times a matrix copies the matrix for every run; the transpose times the vector does not.
        along = inputs.mT @ (displaced / inputs.shape[0])
        shrink = squared_inputs.mT @ (ascent * displaced / inputs.shape[0])
        return torch.stack([shrink + along, shrink - along]) * parameters


def unnormalised_sam(network: SquaresNetwork, step_size: HyperParameter, rho: HyperParameter, m: int) -> Descent:
    """m-SAM without normalisation on a diagonal network: every step takes all samples in groups of m.

    m = 1 is 1-SAM in closed form, m = n is n-SAM; in between the groups are consecutive samples of each step's batch, so
    run it with `batch_size=n` for a fresh random partition at every step. Equal to `optimizers.m_sam(step_size, rho, m,
    normalize=False)` but for rounding. Raises ValueError when m does not divide the number of samples.
    """
    n = network.n_samples
    require_count("m", m, 1, n)
    if n % m:
        raise ValueError(f"m must divide the number of samples n = {n}, got m={m}")
    if m == 1:
        return Descent(OneSampleSAM(network.inputs, network.targets, rho), step_size)
    return usam(step_size, rho) if m == n else m_sam(step_size, rho, m, normalize=False)


def step_size(text: str, d: int) -> float:
    """The step size that "0.3" or "10/d" stands for. Raises ValueError unless it is a finite number > 0."""
    number, slash, over = text.partition("/")
    try:
        value = float(number) / (d if slash else 1)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf or (slash and over.strip() != "d"):
        raise ValueError(f"gamma must be a finite number > 0 or 'c/d' with such a c, got {text!r}")
    return value
