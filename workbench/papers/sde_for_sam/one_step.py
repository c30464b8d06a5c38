"""Mean and covariance of one step on a finite sum, exactly, and what the SDEs say of them (arXiv:2301.08203, Theorems).

The step's direction is g(x + rho e), g = grad f_g of one sample drawn uniformly, e = g (USAM), g/|grad f| (DNSAM), g/|g| (SAM).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_nonnegative
from workbench.curvature import per_sample_gradients
from workbench.papers.sde_for_sam.networks import TwoLayer

Method = Literal["usam", "dnsam", "sam"]
METHODS: tuple[Method, ...] = ("usam", "dnsam", "sam")
OTHER: dict[Method, Method] = {"usam": "dnsam", "dnsam": "sam", "sam": "usam"}
"""Whose rho-term stands in a method's place under the control."""


def per_sample_hvp(
    problem: TwoLayer, x: Float[Tensor, " parameter"], v: Float[Tensor, "sample parameter"]
) -> Float[Tensor, "sample parameter"]:
    """Hess f_i(x) v_i for every sample."""

    def product(along: Tensor, *sample: Tensor) -> Tensor:
        return torch.func.jvp(lambda point: torch.func.grad(problem.sample_loss)(point, *sample), (x,), (along,))[1]

    return torch.func.vmap(product)(v, *problem.data)


def ascents(kind: Method, gradients: Float[Tensor, "sample parameter"]) -> Float[Tensor, "sample parameter"]:
    """e of every sample; zero where its gradient is. DNSAM refuses grad f = 0."""
    _require_method(kind)
    if kind == "usam":
        return gradients
    if kind == "dnsam":
        size = gradients.mean(0).norm()
        if not float(size) > 0:
            raise ValueError("dnsam divides by |grad f(x)|, which is 0 at this x; start elsewhere")
        return gradients / size
    return torch.nn.functional.normalize(gradients, dim=1, eps=1e-300)


@dataclass(frozen=True)
class StepMoments:
    """Mean and covariance of a step's direction over the samples."""

    mean: Float[Tensor, " parameter"]
    covariance: Float[Tensor, "parameter parameter"]


def minibatch_moments(kind: Method, problem: TwoLayer, x: Float[Tensor, " parameter"], rho: float) -> StepMoments:
    """Exact moments of g(x + rho e) over the samples: of the algorithm with batch size 1."""
    require_nonnegative("rho", rho)
    points = x + rho * ascents(kind, per_sample_gradients(problem.sample_loss, x, *problem.data))
    moved = torch.func.vmap(torch.func.grad(problem.sample_loss))(points, *problem.data)
    centred = moved - moved.mean(0)
    return StepMoments(moved.mean(0), centred.mT @ centred / len(moved))


def expansion(kind: Method, problem: TwoLayer, x: Float[Tensor, " parameter"]) -> tuple[StepMoments, StepMoments]:
    """What the SDE has at orders 0 and 1 of rho: grad f and S; E[Hess f_g e] and St + St^T, St = Cov(grad f_g, Hess f_g e)."""
    gradients = per_sample_gradients(problem.sample_loss, x, *problem.data)
    bent = per_sample_hvp(problem, x, ascents(kind, gradients))
    centred, n = gradients - gradients.mean(0), len(gradients)
    cross = centred.mT @ (bent - bent.mean(0)) / n
    return StepMoments(gradients.mean(0), centred.mT @ centred / n), StepMoments(bent.mean(0), cross + cross.mT)


def predicted_moments(kind: Method, problem: TwoLayer, x: Float[Tensor, " parameter"], rho: float) -> StepMoments:
    """b = grad f + rho E[Hess f_g e] and S + rho (St + St^T)."""
    require_nonnegative("rho", rho)
    plain, term = expansion(kind, problem, x)
    return StepMoments(plain.mean + rho * term.mean, plain.covariance + rho * term.covariance)


def one_step_errors(
    problem: TwoLayer, seeds: Sequence[int], rhos: Sequence[float] = (1e-5, 1e-4), term: str = "own"
) -> xr.Dataset:
    """Relative errors of the SDE's mean and covariance, dims (kind, seed, rho); a seed draws the start.

    term "other": another method's rho-term in the prediction (control).
    """
    if term not in ("own", "other"):
        raise ValueError(f"term must be own or other, got {term!r}")
    drift, noise = np.empty((2, len(METHODS), len(seeds), len(rhos)))
    for (j, seed), (i, kind) in itertools.product(enumerate(seeds), enumerate(METHODS)):
        x = problem.initial(seed)
        plain, first = expansion(kind if term == "own" else OTHER[kind], problem, x)
        for k, rho in enumerate(rhos):
            exact = minibatch_moments(kind, problem, x, rho)
            mean, covariance = plain.mean + rho * first.mean, plain.covariance + rho * first.covariance
            drift[i, j, k] = (exact.mean - mean).norm() / exact.mean.norm()
            noise[i, j, k] = (exact.covariance - covariance).norm() / exact.covariance.norm()
    dims = ("kind", "seed", "rho")
    coords = {"kind": list(METHODS), "seed": list(seeds), "rho": list(rhos)}
    found = xr.Dataset({"drift": (dims, drift), "noise": (dims, noise)}, coords=coords)
    found.rho.attrs["long_name"] = r"radius $\rho$"
    for name, words in (("drift", "relative error of the mean"), ("noise", "relative error of the covariance")):
        found[name].attrs["long_name"] = words
    return found


def regulariser(kind: str, problem: TwoLayer, x: Float[Tensor, " parameter"]) -> Float[Tensor, ""]:
    """1/2 E|grad f_g|^2 (usam), E|grad f_g| (sam), |grad f| (dnsam: right for additive noise alone)."""
    gradients = torch.func.vmap(torch.func.grad(problem.sample_loss), (None, 0, 0))(x, *problem.data)
    squares = (gradients * gradients).sum(1)
    if kind == "usam":
        return 0.5 * squares.mean()
    if kind == "sam":
        return squares.sqrt().mean()
    if kind == "dnsam":
        return gradients.mean(0).norm()
    raise ValueError(f"kind must be one of {', '.join(METHODS)}, got {kind!r}")


def regulariser_differences(problem: TwoLayer, seeds: Sequence[int], regularisers: str = "own") -> xr.DataArray:
    """|E[Hess f_g e] - grad R|/|grad R| of the three methods: dims (kind, seed).

    regularisers "swapped": USAM's and SAM's in each other's place (control).
    """
    if regularisers not in ("own", "swapped"):
        raise ValueError(f"regularisers must be own or swapped, got {regularisers!r}")
    swapped = {"usam": "sam", "sam": "usam"} if regularisers == "swapped" else {}
    found = np.empty((len(METHODS), len(seeds)))
    for j, seed in enumerate(seeds):
        x = problem.initial(seed)
        gradients = per_sample_gradients(problem.sample_loss, x, *problem.data)
        for i, kind in enumerate(METHODS):
            term = per_sample_hvp(problem, x, ascents(kind, gradients)).mean(0)
            slope = torch.func.grad(lambda point, kind=kind: regulariser(swapped.get(kind, kind), problem, point))(x)
            found[i, j] = (term - slope).norm() / slope.norm()
    return xr.DataArray(found, dims=("kind", "seed"), coords={"kind": list(METHODS), "seed": list(seeds)})


def _require_method(kind: str) -> None:
    if kind not in METHODS:
        raise ValueError(f"kind must be one of {', '.join(METHODS)}, got {kind!r}")
