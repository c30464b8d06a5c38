"""The exact Hessian of any loss of parameters."""

import warnings
from typing import Literal, overload

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.curvature.layers.structured import recognised, structured_matrix

from .empirical import known
from .flat import Loss, Parameters, size_of
from .model.traffic import Traffic
from .products import HVPOperator, autograd_operator, hvp_operator

# Intermediate results of one block of products. Larger blocks leave the caches and gain nothing (measured: 1 to 64
# vectors at a time cost the same per vector from 2 MB a vector upwards), smaller ones pay the dispatch again and again.
_BLOCK_BYTES = 64 * 2**20


@overload
def hessian(loss: Loss, parameters: Parameters) -> Float[Tensor, "parameter parameter"]: ...
@overload
def hessian(
    loss: Loss, parameters: Parameters, *, return_error: Literal[True]
) -> tuple[Float[Tensor, "parameter parameter"], Float[Tensor, ""]]: ...
def hessian(loss: Loss, parameters: Parameters, *, return_error: bool = False):
    """All second derivatives of `loss` at `parameters`, exact to rounding in their dtype, and exactly symmetric.

    Rows and columns follow the dict's order, each entry row-major. Works inside `torch.func.vmap` (so in a sweep one
    call gives the Hessians of all runs). At kinks (ReLU at exactly 0) it is the Hessian of the branch PyTorch
    differentiates. With `return_error=True` an estimate of the error comes as well, relative to the largest entry: the
    asymmetry of the rows where they come from Hessian-vector products, and where the matrix is assembled from a
    network's layers its largest difference from a few such products.

    Raises:
        workbench.memory.OutOfBudget: the matrix does not fit; raised before any work, with its size.
        ValueError: two evaluations of the loss differ, so that it is no function of the parameters; or its second
            derivatives are missing or wrong (rows asymmetric by more than a thousandth).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> wb.curvature.hessian(bowl.loss, x)
    tensor([[1., 0.],
            [0., 4.]], dtype=torch.float64)
    """
    size, dtype = size_of(parameters)
    require_dense(size, dtype)
    empirical = recognised(loss)
    if empirical is not None:

        def product(vector: Tensor) -> Tensor:
            return autograd_operator(loss, parameters).product(vector)

        matrix = structured_matrix(empirical, parameters, "hessian", product)
        if matrix is not None:
            return (matrix, _difference(matrix, loss, parameters)) if return_error else matrix
    rows = hessian_rows(hvp_operator(loss, parameters))
    error = _asymmetry(rows)
    if not return_error:
        require_symmetric(error, rows.dtype)
    return (symmetrised(rows), error) if return_error else symmetrised(rows)


_CRUDE = 1e-3
"""Asymmetry, relative to the largest entry, beyond which rows are not those of a Hessian."""


def require_symmetric(asymmetry: Tensor, dtype: torch.dtype) -> None:
    """Refuse rows whose asymmetry is no rounding error, and warn of a doubtful one (single precision in a double loss).

    Raises:
        ValueError: second derivatives are wrong, or the loss has none here.
    """
    if known(asymmetry > 64 * torch.finfo(dtype).eps ** 0.5) is not True:
        return
    gap = float(asymmetry)
    if gap > _CRUDE:
        raise ValueError(
            f"the rows of the Hessian are not symmetric (by {gap:.2g} of the largest entry): some operation's second "
            "derivative is wrong, or the loss has none here. Look for hand-written autograd.Functions; "
            "hessian(..., return_error=True) returns the matrix all the same."
        )
    warnings.warn(
        f"the rows of the Hessian are asymmetric by {gap:.2g} of the largest entry, more than rounding in "
        f"{str(dtype).removeprefix('torch.')}: single precision inside the model?",
        stacklevel=3,
    )


def asymmetry(loss: Loss, parameters: Parameters) -> Float[Tensor, ""]:
    """Largest |H - Hᵀ| relative to the largest |H|, over rows computed one by one from double backward passes.

    It is zero in exact arithmetic, so it estimates the rounding error of `hessian`; a value far above the dtype's
    epsilon means a loss that is not twice differentiable there, or wrong derivatives in a hand-written operation.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> wb.curvature.asymmetry(bowl.loss, x).item()
    0.0
    """
    require_dense(*size_of(parameters))
    return _asymmetry(hessian_rows(autograd_operator(loss, parameters)))


def _asymmetry(rows: Tensor) -> Tensor:
    return (rows - rows.mT).abs().amax() / _scale(rows)


def _difference(matrix: Tensor, loss: Loss, parameters: Parameters) -> Tensor:
    chosen = torch.linspace(0, len(matrix) - 1, min(8, len(matrix))).long()
    unit = torch.zeros(len(chosen), len(matrix), dtype=matrix.dtype)
    unit[torch.arange(len(chosen)), chosen] = 1.0
    products = autograd_operator(loss, parameters)(unit.to(matrix.device))
    return (products - matrix[chosen.to(matrix.device)]).abs().amax() / _scale(matrix)


def _scale(matrix: Tensor) -> Tensor:
    largest = matrix.abs().amax()
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def require_dense(size: int, dtype: torch.dtype, copies: int = 2) -> None:
    """Refuse a dense [P, P] matrix (and its working copy) that exceeds the memory budget, before any work."""
    memory.require(
        copies * size * size * dtype.itemsize,
        f"A dense {size:,} x {size:,} Hessian ({str(dtype).removeprefix('torch.')}, with a working copy)",
        "Use top_eigenpairs for the largest eigenvalues, spectral_density for the whole spectrum, "
        "or raise WORKBENCH_MEMORY (GiB).",
    )


def hessian_rows(operator: HVPOperator) -> Float[Tensor, "parameter parameter"]:
    """The Hessian's rows as Hessian-vector products with unit vectors, in blocks of bounded memory."""
    unit = torch.eye(operator.size, dtype=operator.dtype, device=operator.device)
    block = _block_size(operator, unit[0])
    return torch.cat([operator(unit[i : i + block]) for i in range(0, operator.size, block)])


def symmetrised(matrix: Float[Tensor, "parameter parameter"]) -> Float[Tensor, "parameter parameter"]:
    """(H + Hᵀ) / 2: exactly symmetric, and with less rounding error than either triangle."""
    return (matrix + matrix.mT) * 0.5


def _block_size(operator: HVPOperator, vector: Tensor) -> int:
    with Traffic() as traffic:
        operator(vector)
    return max(1, min(operator.size, _BLOCK_BYTES // max(1, traffic.bytes)))
