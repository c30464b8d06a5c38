"""Stationary variances against exact recursions, chains against them; thresholds and basins against brute force."""

import math

import numpy as np
import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.dynamics.sources import AdditiveNoise
from workbench.papers.sde_for_sam import saddles, stationary
from workbench.papers.sde_for_sam.equations import algorithm
from workbench.papers.sde_for_sam.projected_normal import kappa
from workbench.problems.linear import designs


@pytest.mark.parametrize(("kind", "rho"), [("sgd", 0.0), ("usam", 0.7)])
def test_variances_of_linear_methods_are_those_of_the_exact_moments(kind, rho):
    law = designs.AdditiveNoise(np.array([1.7]), 0.3**2)
    risk = wb.second_moments(algorithm(kind, 0.1, rho), law).stationary_risk()
    variance = stationary.discrete_variance(kind, 1.7, rho, 0.3, 0.1)
    assert 0.5 * 1.7 * variance == pytest.approx(risk, rel=1e-12)
    # As eta falls the ratio to SGD's tends to the SDE's factor 1 + rho l.
    small = 1e-7
    ratio = stationary.discrete_variance(kind, 1.7, rho, 0.3, small) / stationary.discrete_variance(
        "sgd", 1.7, 0, 0.3, small
    )
    assert ratio == pytest.approx(1 + rho * 1.7, rel=1e-5)
    sde = stationary.sde_variance(kind, 1.7, rho, 0.3, small)
    assert stationary.discrete_variance(kind, 1.7, rho, 0.3, small) == pytest.approx(sde, rel=1e-5)
    wrong = stationary.sde_variance(kind, 1.7, rho, 0.3, small, correct_noise=False)
    assert sde / wrong == pytest.approx((1 + rho * 1.7) ** 2)


def test_sam_near_its_minimum_is_usam_with_another_radius():
    for d in (1, 5):
        radius = stationary.effective_radius("sam", 0.2, 0.5, d)
        assert radius == pytest.approx(kappa(d) * 0.4)
        assert stationary.sde_variance("sam", 2.0, 0.2, 0.5, 0.01, d) == pytest.approx(
            stationary.sde_variance("usam", 2.0, radius, 0.5, 0.01)
        )
    # The second-order term of SAM's noise differs: rho^2 l^2/d against (kappa rho l)^2.
    sam = stationary.discrete_variance("sam", 2.0, 0.2, 0.5, 0.01, 5)
    usam = stationary.discrete_variance("usam", 2.0, radius, 0.5, 0.01)
    assert sam > usam and sam == pytest.approx(usam, rel=0.01)


def test_sams_noise_at_the_stationary_point_by_sampling():
    """Var of Z + rho l Z/|Z|, rho l = 1.5, over 400,000 draws, within four standard errors."""
    slope, sigma, d = 1.5, 0.4, 3
    z = sigma * draws.normal(0, (400_000, d), stream="z").numpy()
    moved = (z + slope * z / np.linalg.norm(z, axis=1, keepdims=True))[:, 0] ** 2
    exact = sigma**2 + 2 * slope * sigma * kappa(d) + slope**2 / d
    assert abs(moved.mean() - exact) < 4 * moved.std() / 400_000**0.5


def test_chains_have_the_variances():
    for kind, slack in (("usam", 0.05), ("sam", 0.08)):
        found = stationary.chain_variances(kind, range(60), [1, 4], steps=1500)
        exact = np.array([stationary.discrete_variance(kind, 3.0, 0.5, 0.5, 0.01, d) for d in (1, 4)])
        ratio = found / exact[:, None]
        error = 4 * ratio.std("seed") / 60**0.5
        assert (abs(ratio.mean("seed") - 1) < error + slack).all()
    assert (stationary.chain_variances("sgd", range(30), [1], steps=900) < 0.6 * exact[0]).mean() > 0.9


def test_usams_threshold_is_that_of_the_runs_and_the_odes_alone_is_not():
    found = saddles.usam_map(np.linspace(-3, -0.2, 15), np.linspace(0.05, 6, 40))
    assert saddles.mismatches(found) == 0 < saddles.mismatches(found, "ode")
    assert saddles.mismatches(saddles.usam_map([-1.0], [0.5, 2.0], kind="sgd")) == 1


