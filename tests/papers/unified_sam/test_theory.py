"""The theorems' constants: known values, iteration against closed form, invariances, refusals."""

import math

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.papers.unified_sam import step_sizes, theory

CONSTANTS = {"mu": 0.3, "L": 4.0, "A": 2.5, "B": 0.4, "C": 0.7}


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("c", [0.0, 0.5, 0.95])
def test_theorem_3_2_by_hand(lam, c):
    mu, L, A, B, C = CONSTANTS.values()
    q, w = B * mu + A, (1 - lam) ** 2
    found = theory.theorem_3_2(**CONSTANTS, lam=lam, c=c)
    assert found.rho_star == pytest.approx(mu / (L * (mu + 2 * q * w)), rel=1e-14)
    assert found.rho == c * found.rho_star
    # gamma* solves gamma 2 L q (1 + 2 L^2 rho^2 w) = mu (1 - c).
    left = found.gamma_star * 2 * L * q * (1 + 2 * (L * found.rho) ** 2 * w)
    assert left == pytest.approx(mu * (1 - c), rel=1e-12)
    assert theory.neighbourhood(mu, L, C, lam, found.rho, found.gamma_star) == found.N


def test_without_radius_it_is_sgd():
    mu, L, A, B, C = CONSTANTS.values()
    steps = theory.theorem_3_2(**CONSTANTS, lam=0.4, c=0.0)
    assert steps.gamma_star == pytest.approx(mu / (2 * L * (B * mu + A)))
    assert pytest.approx(L * C * steps.gamma_star / mu) == steps.N


def test_steps_scale_as_lengths_and_times_do():
    """f -> s f multiplies mu, L, A by s and C by s^2: gamma by 1/s; USAM's radius, one over a curvature, by 1/s too."""
    s = 7.0
    one, other = (
        theory.theorem_3_2(0.3, 4, 2.5, 0.4, 0.7, 0.0),
        theory.theorem_3_2(0.3 * s, 4 * s, 2.5 * s, 0.4, 0.7 * s**2, 0.0),
    )
    np.testing.assert_allclose(
        [other.rho, other.gamma_star, other.N], [one.rho / s, one.gamma_star / s, s * one.N], rtol=1e-12
    )


def test_printed_pairs_and_the_simplified_choice():
    table = wb.card("unified-sam").published("step_sizes")
    assert len(table) == 6 and float(step_sizes.off_the_printed(table).max()) <= 1
    for formula in ("linear weight", "half q"):
        assert float(step_sizes.off_the_printed(table, formula).max()) > 100
    found = step_sizes.simplified_over_allowed(5, 2000)
    assert 0.45 < float(found.rho.max()) <= 0.5 + 1e-12 and 0.5 < float(found.gamma.max()) <= 0.5625 + 1e-12
    assert float(step_sizes.simplified_over_allowed(5, 500, "linear weight").gamma.max()) > 1
    # Figure 1's printed numbers.
    assert theory.simplified_steps(0.1, 10, 0, 1, 0.0) == pytest.approx((0.0125, 0.0125))
    assert [round(theory.simplified_steps(0.1, 10, 0, 1, lam)[0], 6) for lam in (0.1, 0.2, 0.3, 1)] == [
        0.015432, 0.019531, 0.025, 0.025,
    ]  # fmt: skip


def test_decreasing_steps_telescope():
    radius, step = theory.decreasing_schedule(0.2, 0.5, 0.8)
    t = torch.arange(4000, dtype=torch.float64)
    rho, gamma = torch.stack([radius(one) for one in t]), torch.stack([step(one) for one in t])
    assert rho[0] == 0.2 and rho[10] == 1 / 21 and gamma[0] == 0.5
    late = gamma < 0.5
    first = int(late.nonzero()[0])
    torch.testing.assert_close(1 - 0.8 * gamma[late], (t[late] / (t[late] + 1)) ** 2)
    product = float((1 - 0.8 * gamma[late]).prod())
    assert product == pytest.approx((first / 4000) ** 2, rel=1e-9)


def test_weights_over_time_count_from_one():
    t = torch.tensor(3.0, dtype=torch.float64)
    assert theory.towards_usam(t - 3) == 1 and theory.towards_usam(t) == 0.25
    assert theory.towards_sam(t - 3) == 0 and theory.towards_sam(t) == 0.75


@pytest.mark.parametrize("lam", [0.1, 0.5, 1.0])
def test_the_plateau_is_a_cycle_of_the_scalar_iteration(lam):
    L, gamma, rho = 3.0, 0.2, 0.1
    x = 1.0
    for _ in range(2000):
        g = L * x
        x -= gamma * L * (x + rho * (1 - lam + lam / abs(g)) * g)
    assert 0.5 * L * x**2 == pytest.approx(theory.plateau(L, gamma, rho, lam), rel=1e-12)
    assert theory.plateau(L, gamma, rho, 0.0) == 0


def test_nonconvex_terms_and_the_bound_they_iterate_to():
    terms = theory.nonconvex_terms(4.0, 2.5, 0.4, 0.7, 0.3, rho=0.02, gamma=0.01)
    w, longer = 0.49, 1 + 2 * (4 * 0.02) ** 2 * 0.49
    assert pytest.approx(2 * 4 * 2.5 * (0.02 * w + 0.01 * longer)) == terms.M
    assert terms.n0 == pytest.approx(
        4 * 0.02 * (0.7 * w + 0.09) + 4 * 0.01 * longer * 0.7 + 2 * 64 * 0.02**2 * 0.01 * 0.09
    )
    # The sum of weighted slopes, if every slope is at the bound, reproduces it by induction.
    T, gap, least = 50, 3.0, theory.least_gradient_bound(3.0, 50, 0.01, terms)
    value, weight = gap, 1.0
    for _ in range(T):
        value = (1 + 0.01 * terms.M) * value + 0.01 * terms.n0 - 0.005 * least
        weight *= 1 + 0.01 * terms.M
    assert value <= 1e-12 * weight
    assert theory.least_gradient_bound(3.0, 50, 0.01, terms._replace(M=0.0, n0=0.0)) == pytest.approx(
        2 * 3 / (0.01 * 50)
    )


def test_bad_constants_are_refused_in_words():
    good = {**CONSTANTS, "lam": 0.5}
    cases = [
        ({"mu": 0.0}, "mu must be a finite number > 0"),
        ({"L": math.inf}, "L must be a finite number > 0"),
        ({"A": -1.0}, "A must be a finite number >= 0"),
        ({"A": 0.0, "B": 0.0}, "A and B must not both be 0"),
        ({"lam": 1.1}, "lam must be a finite number in"),
        ({"c": 1.0}, "gamma\\* = 0 at rho = rho\\*"),
    ]
    for change, words in cases:
        with pytest.raises(ValueError, match=words):
            theory.theorem_3_2(**{**good, **change})
    with pytest.raises(ValueError, match="must be below 2"):
        theory.plateau(10.0, 0.3, 0.1, 0.5)
    with pytest.raises(ValueError, match="gamma0 must be"):
        theory.decreasing_schedule(0.1, 0.0, 1.0)
    with pytest.raises(ValueError, match="formula must be"):
        step_sizes.formula_steps("theorem 3.2", 0.1, 1, 1, 0, 0.5)
