"""Every problem's gradient, Hessian and constants against automatic differentiation and sampling."""

import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.papers.eigenvalue_filtering.critical_point import critical_point
from workbench.papers.understanding_sam.noisy_sines import noisy_sines
from workbench.papers.understanding_sam.relu_regression import relu_regression
from workbench.problems import (
    ScalarFactorisation,
    TwoBasins,
    circle,
    classifier,
    diagonal_network,
    quadratic,
    sparse_regression,
)

PROBLEMS = {
    "quadratic": lambda: quadratic([-1.0, 0.5, 2.0], rotation=3, minimiser=torch.ones(3, dtype=torch.float64)),
    "scalar factorisation": ScalarFactorisation,
    "two basins": lambda: TwoBasins(k=0.7, w=2.5),
    "critical point": critical_point,
    "squares": lambda: diagonal_network(sparse_regression(1), 0.1),
    "product": lambda: diagonal_network(sparse_regression(1), 0.1, "product"),
    "relu": lambda: relu_regression(width=7),
    "sines": lambda: noisy_sines(n=6, d=3),
    "circle": lambda: circle(4),
}


def _point(problem, seed):
    start = problem.initial(seed)
    if isinstance(start, dict):
        return start
    return start + 0.3 * draws.normal(seed, tuple(start.shape), stream="test")


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradient_is_the_derivative_of_the_loss(name):
    problem = PROBLEMS[name]()
    for seed in range(3):
        point = _point(problem, seed)
        torch.testing.assert_close(
            problem.gradient(point), torch.func.grad(problem.loss)(point), rtol=1e-11, atol=1e-12
        )


@pytest.mark.parametrize("name", [name for name in PROBLEMS if PROBLEMS[name]().data])
@pytest.mark.parametrize("members", [[2], [0, 3, 4]])
def test_minibatch_gradient_is_the_mean_of_sample_gradients(name, members):
    problem = PROBLEMS[name]()
    point, batch = _point(problem, 0), tuple(tensor[members] for tensor in problem.data)
    found = problem.gradient(point, batch)
    each = [torch.func.grad(problem.sample_loss)(point, *(tensor[i] for tensor in problem.data)) for i in members]
    expected = (
        {k: torch.stack([g[k] for g in each]).mean(0) for k in point}
        if isinstance(point, dict)
        else sum(each) / len(each)
    )
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in PROBLEMS if PROBLEMS[name]().data])
def test_loss_is_the_mean_of_sample_losses(name):
    problem = PROBLEMS[name]()
    point = _point(problem, 1)
    each = [problem.sample_loss(point, *(tensor[i] for tensor in problem.data)) for i in range(problem.n_samples)]
    torch.testing.assert_close(problem.loss(point), torch.stack(each).mean())


@pytest.mark.parametrize("name", [name for name in PROBLEMS if hasattr(PROBLEMS[name](), "hessian")])
def test_hessian_is_the_second_derivative(name):
    problem = PROBLEMS[name]()
    point = _point(problem, 2)
    torch.testing.assert_close(problem.hessian(point), torch.func.hessian(problem.loss)(point), rtol=1e-11, atol=1e-12)


def test_quadratic_has_the_given_spectrum_and_extremal_constants():
    spectrum = torch.tensor([-2.0, 0.0, 0.5, 3.0], dtype=torch.float64)
    problem = quadratic(spectrum, rotation=5)
    torch.testing.assert_close(torch.linalg.eigvalsh(problem.matrix), spectrum, rtol=0, atol=1e-14)
    assert (problem.smoothness, problem.strong_convexity) == (3.0, -2.0)
    basis = problem.eigenvectors
    torch.testing.assert_close(basis.mT @ basis, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-14)
    torch.testing.assert_close(problem.matrix @ basis, basis * spectrum, rtol=0, atol=1e-14)


def test_random_rotations_have_no_preferred_direction():
    found = wb.sweep(lambda seed: {"q": wb.problems.random_rotation(seed, 3)}, seed=range(4000)).q.values
    # Entries of a uniform rotation have mean 0 and variance 1/3; 6 standard errors.
    assert abs(found.mean(0)).max() < 6 * (1 / 3 / 4000) ** 0.5
    assert abs((found**2).mean(0) - 1 / 3).max() < 6 * (4 / 45 / 4000) ** 0.5


