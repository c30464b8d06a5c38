"""The two exact parts of the theory: the Jacobian at a critical point, and the filter as the Jury test's region."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.curvature import spectral_radius, update_jacobian
from workbench.dynamics import sweep
from workbench.dynamics.update_map import resting, update_map
from workbench.optimizers import by_name, curvature_polynomial, stability_constant, update_radius
from workbench.papers.eigenvalue_filtering.critical_point import critical_point
from workbench.papers.eigenvalue_filtering.optimizers import ALL, running

STEP_SIZES, RADII, MOMENTA = (0.05, 0.5, 1.0), (0.05, 0.4), (0.3, 0.9)


def radius_errors(bases: Sequence[int], *, run_as: str = "itself", no_radius: bool = False) -> xr.DataArray:
    """|spectral radius of the update's Jacobian - predicted radius| in units of 12^2 eps |J| (spectral norm).

    The Jacobian is that of the step itself, by forward differentiation on (parameters, velocity), at the origin of a quartic
    with random cubic and quartic terms. The unit is the rounding of a 12 x 12 eigenproblem.

    Args:
        bases: seeds of the random basis and terms.
        run_as: what runs (`optimizers.running`); the prediction stays that of the kind named.
        no_radius: predict with p(lambda) = lambda.

    Returns:
        (optimizer, step_size, rho, beta, basis).
    """
    parts = []
    for basis in bases:
        point = critical_point(seed=basis)

        def radius(optimizer: str, step_size: Tensor, rho: Tensor, beta: Tensor, point=point) -> dict[str, Tensor]:
            rule = running(optimizer, step_size, rho=rho, beta=beta, run_as=run_as)
            jacobian = update_jacobian(update_map(point, rule), *resting(rule, point.point))
            return {"radius": spectral_radius(jacobian), "size": torch.linalg.matrix_norm(jacobian, 2)}

        found = sweep(radius, optimizer=ALL, step_size=STEP_SIZES, rho=RADII, beta=MOMENTA, progress=False)
        predicted = xr.zeros_like(found.radius)
        for name, step_size, rho, beta in itertools.product(ALL, STEP_SIZES, RADII, MOMENTA):
            rule = by_name(name, step_size, rho=0.0 if no_radius else rho, beta=beta)
            here = {"optimizer": name, "step_size": step_size, "rho": rho, "beta": beta}
            predicted.loc[here] = update_radius(rule, point.spectrum.numpy()).max()
        unit = 144 * np.finfo(float).eps * found["size"]
        parts.append((abs(found.radius - predicted) / unit).expand_dims(basis=[basis]))
    return xr.concat(parts, "basis")


def mismatches(seed: int, n: int = 5000, *, constant: float | None = None) -> int:
    """How often "spectral radius <= 1" and "0 <= p(lambda) <= c/step_size" differ among random optimizers and eigenvalues.

    Step size and radius are 10^U(-2, 1), |lambda| is 10^U(-2, 2), beta U(0, .95). Draws whose p lies within 1e-9 (relative to
    the band) of one of its ends are left out: there rounding decides.

    Args:
        constant: c of the band, for every momentum; the derived one where None.
    """
    random = np.random.default_rng(seed)
    wrong = 0
    for name, sign in zip(random.choice(ALL, n), random.choice([-1, 1], n), strict=True):
        step_size, rho, size = 10 ** random.uniform([-2, -2, -2], [1, 1, 2])
        rule = by_name(str(name), step_size, rho=rho, beta=random.uniform(0, 0.95))
        value = curvature_polynomial(rule)(sign * size)
        top = (stability_constant(rule) if constant is None else constant) / step_size
        if min(abs(value), abs(value - top)) > 1e-9 * top:
            wrong += (0 <= value <= top) != bool(update_radius(rule, sign * size) <= 1)
    return wrong
