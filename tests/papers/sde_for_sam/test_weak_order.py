"""Expectations without sampling: against Gaussian closed forms, a plain loop over moments, and simulation."""

import numpy as np
import pytest
import torch

from workbench import draws
from workbench.papers.sde_for_sam import weak_order
from workbench.papers.sde_for_sam.equations import sde_increment
from workbench.papers.sde_for_sam.transition import backward_kolmogorov_1d, transition_operator_1d

PLACES = np.linspace(-7, 7, 401)
INSIDE = np.abs(PLACES) < 2


def test_the_transition_operator_on_a_gaussian_step():
    operator = transition_operator_1d(lambda x, z: 0.8 * x + 0.3 * z, lambda x: -x, PLACES)
    moved = np.linalg.matrix_power(operator, 3) @ PLACES**2
    variance = 0.09 * (1 + 0.8**2 + 0.8**4)
    np.testing.assert_allclose(moved[INSIDE], (0.8**6 * PLACES**2 + variance)[INSIDE], rtol=1e-10)
    np.testing.assert_allclose(operator.sum(1), 1, rtol=1e-10)


def test_the_transition_operator_with_a_kink():
    """E sign(x + Z) = erf: one step to the sign of a noisy number."""
    from scipy.special import erf

    operator = transition_operator_1d(lambda x, z: np.sign(x + z), lambda x: -x, PLACES)
    np.testing.assert_allclose((operator @ PLACES)[INSIDE], erf(PLACES[INSIDE] / 2**0.5), atol=1e-12)


def test_the_backward_equation_of_a_linear_diffusion():
    a, s, dt, steps = 1.3, 0.4, 0.005, 100
    solved = backward_kolmogorov_1d(lambda x: -a * x, lambda x: s + 0 * x, PLACES, PLACES**2, dt, steps)
    times = dt * np.arange(steps + 1)
    exact = np.stack([weak_order.linear_second_moment(a, s * s, x, times) for x in PLACES[INSIDE]], axis=1)
    np.testing.assert_allclose(solved[:, INSIDE], exact, rtol=2e-5, atol=2e-6)
    with pytest.raises(ValueError, match="must point inwards at both ends"):
        backward_kolmogorov_1d(lambda x: x, lambda x: s + 0 * x, PLACES, PLACES, dt, 1)


def test_second_moments_of_a_linear_diffusion_are_continuous_through_a_zero_rate():
    at_zero = weak_order.linear_second_moment(0.0, 0.3, 1.5, 2.0)
    assert at_zero == pytest.approx(1.5**2 + 0.6)
    assert weak_order.linear_second_moment(1e-9, 0.3, 1.5, 2.0) == pytest.approx(at_zero, rel=1e-7)
    assert weak_order.linear_second_moment(-0.5, 0.3, 1.5, 2.0) > at_zero


def test_quadratic_errors_are_a_plain_loop_over_moments():
    eta, rho, sigma, x0, T = 0.1, 0.3, 0.7, 1.2, 2.0
    spectrum = np.array([0.5, -0.4, 2.0])
    second, worst = np.full(3, x0**2), 0.0
    stretch = 1 + rho * spectrum
    for k in range(1, 21):
        second = (1 - eta * spectrum * stretch) ** 2 * second + (eta * sigma * stretch) ** 2
        sde = weak_order.linear_second_moment(spectrum * stretch, eta * (sigma * stretch) ** 2, x0, k * eta)
        worst = max(worst, abs(0.5 * (second - sde) @ spectrum))
    found = weak_order.weak_errors_quadratic([eta], rho, eigenvalues=spectrum, x0=x0, sigma=sigma, T=T)
    assert found.sel(sde="own", eta=eta).item() == pytest.approx(worst, rel=1e-12)
    swapped = weak_order.weak_errors_quadratic([eta], rho, eigenvalues=spectrum, x0=x0, sigma=sigma, T=T, rho_run=0.0)
    assert swapped.sel(sde="sgd").item() < found.sel(sde="sgd").item()


@pytest.mark.parametrize("kind", ["usam", "sam"])
def test_coefficients_on_the_line_are_the_equations(kind):
    f = weak_order.wavy(0.8)
    drift, noise = weak_order.coefficients_1d(f, kind, 0.1, 0.2, 0.7)

    def gradient(x):
        return x - 0.8 * torch.sin(2 * x)

    def product(x, v):
        return (1 - 1.6 * torch.cos(2 * x)) * v

    for place in (-1.3, 0.2, 1.1):
        x, dt = torch.tensor([place], dtype=torch.float64), 0.03
        still = sde_increment(kind, gradient, product, x, dt, 0.1, 0.2, 0 * x, 0.7)
        moved = sde_increment(kind, gradient, product, x, dt, 0.1, 0.2, torch.ones_like(x), 0.7)
        assert float((still - x) / dt) == pytest.approx(float(drift(np.array(place))), rel=1e-9)
        assert float((still - moved) / dt**0.5) == pytest.approx(float(noise(np.array(place))), rel=1e-9)


def test_nonlinear_errors_against_simulated_steps():
    """E x^2 of SAM after two steps from one start, 400,000 samples, within four standard errors of the operator's."""
    f, eta, rho = weak_order.wavy(), 0.1, 0.1
    operator = transition_operator_1d(weak_order._discrete(f, "sam", eta, rho, 1.0), lambda x: -f.slope(x), PLACES)
    exact = (operator @ operator @ PLACES**2)[np.argmin(np.abs(PLACES - 0.7))]
    x = np.full(400_000, PLACES[np.argmin(np.abs(PLACES - 0.7))])
    for stream in ("one", "two"):
        z = draws.normal(0, (400_000,), stream=stream).numpy()
        x = x - eta * (f.slope(x + rho * np.sign(f.slope(x) + z)) + z)
    assert abs(np.mean(x**2) - exact) < 4 * np.std(x**2) / 400_000**0.5


def test_orders_are_one_for_the_own_equation_and_less_for_sgds():
    etas = [0.1, 0.05]
    found = weak_order.weak_errors_nonlinear(etas, lambda eta: 0.1 * (eta / 0.1) ** 0.5, kind="sam", grid=0.5)
    ratio = found.sel(eta=0.1) / found.sel(eta=0.05)
    assert ratio.sel(sde="own") > 2**0.75 > ratio.sel(sde="sgd")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: weak_order.weak_errors_quadratic([0.3], 0.1), r"T/eta must be a whole number.*T = 4, eta = 0.3"),
        (lambda: weak_order.weak_errors_quadratic([0.1], -0.1), "rho must be a finite number >= 0, got -0.1"),
        (lambda: weak_order.weak_errors_nonlinear([0.1], 0.1, kind="dnsam"), "kind must be usam or sam, got 'dnsam'"),
        (lambda: weak_order.weak_errors_nonlinear([0.1], 0.1, sigma=0.0), "sigma must be a finite number > 0"),
    ],
)
def test_bad_arguments_are_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
