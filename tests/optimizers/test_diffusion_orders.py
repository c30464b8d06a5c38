"""Strong and weak orders of the diffusions' kernels on linear equations, without sampling: second moments of the step and of the
exact solution driven by the same noise, by Gauss quadrature over the normal numbers of a step."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from workbench.optimizers import EulerMaruyama, LogEulerMaruyama, Milstein
from workbench.optimizers.oracle import Oracle

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(30)
NODES, WEIGHTS = torch.from_numpy(_NODES), torch.from_numpy(_WEIGHTS / math.sqrt(2 * math.pi))


class OneNode(Oracle):
    """The loss curvature x^2/2, and in every entry another node of the quadrature in place of a normal number."""

    def __init__(self, curvature=1.0):
        self.curvature = curvature

    def gradient(self, x):
        return self.curvature * x

    def hessian_vector_product(self, x, v):
        return self.curvature * v

    def normal(self, stream, like, pieces=1):
        return NODES


@dataclass(frozen=True, eq=False)
class Geometric:
    """dX = a X dt + b X dW."""

    a: float = 0.3
    b: float = 0.6

    def noise(self, x):
        return x

    def drift(self, oracle, x):
        return self.a * x

    def diffusion(self, oracle, x, dw):
        return self.b * x * dw

    def solution(self, h):
        """X+ = slope X + shift + an independent remainder of variance `rest`, at the nodes of W(h)/sqrt(h)."""
        return torch.exp((self.a - self.b**2 / 2) * h + self.b * h**0.5 * NODES), 0 * NODES, 0.0


@dataclass(frozen=True, eq=False)
class OrnsteinUhlenbeck:
    """dX = -rate X dt + size dW."""

    rate: float = 1.3
    size: float = 0.7

    def noise(self, x):
        return x

    def drift(self, oracle, x):
        return -self.rate * x

    def diffusion(self, oracle, x, dw):
        return self.size * dw

    def solution(self, h):
        return linear_solution(self.rate, self.size, h)


@dataclass(frozen=True, eq=False)
class QuadraticSAM:
    """Unnormalised SAM's diffusion, dX = -(g + rho H g) dt - sqrt(eta) sigma (I + rho H) dW, on a loss with H = 1.5."""

    eta: float = 0.2
    rho: float = 0.3
    sigma: float = 0.8
    curvature = 1.5

    def noise(self, x):
        return x

    def drift(self, oracle, x):
        gradient = oracle.gradient(x)
        return -(gradient + self.rho * oracle.hessian_vector_product(x, gradient))

    def diffusion(self, oracle, x, dw):
        return -(self.eta**0.5) * self.sigma * (dw + self.rho * oracle.hessian_vector_product(x, dw))

    def solution(self, h):
        # Minus: the path sees -W, which the joint moments must too.
        scale = 1 + self.rho * self.curvature
        return linear_solution(self.curvature * scale, -(self.eta**0.5) * self.sigma * scale, h)


def linear_solution(rate, size, h):
    decay = -math.expm1(-rate * h)  # 1 - exp(-rate h)
    shift = size * decay / (rate * h**0.5) * NODES
    variance = size**2 * -math.expm1(-2 * rate * h) / (2 * rate)
    return torch.full_like(NODES, 1 - decay), shift, variance - size**2 * decay**2 / (rate**2 * h)


def errors(scheme, equation, n):
    """Strong (root mean square) and weak errors (first and second moment) at time 1 from X = 1, in n steps."""
    h = 1 / n
    rule, oracle = scheme(equation, h), OneNode(getattr(equation, "curvature", 1.0))
    one, two, three = (rule.step(oracle, torch.full_like(NODES, x), None)[0] for x in (1.0, 2.0, 3.0))
    torch.testing.assert_close(three - two, two - one, rtol=1e-12, atol=1e-14)  # affine, as the moments assume
    slope, shift = two - one, 2 * one - two
    exact_slope, exact_shift, rest = equation.solution(h)

    def mean(values):
        return float((WEIGHTS * values).sum())

    # X the exact solution, Y the scheme: E of (1, X, Y, X^2, X Y, Y^2) from one step to the next.
    p, r, q, s = exact_slope, exact_shift, slope, shift
    step = np.array([
        [1, 0, 0, 0, 0, 0],
        [mean(r), mean(p), 0, 0, 0, 0],
        [mean(s), 0, mean(q), 0, 0, 0],
        [mean(r * r) + rest, 2 * mean(p * r), 0, mean(p * p), 0, 0],
        [mean(r * s), mean(p * s), mean(q * r), 0, mean(p * q), 0],
        [mean(s * s), 0, 2 * mean(q * s), 0, 0, mean(q * q)],
    ])  # fmt: skip
    _, x, y, xx, xy, yy = np.linalg.matrix_power(step, n) @ np.ones(6)
    return np.array([math.sqrt(max(xx - 2 * xy + yy, 0.0)), abs(y - x), abs(yy - xx)]), (x, xx)


