"""The step in people's modules is the one that the formula gives, with two explicit gradients at explicit weights."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from workbench.optimizers import as_torch, hessian_usam, m_sam, nesterov, sam, usam

torch.manual_seed(0)
INPUTS, TARGETS = torch.randn(8, 4, dtype=torch.float64), torch.randint(0, 3, (8,))
LOSS = functional.cross_entropy
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using `torch.compile"),
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
]


class Body(nn.Module):
    """A network whose forward pass is given as a function of it."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.body = forward

    def forward(self, x):
        return self.body(self, x)


class Adjoint(torch.autograd.Function):
    """Saves no graph and evaluates the module again in its backward pass."""

    @staticmethod
    def forward(ctx, module, x, *parameters):
        ctx.module = module
        ctx.save_for_backward(x, *parameters)
        with torch.no_grad():
            return module(x)

    @staticmethod
    def backward(ctx, gradient):
        x, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return None, *torch.autograd.grad(ctx.module(x), [x, *parameters], gradient)


@torch.jit.script
def scripted(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def linear(n=5):
    return {"a": nn.Linear(4, n), "b": nn.Linear(n, 3)}


def attention(self, x):
    q, k, v = self.a(x).view(-1, 2, 6).chunk(3, -1)
    return self.b(functional.scaled_dot_product_attention(q, k, v).flatten(1))


def shared():
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, 3))


MODULES = {
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(3, 3)
    ),
    "layer norm": lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)),
    "batch norm, training": lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)),
    "weight norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)
    ),
    "spectral norm": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)
    ),
    "attention": lambda: Body(attention, a=nn.Linear(4, 12), b=nn.Linear(4, 3)),
    "elementwise cubes": lambda: Body(lambda m, x: m.b(x * m.w**3), w=nn.Parameter(torch.rand(4)), b=nn.Linear(4, 3)),
    "einsum": lambda: Body(lambda m, x: torch.einsum("ni,ijk,nj->nk", x, m.w, x), w=nn.Parameter(torch.randn(4, 4, 3))),
    "no dimensions": lambda: Body(lambda m, x: m.s * m.a(x), a=nn.Linear(4, 3), s=nn.Parameter(torch.tensor(1.5))),
    "complex": lambda: Body(
        lambda m, x: m.b(torch.fft.irfft(torch.fft.rfft(x) * m.w, n=4)),
        w=nn.Parameter(torch.randn(3, dtype=torch.cdouble)),
        b=nn.Linear(4, 3),
    ),
    "gated recurrent": lambda: Body(
        lambda m, x: m.b(m.a(x[:, :, None])[0][:, -1]), a=nn.GRU(1, 3, batch_first=True), b=nn.Linear(3, 3)
    ),
    "checkpoint": lambda: Body(
        lambda m, x: m.b(checkpoint(lambda h: torch.tanh(m.a(torch.tanh(h))), x * m.s, use_reentrant=False)),
        s=nn.Parameter(torch.rand(4)),
        **linear(),
    ),
    "adjoint": lambda: Body(
        lambda m, x: m.b(Adjoint.apply(m.a, x, *m.a.parameters())),
        a=nn.Sequential(nn.Linear(4, 5), nn.Tanh()),
        b=nn.Linear(5, 3),
    ),
    "distances": lambda: Body(
        lambda m, x: -torch.cdist(m.a(x), m.w), a=nn.Linear(4, 2), w=nn.Parameter(torch.randn(3, 2))
    ),
    "scripted": lambda: Body(lambda m, x: m.b(scripted(m.a(x))), **linear()),
    "compiled": lambda: torch.compile(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), backend="eager"),
    "shared layer": shared,
    "two types": lambda: Body(
        lambda m, x: m.b(torch.tanh(m.a(x)) * m.s), s=nn.Parameter(torch.ones(5, dtype=torch.float32)), **linear()
    ),
}


def made(name):
    torch.manual_seed(1)
    model = MODULES[name]().double()
    if name == "two types":
        model.s.data = model.s.data.float()
    # Each pass of spectral normalisation in training mode moves its vectors on, and so is another function.
    return model.eval() if name == "spectral norm" else model


def trainable(model):
    return [p for p in model.parameters() if p.requires_grad]


def vector(tensors):
    real = [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
    return torch.cat([t.detach().reshape(-1).double() for t in real])


def at(model, values, loss):
    """The gradient with these values in a copy of the module."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in trainable(other):
            size = p.numel() * (2 if p.is_complex() else 1)
            piece, values = values[:size], values[size:]
            p.copy_(torch.view_as_complex(piece.reshape(*p.shape, 2)) if p.is_complex() else piece.view(p.shape))
    found = torch.autograd.grad(loss(other), trainable(other))
    return vector(found)


def on_batch(model):
    return LOSS(model(INPUTS), TARGETS)


def moved(model, form, rule, loss=LOSS):
    start = vector(trainable(model))
    if form == "module":
        as_torch(rule, model, loss=loss).step(INPUTS, TARGETS)
    else:

        def closure():
            value = loss(model(INPUTS), TARGETS)
            if form == "backward":
                value.backward()
            return value

        as_torch(rule, model.parameters()).step(closure)
    return vector(trainable(model)) - start


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


def by_groups(model, rho, m):
    """m-SAM written out."""
    start, total = vector(trainable(model)), 0.0
    for i in range(0, len(INPUTS), m):

        def part(other, i=i):
            return LOSS(other(INPUTS[i : i + m]), TARGETS[i : i + m])

        first = at(model, start, part)
        total = total + at(model, start + rho * first / first.norm(), part)
    return -0.1 * total / (len(INPUTS) // m)


@pytest.mark.parametrize("name", MODULES)
def test_groups_are_right_whether_they_can_be_taken_side_by_side_or_not(name):
    model = made(name)
    right = by_groups(model, 0.4, 4)
    tolerance = 1e-6 if name == "two types" else 1e-9
    torch.testing.assert_close(moved(model, "module", m_sam(0.1, 0.4, 4)), right, rtol=tolerance, atol=tolerance)


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
