"""Least squares and logistic regression: closed forms against autograd, SciPy and the normal equations."""

import numpy as np
import pytest
import scipy.optimize
import torch

import workbench as wb
from workbench.problems import least_squares, logistic_regression, random_least_squares

DATA = {name: wb.data.load(name, standardise="features", dtype=torch.float64) for name in ("diabetes", "breast_cancer")}


def _problems():
    return [
        least_squares(DATA["diabetes"], l2=0.01),
        least_squares(DATA["breast_cancer"]),
        random_least_squares(3, 8, 20),
        logistic_regression(DATA["breast_cancer"], l2=0.05),
    ]


@pytest.mark.parametrize("index", range(4))
def test_gradient_and_hessian_are_the_derivatives(index):
    problem = _problems()[index]
    point = 0.3 * problem.initial(1)
    torch.testing.assert_close(problem.gradient(point), torch.func.grad(problem.loss)(point))
    torch.testing.assert_close(problem.hessian(point), torch.func.hessian(problem.loss)(point))
    batch = tuple(tensor[:5] for tensor in problem.data)
    torch.testing.assert_close(
        problem.gradient(point, batch), torch.func.grad(problem.batch_loss)(point, batch), rtol=1e-9, atol=1e-12
    )
    assert problem.sample_loss(point, *(t[0] for t in problem.data)).shape == ()


@pytest.mark.parametrize("index", range(4))
def test_gradient_vanishes_at_the_minimiser_and_the_minimum_is_below_everything(index):
    problem = _problems()[index]
    assert problem.gradient(problem.minimiser).norm() < 1e-9
    for seed in range(5):
        assert problem.loss(problem.minimiser + 0.1 * problem.initial(seed)) >= problem.minimum


def test_ridge_smoothness_is_the_known_top_eigenvalue_of_the_diabetes_data():
    assert least_squares(DATA["diabetes"], l2=0.01).smoothness.item() == pytest.approx(4.034, abs=5e-4)


def test_pl_constant_holds_and_is_attained():
    problem = random_least_squares(0, 10, 30)
    rows = torch.linalg.eigh(problem.inputs @ problem.inputs.T / 10)
    direction = problem.inputs.T @ rows.eigenvectors[:, 0]
    for point, attained in ((problem.minimiser + direction, True), (problem.initial(0), False)):
        ratio = problem.gradient(point).square().sum() / (2 * problem.pl_constant * problem.loss(point))
        assert ratio >= 1 - 1e-9
        assert not attained or ratio.item() == pytest.approx(1.0)
    assert problem.minimum < 1e-20


def test_logistic_minimum_agrees_with_scipy():
    problem = logistic_regression(DATA["breast_cancer"], l2=0.02)
    inputs, targets = problem.inputs.numpy(), problem.targets.numpy()
    found = scipy.optimize.minimize(
        lambda w: np.logaddexp(0, -targets * (inputs @ w)).mean() + 0.01 * w @ w, np.zeros(30), tol=1e-10
    )
    assert problem.minimum.item() == pytest.approx(found.fun, abs=1e-9)
    assert torch.linalg.eigvalsh(problem.hessian(problem.minimiser))[-1] <= problem.smoothness
    assert torch.linalg.eigvalsh(problem.hessian(torch.zeros(30, dtype=torch.float64)))[-1].item() == pytest.approx(
        problem.smoothness.item()
    )


def test_classes_become_signs_and_numbers_are_centred():
    assert set(least_squares(DATA["breast_cancer"]).targets.tolist()) == {-1.0, 1.0}
    assert abs(least_squares(DATA["diabetes"]).targets.mean()) < 1e-12


def test_sweeps_over_random_problems_equal_those_alone():
    result = wb.sweep(lambda seed: {"beta": random_least_squares(seed, 4, 9).smoothness}, seed=range(5))
    alone = [random_least_squares(seed, 4, 9).smoothness.item() for seed in range(5)]
    np.testing.assert_allclose(result.beta, alone, rtol=1e-12)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="needs a data set with classes"):
        logistic_regression(DATA["diabetes"])
    with pytest.raises(ValueError, match="l2 must be a finite number > 0"):
        logistic_regression(DATA["breast_cancer"], l2=0.0)
    with pytest.raises(ValueError, match="l2 must be a finite number >= 0"):
        least_squares(DATA["diabetes"], l2=-1.0)
    with pytest.raises(ValueError, match="n must be an int >= 1"):
        random_least_squares(0, 0, 3)


@pytest.mark.parametrize("make", [wb.problems.least_squares, wb.problems.logistic_regression])
@pytest.mark.parametrize("data", [(torch.ones(3, 1), torch.ones(3)), torch.ones(3, 1), "digits"])
def test_own_tensors_belong_into_the_classes(make, data):
    with pytest.raises(ValueError, match=r"LeastSquares\(inputs, targets\)"):
        make(data)
