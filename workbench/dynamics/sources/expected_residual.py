"""The noise of minibatch gradients by the problem's constants: expected residual, and the probabilities that make it least."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from workbench.dynamics.sources.enumeration import Enumerable
from workbench.problems.finite_sum import FiniteSum, interpolation_gap


class ExpectedResidual(NamedTuple):
    """E|g_S(x)|^2 <= 2A (f(x) - f*) + B |grad f(x)|^2 + C at every x. Bounded variance is A = 0, B = 1."""

    A: float
    B: float
    C: float


def expected_residual(problem: FiniteSum, source: Enumerable, lowest: float | None = None) -> ExpectedResidual:
    """The constants of the expected residual condition (arXiv:2503.02225, Section 3.1; C is derived).

    With E|g_S|^2 = sum_i v_i |grad f_i|^2 + B |grad f|^2 and L_i-smooth f_i, A = max_i n v_i L_i and C = 2 A sigma,
    sigma = f* - mean inf f_i: tau-nice (n-tau)/(tau(n-1)) L_max; one sample with probabilities p_i max_i L_i/(n p_i).

    lowest: f*, or any lower bound of f that is to stand in its place; default `problem.minimum`.
    Raises ValueError for sources whose gradient is biased, or whose second moment is not known.

    >>> import torch
    >>> from workbench.dynamics.sources import Minibatches
    >>> from workbench.problems import LeastSquares
    >>> problem = LeastSquares(torch.tensor([[1.0], [2.0]], dtype=torch.float64), torch.tensor([1.0, 2.0]).double())
    >>> found = expected_residual(problem, Minibatches(1, "replacement"))
    >>> round(found.A, 9), round(found.B, 9), round(found.C, 9)
    (4.0, 0.0, 0.0)
    """
    if not isinstance(source, Enumerable):
        raise ValueError(f"the second moment of {type(source).__name__} is not known: take Minibatches or Importance")
    samples, full = source.second_moment(problem)  # type: ignore[arg-type]
    A = float((len(samples) * samples * problem.sample_smoothness.double()).amax())
    return ExpectedResidual(A, full, 2 * A * interpolation_gap(problem, lowest))


def smoothness_probabilities(problem: FiniteSum) -> Float[Tensor, " sample"]:
    """p_i = L_i/sum_j L_j: single samples with these have the least A, the mean of the L_i (arXiv:2503.02225, Section 3.4).

    Every f_i/(n p_i) is then as smooth as the mean of the L_i.
    """
    smoothness = problem.sample_smoothness.double()
    return smoothness / smoothness.sum()