def test_the_exact_moments_are_the_closed_forms():
    geometric, ou, sam = Geometric(), OrnsteinUhlenbeck(), QuadraticSAM()
    x, xx = errors(EulerMaruyama, geometric, 8)[1]
    assert x == pytest.approx(math.exp(geometric.a)) and xx == pytest.approx(math.exp(2 * geometric.a + geometric.b**2))
    x, xx = errors(EulerMaruyama, ou, 8)[1]
    spread = ou.size**2 / (2 * ou.rate) * (1 - math.exp(-2 * ou.rate))
    assert x == pytest.approx(math.exp(-ou.rate)) and xx - x**2 == pytest.approx(spread)
    x, xx = errors(EulerMaruyama, sam, 8)[1]
    # Stationary variance eta sigma^2 (1 + rho h)/(2 h).
    stationary = sam.eta * sam.sigma**2 * (1 + sam.rho * 1.5) / 3
    assert xx - x**2 == pytest.approx(stationary * (1 - math.exp(-3 * (1 + sam.rho * 1.5))))


@pytest.mark.parametrize(
    ("scheme", "equation", "strong"),
    [
        (EulerMaruyama, Geometric(), 0.5),
        (Milstein, Geometric(), 1.0),
        (EulerMaruyama, OrnsteinUhlenbeck(), 1.0),
        (Milstein, OrnsteinUhlenbeck(), 1.0),
        (EulerMaruyama, QuadraticSAM(), 1.0),
        (Milstein, QuadraticSAM(), 1.0),
    ],
)
def test_orders(scheme, equation, strong):
    coarse, fine = (errors(scheme, equation, n)[0] for n in (1024, 2048))
    orders = np.log2(coarse / fine)
    assert orders == pytest.approx([strong, 1.0, 1.0], abs=0.05)


def test_the_log_scheme_makes_no_error_on_geometric_brownian_motion():
    strong, first, second = errors(LogEulerMaruyama, Geometric(), 32)[0]
    assert strong < 1e-7 and first < 1e-13 and second < 1e-13


@dataclass(frozen=True, eq=False)
class TooQuiet(Geometric):
    """dt where sqrt(dt) belongs."""

    h: float = 1.0

    def diffusion(self, oracle, x, dw):
        return super().diffusion(oracle, x, dw) * self.h**0.5


def test_a_wrong_scale_of_the_noise_has_no_order():
    coarse, fine = (errors(EulerMaruyama, TooQuiet(h=1 / n), n)[0] for n in (1024, 2048))
    strong, first, second = np.log2(coarse / fine)
    assert abs(strong) < 0.05 and abs(second) < 0.05 and first == pytest.approx(1.0, abs=0.05)


def test_the_kernels_are_diffraxs_on_one_path():
    diffrax = pytest.importorskip("diffrax", reason="the extra bench brings the second oracle")
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    equation, n = Geometric(), 64
    normals = np.random.default_rng(3).standard_normal(n)
    path = np.concatenate([[0.0], np.cumsum(normals) * n**-0.5])

    class GivenPath(diffrax.AbstractBrownianPath):
        """W at the times of the grid, in place of random numbers."""

        path: jnp.ndarray
        t0 = 0.0
        t1 = 1.0
        levy_area = diffrax.BrownianIncrement

        def evaluate(self, t0, t1=None, left=True, use_levy=False):
            dw = self.path[jnp.round(t1 * n).astype(int)] - self.path[jnp.round(t0 * n).astype(int)]
            return diffrax.BrownianIncrement(dt=t1 - t0, W=dw) if use_levy else dw

    terms = diffrax.MultiTerm(
        diffrax.ODETerm(lambda t, x, args: equation.a * x),
        diffrax.ControlTerm(lambda t, x, args: equation.b * x, GivenPath(jnp.asarray(path))),
    )
    for scheme, solver in ((EulerMaruyama, diffrax.Euler()), (Milstein, diffrax.ItoMilstein())):
        theirs = diffrax.diffeqsolve(terms, solver, 0.0, 1.0, 1 / n, jnp.asarray(1.0)).ys[0]
        oracle, x = OneNode(), torch.ones(1, dtype=torch.float64)
        for z in torch.from_numpy(normals):
            oracle.normal = lambda stream, like, pieces=1, z=z: z.reshape(1)
            x = scheme(equation, 1 / n).step(oracle, x, None)[0]
        assert float(x) == pytest.approx(float(theirs), rel=1e-12)
