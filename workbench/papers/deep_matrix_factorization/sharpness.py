"""The sharpness of f = |M - W_L ... W_1|_F^2 at a zero-loss minimiser from a d_L d_0 x d_L d_0 matrix (arXiv:2509.25783).

There the Hessian is 2 J^T J with J U = sum_i A_i U_i B_i, so its non-zero eigenvalues are twice those of
K = sum_i (A_i A_i^T) kron (B_i^T B_i). Leading dimensions of the layers are batches of networks everywhere.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_count
from workbench.problems.factorised.deep_linear import Layers, partial_products


def sharpness_matrix(
    layers: Layers, covariance: Float[Tensor, "in in"] | None = None
) -> Float[Tensor, "*batch entry entry"]:
    """K; an entry of the d_L x d_0 matrix X is a row, read row by row (vec X, rows first).

    `covariance` is Sigma = X X^T/n of data whose targets are Y = M X: B_i^T B_i becomes Sigma^(1/2) B_i^T B_i Sigma^(1/2).
    """
    after, before = partial_products(layers)
    root = None if covariance is None else _square_root(covariance)
    total: Tensor | None = None
    for a, b in zip(after, before, strict=True):
        inner = b.mT @ b
        if root is not None:
            inner = root @ inner @ root
        term = torch.einsum("...ab,...cd->...acbd", a @ a.mT, inner)
        total = term if total is None else total + term
    assert total is not None
    outer, inner_size = total.shape[-4], total.shape[-3]
    return total.reshape(*total.shape[:-4], outer * inner_size, outer * inner_size)


def exact_sharpness(
    layers: Layers, covariance: Float[Tensor, "in in"] | None = None
) -> tuple[Float[Tensor, "*batch"], list[Tensor]]:
    """lambda_max = 2 lambda_max(K) of the Hessian, and its unit eigenvector as one matrix a layer, U_i ~ A_i^T X B_i^T.

    Exact at zero-loss minimisers only; the caller makes sure of that. Where K = 0 the Hessian is 0 and every direction is an
    eigenvector: the one with equal entries is given.
    """
    values, vectors = torch.linalg.eigh(sharpness_matrix(layers, covariance))
    after, before = partial_products(layers)
    top = vectors[..., -1].reshape(*values.shape[:-1], layers[-1].shape[-2], layers[0].shape[-1])
    if covariance is not None:
        top = top @ _square_root(covariance)
    direction = [a.mT @ top @ b.mT for a, b in zip(after, before, strict=True)]
    size = sum(part.shape[-2] * part.shape[-1] for part in direction)
    norm = torch.stack([part.square().sum((-2, -1)) for part in direction]).sum(0).sqrt()[..., None, None]
    return 2 * values[..., -1], [torch.where(norm > 0, part / norm, size**-0.5) for part in direction]


def flattest_sharpness(M: Float[Tensor, "out in"], L: int) -> Float[Tensor, ""]:
    """2 L |M|^(2 - 2/L), the least sharpness of all minimisers of depth L >= 2 (Mulayoff and Michaeli, arXiv:2002.04710)."""
    require_count("L", L, 2)
    return 2 * L * _spectral(M) ** (2 - 2 / L)


def upper_bound(layers: Layers) -> Float[Tensor, "*batch"]:
    """2 sum_i |A_i|^2 |B_i|^2; equal to the sharpness for L = 2 and for scalar products."""
    after, before = partial_products(layers)
    terms = [_spectral(a).square() * _spectral(b).square() for a, b in zip(after, before, strict=True)]
    return 2 * torch.stack(terms).sum(0)


def step_size_ceiling(M: Float[Tensor, "out in"], L: int) -> float:
    """1/(L |M|^(2 - 2/L)): above it every minimiser is unstable for gradient descent (none is for M = 0: infinite)."""
    return float(2 / flattest_sharpness(M, L))


def rounding(layers: Layers) -> Float[Tensor, "*batch"]:
    """tau, the computed error of the sharpness: rounding of Hessian and K, and the residual that the rounded chain leaves.

    With p = prod |W_k|, P parameters and u = 2.2e-16:
    tau = P u 2 sum_i (p/|W_i|)^2 + L max(d) u p 2 sum_{i != j} p/(|W_i| |W_j|).
    """
    norms = torch.stack([_spectral(layer) for layer in layers])
    others = torch.stack([norms[torch.arange(len(layers)) != i].prod(0) for i in range(len(layers))])
    parameters = sum(layer.shape[-1] * layer.shape[-2] for layer in layers)
    widest = max(max(layer.shape[-2:]) for layer in layers)
    unit, own = torch.finfo(norms.dtype).eps, 2 * others.square().sum(0)
    mixed = 2 * (others.sum(0).square() - others.square().sum(0))
    return parameters * unit * own + len(layers) * widest * unit * mixed


def depth_two_excess(layers: Layers, M: Float[Tensor, "out in"], norm: str = "spectral") -> Float[Tensor, "*batch"]:
    """2 (a - b)^2 + 4 (a b - m) with a = |W_1|, b = |W_2|, m = |M|: how far two layers are from the flattest minimum.

    `norm="frobenius"` takes Frobenius norms instead, for which lambda_max - 4 m has no such law.

    Raises:
        ValueError: for another number of layers than two.
    """
    if len(layers) != 2:
        raise ValueError(f"layers must be two for the depth-two identity, got {len(layers)}")
    kind: float | str = 2 if norm == "spectral" else "fro"
    a, b, m = (torch.linalg.matrix_norm(matrix, kind) for matrix in (layers[0], layers[1], M))
    return 2 * (a - b).square() + 4 * (a * b - m)


def balance(layers: Layers) -> Float[Tensor, "layer *batch"]:
    """|A_i| |B_i| for every layer. At the value |M|^(1 - 1/L) for all i the minimiser is flat; the converse fails for L >= 3."""
    after, before = partial_products(layers)
    return torch.stack([_spectral(a) * _spectral(b) for a, b in zip(after, before, strict=True)])


def _spectral(matrix: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(matrix, 2)


def _square_root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.mT
