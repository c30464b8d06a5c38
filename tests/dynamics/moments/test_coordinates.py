"""Exact moments against brute force: all outcomes of a sample, enumerated, act on the whole state."""

import itertools

import numpy as np
import pytest

from workbench.dynamics.moments import CoordinateMoments, LinearStep, averaged
from workbench.dynamics.moments.lift import expected_lift, packed, spectral_radius, unpacked
from workbench.problems.linear.designs import AdditiveNoise, GaussianDesign, OneHotDesign

SPECTRUM = np.array([1.0, 0.4, 0.15])
SIGMA = 0.7
START = np.array([1.0, -2.0, 0.5])


def descent(step_size):
    return LinearStep(np.eye(1), np.eye(1), np.array([[-step_size]])), np.ones(1)


def heavy_ball(step_size, beta):
    carry, move = np.array([[1.0, -step_size * beta], [0.0, beta]]), np.array([[-step_size], [1.0]])
    return LinearStep(carry, np.array([[1.0, 0.0]]), move), np.array([1.0, 0.0])


def usam_with_momentum(step_size, beta, rho):
    """Two gradients of one sample: g(x) and g(x + rho g(x)), the second moves."""
    plain, start = heavy_ball(step_size, beta)
    move = np.concatenate([np.zeros((2, 1)), plain.move], axis=1)
    return LinearStep(plain.carry, np.repeat(plain.point, 2, 0), move, np.array([[0.0, 0.0], [rho, 0.0]])), start


