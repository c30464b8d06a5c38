"""What a step leaves in somebody's module: buffers, masks, hooks, autocast, and nothing where it is refused."""

import copy

import pytest
import torch
from optimizers.peoples_modules import (
    INPUTS,
    LOSS,
    TARGETS,
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

from workbench.optimizers import as_torch, hessian_usam, m_sam, nesterov, sam, usam

pytestmark = [
    pytest.mark.filterwarnings("ignore:Using `torch.compile"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]


def test_a_loss_that_reads_the_module_is_differentiated_there():
    for rule, m in ((sam(0.1, 0.4), 8), (m_sam(0.1, 0.4, 4), 4)):
        model = made("no dimensions")

        def whole(other, i, m=m):
            penalty = 0.3 * sum((p**2).sum() for p in other.parameters())
            return LOSS(other(INPUTS[i : i + m]), TARGETS[i : i + m]) + penalty

        start, total = vector(trainable(model)), 0.0
        for i in range(0, 8, m):
            first = at(model, start, lambda other, i=i, whole=whole: whole(other, i))
            ahead = start + 0.4 * first / first.norm()
            total = total + at(model, ahead, lambda other, i=i, whole=whole: whole(other, i))

        def penalised(outputs, targets, model=model):
            return LOSS(outputs, targets) + 0.3 * sum((p**2).sum() for p in model.parameters())

        found = moved(model, "module", rule, penalised)
        torch.testing.assert_close(found, -0.1 * total * m / 8, rtol=1e-9, atol=1e-12)


def test_a_forward_pass_that_keeps_tensors_leaves_none_of_a_transform():
    def body(self, x):
        self.kept = torch.tanh(self.a(x))
        return self.b(self.kept)

    torch.manual_seed(1)
    model = Body(body, **linear()).double()
    right = by_groups(copy.deepcopy(model), 0.4, 4)
    torch.testing.assert_close(moved(model, "module", m_sam(0.1, 0.4, 4)), right, rtol=1e-9, atol=1e-12)
    assert model.kept.detach().numpy().shape == (4, 5)


@pytest.mark.parametrize("outside", [True, False])
def test_autocast_sees_the_displaced_weights_wherever_it_is_opened(outside):
    steps = []
    for rule in (sam(0.1, 1.0), sam(0.1, 0.0)):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
        start, optimizer = vector(trainable(model)), as_torch(rule, model.parameters())

        def closure(model=model, outside=outside):
            with torch.autocast("cpu", torch.bfloat16, enabled=True):
                return LOSS(model(INPUTS.float()), TARGETS)

        with torch.autocast("cpu", torch.bfloat16, enabled=outside):
            optimizer.step(closure)
        steps.append(vector(trainable(model)) - start)
    assert float((steps[0] - steps[1]).norm() / steps[1].norm()) > 0.1


def normed(kind):
    torch.manual_seed(1)
    layers = {
        "batch": lambda: nn.BatchNorm1d(5),
        "no momentum": lambda: nn.BatchNorm1d(5, momentum=None),
        "spectral": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(5, 5)),
    }
    return nn.Sequential(nn.Linear(4, 5), layers[kind](), nn.Linear(5, 3)).double()


@pytest.mark.parametrize("form", ["closure", "module"])
@pytest.mark.parametrize("kind", ["batch", "no momentum", "spectral"])
@pytest.mark.parametrize("rule", [sam(0.1, 2.0), hessian_usam(0.1, 0.1), usam(0.1, 0.5, beta=0.9)])
def test_buffers_change_once_a_step_from_the_undisplaced_pass(rule, kind, form):
    model = normed(kind)
    for _ in range(2):
        twin = copy.deepcopy(model)
        twin(INPUTS)
        moved(model, form, rule)
        for one, other in zip(model.buffers(), twin.buffers(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    objects = [id(buffer) for buffer in model.buffers()]
    moved(model, form, rule)
    assert [id(buffer) for buffer in model.buffers()] == objects


@pytest.mark.parametrize("form", ["closure", "module"])
def test_masks_are_equal_in_all_passes(form):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5), nn.Tanh(), nn.Linear(50, 3)).double()
    masks = []
    model[1].register_forward_hook(lambda _, inputs, outputs: masks.append(outputs == 0))
    for rule in (sam(0.1, 0.5), m_sam(0.1, 0.5, 4)) if form == "module" else (sam(0.1, 0.5),):
        masks.clear()
        moved(model, form, rule)
        half = len(masks) // 2
        assert len(masks) >= 2 and all(
            torch.equal(a, b) for a, b in zip(masks[-2 * half :], masks[-half:], strict=False)
        )
    before = torch.rand(1)
    moved(model, form, sam(0.1, 0.5))
    masks_of_one_step = masks[-1]
    moved(model, form, sam(0.1, 0.5))
    assert not torch.equal(masks_of_one_step, masks[-1]) and before.shape == (1,)


@pytest.mark.parametrize("form", ["closure", "backward", "module"])
@pytest.mark.parametrize("kind", ["hook", "after accumulation"])
def test_hooks_hear_the_gradients_in_every_form(kind, form):
    model, heard = made("layer norm"), []
    weight = model[0].weight
    if kind == "hook":
        weight.register_hook(lambda g: 0 * g)
    else:

        def hear(parameter):
            heard.append(1)
            parameter.grad.zero_()

        weight.register_post_accumulate_grad_hook(hear)
    before = weight.detach().clone()
    moved(model, form, sam(0.1, 0.5))
    assert torch.equal(weight, before) and len(heard) == (0 if kind == "hook" else 2)
    moved(model, "module", m_sam(0.1, 0.5, 4))
    assert torch.equal(weight, before)
    with pytest.raises(ValueError, match="hook"):
        moved(model, "module", hessian_usam(0.1, 0.5))


def test_what_no_parameter_reaches_is_refused_and_nothing_moves():
    model = nn.Linear(4, 3).double()
    for form in ("closure", "module"):
        with pytest.raises(ValueError, match="does not depend on any parameter"):
            moved(model, form, sam(0.1, 0.5), lambda outputs, _: outputs.detach().sum())
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of this optimizer requires a gradient"):
        as_torch(sam(0.1, 0.5), model, loss=LOSS).step(INPUTS, TARGETS)


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("rule", [sam(0.1, 0.5), hessian_usam(0.1, 0.5), nesterov(0.1, 0.9)])
def test_whatever_raises_leaves_the_weights_where_they_were(rule, call):
    model, calls = normed("batch"), []
    optimizer = as_torch(rule, model.parameters())
    optimizer.step(lambda: on_batch(model))
    before, count = vector(trainable(model)), int(optimizer.state[model[0].weight]["count"])

    def closure():
        calls.append(1)
        value = on_batch(model)
        if len(calls) == call:
            raise MemoryError
        return value

    try:
        optimizer.step(closure)
    except MemoryError:
        assert torch.equal(vector(trainable(model)), before)
        assert int(optimizer.state[model[0].weight]["count"]) == count
    assert len(calls) <= 3
