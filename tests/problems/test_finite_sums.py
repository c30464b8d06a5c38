"""Constants of finite sums: smoothness and infimum of every sample's loss by brute force, refusals."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from workbench import draws
from workbench.problems import (
    LeastSquares,
    LogisticRegression,
    RippledParabola,
    RippledSum,
    RobustRegression,
    interpolation_gap,
    rippled_sum,
)

D = torch.float64
INPUTS = torch.cat([draws.normal(0, (6, 3), stream="x"), torch.zeros(1, 3, dtype=D)])
TARGETS = draws.normal(0, (7,), stream="t")
SUMS = {
    "ridge": LeastSquares(INPUTS, TARGETS, 0.3),
    "least squares": LeastSquares(INPUTS, TARGETS),
    "logistic": LogisticRegression(INPUTS, TARGETS.sign(), 0.05),
    "robust": RobustRegression(INPUTS, TARGETS),
    "rippled": rippled_sum(1, 7, tilt=4.0),
}


def sample(problem, i):
    return tuple(part[i] for part in problem.data)


@pytest.mark.parametrize("name", SUMS)
def test_every_hessian_of_a_sample_is_within_its_smoothness_which_is_attained(name):
    problem = SUMS[name]
    points = torch.cat([torch.linspace(-4, 4, 81, dtype=D), torch.tensor([0.0, np.pi / 2], dtype=D)])
    for i in range(7):
        # Along the sample's input the curvature is largest, and takes all its values.
        line = points if name == "rippled" else points[:, None] * INPUTS[i]
        if name == "robust" and INPUTS[i].any():
            line = line + TARGETS[i] * INPUTS[i] / INPUTS[i].square().sum()
        hessians = torch.func.vmap(torch.func.hessian(lambda x, i=i: problem.sample_loss(x, *sample(problem, i))))(line)
        top = hessians.abs().max() if name == "rippled" else torch.linalg.eigvalsh(hessians).abs().max()
        assert float(top) == pytest.approx(float(problem.sample_smoothness[i]), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", SUMS)
def test_infima_of_samples_by_brute_force(name):
    problem = SUMS[name]
    for i in range(7):
        direction = torch.ones((), dtype=D) if name == "rippled" else INPUTS[i]

        def loss(c, i=i, direction=direction):
            return float(problem.sample_loss(torch.tensor(c, dtype=D) * direction, *sample(problem, i)))

        places = np.linspace(-40, 40, 401)
        best = places[np.argmin([loss(c) for c in places])]
        found = minimize_scalar(loss, bounds=(best - 0.3, best + 0.3), options={"xatol": 1e-9}).fun
        assert float(problem.sample_minima[i]) == pytest.approx(found, abs=1e-12)


def test_the_gap_vanishes_where_one_point_minimises_all():
    truth = torch.ones(3, dtype=D)
    assert interpolation_gap(LeastSquares(INPUTS[:6], INPUTS[:6] @ truth)) == pytest.approx(0, abs=1e-28)
    assert interpolation_gap(SUMS["ridge"]) > 0.05
    assert interpolation_gap(SUMS["robust"], 0.0) == 0.0
    assert interpolation_gap(SUMS["rippled"]) == -float(SUMS["rippled"].sample_minima.mean())


def test_weighted_gradients_of_linear_models_are_the_derivative():
    weights = torch.arange(1.0, 8, dtype=D)
    for name in ("ridge", "logistic", "robust"):
        problem, x = SUMS[name], SUMS[name].initial(2)
        direct = torch.func.grad(
            lambda x, p=problem: (weights * torch.stack([p.sample_loss(x, *sample(p, i)) for i in range(7)])).mean()
        )(x)
        torch.testing.assert_close(problem.weighted_gradient(x, problem.data, weights), direct)


def test_rippled_sum_is_its_mean_and_obeys_its_pl_constant():
    problem = SUMS["rippled"]
    x = torch.linspace(-12, 12, 20001, dtype=D)
    losses, slopes = torch.func.vmap(problem.loss)(x), torch.func.vmap(problem.gradient)(x)
    mean = torch.func.vmap(
        lambda x: torch.stack([problem.sample_loss(x, *sample(problem, i)) for i in range(7)]).mean()
    )(x)
    torch.testing.assert_close(mean, losses, rtol=1e-12, atol=1e-12)
    moved = torch.tensor(1.7, dtype=D)
    torch.testing.assert_close(problem.gradient(moved, problem.data), torch.func.grad(problem.loss)(moved))
    ratio = slopes**2 / (2 * losses.clamp(min=1e-300))
    ratio = ratio[losses > 1e-12]
    assert problem.pl_constant <= float(ratio.min()) and problem.pl_constant == pytest.approx(
        float(ratio.min()), rel=1e-5
    )


@pytest.mark.parametrize("ripple", [0.0, 0.5, 1.0, 3.0, 4.5, 4.7, 8.0])
def test_pl_constant_of_the_rippled_parabola_by_brute_force(ripple):
    parabola = RippledParabola(ripple)
    x = torch.linspace(1e-3, 40, 400001, dtype=D)
    slope, losses = torch.func.vmap(parabola.gradient)(x), torch.func.vmap(parabola.loss)(x)
    brute = float((slope**2 / (2 * losses)).min()) if (slope > 0).all() else 0.0
    assert parabola.pl_constant <= brute + 1e-12
    assert parabola.pl_constant == pytest.approx(brute, rel=1e-4, abs=1e-7)


def test_bad_problems_are_refused():
    ones = torch.ones(3, dtype=D)
    with pytest.raises(ValueError, match="scales must be > 0 and of mean 1"):
        RippledSum(2 * ones, 0 * ones)
    with pytest.raises(ValueError, match="slopes must have mean 0"):
        RippledSum(ones, ones)
    with pytest.raises(ValueError, match="vectors of one length"):
        RippledSum(ones[:0], ones[:0])
    with pytest.raises(ValueError, match="n must be an int >= 1"):
        rippled_sum(0, 0)
    with pytest.raises(ValueError, match="l2 must be 0"):
        RobustRegression(INPUTS, TARGETS, 0.1)
