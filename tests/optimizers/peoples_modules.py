"""Modules as people write them, and the step of a rule in each form of use."""

import copy

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from workbench.optimizers import as_torch

torch.manual_seed(0)
INPUTS, TARGETS = torch.randn(8, 4, dtype=torch.float64), torch.randint(0, 3, (8,))
LOSS = functional.cross_entropy


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


def by_groups(model, rho, m):
    """m-SAM written out."""
    start, total = vector(trainable(model)), 0.0
    for i in range(0, len(INPUTS), m):

        def part(other, i=i):
            return LOSS(other(INPUTS[i : i + m]), TARGETS[i : i + m])

        first = at(model, start, part)
        total = total + at(model, start + rho * first / first.norm(), part)
    return -0.1 * total / (len(INPUTS) // m)