def test_gradient_descent_on_a_quadratic_follows_the_eigenvalues():
    problem = quadratic([0.3, 1.0, 1.7], rotation=1, minimiser=torch.tensor([1.0, 2.0, 3.0]))
    start = problem.initial(4)
    end = wb.run(problem, wb.optimizers.gradient_descent(0.9), start=start, steps=13).parameters
    modes = problem.eigenvectors.mT @ (start - problem.minimiser)
    expected = problem.minimiser + problem.eigenvectors @ ((1 - 0.9 * problem.spectrum) ** 13 * modes)
    torch.testing.assert_close(end, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rho", [0.0, 0.2, 1.5])
def test_usam_diverges_on_a_quadratic_beyond_its_largest_admissible_eigenvalue(rho):
    edge = wb.optimizers.max_sharpness(wb.optimizers.usam(0.4, rho))

    def grown(factor):
        problem = quadratic(torch.stack([0.1 * edge * factor, edge * factor]), rotation=0)
        end = wb.run(
            problem, wb.optimizers.usam(0.4, rho), start=torch.ones(2, dtype=torch.float64), steps=3000
        ).parameters
        return {"loss": problem.loss(end)}

    result = wb.sweep(grown, factor=[0.99, 1.01])
    assert result.loss[0] < 1e-12
    assert bool(result.diverged[1]) or result.loss[1] > 1e3


def test_normalised_sam_settles_on_its_two_cycle():
    step_size, curvature, rho = 0.1, 1.7, 0.2
    run = wb.run(quadratic([curvature]), wb.optimizers.sam(step_size, rho), seed=0, steps=400)
    amplitude = step_size * curvature * rho / (2 - step_size * curvature)
    assert abs(run.parameters.abs().item() - amplitude) < 1e-14
    assert abs(amplitude - 0.0185792349727) < 1e-13


def test_two_basins_minimisers_and_curvatures():
    problem = TwoBasins(k=0.5, w=2.0)
    for place, curvature in zip(problem.minimisers, problem.curvatures, strict=True):
        point = torch.tensor(place, dtype=torch.float64)
        assert problem.gradient(point) == 0
        assert problem.hessian(point) == curvature
    assert problem.curvatures == (1.5, 3.0)


def test_two_basins_preimages_reach_the_minimum_in_one_step():
    problem, step_size = TwoBasins(), 0.8
    preimages = problem.preimages(step_size)
    assert preimages == pytest.approx((2.1583123952, -1.1583123951), abs=1e-9)
    for start in preimages:
        point = torch.tensor(start, dtype=torch.float64)
        assert abs((point - step_size * problem.gradient(point)).item() + 2.0) < 1e-14


def test_scalar_factorisation_minima_and_saddle():
    problem = ScalarFactorisation()
    for u in (0.3, 1.0, 2.0):
        point = torch.tensor([u, 1 / u], dtype=torch.float64)
        assert problem.loss(point) < 1e-30
        assert problem.sharpness(point).item() == pytest.approx(u * u + 1 / u**2, rel=1e-14)
    assert torch.linalg.eigvalsh(problem.hessian(problem.saddle)).tolist() == pytest.approx([-1, 1])


def test_critical_point_has_the_given_hessian_and_no_gradient():
    problem = critical_point([-3.0, -0.7, 0.0, 0.4, 1.3, 2.9], seed=2)
    assert problem.gradient(problem.point).abs().max() == 0
    found = torch.linalg.eigvalsh(torch.func.hessian(problem.loss)(problem.point))
    torch.testing.assert_close(found, problem.spectrum, rtol=0, atol=1e-14)


def test_noisy_sines_satisfies_its_constants():
    problem = noisy_sines(seed=3)
    assert problem.noise.mean(0).abs().max() < 1e-16
    assert problem.noise_variance.item() == pytest.approx(1.0, abs=1e-14)
    points = torch.linspace(-8, 8, 400_001, dtype=torch.float64)
    curvature = torch.diagonal(problem.hessian(points[::100]))
    assert curvature.max() <= problem.smoothness and curvature.max() > 2.999
    assert curvature.min() >= problem.smallest_curvature and curvature.min() < -0.999
    value, slope = points**2 / 2 + torch.sin(points) ** 2, points + torch.sin(2 * points)
    ratio = (0.5 * slope**2 / value)[points.abs() > 1e-3]
    assert ratio.min().item() == pytest.approx(problem.pl_constant, rel=1e-8)
    assert ratio.min() >= problem.pl_constant * (1 - 1e-14)


def test_noisy_sines_gradient_noise_is_the_same_everywhere():
    problem = noisy_sines(n=10, d=4, variance=2.5)
    for seed in range(2):
        point = problem.initial(seed)
        each = torch.stack([problem.gradient(point, (row[None],)) for row in problem.noise])
        torch.testing.assert_close(each.mean(0), problem.gradient(point))
        assert ((each - problem.gradient(point)) ** 2).sum(1).mean().item() == pytest.approx(2.5)


def test_relu_fit_bounds():
    problem = relu_regression()
    assert problem.interpolant_slope_tv.item() == pytest.approx(70.0)
    straight = torch.tensor([[2.0], [9.0], [0.5]], dtype=torch.float64)
    assert problem.slope_tv(straight).item() == pytest.approx(0.0, abs=1e-9)
    # One unit with its kink at 0: the slope jumps from 0 to a w.
    kinked = torch.tensor([[2.0], [0.0], [-0.5]], dtype=torch.float64)
    assert problem.slope_tv(kinked).item() == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: quadratic([]), "spectrum"),
        (lambda: quadratic([1.0, float("nan")]), "spectrum must be finite"),
        (lambda: quadratic([1.0], minimiser=torch.zeros(2)), "minimiser must have 1"),
        (lambda: TwoBasins(k=-1.0), "k must be a finite number > 0, got -1.0"),
        (lambda: TwoBasins(low=1.0, high=0.0), "low must be below high"),
        (lambda: ScalarFactorisation(0.0), "spread"),
        (lambda: sparse_regression(0, n=30, d=30), "below d = 30: over-parametrised"),
        (lambda: sparse_regression(0, k=31), "k must be an int in 1..30, got 31"),
        (lambda: sparse_regression(0, n_test=5), "n_test"),
        (lambda: diagonal_network(sparse_regression(0), -0.1), "alpha must be a finite number > 0"),
        (lambda: diagonal_network(sparse_regression(0), torch.ones(3)), "one per feature"),
        (lambda: diagonal_network(sparse_regression(0), 0.1, "uv"), "squares, product"),
        (lambda: noisy_sines(n=1), "n must be an int >= 2"),
        (lambda: relu_regression(width=0), "width"),
        (lambda: classifier((torch.zeros(3, 2), torch.zeros(3)), hidden=[0]), "hidden"),
    ],
)
def test_values_out_of_range_are_refused_with_name_and_range(build, words):
    with pytest.raises(ValueError, match=words):
        build()
