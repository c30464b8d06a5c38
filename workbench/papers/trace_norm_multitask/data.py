"""Linear regression tasks whose coefficients share an r-dimensional subspace (arXiv:2202.06742, section 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws, memory
from workbench.checks import require_count, require_nonnegative

FEATURES = ("normal", "uniform", "adversarial", "rademacher")
SUBSPACES = ("random", "axis")


@dataclass(frozen=True, eq=False, repr=False)
class MultitaskData:
    """y_{t,i} = <w*_t, x_{t,i}> + sigma xi_{t,i} with W* = A B^T, all in float64.

    Attributes:
        features: X.
        targets: y.
        weights: W*, row t the coefficients of task t.
        subspace: B, orthonormal columns (the subspace the rows were meant to share, also where they do not).
        sigma: standard deviation of the noise.
    """

    features: Float[Tensor, "task sample feature"]
    targets: Float[Tensor, "task sample"]
    weights: Float[Tensor, "task feature"]
    subspace: Float[Tensor, "feature rank"]
    sigma: float

    def __repr__(self) -> str:
        T, m, d = self.features.shape
        return f"MultitaskData(tasks={T}, m={m}, d={d}, r={self.subspace.shape[1]}, sigma={self.sigma:g})"

    def part(self, tasks: slice) -> MultitaskData:
        """The same data restricted to some tasks."""
        return MultitaskData(self.features[tasks], self.targets[tasks], self.weights[tasks], self.subspace, self.sigma)


def multitask_data(
    T: int,
    m: int,
    d: int,
    r: int,
    sigma: float,
    *,
    features: str = "normal",
    subspace: str = "random",
    independent: bool = False,
    seed: int = 0,
    basis: Float[Tensor, "feature rank"] | None = None,
) -> MultitaskData:
    """Draw T tasks of m samples in R^d.

    A and the noise are standard normal, B the left singular vectors of a Gaussian matrix ("random") or the first r axes
    ("axis"), entries of x independent with mean 0 and variance 1: "normal", "uniform" on [-sqrt 3, sqrt 3], "rademacher" (+-1),
    or "adversarial": cos(theta_j) uniform + sin(theta_j) normal, theta_j from 0 to pi/2 along the features. With
    `independent` the rows of W* are N(0, (r/d) I): of the same size, without a common subspace. `basis` puts the tasks in a
    given subspace (new tasks of an old world).

    Raises:
        ValueError: for sizes below 1, r >= d, a negative sigma, or an unknown law.
        OutOfBudget: when the features do not fit in memory.
    """
    for name, value in (("T", T), ("m", m), ("d", d), ("r", r)):
        require_count(name, value, 1)
    require_nonnegative("sigma", sigma)
    if r >= d:
        raise ValueError(f"r must be below d = {d}, got {r!r}: a shared subspace of all dimensions is none")
    if features not in FEATURES:
        raise ValueError(f"features must be one of {', '.join(FEATURES)}, got {features!r}")
    if subspace not in SUBSPACES:
        raise ValueError(f"subspace must be one of {', '.join(SUBSPACES)}, got {subspace!r}")
    memory.require(8 * T * m * d, f"the features of {T} tasks x {m} samples x {d}", "take fewer tasks")
    if basis is None:
        basis = subspace_basis(d, r, subspace, seed)
    if independent:
        weights = math.sqrt(r / d) * draws.normal(seed, (T, d), stream="coefficients")
    else:
        weights = draws.normal(seed, (T, r), stream="coefficients") @ basis.T
    inputs = _features(features, (T, m, d), seed)
    noise = draws.normal(seed, (T, m), stream="noise")
    targets = torch.einsum("tmd,td->tm", inputs, weights) + sigma * noise
    return MultitaskData(inputs, targets, weights, basis, float(sigma))


def subspace_basis(d: int, r: int, kind: str = "random", seed: int = 0) -> Float[Tensor, "feature rank"]:
    """B: left singular vectors of a d x r Gaussian matrix, or the first r axes."""
    if kind == "axis":
        return torch.eye(d, r, dtype=torch.float64)
    return torch.linalg.svd(draws.normal(seed, (d, r), stream="subspace"), full_matrices=False)[0]


def _features(law: str, shape: tuple[int, int, int], seed: int) -> Float[Tensor, "task sample feature"]:
    if law == "normal":
        return draws.normal(seed, shape, stream="features")
    if law == "rademacher":
        return draws.signs(seed, shape, stream="features")
    bound = math.sqrt(3.0)
    flat = draws.uniform(seed, shape, low=-bound, high=bound, stream="features")
    if law == "uniform":
        return flat
    theta = torch.linspace(0.0, math.pi / 2, shape[2], dtype=torch.float64)
    return theta.cos() * flat + theta.sin() * draws.normal(seed, shape, stream="normal features")
