"""l(xy): accurate losses, the exact change of y^2 - x^2 in one step, drift of SAM, trap of USAM."""

import math

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.dynamics.update_map import update_map
from workbench.problems import ProductLoss, drift_rate, product_path, trapped_level

KINDS = ["sqrt", "logcosh"]
RULES = {"gd": (0.0, 0.0), "usam": (1.0, 0.0), "sam": (1.0, 1.0)}


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_slope_agree_with_their_formulas_over_many_magnitudes(kind):
    z = torch.tensor([0.0, 1e-9, -1e-4, 0.3, -0.999, 1.001, -7.0, 300.0], dtype=torch.float64)
    exact = torch.sqrt(1 + z**2) - 1 if kind == "sqrt" else torch.log(torch.cosh(z))
    model = ProductLoss(kind)
    torch.testing.assert_close(model.outer(z), exact, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(model.outer(z[1:2]), z[1:2] ** 2 / 2, rtol=1e-12, atol=0)
    slope = torch.func.vmap(torch.func.grad(model.outer))(z)
    torch.testing.assert_close(model.slope(z), slope, rtol=1e-10, atol=1e-15)
    assert torch.isfinite(model.outer(torch.tensor([1e5, -1e8], dtype=torch.float64))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_hessian_are_the_derivatives(kind):
    model, point = ProductLoss(kind), torch.tensor([0.4, -1.3], dtype=torch.float64)
    torch.testing.assert_close(model.gradient(point), torch.func.grad(model.loss)(point))
    torch.testing.assert_close(model.hessian(point), torch.func.hessian(model.loss)(point))
    on_axis = torch.tensor([0.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(model.hessian(on_axis), torch.diag(torch.tensor([9.0, 0.0], dtype=torch.float64)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", RULES)
def test_one_step_multiplies_the_imbalance_by_the_stated_factor(kind, rule):
    active, lam = RULES[rule]
    model = ProductLoss(kind)

    def residual(seed):
        point = 3 * wb.draws.normal(seed, (2,), stream="point")
        eta = wb.draws.uniform(seed, (), high=2.0, stream="eta")
        rho = active * wb.draws.uniform(seed, (), high=2.0, stream="rho")
        after = update_map(model, wb.optimizers.unified_sam(eta, rho, lam))(point)[0]
        factor = model.imbalance_factor(point, eta, rho, lam)
        return {"residual": (model.imbalance(after) - factor * model.imbalance(point)).abs()}

    assert wb.sweep(residual, seed=range(500)).residual.max() <= 1e-12


def test_factor_is_one_at_the_origin():
    model = ProductLoss()
    assert model.imbalance_factor(torch.zeros(2, dtype=torch.float64), 0.1, 0.5, 1.0) == 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rule", "make"), [("usam", wb.optimizers.usam), ("sam", wb.optimizers.sam)])
def test_plain_floats_take_the_steps_that_tensors_take(kind, rule, make):
    model = ProductLoss(kind, imbalance_at_start=5.0, offset=-0.4)
    run = wb.run(model, make(0.07, 0.3), steps=60, record=["x", "y"], every=1)
    path = product_path(kind, tuple(model.initial(0).tolist()), rule, 0.07, 0.3, 60)
    np.testing.assert_allclose(path[:, 0], run.records["x"].value, atol=1e-12)
    np.testing.assert_allclose(path[:, 1], run.records["y"].value, atol=1e-12)


def test_sam_does_not_move_at_a_minimum_with_zero_gradient():
    assert (product_path("sqrt", (0.0, 2.0), "sam", 0.1, 0.3, 5) == [0.0, 2.0]).all()


def test_diverged_path_ends_in_nan():
    path = product_path("sqrt", (0.3, 2.0), "usam", 1e9, 0.5, 10)
    assert np.isfinite(path[0]).all() and np.isnan(path[-1]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("eta", "rho"), [(0.03, 0.15), (0.08, 0.07)])
def test_sam_drifts_at_the_predicted_rate(kind, eta, rho):
    rate = drift_rate(eta, rho)
    x, y = product_path(kind, (0.2, 3.0), "sam", eta, rho, round(6 / rate)).T
    inside = (y**2 < 4.5) & (y > 2 * rho) & (y < 0.3 / rho)
    slope = np.polyfit(np.flatnonzero(inside), np.log((y**2 - x**2)[inside]), 1)[0]
    assert -slope / rate == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("rho", [0.0, 0.03, 0.4, 2.0])
def test_trapped_level_is_the_root_and_usam_stops_there(rho):
    eta = 0.11
    level = trapped_level(eta, rho)
    assert eta * level * (1 + rho * level) == pytest.approx(2.0)
    end = product_path("sqrt", (0.3, 6.0), "usam", eta, rho, 6000)[-1]
    assert abs(end[0]) < 1e-6 and 0.85 <= end[1] ** 2 / min(36.0, level) <= 1.0


def test_starts_have_the_imbalance_asked_for():
    model = ProductLoss(imbalance_at_start=7.0, offset=0.5)
    assert model.imbalance(model.initial(3)).item() == pytest.approx(7.0)
    assert math.isclose(model.initial(3)[0].item(), 0.5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ProductLoss("cosh"), "kind must be one of 'sqrt', 'logcosh'"),
        (lambda: ProductLoss(imbalance_at_start=0.0), "imbalance_at_start must be a finite number > 0"),
        (lambda: ProductLoss(offset=math.inf), "offset must be a finite number"),
        (lambda: product_path("sqrt", (0.1, 1.0), "adam", 0.1, 0.1, 5), "rule must be one of"),
        (lambda: product_path("huber", (0.1, 1.0), "sam", 0.1, 0.1, 5), "kind must be one of"),
    ],
)
def test_unknown_names_and_bad_values_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