def hessian_usam(step_size, rho):
    """g + rho H g with a Hessian product, which carries no noise of its own."""
    point, chain = np.array([[1.0], [0.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    return LinearStep(
        np.eye(1), point, np.array([[-step_size, -step_size * rho]]), chain, np.array([1.0, 0.0])
    ), np.ones(1)


STEPS = {
    "descent": descent(0.2),
    "heavy ball": heavy_ball(0.1, 0.6),
    "usam": usam_with_momentum(0.05, 0.5, 0.3),
    "hessian usam": hessian_usam(0.1, 0.2),
}


def gaussian_outcomes():
    """Nodes and weights that integrate polynomials of degree < 24 exactly, residual +-sigma independent."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    weights = weights / weights.sum()
    for places in itertools.product(range(12), repeat=3):
        for sign in (-SIGMA, SIGMA):
            yield weights[list(places)].prod() / 2, nodes[list(places)] * np.sqrt(SPECTRUM), sign


def one_hot_outcomes():
    for i, sign in itertools.product(range(3), (-SIGMA, SIGMA)):
        yield 1 / 6, np.sqrt(3 * SPECTRUM[i]) * np.eye(3)[i], sign


def affine(step, feature, residual):
    """One step of the whole state (state-major) as a matrix on (state, 1)."""
    k, answers, d = step.carry.shape[0], step.move.shape[1], 3
    chain = np.zeros((answers, answers)) if step.chain is None else step.chain
    noisy = np.ones(answers) if step.noisy is None else step.noisy
    size = k * d

    def one(state):
        s, answer = state[:size].reshape(k, d), np.zeros((answers, d))
        for j in range(answers):
            point = step.point[j] @ s + chain[j] @ answer
            answer[j] = feature * (feature @ point - noisy[j] * residual * state[-1])
        return np.append((step.carry @ s + step.move @ answer).ravel(), state[-1])

    return np.stack([one(column) for column in np.eye(size + 1)], axis=1)


def brute_force(step, start, outcomes, steps):
    maps, weights = [], []
    for weight, feature, residual in outcomes:
        maps.append(affine(step, feature, residual))
        weights.append(weight)
    operator = expected_lift(np.stack(maps), np.array(weights))
    state = np.append(np.multiply.outer(start, START).ravel(), 1.0)
    moments = packed(np.outer(state, state))
    for _ in range(steps):
        moments = operator @ moments
    full = unpacked(moments)[:-1, :-1].reshape(len(start), 3, len(start), 3)
    return packed(np.stack([full[:, i, :, i] for i in range(3)])).T, operator


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(
    ("law", "outcomes"),
    [(GaussianDesign(SPECTRUM, SIGMA), gaussian_outcomes), (OneHotDesign(SPECTRUM, SIGMA), one_hot_outcomes)],
    ids=["gaussian", "one-hot"],
)
def test_moments_equal_the_enumeration_of_all_samples(name, law, outcomes):
    step, start = STEPS[name]
    exact = CoordinateMoments(step, law, start, {"parameters": np.eye(len(start))[0]})
    expected, operator = brute_force(step, start, outcomes(), 7)
    np.testing.assert_allclose(exact.moments(START, 7)[7], expected, rtol=1e-10)
    # The enumeration also follows products of different coordinates and the means; these are no less stable.
    assert spectral_radius(exact.matrix()) == pytest.approx(exact.spectral_radius(), rel=1e-10)
    inner = np.sort(np.abs(np.linalg.eigvals(operator)))[::-1]
    assert np.abs(inner - exact.spectral_radius()).min() < 1e-9


@pytest.mark.parametrize("name", STEPS)
def test_additive_noise_is_a_polynomial_in_each_eigenvalue(name):
    step, start = STEPS[name]
    variance = np.array([0.5, 0.1, 0.3])
    exact = CoordinateMoments(step, AdditiveNoise(SPECTRUM, variance), start, {"parameters": np.eye(len(start))[0]})
    answers = step.move.shape[1]
    chain = np.zeros((answers, answers)) if step.chain is None else step.chain
    noisy = np.ones(answers) if step.noisy is None else step.noisy
    for i, h in enumerate(SPECTRUM):
        solve = np.linalg.inv(np.eye(answers) - h * chain)
        map_, kick = step.carry + h * step.move @ solve @ step.point, step.move @ solve @ noisy
        moments = np.outer(start, start) * START[i] ** 2
        for _ in range(9):
            moments = map_ @ moments @ map_.T + variance[i] * np.outer(kick, kick)
        np.testing.assert_allclose(exact.moments(START, 9)[9][:, i], packed(moments), rtol=1e-11)


@pytest.mark.parametrize(
    "law", [GaussianDesign(SPECTRUM, SIGMA), OneHotDesign(SPECTRUM, SIGMA), AdditiveNoise(SPECTRUM, 0.2)]
)
@pytest.mark.parametrize("name", STEPS)
def test_the_stationary_law_is_left_as_it_is_and_reached(law, name):
    step, start = STEPS[name]
    exact = CoordinateMoments(step, law, start, {"parameters": np.eye(len(start))[0]})
    rest = exact.stationary()
    np.testing.assert_allclose(exact.apply(rest), rest, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(exact.risk(START, 2000)[-1], exact.stationary_risk(), rtol=1e-8)


def test_sgd_on_gaussian_features_has_its_textbook_law():
    """d = 1: E x+^2 = (1 - 2 s h + 3 s^2 h^2) E x^2 + s^2 sigma^2 h."""
    step, start = descent(0.3)
    exact = CoordinateMoments(step, GaussianDesign([0.8], 0.5), start, {"parameters": start})
    factor = 1 - 2 * 0.3 * 0.8 + 3 * (0.3 * 0.8) ** 2
    assert exact.spectral_radius() == pytest.approx(factor, rel=1e-12)
    assert exact.stationary_risk() == pytest.approx(0.5 * 0.8 * 0.09 * 0.25 * 0.8 / (1 - factor), rel=1e-12)


def test_many_starts_are_single_starts():
    step, start = STEPS["heavy ball"]
    exact = CoordinateMoments(step, GaussianDesign(SPECTRUM, SIGMA), start, {"parameters": np.eye(2)[0]})
    many = exact.risk(np.stack([START, 2 * START]), 5, at=[0, 2, 5])
    assert many.dims == ("step", "start")
    for i, factor in enumerate((1.0, 2.0)):
        np.testing.assert_allclose(many[:, i], exact.risk(factor * START, 5, at=[0, 2, 5]), rtol=1e-13)
    assert many[0, 0] == pytest.approx(0.5 * SPECTRUM @ START**2)


def test_averages_against_all_products_of_steps():
    """Additive noise, one coordinate: the average is a sum of independent terms."""
    step, start = descent(0.2)
    law = AdditiveNoise([0.7], 0.3)
    steps, outputs = averaged(step, {"parameters": start}, lambda numbers: numbers + 1.0)
    exact = CoordinateMoments(steps, law, np.array([1.0, 0.0]), outputs)
    a, count = 1 - 0.2 * 0.7, 6
    weights = np.arange(1.0, count + 1)
    mean = (weights * a ** np.arange(count)).sum() * 1.5
    kicks = [0.2 * (weights[s + 1 :] * a ** np.arange(count - s - 1)).sum() for s in range(count)]
    expected = 0.5 * 0.7 * (mean**2 + 0.3 * np.square(kicks).sum()) / weights.sum() ** 2
    assert exact.risk([1.5], count, output="average").item() == pytest.approx(expected, rel=1e-12)


def test_an_explosion_is_data():
    step, start = descent(3.0)
    risk = CoordinateMoments(step, GaussianDesign(SPECTRUM), start, {"parameters": start}).risk(
        START, 3000, at=[1, 3000]
    )
    assert np.isfinite(risk[0]) and not np.isfinite(risk[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda exact: exact.risk([1.0, 2.0], 3), "start must have 3 entries"),
        (lambda exact: exact.risk(START, 3, at=[4]), "at must lie in 0..3"),
        (lambda exact: exact.risk(START, -1), "steps must be an int >= 0"),
        (lambda exact: exact.risk(START, 3, output="velocity"), "output must be one of parameters"),
    ],
)
def test_refusals(call, message):
    step, start = STEPS["descent"]
    with pytest.raises(ValueError, match=message):
        call(CoordinateMoments(step, GaussianDesign(SPECTRUM), start, {"parameters": start}))


def test_an_unstable_method_has_no_stationary_law():
    step, start = descent(3.0)
    with pytest.raises(ValueError, match="not mean-square stable"):
        CoordinateMoments(step, GaussianDesign(SPECTRUM), start, {"parameters": start}).stationary_risk()
