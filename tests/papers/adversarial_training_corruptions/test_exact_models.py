"""The detector's closed forms, the expansions, noise curves, distances and published numbers."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

import workbench as wb
from workbench.papers.adversarial_training_corruptions import (
    detector,
    digits,
    distances,
    expansions,
    noise_curves,
    published,
)


@pytest.mark.parametrize("s", [1, -1])
@pytest.mark.parametrize(("mu", "sigma"), [(1.0, 0.5), (0.7, 2.0), (2.0, 6.0)])
def test_class_means_are_integrals(s, mu, sigma):
    wanted, _ = quad(lambda x: x * norm.pdf(x, s * mu, sigma), 0, 60, epsabs=1e-12)
    assert detector.class_mean(s, mu, sigma) == pytest.approx(wanted, rel=1e-9)
    assert detector.class_mean(s, mu, 0.0) == max(0.0, s * mu)


def test_critical_noise_and_working_windows():
    ratio = detector.critical_ratio()
    assert ratio == pytest.approx(2.2918613785635147, rel=1e-12) and 1 / ratio == pytest.approx(
        0.4363265637936517, rel=1e-12
    )
    assert detector.mixed_ratio() == pytest.approx(3.6227971857288592, rel=1e-12)
    for mu in (0.5, 1.0, 3.0):
        assert detector.threshold(mu, ratio * mu) == pytest.approx(mu, rel=1e-12)
        assert detector.class_mean(-1, mu, detector.mixed_ratio() * mu) == pytest.approx(mu, rel=1e-12)
    for sigma, window in ((2.35, (0.679, 3.678)), (3, (1.611, 4.303)), (4, (2.687, 5.283))):
        assert detector.working_window(1.0, sigma) == pytest.approx(window, abs=6e-4)
    low, high = detector.working_window(1.0, 3.0)
    kappa = float(detector.threshold(1.0, 3.0))
    assert detector.accuracy(1.0, kappa, np.array([0.0, low - 0.01, low + 0.01, high - 0.01, high + 0.01])).tolist() == [
        0.5, 0.5, 1.0, 1.0, 0.5,
    ]  # fmt: skip
    assert detector.working_window(1.0, 3.0, clean_share=0.5)[0] == 0.0 and detector.working_window(1.0, 2.2)[0] == 0.0


def test_fitted_thresholds_are_those_of_simulated_images():
    z = wb.draws.normal(3, (2, 50 * 1024), stream="detector").numpy()
    features = [np.maximum(sign + 2.0 * part, 0).mean() for sign, part in zip((1, -1), z, strict=True)]
    assert detector.fitted_thresholds(3, [2.0])[0] == pytest.approx(np.mean(features), abs=1e-12)
    critical = detector.critical_ratios(range(8))
    assert abs(float(critical.mean()) - detector.critical_ratio()) < 4 * float(critical.std()) / 8**0.5
    assert np.isnan(detector.critical_ratios(range(2), activation="identity")).all()


def test_affine_logits_never_gain_from_noise_and_pooling_does():
    assert (noise_curves.smallest_increments(5, [0.3, 2.0]) >= -1e-12).all()
    assert noise_curves.smallest_increments(5, [3.0], "relu_pooling").item() < -0.1
    with pytest.raises(ValueError, match="head"):
        noise_curves.smallest_increments(5, [1.0], "linear")  # type: ignore[arg-type]


def test_expansions_have_their_orders():
    net = expansions.fitted(7)
    some = net.images[:1]
    step = torch.zeros_like(net.images)
    step[:, 20] = 1.0
    shift = 1e-4
    bent = (
        net.loss(net.images + shift * step) - 2 * net.loss(net.images) + net.loss(net.images - shift * step)
    ) / shift**2
    assert torch.allclose(net.curvature(step), bent, atol=1e-5)
    slope = (net.loss(net.images + shift * step) - net.loss(net.images - shift * step)) / (2 * shift)
    assert torch.allclose(net.gradient()[:, 20], slope, atol=1e-7) and some.shape == (1, 64)
    radii, sigmas = [0.01, 0.005, 0.0025, 0.00125], [0.04, 0.02, 0.01, 0.005]
    first = expansions.order(expansions.adversarial_remainders(net, radii), "radius", 1)
    assert expansions.off_by(first, 2.0) <= 1 and float(first.limit) == pytest.approx(2, abs=0.01)
    second = expansions.order(expansions.gaussian_remainders(net, sigmas, 7), "sigma", 2)
    assert expansions.off_by(second, 4.0) <= 1 and float(second.limit) == pytest.approx(4, abs=0.02)
    blind = expansions.order(expansions.adversarial_remainders(net, radii, "random"), "radius", 1)
    assert not expansions.off_by(blind, 2.0) <= 1 and float(blind.limit) == pytest.approx(1, abs=0.01)
    kinked = expansions.gaussian_remainders(expansions.fitted(7, "relu"), sigmas, 7)
    assert not expansions.off_by(expansions.order(kinked, "sigma", 2), 4.0) <= 1


def test_a_remainder_below_its_rounding_says_nothing():
    net = expansions.fitted(7)
    found = expansions.order(expansions.adversarial_remainders(net, [1e-6, 5e-7, 2.5e-7, 1.25e-7]), "radius", 1)
    assert not found.resolved and math.isnan(expansions.off_by(found, 2.0))


def test_feature_distance_is_between_unit_vectors():
    a, b = wb.draws.normal(0, (1, 5, 3)), wb.draws.normal(1, (1, 5, 3))
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)
    assert torch.allclose(distances.feature_distance([a], [3 * b]), 2 - 2 * cosine)
    assert torch.allclose(distances.feature_distance([a, b], [2 * a, b]), torch.zeros(1, 5, dtype=a.dtype), atol=1e-14)


def test_distances_and_correlations_on_digits():
    setting = digits.Setting(n_train=200, n_test=60, hidden=(12,), epochs=2, batch_size=50)
    seeds = range(3)
    standard, data = digits.train(digits.Rule(), seeds, setting), digits.split(seeds, setting)
    found = distances.on_digits(standard, data, ["fog", "contrast"], [1, 3, 5])
    clean = digits.digits()[0][data.test_rows]
    fog = digits.corrupted("fog", 3)[data.test_rows].float() / 255
    assert np.allclose(found.l2.sel(corruption="fog", severity=3), (fog - clean).norm(dim=-1).mean(-1))
    frozen = standard.network.hidden(
        standard.parameters, clean[[2, 2, 2]][:1].expand(3, -1, -1), statistics=standard.statistics
    )
    assert frozen[0].shape == (3, 60, 12)
    z = distances.correlations(found, 2 * found.l2 + 1)
    assert (z.l2 > 10).all()
    one, two = (
        np.arctanh(np.corrcoef(found.unit_norm.sel(corruption=name)[0], found.l2.sel(corruption=name)[0])[0, 1])
        for name in ("fog", "contrast")
    )
    assert z.unit_norm[0].values.tolist() == pytest.approx([one, two])
    assert (distances.lead(z, "pixels", "unit_norm") == 0).all()
    assert distances.lead(z, "untrained", "l2").equals(z.untrained - z.l2)
    with pytest.raises(ValueError, match="features must be"):
        distances.lead(z, "lpips", "l2")  # type: ignore[arg-type]


def test_photograph_patches_do_not_overlap():
    patches = distances.photograph_patches()
    assert patches.shape == (520, 3, 32, 32) and patches.min() >= 0 and patches.max() <= 1
    from sklearn.datasets import load_sample_images

    first = np.array(load_sample_images().images[0])[32:64, 64:96]
    assert np.allclose(patches[22].permute(1, 2, 0), first / 255)
    fall = distances.severity_distances("elastic_transform", [0], [1, 5], patches[::8])
    assert fall[0, 1] < fall[0, 0]


@pytest.fixture(scope="module")
def card():
    return wb.card("adversarial-training-corruptions")


def test_the_table_gives_the_printed_averages(card):
    table = card.published("published").set_index("corruption")
    averages = [74.65, 80.46, 85.04, 78.35, 80.55, 82.67, 83.40, 84.10, 85.33, 87.84, 86.60, 88.53]
    assert len(table) == 15 and table.mean().tolist() == pytest.approx(averages, abs=0.006)
    rest = [80.10, 79.42, 83.86, 80.53, 81.08, 83.03, 83.84, 84.00, 86.68, 88.23, 88.14, 89.14]
    assert published.without_noise(card.published("published")).tolist() == pytest.approx(rest, abs=0.006)


def test_groupings_of_the_published_numbers(card):
    table, bars = card.published("published"), card.published("figure2")
    assert abs(published.deviation_from_bars(table, bars, "paper")).max().max() == pytest.approx(0.063, abs=1e-3)
    assert abs(published.deviation_from_bars(table, bars, "customary")).max().max() > 2.9
    weather = published.group_means(table, "customary").loc["weather"]
    assert weather[["l2_0.1", "standard"]].tolist() == pytest.approx([85.74, 86.295], abs=0.006)
    gain = published.gain(table)
    assert (gain > 0).sum() == 12 and gain["contrast"] == pytest.approx(-12.95)
    assert published.rlat_gains(card.published("rlat_pairs")).min() == pytest.approx(0.6)
    tiny = pd.DataFrame({"corruption": ["fog", "gaussian_noise"], "a": [1.0, 5.0]})
    assert published.without_noise(tiny).item() == 1 and published.without_noise(tiny, noise=True).item() == 3