@pytest.mark.parametrize("spectrum", saddles.SPECTRA)
def test_sam_falls_into_the_saddle_from_within_the_ball_and_nothing_else_does(spectrum):
    assert float(saddles.basin_runs(spectrum, range(20), eta=0.02, steps=1500).max(skipna=False)) <= 1
    for kind in ("usam", "sgd"):
        assert float(saddles.basin_runs(spectrum, range(5), eta=0.02, steps=1500, kind=kind).max(skipna=False)) > 1
    # Outside the ball, along the weakest falling direction, SAM escapes.
    radius = saddles.basin_radius(spectrum, 0.5)
    weakest = max(value for value in spectrum if value < 0)
    problem = wb.problems.quadratic(spectrum)
    start = torch.tensor(
        [1.02 * radius / value if value == weakest else 0.0 for value in spectrum], dtype=torch.float64
    )
    escape = wb.run(problem, algorithm("sam", 0.02, 0.5), steps=1500, start=start, blowup=2.0, progress=False)
    assert escape.diverged


def test_the_basin_map_is_the_runs():
    found = saddles.basin_map((1.0, -0.5), 0.5, 0.05, reach=1.4, cells=5, steps=50)
    problem, rule = wb.problems.quadratic([1.0, -0.5]), algorithm("sam", 0.05, 0.5)
    for x1, x2 in ((-1.4, 0.7), (0.7, 1.4)):
        start = torch.tensor([x1, x2], dtype=torch.float64)
        end = wb.run(problem, rule, steps=50, start=start, progress=False).parameters
        ratio = problem.gradient(end).norm() / problem.gradient(start).norm()
        assert found.sel(x1=x1, x2=x2, method="nearest").item() == pytest.approx(float(ratio), rel=1e-9)


def test_noise_frees_sam_below_its_threshold_and_never_usam():
    d, steps = 3, 2500
    share = saddles.escaped(d, [0.8, 1.25], range(40), steps=steps).mean("seed")
    assert share[0] > 0.5 > share[1]
    assert saddles.escaped(d, [1.25], range(20), steps=steps, kind="usam").mean() > 0.5
    assert saddles.escaped(d, [0.8], range(20), steps=steps, sigma_run=0.1).mean() < 0.5


def test_the_embedded_saddle_and_its_lowest_value():
    problem = saddles.embedded_saddle(3, q=0.8, xi=0.2)
    x = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    torch.testing.assert_close(problem.gradient(x), torch.func.grad(problem.loss)(x))
    line = torch.linspace(-4, 4, 200_001, dtype=torch.float64)
    scan = sum(float((0.5 * h * line**2 + 0.2 * line**4 - 0.2 / 3 * line**3).min()) for h in problem.h.tolist())
    assert problem.lowest() == pytest.approx(scan, rel=1e-8)
    found = saddles.embedded_losses({"SGD": ("sgd", 0.0), "SAM 0.5": ("sam", 0.5)}, range(10), steps=1500, every=500)
    ended = (found.isel(step=-1) > 0.5).mean("seed")
    assert ended.sel(arm="SGD") == 1 and ended.sel(arm="SAM 0.5") == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: stationary.discrete_variance("usam", 3, 0.5, 0.5, 0.5), "usam with eigenvalue 3.*eta a = 3.75 must be below 2"),
        (lambda: stationary.discrete_variance("usam", -3, 0.5, 0.5, 0.1), "eigenvalue must be a finite number > 0, got -3"),
        (lambda: stationary.effective_radius("sam", 0.5, 0.0, 2), "sigma must be a finite number > 0, got 0"),
        (lambda: stationary.effective_radius("adam", 0.5, 0.1, 2), "kind must be one of sgd, usam, sam, got 'adam'"),
        (lambda: stationary.saddle_threshold(1.0, 0.1, 2), "eigenvalue must be negative.*got 1.0"),
        (lambda: saddles.basin_radius([1.0, 2.0], 0.5), "none below 0: this is no saddle"),
        (lambda: saddles.embedded_saddle(0), "d must be an int >= 1, got 0"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_threshold_in_words_of_kappa():
    assert stationary.saddle_threshold(-2.0, 0.3, 2) == pytest.approx(0.3 / (2 * math.sqrt(math.pi / 8)))
    assert AdditiveNoise(0.1).sigma == 0.1
