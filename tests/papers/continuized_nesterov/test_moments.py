"""Exact moments of the continuized process against its simulation, its bounds and special cases."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from workbench.papers.continuized_nesterov.moments import (
    distance2,
    expected,
    expected_convex,
    flow,
    gap,
    jump_ratios,
    rate,
    stationary,
)
from workbench.papers.continuized_nesterov.rates import (
    convex,
    convex_bound,
    multiplicative,
    multiplicative_convex,
    scaled,
    strongly_convex,
    strongly_convex_bound,
)
from workbench.papers.continuized_nesterov.simulation import Event, flowed, path, values_at, waiting_times
from workbench.problems.linear.designs import AdditiveNoise, GaussianDesign

MU = 0.01
H = np.geomspace(MU, 1, 5)
CURVATURES = torch.from_numpy(H)


def gradient(x):
    return CURVATURES * x


def loss(x):
    return 0.5 * (CURVATURES * x * x).sum(-1)


def test_the_flow_between_jumps_is_the_matrix_exponential():
    random = np.random.default_rng(0)
    for eta, eta_z, wait in random.exponential(size=(50, 3)):
        scheme = scaled(strongly_convex(MU), 1.0)
        scheme = type(scheme)(scheme.step_size, eta, eta_z, scheme.z_step)
        p, q = scheme.mixing(0.0, torch.tensor(wait, dtype=torch.float64))
        matrix = np.array([[1 - p, p], [q, 1 - q]])
        np.testing.assert_allclose(matrix, expm(wait * flow(eta, eta_z)), atol=64 * np.finfo(float).eps)


def test_a_flow_in_two_pieces_is_one_flow():
    x, z, time, early, late = torch.tensor([[1.0], [-2.0], [0.7], [0.4], [0.5]], dtype=torch.float64).unbind()
    for scheme in (strongly_convex(MU), convex()):
        once = flowed(scheme, Event(x[None], z[None], time), early + late)
        halfway = flowed(scheme, Event(x[None], z[None], time), early)
        twice = flowed(scheme, Event(*halfway, time + early), late)
        for a, b in zip(once, twice, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)


def test_simulation_agrees_with_the_moments_and_the_euler_flow_does_not():
    scheme, times = strongly_convex(MU), [2.5, 5.0]
    exact = gap(expected(scheme, AdditiveNoise(H), np.ones(5), times), H)
    start = torch.ones(8000, 5, dtype=torch.float64)
    for flow_, close in (("exact", True), ("euler", False)):
        values = values_at(scheme, gradient, loss, start, times, 0, flow_)
        z = (values.mean(1).numpy() - exact) / (values.std(1).numpy() / 8000**0.5)
        assert (np.abs(z) < 4).all() == close


def test_convex_moments_agree_with_simulated_jumps():
    """E f at a fixed time from runs that flow on from their last jump."""
    scheme, time, runs = convex(), 6.0, 8000
    exact = gap(expected_convex(scheme, AdditiveNoise(H), np.ones(5), np.array([time])), H)[0]
    waiting, found = waiting_times(1, 60, runs), torch.full((runs,), torch.nan, dtype=torch.float64)
    start = torch.ones(runs, 5, dtype=torch.float64)
    for event, wait in zip(path(scheme, gradient, start, waiting), waiting, strict=False):
        here = (event.time <= time) & (time < event.time + wait)
        some = Event(event.x[here], event.z[here], event.time[here])
        found[here] = loss(flowed(scheme, some, time - event.time[here])[0])
    error = found.std() / runs**0.5
    assert abs(found.mean() - exact) < 4 * error and error < 0.03 * exact


@pytest.mark.parametrize("mu", [0.1, 0.001])
def test_theorem_two_holds_and_without_mixing_it_is_gradient_descent(mu):
    h = np.geomspace(mu, 1, 8)
    law, scheme = AdditiveNoise(h), strongly_convex(mu)
    times = np.linspace(0.5, 15, 20) / math.sqrt(mu)
    bound = strongly_convex_bound(times, 0.5 * h.sum(), 8, mu)
    assert (gap(expected(scheme, law, np.ones(8), times), h) <= bound).all()
    assert rate(scheme, law) >= math.sqrt(mu)
    # E x_t^2 = exp(-(1 - (1 - h)^2) t) for gradient descent at Poisson times.
    plain = expected(scaled(scheme, 0.0), law, np.ones(8), times)[:, 0]
    np.testing.assert_allclose(plain, np.exp(-np.outer(times, 1 - (1 - h) ** 2)), rtol=1e-9)
    assert rate(scaled(scheme, 0.0), law) == pytest.approx(1 - (1 - mu) ** 2, rel=1e-9)


def test_the_convex_bound_holds_with_and_without_noise():
    h, times = np.geomspace(1e-5, 1, 12), np.linspace(1, 200, 100)
    for sigma2, start in ((0.0, 1.0), (1.0, 0.0)):
        moments = expected_convex(convex(), AdditiveNoise(h, sigma2), start * np.ones(12), times)
        bound = convex_bound(times, start**2, sigma2=sigma2)
        assert (0.5 * h * moments[:, 0] <= bound[:, None]).all()


def test_constant_rates_in_the_time_dependent_solver_and_noise_floors():
    h = np.array([0.3])
    law = AdditiveNoise(h, 0.5)
    scheme = strongly_convex(0.3)
    rest = stationary(scheme, law)
    np.testing.assert_allclose(expected(scheme, law, np.ones(1), np.array([400.0]))[0], rest, rtol=1e-9)
    assert 0.5 * h[0] * rest[0, 0] <= 0.5 / math.sqrt(0.3)
    # eta = eta' = 0 and gamma' = 0: an Ornstein-Uhlenbeck-like recursion with a known floor.
    plain = scaled(scaled(scheme, 0.0), 1.0, 0.0)
    decay, kick = 1 - (1 - 0.3) ** 2, 0.5
    x2 = expected(plain, law, np.zeros(1), np.array([3.0]))[0, 0, 0]
    assert x2 == pytest.approx(kick / decay * (1 - math.exp(-decay * 3)), rel=1e-10)


def test_multiplicative_noise_is_bounded_and_equals_sgd_where_features_are_isotropic():
    for h in (np.geomspace(1, 1e-3, 8), np.ones(4)):
        law = GaussianDesign(h)
        R2, kappa = law.constants
        scheme = multiplicative(h.min(), R2, kappa)
        times = np.linspace(0.1, 8, 12) / scheme.eta
        moments = expected(scheme, law, np.ones(h.size), times)
        bound = (0.5 * h.size + h.min() / 2 * (1 / h).sum()) * np.exp(-scheme.eta * times)
        assert (0.5 * distance2(moments) <= bound).all() and rate(scheme, law) >= scheme.eta * (1 - 1e-12)
        assert (rate(multiplicative(h.min(), R2, 1.0), law) < 0) == (h.min() < 1)
    # kappa = R2/mu: x and z coincide, SGD with step 1/R2 at Poisson times, E |x|^2 decays at 1/R2.
    np.testing.assert_allclose(moments[:, 0], moments[:, 2], rtol=1e-9)
    assert rate(scheme, law) == pytest.approx(1 / 6, rel=1e-9)


def test_multiplicative_convex_bound():
    h = np.geomspace(1, 1e-6, 10)
    law = GaussianDesign(h)
    R2, kappa = law.constants
    times = np.geomspace(1, 300, 20)
    for power in (1.0, 2.0):
        moments = expected_convex(multiplicative_convex(R2, kappa, power), law, np.sqrt(h), times)
        assert (0.5 * distance2(moments) <= power**2 * R2 * kappa * 10 / (2 * times**2)).all()


def test_weighed_jumps_against_simulation():
    scheme, a = strongly_convex(0.2), math.sqrt(0.2)
    exact = jump_ratios(scheme, np.array([0.2]), a, 3)[:, 0]
    runs = path(
        scheme,
        lambda x: 0.2 * x,
        torch.ones(40000, 1, dtype=torch.float64),
        waiting_times(0, 3, 40000),
    )
    for k, event in enumerate(runs):
        if k:
            weighed = (a * event.time).exp() * event.x[:, 0] ** 2
            assert abs(weighed.mean() - exact[k - 1]) < 4 * weighed.std() / 200


def test_refusals():
    with pytest.raises(ValueError, match=r"mu must lie in \(0, L\]"):
        strongly_convex(2.0)
    with pytest.raises(ValueError, match="times must be a list of increasing"):
        expected(strongly_convex(0.1), AdditiveNoise([1.0]), np.ones(1), [2.0, 1.0])
    with pytest.raises(ValueError, match="times must be increasing numbers >"):
        expected_convex(convex(), AdditiveNoise([1.0]), np.ones(1), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="not mean-square stable"):
        stationary(multiplicative(0.01, 3.0, 1.0), GaussianDesign([1.0, 0.01]))
    with pytest.raises(ValueError, match="rate must be < 1"):
        jump_ratios(strongly_convex(0.1), np.ones(1), 1.0, 3)
    with pytest.raises(ValueError, match="flow must be one of exact, euler"):
        values_at(strongly_convex(0.1), gradient, loss, torch.ones(2, 5).double(), [1.0], 0, "heun")
    with pytest.raises(ValueError, match="needs constant rates"):
        list(path(convex(), gradient, torch.ones(2, 5).double(), waiting_times(0, 2, 2), "euler"))
