"""Sharpness, in the senses the literature uses, under one roof.

| function              | what it measures                                            | how exact                        |
|-----------------------|-------------------------------------------------------------|----------------------------------|
| `sharpness`           | largest Hessian eigenvalue                                  | exact for small P, else Lanczos  |
| `trace`               | sum of all Hessian eigenvalues (mean curvature times P)     | exact for small P, else XTrace   |
| `quadratic_worst_case`| max over a ball of the loss's second-order model            | exact                            |
| `worst_case`          | max over a ball of the loss increase                        | lower bound (ascent, restarts)   |
| `m_sharpness`         | mean over groups of m samples of the group's own worst case | lower bound (ascent)             |
| `average_case`        | mean over a sphere of the loss increase (F_gamma of SWAD)   | unbiased, with standard error    |

`scaling` chooses the ruler, that is the shape of the ball: all measures are those of `d -> loss(w + s * d)` at d = 0.

| scaling       | s      | the measure does not change under                                                              |
|---------------|--------|------------------------------------------------------------------------------------------------|
| "absolute"    | 1      | rotations and reflections of the parameters, constants added to the loss                       |
| "relative"    | \\|w\\|  | these (about the origin), and w -> c w with loss(c w) = loss(w), as before a normalisation layer |
| "elementwise" | \\|w_i\\| | rescaling single parameters so that the loss stays, as between ReLU layers (ASAM); sign flips |

No measure is invariant to a reparametrisation that is not of these forms (arXiv 1703.04933).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws, memory
from workbench.curvature.flat import Loss, flatten, require_full_precision, size_of
from workbench.curvature.hessian import hessian_rows, require_symmetric, symmetrised
from workbench.curvature.model import transformed
from workbench.curvature.products import HVPOperator, hvp_operator
from workbench.curvature.scales import norm, power_of_two
from workbench.curvature.spectra.spectrum import symmetric_eigenvalues
from workbench.parameters import Parameters, tree_map

Scaling = Literal["absolute", "relative", "elementwise"]

_ITERATIONS = 40
"""Lanczos steps of `sharpness`; an isolated top eigenvalue is then exact to rounding."""


class Sharpness(NamedTuple):
    """The largest eigenvalue and the norm of its residual: an eigenvalue lies within `residual` of `value`."""

    value: Float[Tensor, ""]
    residual: Float[Tensor, ""]


def rescaled(loss: Loss, parameters: Parameters, scaling: Scaling) -> tuple[Loss, Parameters]:
    """The loss as a function of the displacement measured by `scaling`, and the origin to evaluate it at.

    Any function of (loss, parameters) becomes its scaled version: `trace(*rescaled(loss, parameters, "elementwise"))`.
    Elementwise is ASAM's |w_i| (arXiv 2102.11600, eq. 4, with eta = 0): parameters that are exactly zero stay put.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([3.0, 0.5]).double()
    >>> wb.curvature.spectrum(*wb.curvature.rescaled(bowl.loss, x, 'elementwise'))  # w_i^2 lambda_i
    tensor([1., 9.], dtype=torch.float64)
    """
    flat, unflatten = flatten(parameters)
    if scaling == "absolute":
        ruler = torch.ones_like(flat)
    elif scaling == "relative":
        ruler = norm(flat) * torch.ones_like(flat)
    elif scaling == "elementwise":
        ruler = flat.abs()
    else:
        raise ValueError(f"scaling={scaling!r}; choose 'absolute', 'relative' or 'elementwise'")
    shift, rule = unflatten(flat), unflatten(ruler)
    return Rescaled(loss, shift, rule), tree_map(torch.zeros_like, shift)


@dataclass(frozen=True, eq=False)
class Rescaled:
    """`loss(shift + rule * displacement)`, a function of the displacement."""

    loss: Loss
    shift: Parameters
    rule: Parameters

    def __call__(self, displacement: Parameters) -> Tensor:
        return self.loss(self.position(displacement))

    def position(self, displacement: Parameters) -> Parameters:
        """The parameters there."""
        return tree_map(lambda w, s, d: w + s * d, self.shift, self.rule, displacement)


def sharpness(
    loss: Loss, parameters: Parameters, *, scaling: Scaling = "absolute", seed: int | Tensor = 0
) -> Float[Tensor, ""]:
    """The largest Hessian eigenvalue of `loss` at `parameters`; NaN where they are not finite.

    Made for sweeps: it runs under `torch.func.vmap`. Up to 120 parameters it is the last entry of the exact spectrum.
    Beyond, it is the largest Ritz value of 40 Lanczos steps from a seeded start: never above the true value (but for
    rounding), equal to it for an isolated top eigenvalue, slightly below in a dense bulk; `sharpness_with_residual`
    tells how far it may be off. For a guaranteed tolerance use `top_eigenpairs`.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([3.0, 4.0]).double()
    >>> wb.curvature.sharpness(bowl.loss, x)
    tensor(4., dtype=torch.float64)
    >>> round(wb.curvature.sharpness(bowl.loss, x, scaling='relative').item(), 6)  # |x|^2 = 25 times
    100.0
    """
    return sharpness_with_residual(loss, parameters, scaling=scaling, seed=seed).value


def sharpness_with_residual(
    loss: Loss, parameters: Parameters, *, scaling: Scaling = "absolute", seed: int | Tensor = 0
) -> Sharpness:
    """`sharpness` with the residual norm of its Ritz vector (at rounding level where the spectrum was exact).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> wb.curvature.sharpness_with_residual(bowl.loss, x).residual.item()
    0.0
    """
    size, dtype = size_of(parameters)
    require_full_precision(dtype)
    memory.require(
        (min(_ITERATIONS, size) + 4) * size * dtype.itemsize,
        f"{_ITERATIONS} Lanczos vectors of {size:,} parameters",
        "Raise WORKBENCH_MEMORY (GiB).",
    )
    if scaling != "absolute":
        loss, parameters = rescaled(loss, parameters, scaling)
    operator = hvp_operator(loss, parameters)
    if operator.size <= 3 * _ITERATIONS:
        rows = hessian_rows(operator)
        asymmetry = rows - rows.mT
        if not transformed() and torch.isfinite(rows).all():
            require_symmetric(asymmetry.abs().amax() / rows.abs().amax().clamp(min=torch.finfo(dtype).tiny), dtype)
        values = symmetric_eigenvalues(symmetrised(rows))
        return Sharpness(values[-1], norm(asymmetry))
    start = draws.normal(seed, (operator.size,), stream="sharpness", dtype=operator.dtype).to(operator.device)
    return _largest_ritz(operator, start, _ITERATIONS)


def _largest_ritz(operator: HVPOperator, start: Tensor, steps: int) -> Sharpness:
    """Lanczos with full reorthogonalisation and without any decision that depends on values."""
    vector = start / start.norm()
    basis, diagonal, off, unit = [vector], [], [], None
    for _ in range(steps):
        image = operator(vector)
        # The first image brings the operator near 1, so that no square leaves the range of the dtype.
        unit = power_of_two(image) if unit is None else unit
        image = image / unit
        diagonal.append(vector @ image)
        stacked = torch.stack(basis)
        for _repeat in range(2):
            image = image - (stacked @ image) @ stacked
        length = image.norm()
        # Once the Krylov space is exhausted the rest is rounding noise: cut it off, and continue with a zero vector.
        scale = torch.stack(diagonal).abs().amax()
        alive = length > 100 * torch.finfo(image.dtype).eps * scale
        off.append(torch.where(alive, length, 0.0))
        vector = torch.where(alive, image / torch.where(alive, length, 1.0), 0.0)
        basis.append(vector)
    # A zero vector's diagonal entry would be a false eigenvalue 0: the first Rayleigh quotient never exceeds the top.
    centres = torch.stack(diagonal)
    used = torch.stack([vector.square().sum() > 0.5 for vector in basis[:steps]])
    centres = torch.where(used, centres, centres[0])
    beside = torch.stack(off)
    tridiagonal = torch.diag(centres) + torch.diag(beside[:-1], 1) + torch.diag(beside[:-1], -1)
    finite = torch.isfinite(tridiagonal).all() & torch.isfinite(beside).all()
    values, vectors = torch.linalg.eigh(torch.where(finite, tridiagonal, 0.0))
    last = vectors[-1, -1] * torch.where(finite, beside[-1], 0.0)
    rounding = 4 * torch.finfo(values.dtype).eps * values.abs().amax()
    residual = torch.sqrt(last.square() + rounding.square())
    assert unit is not None
    return Sharpness(torch.where(finite, values[-1] * unit, torch.nan), torch.where(finite, residual * unit, torch.nan))
