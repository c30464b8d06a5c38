"""Flatness by random displacements: how much the loss rises on average at a distance."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws, memory
from workbench.curvature.flat import Loss, require_full_precision, size_of
from workbench.curvature.model import Door, each
from workbench.curvature.spectra.estimate import Estimate, student_quantile, symmetric
from workbench.parameters import Parameters

from .sharpness import Scaling, rescaled


class FlatnessProfile(NamedTuple):
    """Average loss increase by radius: [radius] each. Errors of different radii are dependent (shared directions).

    >>> import torch
    >>> import workbench as wb
    >>> bowl = wb.problems.quadratic([1.0, 1.0])
    >>> profile = wb.curvature.flatness(bowl.loss, torch.zeros(2).double(), radii=[2.0])
    >>> bool(profile.standard_error < 1e-12)  # a sphere: all directions are alike
    True
    """

    radii: Float[Tensor, " radius"]
    value: Float[Tensor, " radius"]
    standard_error: Float[Tensor, " radius"]


def flatness(
    loss: Loss,
    parameters: Parameters,
    radii: Sequence[float] | Tensor,
    *,
    directions: int = 100,
    scaling: Scaling = "absolute",
    chunk: int | None = 10,
    seed: int | Tensor = 0,
) -> FlatnessProfile:
    """F_gamma: mean of `loss(w + gamma u) - loss(w)` over uniform unit vectors u, for every radius gamma.

    All radii share the same directions, and the same seed gives the same directions for every loss and model (common
    random numbers). Each direction is used with both signs, which removes the first-order term; the standard error is
    over the pairs. For small radii F_gamma approaches `gamma^2 * trace / (2 P)`. Runs under `torch.func.vmap`.

    Args:
        directions: unit vectors drawn, at least 2; two loss evaluations each and per radius.
        scaling: "relative" measures radii in units of |w|, "elementwise" component by component (see `sharpness`).
        chunk: directions evaluated at once.

    Source: arXiv 2102.08604, section 3.1 (the released code's reading: displacements over all parameters jointly).

    >>> import torch
    >>> import workbench as wb
    >>> bowl = wb.problems.quadratic([1.0, 1.0])
    >>> wb.curvature.flatness(bowl.loss, torch.zeros(2).double(), radii=[1.0, 2.0]).value  # gamma^2/2
    tensor([0.5000, 2.0000], dtype=torch.float64)
    """
    if directions < 2:
        raise ValueError(f"directions={directions}; at least 2 are needed for a standard error")
    size, dtype = size_of(parameters)
    require_full_precision(dtype)
    memory.require(
        2 * directions * size * dtype.itemsize, f"{directions} directions of {size:,} parameters", "Lower directions."
    )
    loss, origin = rescaled(loss, parameters, scaling)
    door = Door(loss, origin)
    door.require_deterministic()
    flat, evaluate = door.flat, door.evaluate
    distances = torch.as_tensor(radii, dtype=flat.dtype, device=flat.device)
    if distances.ndim != 1:
        raise ValueError(f"radii must be a list or a tensor [radius], got shape {tuple(distances.shape)}")
    if not isinstance(radii, Tensor) and not all(0 <= radius < float("inf") for radius in radii):
        raise ValueError(f"radii={list(radii)}; every radius must be a finite number >= 0")
    normal = draws.normal(seed, (directions, flat.numel()), stream="flatness", dtype=flat.dtype).to(flat.device)
    units = normal / normal.norm(dim=1, keepdim=True)

    def both_signs(unit: Tensor, distance: Tensor) -> Tensor:
        return (evaluate(flat + distance * unit) + evaluate(flat - distance * unit)) / 2

    def at_radii(unit: Tensor) -> Tensor:
        return each(both_signs, unit, distances, in_dims=(None, 0), purpose="the average case", models=door.models)

    with door.open(), torch.no_grad() if door.plain else contextlib.nullcontext():
        rise = each(at_radii, units, chunk=chunk, purpose="the average case", models=door.models) - evaluate(flat)
    return FlatnessProfile(distances, rise.mean(0), rise.std(0) / directions**0.5)


def average_case(
    loss: Loss,
    parameters: Parameters,
    rho: float | Tensor,
    *,
    directions: int = 100,
    scaling: Scaling = "absolute",
    seed: int | Tensor = 0,
) -> Estimate:
    """Mean of `loss(w + d) - loss(w)` over the sphere |d| = rho: `flatness` at one radius.

    >>> import torch
    >>> import workbench as wb
    >>> bowl = wb.problems.quadratic([1.0, 1.0])
    >>> wb.curvature.average_case(bowl.loss, torch.zeros(2).double(), rho=2.0).value  # rho^2 trace/(2 P)
    tensor(2., dtype=torch.float64)
    """
    radii = rho.reshape(1) if isinstance(rho, Tensor) else [rho]
    profile = flatness(loss, parameters, radii, directions=directions, scaling=scaling, seed=seed)
    quantile = student_quantile(profile.value.new_full((), directions - 1.0))
    return symmetric(profile.value[0], quantile * profile.standard_error[0])
