"""Stability and noise floor in closed form against the linear system and the eigenvalues that they solve."""

import numpy as np
import pytest

from workbench.papers.accelerated_lsr.limit import (
    critical_ratio,
    limit_operator,
    noise_floor,
    noise_share,
    small_step_ratio,
    solved_ratio,
)
from workbench.papers.accelerated_lsr.recursions import DESIGNS, acsgd_moments, named_spectrum, recommended
from workbench.problems.linear.designs import AdditiveNoise, GaussianDesign


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("d", [1, 2, 10, 50])
def test_floor_is_the_stationary_risk(design, d):
    h = named_spectrum("power1", d)
    law = DESIGNS[design](h, 1.5)
    for factor in (1.0, 0.1):
        alpha, beta = recommended(*law.constants, alpha_ratio=0.5 * factor)
        operator = limit_operator(law, alpha, beta)
        for output, name in (("y", "parameters"), ("x", "x")):
            floor = noise_floor(h, 1.5**2, alpha, beta, design, output=output)
            assert operator.stationary_risk(name) == pytest.approx(floor, rel=1e-9)
            assert noise_floor(h, 1.5**2, alpha, beta, design, output=output, feedback=False) < floor


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("d", [2, 10])
@pytest.mark.parametrize("name", ["power0", "power1", "log2"])
def test_stability_ends_where_q_reaches_one(design, d, name):
    h = named_spectrum(name, d)
    for beta_R2 in (1 / 3, 1 / 12):
        beta = beta_R2 / DESIGNS[design](h).constants.R2
        ratio = critical_ratio(h, beta, design)
        assert solved_ratio(h, beta, design) == pytest.approx(ratio, rel=1e-10)
        radii = [limit_operator(DESIGNS[design](h), f * ratio * beta / d, beta).spectral_radius() for f in (0.99, 1.01)]
        assert radii[0] < 1 < radii[1]


def test_known_ratios_of_the_isotropic_design():
    h = np.ones(50)
    found = [critical_ratio(h, beta_R2 / 52) for beta_R2 in (1 / 3, 1 / 2, 1)]
    np.testing.assert_allclose(found, [1.629, 1.463, 0.971], atol=5e-4)
    tiny = critical_ratio(h, 1e-9)
    assert tiny == pytest.approx(2 * 50 / 51, rel=1e-6)  # 2/(d+1) in alpha/beta
    assert small_step_ratio(h, 1e-9) == pytest.approx(2)


@pytest.mark.parametrize("d", [1, 3, 50])
@pytest.mark.parametrize("beta_R2", [1e-3, 1 / 3, 1.0])
def test_plain_acceleration_is_never_stable_and_exact_gradients_make_it_so(d, beta_R2):
    law = GaussianDesign(named_spectrum("power1", d))
    beta = beta_R2 / law.constants.R2
    assert noise_share(law.spectrum, beta, beta).Q > 1
    assert limit_operator(law, beta, beta).spectral_radius() > 1
    assert noise_floor(law.spectrum, 1.0, beta, beta) == np.inf
    if beta_R2 < 1:
        assert limit_operator(AdditiveNoise(law.spectrum), beta, beta).spectral_radius() < 1


def test_the_recursion_tends_to_the_floor_at_rate_one_over_t():
    law = GaussianDesign(named_spectrum("power1", 2), 1.0)
    alpha, beta = recommended(*law.constants)
    curves = acsgd_moments(law, alpha, beta).risks(np.zeros(2), 16000, at=[8000, 16000])
    for output, name in (("y", "parameters"), ("x", "x")):
        gap = noise_floor(law.spectrum, 1.0, alpha, beta, output=output) - curves[name]
        assert gap[1] > 0 and float(gap[0] / gap[1]) == pytest.approx(2, rel=0.01)
