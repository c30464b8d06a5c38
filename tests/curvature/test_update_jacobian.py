"""Update maps of steps along gradients and Hessian-vector products, through layers whose third derivatives torch has wrong."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from workbench.curvature import update_jacobian
from workbench.parameters import ravel, unravel

X = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
T = X[:, :3].sin()


def penalised_step(loss):
    """A step of gradient descent on the loss plus its gradient's norm."""
    slope = torch.func.grad(loss)

    def step(point):
        gradient, pull = torch.func.vjp(slope, point)
        length = torch.sqrt(sum(entry.square().sum() for entry in gradient.values()))
        (product,) = pull({name: entry / length for name, entry in gradient.items()})
        return {name: point[name] - 0.1 * (gradient[name] + 0.3 * product[name]) for name in point}

    return step


@pytest.mark.parametrize(
    "norm", [nn.Identity(), nn.LayerNorm(5), nn.BatchNorm1d(5, track_running_stats=False), nn.GroupNorm(1, 5)]
)
def test_third_derivatives_are_right(norm):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), norm, nn.Tanh(), nn.Linear(5, 3)).double()
    point = {name: entry.detach() for name, entry in model.named_parameters()}
    step = penalised_step(lambda p: functional.mse_loss(torch.func.functional_call(model, p, (X,)), T))

    def flat(vector):
        return ravel(step(unravel(vector, point))).detach()

    start = ravel(point)
    unit = 1e-5 * torch.eye(len(start), dtype=torch.float64)
    differences = torch.stack([(flat(start + e) - flat(start - e)) / 2e-5 for e in unit], 1)
    assert torch.allclose(update_jacobian(step, point), differences, atol=1e-7)


def test_a_step_whose_derivative_is_not_its_own_is_refused():
    def step(x):
        return x + (x**3 - x).detach()

    with pytest.raises(ValueError, match="central differences"):
        update_jacobian(step, torch.linspace(1, 2, 3, dtype=torch.float64))
