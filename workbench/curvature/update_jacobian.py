"""The Jacobian of an update map: what decides the stability of a fixed point of training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.parameters import Parameters

from .flat import flatten, pullback
from .model import (
    ExactOperations,
    contradiction,
    in_words,
    modules_of,
    plain_kernels,
    probe,
    refuse_scripted,
    transformed,
    untouched,
)


def update_jacobian(step: Callable, *states: Parameters) -> Float[Tensor, "state state"]:
    """Jacobian of an update map `step(*states) -> states` on the stacked state, by forward differentiation (or backward,
    where an operation has no forward derivative).

    Each state is a tensor or a flat dict of tensors (for instance the parameters and the momentum buffer); with several
    states `step` returns a tuple of as many. Rows and columns are the states in order, each ravelled. Operations whose third
    derivatives torch computes wrongly (layer_norm, batch_norm in training mode; a step along a Hessian-vector product needs
    them) are computed from elementary ones, and one product is compared with central differences (in float32 only where the
    step detaches something).

    Raises:
        ValueError: `step` returns something of another size than it was given, is not differentiable, or its derivative is
            not that of its values.
        workbench.memory.OutOfBudget: the dense matrix does not fit.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.ones(2).double()
    >>> wb.curvature.update_jacobian(lambda x: x - 0.5 * bowl.gradient(x), x)  # 1 - step_size lambda
    tensor([[ 0.5000,  0.0000],
            [ 0.0000, -1.0000]], dtype=torch.float64)
    """
    if not states:
        raise ValueError("update_jacobian needs at least one state: update_jacobian(step, parameters)")
    pieces = [flatten(state) for state in states]
    sizes = [flat.numel() for flat, _ in pieces]
    start = torch.cat([flat for flat, _ in pieces])
    size, itemsize = start.numel(), start.dtype.itemsize
    memory.require(2 * size * size * itemsize, f"A dense {size:,} x {size:,} Jacobian", "Use fewer parameters.")

    def flat_step(vector: Tensor) -> Tensor:
        parts = [unflatten(part) for (_, unflatten), part in zip(pieces, vector.split(sizes), strict=True)]
        result = step(*parts)
        result = result if isinstance(result, tuple) else (result,)
        if [flatten(entry)[0].numel() for entry in result] != sizes:
            raise ValueError(f"step must return states of the sizes it is given, {sizes}")
        return torch.cat([flatten(entry)[0] for entry in result])

    def column(direction: Tensor) -> Tensor:
        return torch.func.jvp(flat_step, (start,), (direction,))[1]

    unit = torch.eye(size, dtype=start.dtype, device=start.device)
    models = [] if torch.compiler.is_compiling() else modules_of(step)
    refuse_scripted(models)
    with untouched(*models), plain_kernels(), ExactOperations() as exact:
        try:
            matrix = torch.func.vmap(column, out_dims=1)(unit)
        # pyrefly: ignore[unreachable-except-clause]
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            with in_words("the Jacobian of the update", models), untouched(*models):
                _, pull = pullback(flat_step, start)
                matrix = torch.func.vmap(lambda cotangent: pull(cotangent)[0])(unit)
    # In single precision kinks of many samples make a difference of their own: only where something is detached.
    if not transformed() and (start.dtype == torch.float64 or exact.detached):
        direction = probe(start)
        with untouched(*models), plain_kernels():
            moved = matrix @ direction - direction
            gap = contradiction(moved, lambda point: flat_step(point).detach() - point, start, direction)
        if gap is not None:
            raise ValueError(
                f"the derivative of this update differs from central differences of the update itself by {gap:.2g}: some "
                "operation's higher derivative is wrong in torch, or the step detaches what it depends on"
            )
    return matrix


def spectral_radius(matrix: Float[Tensor, "state state"]) -> Float[Tensor, ""]:
    """Largest |eigenvalue| of a square matrix, symmetric or not; NaN when an entry is not finite.

    >>> import torch
    >>> import workbench as wb
    >>> round(wb.curvature.spectral_radius(torch.tensor([[0.0, 2.0], [-2.0, 0.0]])).item(), 4)  # eigenvalues 2i and -2i
    2.0
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix has shape {tuple(matrix.shape)}; expected square [state, state]")
    finite = torch.isfinite(matrix).all()
    values = torch.linalg.eigvals(torch.where(finite, matrix, 0.0))
    return torch.where(finite, values.abs().amax(), torch.nan)
