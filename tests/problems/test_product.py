"""l(xy): accurate losses, the exact change of y^2 - x^2 in one step, drift of SAM, trap of USAM."""

import math

import pytest
import torch

import workbench as wb
from workbench.dynamics.update_map import update_map
from workbench.problems import ProductLoss

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
    ],
)
def test_unknown_names_and_bad_values_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
