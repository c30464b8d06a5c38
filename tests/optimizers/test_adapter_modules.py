"""The step in people's modules is the one that the formula gives, with two explicit gradients at explicit weights."""

import pytest
import torch
from optimizers.peoples_modules import (
    MODULES,
    Adjoint,
    Body,
    at,
    by_groups,
    linear,
    made,
    moved,
    on_batch,
    trainable,
    vector,
)
from torch import nn
from torch.utils.checkpoint import checkpoint

from workbench.optimizers import hessian_usam, m_sam, sam

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using `torch.compile"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]


@pytest.mark.parametrize("form", ["closure", "backward", "module"])
@pytest.mark.parametrize("name", MODULES)
def test_sam_is_two_explicit_gradients(name, form):
    model = made(name)
    start, first = vector(trainable(model)), at(model, vector(trainable(model)), on_batch)
    right = -0.1 * at(model, start + 0.5 * first / first.norm(), on_batch)
    tolerance = 1e-6 if name in ("two types",) else 1e-9
    torch.testing.assert_close(moved(model, form, sam(0.1, 0.5)), right, rtol=tolerance, atol=tolerance)


TWICE = [
    *("convolution", "layer norm", "attention", "no dimensions", "complex", "elementwise cubes", "two types"),
    *("weight norm", "distances", "checkpoint", "compiled"),
]


@pytest.mark.parametrize("form", ["closure", "module"])
@pytest.mark.parametrize("name", TWICE)
def test_hessian_products_are_those_of_central_differences(name, form):
    model, h = made(name), 1e-5
    start = vector(trainable(model))
    first = at(model, start, on_batch)
    product = (at(model, start + h * first, on_batch) - at(model, start - h * first, on_batch)) / (2 * h)
    right = -0.1 * at(model, start + 0.3 * product, on_batch)
    tolerance = 1e-4 if name == "two types" else 1e-7
    torch.testing.assert_close(moved(model, form, hessian_usam(0.1, 0.3)), right, rtol=tolerance, atol=tolerance)


class Detaching(torch.autograd.Function):
    """The cube, whose backward pass forgets what it depends on."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 3 * ctx.saved_tensors[0].detach() ** 2


def tripled(x):
    if x.requires_grad:
        x.register_hook(lambda g: 3 * g)
    return x


ONCE = {
    "detached norm": lambda m, x: m.b(torch.tanh(m.a(x)) / m.a.weight.norm().detach()),
    "straight-through": lambda m, x: m.b(m.a(x) + (m.a(x).round() - m.a(x)).detach()),
    "function": lambda m, x: m.b(Detaching.apply(m.a(x))),
    "hook on activations": lambda m, x: m.b(tripled(torch.tanh(m.a(x)))),
    "adjoint": lambda m, x: m.b(Adjoint.apply(m.a, x, *m.a.parameters()).sin()),
}


@pytest.mark.parametrize("form", ["closure", "module"])
@pytest.mark.parametrize("name", ONCE)
def test_second_derivatives_that_are_not_those_of_the_gradient_are_refused(name, form):
    torch.manual_seed(1)
    parts = {"a": nn.Sequential(nn.Linear(4, 5), nn.Tanh()), "b": nn.Linear(5, 3)} if name == "adjoint" else linear()
    model = Body(ONCE[name], **parts).double()
    before = vector(trainable(model))
    with pytest.raises(ValueError, match="no true second derivative"):
        moved(model, form, hessian_usam(0.1, 0.3))
    assert torch.equal(vector(trainable(model)), before)
    assert bool(moved(model, form, sam(0.1, 0.3)).any())  # a rule of gradients alone takes what backward() gives


def clipping(m, x):
    with torch.no_grad():
        m.a.weight.clamp_(-0.1, 0.1)
    return m.b(m.a(x))


@pytest.mark.parametrize("form", ["closure", "backward", "module"])
def test_a_loss_that_writes_into_the_parameters_is_refused(form):
    with pytest.raises(ValueError, match="changed in place"):
        moved(Body(clipping, **linear()).double(), form, sam(0.1, 0.5))


def test_reentrant_checkpoints_work_with_backward_and_are_refused_without():
    def again(m, x):
        return m.b(checkpoint(torch.tanh, m.a(x), use_reentrant=True))

    moves = []
    for forward in (again, lambda m, x: m.b(torch.tanh(m.a(x)))):
        torch.manual_seed(1)
        moves.append(moved(Body(forward, **linear()).double(), "backward", sam(0.1, 0.5)))
    torch.testing.assert_close(*moves, rtol=1e-12, atol=1e-12)
    for form in ("closure", "module"):
        with pytest.raises(ValueError, match="use_reentrant=False"):
            moved(Body(again, **linear()).double(), form, sam(0.1, 0.5))


@pytest.mark.parametrize("name", MODULES)
def test_groups_are_right_whether_they_can_be_taken_side_by_side_or_not(name):
    model = made(name)
    right = by_groups(model, 0.4, 4)
    tolerance = 1e-6 if name == "two types" else 1e-9
    torch.testing.assert_close(moved(model, "module", m_sam(0.1, 0.4, 4)), right, rtol=tolerance, atol=tolerance)
