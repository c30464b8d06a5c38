"""The bounds on the unseen domain's risk and the switch of robust minimisation, against independent computations."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import workbench as wb
from workbench.papers.swad.sharp_and_flat import SharpAndFlat
from workbench.papers.swad.threshold_domains import ThresholdDomains


def test_risks_and_divergence_are_integrals():
    domains = ThresholdDomains()
    p, q = stats.beta(2, 3).pdf, stats.beta(2.5, 1.5).pdf
    risk = integrate.quad(p, 0.5, 0.7)[0]
    assert domains.risk((2.0, 3.0))[round(0.7 * 2000)] == pytest.approx(risk, abs=1e-12)
    single = ThresholdDomains(sources=((2.0, 3.0),))
    assert single.divergence == pytest.approx(integrate.quad(lambda x: abs(p(x) - q(x)), 0, 1, limit=200)[0], abs=1e-6)


def test_the_lemma_holds_for_every_pair_of_densities():
    for sources in (((2.0, 2.0),), ((1.0, 4.0), (4.0, 1.0)), ((5.0, 5.0), (0.7, 2.0))):
        domains = ThresholdDomains(sources=sources)
        assert np.abs(domains.source_risk - domains.target_risk).max() <= domains.divergence / 2 + 1e-9


def test_empirical_risk_counts_the_samples_between_threshold_and_truth():
    domains = ThresholdDomains(sources=((2.0, 2.0),))
    generator = wb.draws.generator(7, "threshold domains")
    sample = generator.beta(2.0, 2.0, size=30)
    expected = [((sample > min(t, 0.5)) & (sample <= max(t, 0.5))).mean() for t in domains.theta[::100]]
    np.testing.assert_allclose(domains.empirical_risk(7, 30)[::100], expected)


def test_robust_risk_is_the_largest_nearby():
    domains = ThresholdDomains(points=101)
    risk = np.random.default_rng(0).random(101)
    robust = domains.robust(risk, 0.05)
    expected = [risk[max(0, i - 5) : i + 6].max() for i in range(101)]
    np.testing.assert_allclose(robust, expected)


def test_bounds_are_their_terms():
    domains, n, gamma, delta = ThresholdDomains(), 50, 0.1, 0.2
    robust = domains.robust(domains.empirical_risk(1, n), gamma)
    term = math.sqrt((math.log(150) + math.log(10 / delta)) / 150)
    room = (robust + domains.divergence / 2 + term - domains.target_risk).min()
    assert float(domains.bounds(1, n, gamma, delta).risk) == pytest.approx(room)


def test_bounds_of_many_seeds_at_once():
    domains = ThresholdDomains()
    swept = wb.sweep(lambda seed: {"room": domains.bounds(seed, 20, 0.1).risk}, seed=range(3), progress=False)
    assert float(swept.room[2]) == pytest.approx(float(domains.bounds(2, 20, 0.1).risk))


@pytest.mark.parametrize(("n", "gamma", "delta"), [(0, 0.1, 0.1), (5, 0.0, 0.1), (5, 0.1, 1.0)])
def test_bounds_out_of_range_are_refused(n, gamma, delta):
    with pytest.raises(ValueError, match=r"must be"):
        ThresholdDomains().bounds(0, n, gamma, delta)


@pytest.mark.parametrize(
    ("sharp", "flat", "depth"), [(0.12, 0.7, 0.97), (0.3, 0.7, 0.9), (0.2, 0.8, 0.95), (0.05, 0.4, 0.8)]
)
def test_robust_minimisation_switches_at_the_formula(sharp, flat, depth):
    scene = SharpAndFlat(sharp, flat, depth)
    first, last = scene.switch_radius, scene.latest_switch
    assert first < last < 1.02 * first
    assert first * (1 - 2e-5) <= scene.measured_switch() <= last * (1 + 2e-5)


def test_robust_loss_is_the_largest_nearby():
    scene, x = SharpAndFlat(), torch.linspace(-2, 2, 9, dtype=torch.float64)
    fine = scene.loss(x[:, None] + torch.linspace(-0.3, 0.3, 20001, dtype=torch.float64)).amax(-1)
    torch.testing.assert_close(scene.robust_loss(x, 0.3, 2001), fine, rtol=0, atol=1e-5)
    torch.testing.assert_close(scene.robust_loss(x, 0.0), scene.loss(x))


@pytest.mark.parametrize(
    ("values", "message"),
    [((0.7, 0.12, 0.97), "sharp must be smaller"), ((0.1, 0.7, 1.0), "depth must be below 1"), ((-1, 1, 0.5), "sharp")],
)
def test_wells_out_of_range_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        SharpAndFlat(*values)


def test_the_mixture_of_the_sources_is_no_target():
    domains = ThresholdDomains()
    p, q, r = (stats.beta(*shape).pdf for shape in domains.sources)
    mixture = lambda x: (p(x) + q(x) + r(x)) / 3  # noqa: E731
    parts = [integrate.quad(lambda x, f=f: abs(f(x) - mixture(x)), 0, 1, limit=200)[0] for f in (p, q, r)]
    assert domains.divergence_to_mixture == pytest.approx(np.mean(parts), abs=1e-6)
    assert np.abs(domains.source_risk - domains.target_risk).max() > domains.divergence_to_mixture / 2
