"""Sharpness measures: closed forms on quadratics, independent maximisation, and what each is invariant to."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from workbench.curvature import (
    average_case,
    empirical_loss,
    flatness,
    m_sharpness,
    per_sample_gradient_norms,
    quadratic_worst_case,
    rescaled,
    sharpness,
    sharpness_with_residual,
    spectrum,
    trace,
    worst_case,
)

DOUBLE = torch.float64
MEASURES = {
    "sharpness": lambda loss, w, **k: sharpness(loss, w, **k),
    "worst case": lambda loss, w, **k: worst_case(loss, w, 0.2, steps=150, step_fraction=0.05, restarts=3, **k),
    "quadratic worst case": lambda loss, w, **k: quadratic_worst_case(loss, w, 0.2, **k),
}


def rotation(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=DOUBLE))[0]


def quadratic(eigenvalues, seed=0):
    values = torch.as_tensor(eigenvalues, dtype=DOUBLE)
    basis = rotation(len(values), seed)
    matrix = (basis * values) @ basis.mT
    return lambda w: 0.5 * w @ matrix @ w


def relu_net(w, x):
    """Two layers of 3 ReLU units on 2 inputs; rescaling unit by unit leaves it as it is."""
    return torch.relu(x @ w["in"]) @ w["out"]


def relu_problem():
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(12, 2, generator=generator, dtype=DOUBLE), torch.randn(12, generator=generator, dtype=DOUBLE)
    w = {
        "in": torch.randn(2, 3, generator=generator, dtype=DOUBLE),
        "out": torch.rand(3, generator=generator, dtype=DOUBLE),
    }
    return (lambda p: (relu_net(p, x) - y).square().mean()), w


# Top eigenvalue


@pytest.mark.parametrize("size", [5, 120, 121, 400])
def test_top_eigenvalue_small_and_large(size):
    values = torch.cat([torch.linspace(-3, 1, size - 1, dtype=DOUBLE), torch.tensor([2.0], dtype=DOUBLE)])
    found, residual = sharpness_with_residual(quadratic(values), torch.zeros(size, dtype=DOUBLE))
    torch.testing.assert_close(found, torch.tensor(2.0, dtype=DOUBLE), rtol=1e-9, atol=0)
    assert abs(found - 2) <= residual + 1e-12 and residual < 1e-5


@pytest.mark.parametrize("values", [[-1.0] * 300, [-2.0] * 299 + [-1.0], [0.0] * 300, [0.0] * 299 + [3.0]])
def test_top_eigenvalue_of_exhausted_krylov_spaces(values):
    found = sharpness(quadratic(values), torch.zeros(300, dtype=DOUBLE))
    assert float(found) == pytest.approx(max(values), abs=1e-10)


def test_residual_bounds_the_error_in_a_dense_bulk():
    loss = quadratic(torch.linspace(0, 1, 800, dtype=DOUBLE))
    found, residual = sharpness_with_residual(loss, torch.zeros(800, dtype=DOUBLE))
    assert 0 < 1 - found < 0.01
    assert residual > 1e-4


def test_sweep_over_runs_with_a_diverged_one():
    loss = quadratic(torch.linspace(-1, 2, 150, dtype=DOUBLE))
    quartic = lambda w: loss(w) + 0.1 * (w**4).sum()  # noqa: E731
    points = torch.stack(
        [torch.zeros(150, dtype=DOUBLE), torch.ones(150, dtype=DOUBLE), torch.full((150,), math.inf, dtype=DOUBLE)]
    )
    together = torch.func.vmap(lambda w: sharpness(quartic, w))(points)
    for index in range(2):
        torch.testing.assert_close(together[index], sharpness(quartic, points[index]))
        assert abs(together[index] - spectrum(quartic, points[index])[-1]) < 1e-3
    assert together[2].isnan()
    small = torch.func.vmap(lambda w: sharpness(lambda v: (v**4).sum(), w))(points[:, :3])
    assert small[1] == 12 and small[2].isnan()


# Worst case


def test_quadratic_model_against_its_closed_forms():
    loss = quadratic([3.0, 1.0, -2.0])
    origin = torch.zeros(3, dtype=DOUBLE)
    torch.testing.assert_close(quadratic_worst_case(loss, origin, 0.5), torch.tensor(0.5 * 3 * 0.25, dtype=DOUBLE))
    linear = torch.tensor([3.0, 4.0, 0.0], dtype=DOUBLE)
    torch.testing.assert_close(quadratic_worst_case(lambda w: w @ linear, origin, 0.5), torch.tensor(2.5, dtype=DOUBLE))
    hill = lambda w: linear @ w - 5 * w @ w  # noqa: E731  # inner maximum |g|^2 / 20 at distance 1/2
    torch.testing.assert_close(quadratic_worst_case(hill, origin, 1.0), torch.tensor(1.25, dtype=DOUBLE))
    assert quadratic_worst_case(hill, origin, 0.0) == 0
    assert not quadratic_worst_case(lambda w: 0 * w.sum(), origin, 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_quadratic_model_against_a_fine_search(seed):
    loss = quadratic([2.0, -1.0], seed)
    w = torch.randn(2, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    angles = torch.linspace(0, 2 * math.pi, 20001, dtype=DOUBLE)
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    best = torch.func.vmap(lambda d: loss(w + 0.7 * d) - loss(w))(circle).max()
    torch.testing.assert_close(quadratic_worst_case(loss, w, 0.7), best, rtol=1e-6, atol=0)
    torch.testing.assert_close(worst_case(loss, w, 0.7, steps=60), best, rtol=1e-3, atol=0)


def test_hard_case_of_the_trust_region():
    # The gradient is orthogonal to the top eigenvector: multiplier 3, rest of the radius along the eigenvector.
    loss = lambda w: 1.5 * w[0] ** 2 + 0.5 * w[1] ** 2 + w[1]  # noqa: E731
    expected = 0.5 * (1.0 / (3 - 1) + 3 * 1.0)
    found = quadratic_worst_case(loss, torch.zeros(2, dtype=DOUBLE), 1.0)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_ascent_leaves_an_exact_minimum_and_never_beats_the_maximum():
    loss = quadratic([4.0, 1.0, 1.0, 0.5])
    origin = torch.zeros(4, dtype=DOUBLE)
    found = worst_case(loss, origin, 0.3, steps=60)
    assert 0.99 * 0.18 < found <= 0.18 + 1e-12
    assert worst_case(loss, origin, 0.0) == 0
    assert worst_case(lambda w: -(w @ w), origin, 0.3) == 0


def test_more_restarts_never_find_less():
    loss = lambda w: (3 * w).sin().prod() + w.sum() * 0.01  # noqa: E731
    w = torch.tensor([0.1, 0.3, -0.2], dtype=DOUBLE)
    values = [worst_case(loss, w, 1.5, restarts=r) for r in (1, 4, 16)]
    assert values[0] <= values[1] + 1e-12 and values[1] <= values[2] + 1e-12


# m-sharpness


def sample_quadratic(w, a, b):
    return 0.5 * a * ((w - b) ** 2).sum()


def test_m_sharpness_of_isotropic_bowls_in_closed_form():
    # Group loss a/2 |w - b|^2 averages to a bowl: max over the ball is (c rho^2 / 2 + |g| rho).
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.rand(12, generator=generator, dtype=DOUBLE) + 0.5,
        torch.randn(12, 3, generator=generator, dtype=DOUBLE),
    )
    w, rho = torch.randn(3, generator=generator, dtype=DOUBLE), 0.3
    for m in (1, 2, 3, 4, 6, 12):
        curvature = a.reshape(-1, m).mean(1)
        slope = (a[:, None] * (w - b)).reshape(-1, m, 3).mean(1).norm(dim=1)
        expected = (0.5 * curvature * rho**2 + slope * rho).mean()
        torch.testing.assert_close(m_sharpness(sample_quadratic, w, a, b, m=m, rho=rho), expected, rtol=1e-8, atol=0)


def test_smaller_groups_are_sharper_and_chunks_do_not_matter():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    inputs, targets = torch.randn(24, 5, dtype=DOUBLE), torch.randint(3, (24,))
    loss = empirical_loss(model, cross_entropy, inputs, targets)
    p = loss.parameters()
    values = [m_sharpness(loss, p, m=m, rho=0.1) for m in (1, 2, 6, 24)]
    assert values[0] > values[1] > values[2] > values[3] > 0
    torch.testing.assert_close(values[3], worst_case(loss, p, 0.1, restarts=1), rtol=1e-9, atol=0)
    torch.testing.assert_close(m_sharpness(loss, p, m=2, rho=0.1, chunk=5), values[1])
    # To first order it is rho times the mean gradient norm.
    small = m_sharpness(loss, p, m=1, rho=1e-5) / 1e-5
    torch.testing.assert_close(small, per_sample_gradient_norms(loss, p).mean(), rtol=1e-3, atol=0)


def test_m_sharpness_at_an_exact_minimum_of_every_sample():
    a, b = torch.tensor([1.0, 3.0], dtype=DOUBLE), torch.zeros(2, 3, dtype=DOUBLE)
    found = m_sharpness(sample_quadratic, torch.zeros(3, dtype=DOUBLE), a, b, m=1, rho=0.2)
    assert float(found) == pytest.approx(0.5 * 2.0 * 0.04, rel=1e-9)


def test_m_sharpness_under_vmap_over_radius_and_runs():
    a, b = torch.ones(4, dtype=DOUBLE), torch.arange(12, dtype=DOUBLE).reshape(4, 3)
    rho, w = torch.tensor([0.0, 0.1, 0.2], dtype=DOUBLE), torch.randn(3, 3, dtype=DOUBLE)
    together = torch.func.vmap(lambda r, p: m_sharpness(sample_quadratic, p, a, b, m=2, rho=r))(rho, w)
    assert together[0] == 0
    alone = m_sharpness(sample_quadratic, w[2], a, b, m=2, rho=0.2)
    torch.testing.assert_close(together[2], alone)


# Average case


def test_average_case_of_a_quadratic_is_its_mean_curvature():
    values = torch.linspace(-1, 3, 40, dtype=DOUBLE)
    loss = quadratic(values)
    w = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    mean, error, _ = average_case(loss, w, 0.5, directions=400)
    assert abs(mean - 0.5 * 0.25 * values.mean()) <= 3 * error and error > 0


def test_flatness_standard_errors_cover_and_radii_share_directions():
    values = torch.linspace(0, 3, 30, dtype=DOUBLE) ** 2
    loss, w = quadratic(values), torch.ones(30, dtype=DOUBLE)
    radii = torch.tensor([0.0, 0.5, 1.0], dtype=DOUBLE)
    profiles = torch.func.vmap(lambda seed: flatness(loss, w, radii, directions=20, seed=seed))(torch.arange(200))
    truth = 0.5 * values.mean() * radii**2
    assert not profiles.value[:, 0].any()
    covered = (profiles.value - truth).abs()[:, 1:] <= 2.1 * profiles.standard_error[:, 1:]
    assert 0.9 <= covered.double().mean() <= 0.99
    torch.testing.assert_close(profiles.value[:, 2], 4 * profiles.value[:, 1])


# Rulers and invariances


@pytest.mark.parametrize("name", MEASURES)
def test_absolute_measures_do_not_see_rotations_or_constants(name):
    base = quadratic([3.0, 1.0, -2.0, 0.5])
    loss = lambda w: base(w) + 0.1 * (w @ w) ** 2  # noqa: E731
    turn, w = rotation(4, 5), torch.tensor([0.5, -1.0, 0.3, 0.2], dtype=DOUBLE)
    measure = MEASURES[name]
    turned = measure(lambda v: loss(turn @ v) + 7.0, turn.mT @ w)
    torch.testing.assert_close(turned, measure(loss, w), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", MEASURES)
def test_relative_measures_do_not_see_the_scale_of_scale_invariant_losses(name):
    direction = torch.tensor([1.0, 2.0, -1.0], dtype=DOUBLE)
    loss = lambda w: (w @ direction / w.norm()) ** 2 + (w[0] / w.norm()) ** 3  # noqa: E731
    w, measure = torch.tensor([0.5, 1.0, 2.0], dtype=DOUBLE), MEASURES[name]
    torch.testing.assert_close(
        measure(loss, 3 * w, scaling="relative"), measure(loss, w, scaling="relative"), rtol=1e-5, atol=0
    )
    assert abs(measure(loss, 3 * w) / measure(loss, w) - 1) > 0.3


@pytest.mark.parametrize("name", MEASURES)
def test_elementwise_measures_do_not_see_rescaled_relu_units(name):
    loss, w = relu_problem()
    factors = torch.tensor([0.2, 1.0, 6.0], dtype=DOUBLE)
    equal = {"in": w["in"] * factors, "out": w["out"] / factors}
    measure = MEASURES[name]
    torch.testing.assert_close(loss(equal), loss(w))
    torch.testing.assert_close(
        measure(loss, equal, scaling="elementwise"), measure(loss, w, scaling="elementwise"), rtol=1e-5, atol=0
    )
    assert abs(measure(loss, equal) / measure(loss, w) - 1) > 0.1


def test_scaled_trace_and_eigenvalue_are_those_of_the_scaled_hessian():
    loss, w = relu_problem()
    flat = torch.cat([entry.flatten() for entry in w.values()])
    matrix = torch.func.hessian(lambda v: loss({"in": v[:6].reshape(2, 3), "out": v[6:]}))(flat)
    scaled = flat.abs()[:, None] * matrix * flat.abs()
    torch.testing.assert_close(trace(*rescaled(loss, w, "elementwise")).value, scaled.trace())
    torch.testing.assert_close(sharpness(loss, w, scaling="elementwise"), torch.linalg.eigvalsh(scaled)[-1])
    relative = sharpness(loss, w, scaling="relative")
    torch.testing.assert_close(relative, flat.square().sum() * torch.linalg.eigvalsh(matrix)[-1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, w: worst_case(f, w, -1.0), "rho=-1.0"),
        (lambda f, w: worst_case(f, w, 1.0, steps=0), "steps=0"),
        (lambda f, w: worst_case(f, w, 1.0, restarts=0), "restarts=0"),
        (lambda f, w: worst_case(f, w, 1.0, step_fraction=0.0), "step_fraction=0.0"),
        (lambda f, w: quadratic_worst_case(f, w, math.inf), "rho=inf"),
        (lambda f, w: sharpness(f, w, scaling="layerwise"), "scaling='layerwise'"),
        (lambda f, w: flatness(f, w, [-0.1]), "every radius"),
        (lambda f, w: flatness(f, w, [0.1], directions=1), "directions=1"),
        (lambda f, w: m_sharpness(f, w, torch.ones(10), m=3, rho=0.1), "m=3 must .* n=10"),
        (lambda f, w: m_sharpness(f, w, torch.ones(10), m=2, rho=0.1, chunk=0), "chunk=0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(lambda w, *data: (w**2).sum(), torch.ones(3))
