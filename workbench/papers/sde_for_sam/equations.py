"""The stochastic differential equations of SGD, USAM, DNSAM and SAM under additive noise (arXiv:2301.08203, Section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from workbench.checks import refuse_outside
from workbench.optimizers import EulerMaruyama, dnsam, gradient_descent, sam, usam
from workbench.optimizers.momentum import Descent
from workbench.optimizers.oracle import Oracle
from workbench.papers.sde_for_sam.projected_normal import direction_factors
from workbench.parameters import Parameters, Scalar, add_scaled, count, inner, norm, scale

Kind = Literal["sgd", "usam", "dnsam", "sam"]
KINDS = ("sgd", "usam", "dnsam", "sam")
Field = Callable[[Any], Any]
"""A gradient: parameters to parameters."""


@dataclass(frozen=True, eq=False)
class SharpnessAwareSDE:
    """dX = -(grad f + rho H m) dt - sqrt(eta) sigma (I + rho H J) dW, eta the step size of the algorithm and H = Hess f.

    The noise law is grad f_g = grad f + sigma Z, Z standard normal and the same in both gradients of a step; minus, as
    -eta sigma Z enters the discrete step. With g = grad f:

        sgd     m = 0        J = 0
        usam    m = g        J = I
        dnsam   m = g/|g|    J = I/|g|
        sam     m = c g/|g|  J = Cov(Z, (g + sigma Z)/|g + sigma Z|)/sigma (see `projected_normal`)

    I + rho H J is a square root of I + rho (H J + J H) up to rho^2. `correct_noise=False` leaves rho H J out. DNSAM's
    coefficients are infinite where g = 0.
    """

    kind: Kind
    step_size: Scalar
    rho: Scalar
    sigma: Scalar
    correct_noise: bool = True

    def __post_init__(self) -> None:
        _require_kind(self.kind)
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        refuse_outside("rho", self.rho, lower=0.0)
        refuse_outside("sigma", self.sigma, lower=0.0, open_lower=self.kind == "sam")

    def noise(self, x: Parameters) -> Parameters:
        return x

    def drift(self, oracle: Oracle, x: Parameters) -> Parameters:
        gradient = oracle.gradient(x)
        if self.kind == "sgd":
            return scale(-1.0, gradient)
        mean, _ = self._direction(gradient)
        return scale(-1.0, add_scaled(gradient, self.rho, oracle.hessian_vector_product(x, mean)))

    def diffusion(self, oracle: Oracle, x: Parameters, dw: Parameters) -> Parameters:
        noise = scale(-(self.step_size**0.5) * self.sigma, dw)
        if self.kind == "sgd" or not self.correct_noise:
            return noise
        _, spread = self._direction(oracle.gradient(x))
        return add_scaled(noise, self.rho, oracle.hessian_vector_product(x, spread(noise)))

    def increment(self, oracle: Oracle, x: Parameters, dt: Scalar, dw: Parameters) -> Parameters:
        """drift dt + diffusion dw with one gradient and one Hessian product."""
        gradient = oracle.gradient(x)
        noise = scale(-(self.step_size**0.5) * self.sigma, dw)
        plain = add_scaled(noise, -1.0, scale(dt, gradient))
        if self.kind == "sgd":
            return plain
        mean, spread = self._direction(gradient)
        along = scale(-dt, mean)
        if self.correct_noise:
            along = add_scaled(along, 1.0, spread(noise))
        return add_scaled(plain, self.rho, oracle.hessian_vector_product(x, along))

    def _direction(self, gradient: Parameters) -> tuple[Parameters, Callable[[Parameters], Parameters]]:
        """m, and v -> J v: mean of the ascent direction over the noise, and how it follows the noise."""
        if self.kind == "usam":
            return gradient, lambda v: v
        square = inner(gradient, gradient)
        if self.kind == "dnsam":
            inverse = square.rsqrt()
            return scale(inverse, gradient), lambda v: scale(inverse, v)
        first, second = direction_factors(square / self.sigma**2, count(gradient))

        def spread(v: Parameters) -> Parameters:
            along = -second * inner(gradient, v) / self.sigma**2
            return scale(1.0 / self.sigma, add_scaled(scale(first, v), along, gradient))

        return scale(first / self.sigma, gradient), spread


def algorithm(kind: Kind, step_size: Scalar, rho: Scalar) -> Descent:
    """The discrete rule; its additive noise is the run's source, `AdditiveNoise(sigma)`, one Z for all gradients of a step."""
    _require_kind(kind)
    if kind == "sgd":
        return gradient_descent(step_size)
    return {"usam": usam, "dnsam": dnsam, "sam": sam}[kind](step_size, rho)


def diffusion(
    kind: Kind,
    step_size: Scalar,
    rho: Scalar,
    sigma: Scalar,
    *,
    correct_noise: bool = True,
    resolution: int = 1,
) -> EulerMaruyama:
    """The SDE in steps dt = step_size/resolution; it sees the noise of a run with `AdditiveNoise(sigma, pieces=resolution)`."""
    equation = SharpnessAwareSDE(kind, step_size, rho, sigma, correct_noise)
    return EulerMaruyama(equation, step_size / resolution)


class _Functions(Oracle):
    """An oracle of two functions, with one noise vector in all gradients of the step."""

    def __init__(self, gradient: Field, product: Callable[[Any, Any], Any] | None = None, noise: Any = None) -> None:
        self._gradient, self._product, self._noise = gradient, product, noise

    @property
    def step(self) -> Tensor:
        return torch.zeros((), dtype=torch.int64)

    @property
    def full(self) -> Oracle:
        return _Functions(self._gradient, self._product)

    def gradient(self, x: Parameters) -> Parameters:
        exact = self._gradient(x)
        return exact if self._noise is None else add_scaled(exact, 1.0, self._noise)

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        return super().hessian_vector_product(x, v) if self._product is None else self._product(x, v)


def sam_family_step(
    kind: Kind, grad_fn: Field, x: Parameters, eta: float, rho: float, noise: Parameters | None = None
) -> Parameters:
    """x+ of one step of size eta; `noise` is the Z that both gradients have beside `grad_fn`. DNSAM refuses grad f(x) = 0."""
    if kind == "dnsam" and not float(norm(grad_fn(x))) > 0:
        raise ValueError("dnsam divides by |grad f(x)|, which is 0 at this x; start elsewhere")
    return algorithm(kind, eta, rho).step(_Functions(grad_fn, noise=noise), x, ())[0]


def sde_increment(
    kind: Kind,
    grad_fn: Field,
    hvp_fn: Callable[[Any, Any], Any],
    x: Parameters,
    dt: float,
    eta: float,
    rho: float,
    xi: Parameters,
    sigma: float,
    correct_noise: bool = True,
) -> Parameters:
    """X after one Euler-Maruyama step: x - dt b - sqrt(eta dt) sigma (I + rho H J) xi, xi standard normal.

    hvp_fn(x, v) is Hess f(x) v. DNSAM refuses grad f(x) = 0.
    """
    refuse_outside("dt", dt, lower=0.0, open_lower=True)
    if kind == "dnsam" and not float(norm(grad_fn(x))) > 0:
        raise ValueError("dnsam divides by |grad f(x)|, which is 0 at this x; start elsewhere")
    equation = SharpnessAwareSDE(kind, eta, rho, sigma, correct_noise)
    moved = equation.increment(_Functions(grad_fn, hvp_fn), x, dt, scale(dt**0.5, xi))
    return add_scaled(x, 1.0, moved)


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
