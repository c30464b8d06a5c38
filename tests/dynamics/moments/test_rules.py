"""Second moments of the library's own rules: against the same rules simulated, and closed forms."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.dynamics.moments import second_moments
from workbench.dynamics.sources import Stream
from workbench.optimizers import (
    StepDecay,
    adam,
    gradient_descent,
    heavy_ball,
    hessian_usam,
    nesterov,
    sam,
    two_step_usam,
    usam,
)
from workbench.optimizers.accelerated import acsgd, continuized
from workbench.optimizers.oracle import NotProvided
from workbench.problems.linear.designs import AdditiveNoise, FiniteData, GaussianDesign

SPECTRUM, SIGMA, START = np.array([1.0, 0.3]), 0.5, np.array([1.0, -2.0])
RULES = {
    "sgd": gradient_descent(0.15),
    "heavy ball": heavy_ball(0.05, 0.8),
    "nesterov": nesterov(0.05, 0.8),
    "usam": usam(0.1, 0.05, beta=0.5),
    "acsgd": acsgd(0.1, 0.02),
    "decaying": gradient_descent(StepDecay(0.2, (5, 10), 0.5)),
}


class ManyRuns(wb.problems.Problem):
    """Rows of the parameters are independent runs, each with a sample of its own."""

    @property
    def data(self):
        return torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)

    def batch_loss(self, parameters, batch):
        features, residuals = batch
        return 0.5 * ((features * parameters).sum(-1) - residuals).square().sum()


@pytest.mark.parametrize("name", RULES)
def test_twenty_thousand_runs_of_the_rule_agree(name):
    rule, steps, runs = RULES[name], 15, 20000

    def sample(draws):
        features = draws.normal("features", (runs, 2)) * torch.from_numpy(np.sqrt(SPECTRUM))
        return features, SIGMA * draws.normal("residuals", (runs,))

    start = torch.from_numpy(START).repeat(runs, 1)
    ended = wb.run(ManyRuns(), rule, steps=steps, source=Stream(sample), start=start, progress=False)
    risk = 0.5 * (ended.parameters.square() @ torch.from_numpy(SPECTRUM)).numpy()
    exact = second_moments(rule, GaussianDesign(SPECTRUM, SIGMA)).risk(START, steps).item()
    error = risk.std() / runs**0.5
    assert error < 0.03 * exact
    assert abs(risk.mean() - exact) < 4 * error


def test_without_noise_the_moments_are_those_of_the_run():
    for rule in (*RULES.values(), two_step_usam(0.1, 0.05), hessian_usam(0.1, 0.2)):
        problem = wb.problems.quadratic(SPECTRUM.tolist())
        ended = wb.run(problem, rule, steps=12, start=torch.from_numpy(START))
        exact = second_moments(rule, AdditiveNoise(SPECTRUM)).risk(START, 12).item()
        assert exact == pytest.approx(problem.loss(ended.parameters).item(), rel=1e-11)


def test_points_and_averages_are_outputs():
    method = second_moments(acsgd(0.1, 0.02), AdditiveNoise(SPECTRUM), average="linear")
    assert set(method.outputs) == {"parameters", "x", "z", "average"}
    problem = wb.problems.quadratic(SPECTRUM.tolist())
    total, weights = torch.from_numpy(START), 1.0
    for t in range(1, 6):
        ended = wb.run(problem, acsgd(0.1, 0.02), steps=t, start=torch.from_numpy(START))
        total, weights = total + (t + 1) * ended.parameters, weights + t + 1
    points = wb.run(problem, acsgd(0.1, 0.02), steps=6, start=torch.from_numpy(START)).points
    found = method.risks(START, 6)
    assert found["average"].item() == pytest.approx(problem.loss(total / weights).item(), rel=1e-10)
    for name in ("x", "z"):
        assert found[name].item() == pytest.approx(problem.loss(points[name]).item(), rel=1e-10)


def test_finite_data_are_sampled_with_replacement():
    data = FiniteData(torch.tensor([[1.0, 0.5], [-0.3, 0.8]]), torch.tensor([1.0, -1.0]))
    exact = second_moments(gradient_descent(0.3), data)
    after = START + data.minimiser.numpy()
    ends = [after - 0.3 * a * (a @ after - y) for a, y in zip(data.inputs.numpy(), data.targets.numpy(), strict=True)]
    errors = [end - data.minimiser.numpy() for end in ends]
    expected = np.mean([0.5 * error @ data.hessian.numpy() @ error for error in errors])
    assert exact.risk(START, 1).item() == pytest.approx(expected, rel=1e-12)


def test_constant_rules_have_one_operator_and_changing_ones_none():
    assert second_moments(RULES["heavy ball"], GaussianDesign(SPECTRUM)).spectral_radius() < 1
    for name in ("acsgd", "decaying"):
        with pytest.raises(ValueError, match="change from step to step"):
            second_moments(RULES[name], GaussianDesign(SPECTRUM)).spectral_radius()


@pytest.mark.parametrize("rule", [sam(0.1, 0.1), adam(0.1)], ids=["sam", "adam"])
def test_rules_that_are_not_linear_are_refused_with_the_linear_relative(rule):
    with pytest.raises(ValueError, match=r"not linear.*usam"):
        second_moments(rule, GaussianDesign(SPECTRUM))


def test_rules_that_draw_numbers_are_refused():
    with pytest.raises(NotProvided, match=r"continuized.*random numbers of its own"):
        second_moments(continuized(0.1, 0.05), GaussianDesign(SPECTRUM))
    with pytest.raises(ValueError, match="average must be uniform, linear or None"):
        second_moments(RULES["sgd"], GaussianDesign(SPECTRUM), average="last")
