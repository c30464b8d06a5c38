"""Formulas on data at the edge: one sample, one feature, dependent or constant columns, doubled rows, extreme scales."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.problems import LeastSquares, LogisticRegression, Scaled, classifier

D = torch.float64


@st.composite
def designs(draw):
    """Small inputs with whatever makes them rank-deficient or badly scaled, and numbers to fit."""
    n, d = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    inputs = torch.randn(n, d, dtype=D, generator=generator)
    for change in draw(st.sets(st.sampled_from(["constant", "zero", "dependent", "doubled", "scaled"]))):
        if change == "constant":
            inputs[:, 0] = 3.0
        if change == "zero":
            inputs[:, -1] = 0.0
        if change == "dependent":
            inputs[:, -1] = 2 * inputs[:, 0]
        if change == "doubled":
            inputs[-1] = inputs[0]
        if change == "scaled":
            inputs = inputs * 10.0 ** draw(st.integers(-8, 8))
    return inputs, torch.randn(n, dtype=D, generator=generator)


def nonzero(inputs):
    singular = np.linalg.svd(inputs.numpy(), compute_uv=False)
    return singular[singular > 1e-10 * singular[0]] if singular[0] > 0 else singular[:0]


@settings(max_examples=60, deadline=None)
@given(designs(), st.sampled_from([0.0, 1e-12, 0.1, 10.0]))
def test_least_squares_knows_its_minimum_and_its_pl_constant(design, l2):
    inputs, targets = design
    problem, (n, d) = LeastSquares(inputs, targets, l2), inputs.shape
    kept = nonzero(inputs)
    expected = min(kept**2) / n + l2 if len(kept) and (l2 == 0 or len(kept) == d) else l2 or math.inf
    assert float(problem.pl_constant) == pytest.approx(expected, rel=1e-6)
    size = max(float(inputs.abs().max()), 1e-300)
    assert float(problem.gradient(problem.minimiser).abs().max()) <= 1e-9 * size * (1 + float(targets.abs().max()))
    if not math.isinf(expected):
        for seed in range(5):
            # Along the data, where the inequality is about; of the scale at which the losses are numbers.
            step = problem.initial(seed) if l2 else inputs.mT @ wb.draws.normal(seed, (n,)) / size**2
            point = problem.minimiser + step
            gap = 0.5 * ((inputs @ step) ** 2).mean() + 0.5 * l2 * (step**2).sum()
            slope = problem.gradient(point) - problem.gradient(problem.minimiser)
            assert (slope**2).sum() >= 2 * expected * gap * (1 - 1e-6)


@settings(max_examples=60, deadline=None)
@given(designs(), st.sampled_from([1e-24, 1e-12, 1e-3, 1.0]))
def test_the_logistic_minimiser_is_the_minimum_also_of_separable_data(design, l2):
    inputs, numbers = design
    targets = torch.where(numbers >= 0, 1.0, -1.0).to(D)
    problem = LogisticRegression(inputs, targets, l2)
    try:
        point = problem.minimiser
    except ValueError as refusal:
        # Contradicting doubles beside separable rows: curvatures 24 orders of magnitude apart.
        assert l2 == 1e-24 and "regularise more" in str(refusal)
        return
    wrong = torch.sigmoid(-targets * (inputs @ point))
    pull = inputs.mT @ (targets * wrong) / len(inputs)
    # At the minimum both sides are equal; each is known to rounding of its largest term.
    terms = (inputs.abs().mT @ wrong).amax() / len(inputs)
    assert float((pull - l2 * point).abs().max()) <= 1e-8 * float(terms)


@pytest.mark.parametrize("l2", [1e-4, 1e-12, 1e-20, 1e-24, 1e-100])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_logistic_minimiser_of_separable_data_equals_bisection(l2, scale):
    distances = [1.0 * scale, 2.0 * scale, 1.0 * scale, 1.5 * scale]
    inputs = torch.tensor([[distances[0]], [distances[1]], [-distances[2]], [-distances[3]]], dtype=D)
    problem = LogisticRegression(inputs, torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=D), l2)
    low, high = 0.0, 1000.0 / scale
    for _ in range(200):
        middle = (low + high) / 2
        slope = sum(x * math.exp(-middle * x) / (1 + math.exp(-middle * x)) for x in distances) / 4 - l2 * middle
        low, high = (middle, high) if slope > 0 else (low, middle)
    assert problem.minimiser.item() == pytest.approx(low, rel=1e-9)


def test_a_symmetric_sample_has_its_minimum_at_zero():
    problem = LogisticRegression(torch.tensor([[1.0], [1.0]], dtype=D), torch.tensor([1.0, -1.0], dtype=D))
    assert problem.minimiser.abs().item() < 1e-15


def test_the_logistic_loss_is_right_at_large_margins():
    problem = LogisticRegression(torch.tensor([[1.0]], dtype=D), torch.tensor([-1.0], dtype=D), 1e-30)
    for margin in (-30.0, 19.0, 21.0, 30.0):
        expected = math.log1p(math.exp(-abs(margin))) + max(margin, 0.0)
        assert problem.loss(torch.tensor([margin], dtype=D)).item() == pytest.approx(expected, rel=1e-15)


def unchecked(inputs, targets):
    """The words that users read: in tests jaxtyping refuses wrong shapes first."""
    problem = object.__new__(LeastSquares)
    vars(problem).update(inputs=inputs, targets=targets, l2=0.0)
    problem.__post_init__()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: unchecked(torch.ones(3, 2), torch.ones(3, 1)), "targets .sample."),
        (lambda: unchecked(torch.ones(3), torch.ones(3)), "inputs must be .sample, feature."),
        (lambda: unchecked(torch.ones(0, 2), torch.ones(0)), "at least one of each"),
        (lambda: unchecked(torch.ones(3, 2, dtype=torch.int64), torch.ones(3)), "floating-point"),
        (lambda: unchecked(torch.ones(3, 2, dtype=D), torch.ones(3)), "one floating-point type"),
        (lambda: LogisticRegression(torch.ones(2, 2), torch.tensor([0.0, 1.0])), r"\+1 and -1"),
        (lambda: classifier((torch.ones(8, 3), torch.ones(8, 1, dtype=torch.int64))), r"\(8, 1\)"),
        (lambda: classifier((torch.ones(8, 3), torch.ones(8, 1, 1))), r"\(8, 1, 1\)"),
        (lambda: classifier((torch.ones(8, 3), torch.zeros(8, dtype=torch.int64)), n_classes=0), "n_classes"),
    ],
)
def test_data_that_do_not_fit_are_refused_in_words(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_a_model_with_more_outputs_than_classes_is_told_what_to_give():
    problem = classifier((torch.ones(8, 3), torch.arange(8) % 2), model=torch.nn.Linear(3, 4))
    with pytest.raises(ValueError, match="give n_classes"):
        problem.loss(problem.initial(0))


@pytest.mark.parametrize("seed", [2**32, 2**32 + 5, 2**40])
def test_large_seeds_draw_their_own_data(seed):
    first, second = wb.problems.sparse_regression(seed), wb.problems.sparse_regression(seed % 2**32)
    assert first.inputs.shape == (20, 30) and not torch.equal(first.inputs, second.inputs)


def known(problem):
    names = ("minimum", "spectrum", "smoothness", "strong_convexity", "pl_constant", "minimiser", "saddle")
    return {name: getattr(problem, name) for name in names if hasattr(problem, name)}


@pytest.mark.parametrize(
    "problem",
    [
        wb.problems.quadratic([1.0, 3.0], minimiser=torch.tensor([2.0, -1.0], dtype=D)),
        wb.problems.random_least_squares(0, 4, 3),
        wb.problems.ScalarFactorisation(),
        wb.problems.matrix_sensing(0, d=3, m=5),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_a_scaled_problem_knows_what_the_problem_knows_of_its_loss(problem):
    scaled, point = Scaled(problem, 2.5), problem.initial(1)
    assert scaled.strata == problem.strata and scaled.n_samples == problem.n_samples
    for name, value in known(problem).items():
        factor = 1.0 if name in ("minimiser", "saddle") else 2.5
        torch.testing.assert_close(torch.as_tensor(getattr(scaled, name)), factor * torch.as_tensor(value))
    if hasattr(problem, "hessian"):
        torch.testing.assert_close(scaled.hessian(point), torch.func.hessian(scaled.loss)(point))
    for name, measure in scaled.measures.items():
        factor = 2.5 if name in ("train_loss", "gradient_norm", "sharpness") else 1.0
        torch.testing.assert_close(measure(point), factor * problem.measures[name](point))
    with pytest.raises(AttributeError, match=r"\.problem"):
        scaled.preimages(0.1)


def test_a_scaled_problem_keeps_the_strata_of_its_minibatches():
    class Strata(LeastSquares):
        strata = (2, 2)

    problem = Strata(torch.ones(4, 1, dtype=D), torch.ones(4, dtype=D))
    assert Scaled(problem, 2.0).strata == (2, 2)


def test_a_factorisation_of_any_number():
    for product in (-2.0, 0.0, 0.5):
        problem = wb.problems.ScalarFactorisation(product=product)
        point = torch.tensor([1.5, -0.7], dtype=D)
        torch.testing.assert_close(problem.gradient(point), torch.func.grad(problem.loss)(point))
        torch.testing.assert_close(problem.hessian(point), torch.func.hessian(problem.loss)(point))
        assert problem.sharpness(point).item() == pytest.approx(
            torch.linalg.eigvalsh(problem.hessian(point))[-1].item()
        )
        root = torch.tensor([abs(product) ** 0.5, math.copysign(abs(product) ** 0.5, product)], dtype=D)
        assert problem.loss(root).item() == pytest.approx(0, abs=1e-30)
        assert problem.sharpness(root).item() == pytest.approx(2 * abs(product), abs=1e-12)


def test_measurements_of_ones_own():
    truth = torch.tensor([[1.0, 0.5], [0.5, 0.25]], dtype=D)
    matrices = wb.draws.normal(0, (7, 2, 2))
    targets = (matrices * truth).sum((1, 2))
    problem = wb.problems.measured_matrix(matrices, targets, truth=truth)
    root = torch.tensor([[1.0, 0.0], [0.5, 0.0]], dtype=D)
    assert problem.loss(root).item() < 1e-28 and problem.test_error(root).item() < 1e-28
    point = problem.initial(0)
    literal = (((matrices * (point @ point.mT)).sum((1, 2)) - targets) ** 2).mean()
    torch.testing.assert_close(problem.loss(point), literal)
    torch.testing.assert_close(problem.gradient(point), torch.func.grad(problem.loss)(point))
    blind = wb.problems.measured_matrix(matrices, targets)
    assert "test_error" not in blind.measures and "test_error" in problem.measures
    with pytest.raises(ValueError, match="truth="):
        blind.test_error(point)
    for bad in (
        lambda: wb.problems.measured_matrix(matrices[0], targets),
        lambda: wb.problems.measured_matrix(matrices, targets[:3]),
    ):
        with pytest.raises(ValueError, match="matrices must be"):
            bad()


def test_the_potentials_minimiser_takes_arrays_and_hands_out_its_multipliers():
    data, alpha = wb.problems.sparse_regression(1), np.linspace(0.05, 0.2, 30)
    beta = wb.problems.argmin_phi(data.inputs.numpy(), data.targets.tolist(), alpha)
    torch.testing.assert_close(beta, wb.problems.argmin_phi(data.inputs, data.targets, torch.as_tensor(alpha)))
    nu = wb.problems.interpolation_multipliers(data.inputs, data.targets, alpha)
    gradient = wb.problems.phi_gradient(beta, torch.as_tensor(alpha))
    torch.testing.assert_close(data.inputs.mT @ nu, gradient, rtol=0, atol=1e-6)
    solve = lambda a: wb.problems.interpolation_multipliers(data.inputs, data.targets, a)  # noqa: E731
    many = torch.func.vmap(solve)(torch.tensor([0.1, 1.0]))
    assert many.shape == (2, 20)
    for bad in (-0.1, [0.1, 0.2]):
        with pytest.raises(ValueError, match="alpha"):
            wb.problems.argmin_phi(data.inputs, data.targets, bad)
