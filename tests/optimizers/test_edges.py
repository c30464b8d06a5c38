"""The edge of stability in closed form against the spectral radius of the update map on either side of it."""

import math

import pytest
import torch

import workbench as wb
from workbench import curvature
from workbench.dynamics.update_map import resting, update_map
from workbench.optimizers import Decayed, Plain, UnifiedSAM, edge
from workbench.optimizers.adam import AdamState
from workbench.optimizers.momentum import around

POINT = torch.tensor([0.3], dtype=torch.float64)


def radius(rule, eigenvalue):
    one, at_rest = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    bowl = wb.problems.Quadratic(eigenvalue * one, eigenvalue * one[0], one, at_rest)
    return float(curvature.spectral_radius(curvature.update_jacobian(update_map(bowl, rule), *resting(rule, at_rest))))


def assert_edge(rule, threshold):
    assert radius(rule, 0.999 * threshold) < 1 < radius(rule, 1.001 * threshold)


@pytest.mark.parametrize("momentum", ["none", "heavy_ball", "nesterov"])
@pytest.mark.parametrize(
    "gradient", [Plain(), UnifiedSAM(0.2, lam=0.0), Decayed(Plain(), 0.5), Decayed(UnifiedSAM(0.2, lam=0.0), 0.5)]
)
def test_momentum_schemes_are_stable_up_to_the_edge(momentum, gradient):
    rule = around(gradient, 0.3, 0.0 if momentum == "none" else 0.6, momentum)
    found = edge(rule, None, POINT)
    assert found.root is None
    assert_edge(rule, float(found.threshold))


@pytest.mark.parametrize("lam", [1.0, 0.4])
@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_sams_edge_is_that_of_its_ascent_frozen(lam, beta):
    # With |g| frozen SAM is USAM of the radius rho (1 - lam + lam/|g|), to which the linear theory applies.
    gradient, rho = torch.tensor([0.6, 0.8], dtype=torch.float64) * 0.25, 0.1
    found = edge(around(UnifiedSAM(rho, lam), 0.2, beta), None, gradient).threshold
    assert_edge(around(UnifiedSAM(rho * (1 - lam + lam / 0.25), 0.0), 0.2, beta), float(found))


def test_sams_edge_is_the_papers():
    # arXiv 2309.12488, eq. 5: |g|/(2 rho) (sqrt(1 + 8 rho/(eta |g|)) - 1).
    size, rho, eta = 5.0, 0.7, 0.02
    gradient = torch.tensor([3.0, 4.0], dtype=torch.float64)
    wanted = size / (2 * rho) * (math.sqrt(1 + 8 * rho / (eta * size)) - 1)
    assert float(edge(wb.optimizers.sam(eta, rho), None, gradient).threshold) == pytest.approx(wanted, rel=1e-12)


def test_at_a_critical_point_sams_edge_is_zero_and_that_of_no_ascent_is_gradient_descents():
    nothing = torch.zeros(2)
    assert float(edge(wb.optimizers.sam(0.1, 0.05), None, nothing).threshold) == 0
    assert float(edge(wb.optimizers.usam(0.1, 0.0), None, POINT).threshold) == pytest.approx(20)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_adam_is_stable_up_to_the_edge_with_its_preconditioner_frozen(beta):
    rule = wb.optimizers.adam(0.05, beta=beta, beta_square=0.99)
    square, gradient, steps = torch.tensor([0.04, 1e-4, 0.3]).double(), torch.tensor([0.5, 0.0, -1.0]).double(), 7
    found = edge(rule, AdamState(torch.zeros(3), square), gradient, steps)
    assert float(found.threshold) == pytest.approx((2 + 2 * beta) / ((1 - beta) * 0.05))
    moment = (0.99 * square + 0.01 * gradient**2) / (1 - 0.99**8)
    denominator = moment.sqrt() + 1e-8
    # Along each axis, with the Hessian that lies at the edge there: m+ = beta m + (1 - beta) h x, x+ = x - step m+/denominator.
    for i in range(3):
        for factor, stable in ((0.999, True), (1.001, False)):
            h = factor * float(found.threshold) / float(found.root[i] ** 2)
            size = 0.05 / float((1 - beta**8) * denominator[i])
            step = torch.tensor([[1 - size * (1 - beta) * h, -size * beta], [(1 - beta) * h, beta]]).double()
            assert (float(curvature.spectral_radius(step)) < 1) == stable


def test_schedules_and_swept_numbers_are_those_of_the_step():
    falling = wb.optimizers.StepDecay(0.5, milestones=(10,))
    rule = wb.optimizers.gradient_descent(falling)
    assert float(edge(rule, None, POINT, 9).threshold) == pytest.approx(4)
    assert float(edge(rule, None, POINT, 10).threshold) == pytest.approx(40)
    found = torch.func.vmap(lambda size: edge(wb.optimizers.sam(size, 0.1), None, POINT).threshold)(
        torch.tensor([0.1, 0.2])
    )
    alone = [float(edge(wb.optimizers.sam(size, 0.1), None, POINT).threshold) for size in (0.1, 0.2)]
    assert found.tolist() == pytest.approx(alone, rel=1e-6)


@pytest.mark.parametrize(
    "rule",
    [
        wb.optimizers.muon(0.1),
        wb.optimizers.acsgd(0.1, 0.01),
        wb.optimizers.m_sam(0.1, 0.05, 4),
        wb.optimizers.adam(0.1, gradient=UnifiedSAM(0.1)),
    ],
)
def test_rules_without_a_known_edge_are_refused(rule):
    with pytest.raises(ValueError, match="not known in closed form"):
        edge(rule, rule.init(POINT), POINT)
