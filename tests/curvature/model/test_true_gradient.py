"""Losses whose gradient is not the derivative of their values have no curvature; those that only look so have."""

import warnings

import pytest
import torch
from small_classifier import X, Y, mlp, named
from torch import nn
from torch.nn import functional

from workbench import curvature


class Between(nn.Module):
    """Two layers with `forward(self, x)` given."""

    def __init__(self, forward):
        super().__init__()
        self.a, self.b, self.body = nn.Linear(4, 5), nn.Linear(5, 3), forward

    def forward(self, x):
        return self.body(self, x)


def detached_norm(m, x):
    w = m.a.weight / m.a.weight.norm(dim=1, keepdim=True).detach()
    return m.b(torch.tanh(functional.linear(x, w, m.a.bias)))


def straight_through_weights(m, x):
    rounded = (4 * m.a.weight).round() / 4
    return m.b(torch.tanh(functional.linear(x, m.a.weight + (rounded - m.a.weight).detach(), m.a.bias)))


def straight_through_activations(m, x):
    h = torch.tanh(m.a(x))
    return m.b(h + ((4 * h).round() / 4 - h).detach())


def reads_data(m, x):
    return m.b(torch.tanh(m.a(x))) * m.b.weight.data.norm()


def trunk_without_gradient(m, x):
    with torch.no_grad():
        h = torch.tanh(m.a(x))
    return m.b(h)


def scaled_by_a_hook(m, x):
    h = torch.tanh(m.a(x))
    if h.requires_grad:
        h.register_hook(lambda g: 3 * g)
    return m.b(h)


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g):
        return -g


def reversed_gradient(m, x):
    return m.b(torch.tanh(Reversal.apply(m.a(x))))


FALSE = [
    *(detached_norm, straight_through_weights, straight_through_activations, reads_data, scaled_by_a_hook),
    reversed_gradient,
]
SECOND = [
    *(curvature.hessian, curvature.top_eigenpairs, curvature.sharpness, curvature.trace, curvature.spectral_density),
    *(curvature.gauss_newton, curvature.decomposition),
]


def made(forward):
    torch.manual_seed(1)
    model = Between(forward).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of parameters that do not reach the loss
        return model, curvature.empirical_loss(model, functional.cross_entropy, X, Y)


@pytest.mark.parametrize("forward", FALSE)
def test_second_derivatives_of_such_losses_are_refused(forward):
    model, loss = made(forward)
    for function in SECOND:
        with pytest.raises(ValueError, match="derivative"):
            function(loss, named(model))
    with pytest.raises(ValueError, match="derivative"):
        curvature.hessian(
            lambda p: functional.cross_entropy(torch.func.functional_call(model, p, (X,)), Y), named(model)
        )


def test_what_has_no_gradient_counts_as_constant():
    """Rows of an embedding's padding, and parameters that are read under no_grad (of which a warning tells)."""
    torch.manual_seed(1)
    words = nn.Sequential(nn.Embedding(4, 3, padding_idx=0), nn.Flatten(), nn.Linear(6, 3)).double()
    with torch.no_grad():
        words[0].weight[0] = 0.7  # read, though its gradient is 0
    loss = curvature.empirical_loss(words, functional.cross_entropy, torch.arange(24).reshape(12, 2) % 4, Y)
    for function in (curvature.hessian, curvature.gauss_newton):
        matrix = function(loss, named(words))
        assert not matrix[:3].any() and matrix[3:].any()
    torch.manual_seed(1)
    model = Between(trunk_without_gradient).double()
    with pytest.warns(UserWarning, match=r"do not reach the loss.*'a\.weight', 'a\.bias'"):
        loss = curvature.empirical_loss(model, functional.cross_entropy, X, Y)
    matrix = curvature.hessian(loss, named(model))
    frozen = {name: entry for name, entry in named(model).items() if name.startswith("b")}
    model.a.requires_grad_(False)
    rest = curvature.hessian(curvature.empirical_loss(model, functional.cross_entropy, X, Y), frozen)
    assert torch.allclose(matrix[25:, 25:], rest, atol=1e-13) and not matrix[:25].any()


def under_no_grad(p):
    with torch.no_grad():
        hidden = torch.tanh(X @ p["first"])
    return functional.cross_entropy(hidden @ p["second"], Y)


def detached(p):
    return functional.cross_entropy(torch.tanh(X @ p["first"].detach()) @ p["second"], Y)


def by_data(p):
    return functional.cross_entropy(torch.tanh(X @ p["first"].data) @ p["second"], Y)


@pytest.mark.parametrize("loss", [under_no_grad, detached, by_data])
@pytest.mark.parametrize("function", [f for f in SECOND if f not in (curvature.gauss_newton, curvature.decomposition)])
def test_parameters_that_a_plain_loss_reads_without_gradient_are_refused_by_name(loss, function):
    generator = torch.Generator().manual_seed(0)
    shapes = {"first": (X.shape[1], 5), "second": (5, 3)}
    point = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    with pytest.raises(ValueError, match=r"no gradient in first: .*leave them out"):
        function(loss, point)
    rest = {"second": point["second"]}
    curvature.hessian(lambda p: loss({**point, **p}), rest)  # as the words advise


def test_parameters_that_change_nothing_and_points_of_rest_are_no_reason_to_refuse():
    unused = {"used": torch.ones(3).double(), "unused": torch.ones(2).double(), "dead": -torch.ones(2).double()}

    def loss(p):
        return (p["used"] ** 2).sum() + torch.relu(p["dead"]).sum()

    assert torch.equal(torch.diag(curvature.hessian(loss, unused)), torch.tensor([2.0] * 3 + [0.0] * 4).double())
    still = curvature.hessian(lambda w: (w**2).sum() + (w**3).sum(), torch.zeros(3).double())
    assert torch.equal(still, 2 * torch.eye(3).double())


def test_the_refusal_names_the_parameters():
    model, loss = made(detached_norm)
    with pytest.raises(ValueError, match=r"in a\.weight: .*detach"):
        curvature.hessian(loss, named(model))


@pytest.mark.parametrize("forward", [f for f in FALSE if f is not reversed_gradient])
def test_their_sample_gradients_are_those_of_a_loop(forward):
    model, loss = made(forward)
    rows = []
    for x, y in zip(X, Y, strict=True):
        found = torch.autograd.grad(
            functional.cross_entropy(model(x[None]), y[None]), [*model.parameters()], materialize_grads=True
        )
        rows.append(torch.cat([g.reshape(-1) for g in found]))
    assert torch.allclose(curvature.per_sample_gradients(loss, named(model)), torch.stack(rows), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_kinks_and_minima_are_no_false_gradients(dtype):
    # At 0 the differences of max(x, 0) to both sides have a mean that is not its derivative in torch.
    point = torch.tensor([0.0, 0.0, 1.0], dtype=dtype)
    found = curvature.hessian(lambda p: p.clamp(min=0).sum() + (p**2).sum() / 2, point)
    assert torch.allclose(found, torch.eye(3, dtype=dtype))
    # At a minimum the gradient is 0 and every difference is rounding.
    assert torch.allclose(
        curvature.hessian(lambda p: 7.3 + ((p - point) ** 2).sum() / 2, point), torch.eye(3, dtype=dtype)
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_networks_with_kinks_have_a_hessian(dtype):
    model, inputs = mlp(nn.ReLU(), dtype=dtype), X.to(dtype)
    with torch.no_grad():
        model[0].bias.zero_()
    inputs = torch.cat([inputs, torch.zeros_like(inputs)])  # samples that sit exactly on every kink
    loss = curvature.empirical_loss(model, functional.cross_entropy, inputs, torch.cat([Y, Y]))
    assert torch.isfinite(curvature.hessian(loss, named(model))).all()


class Clipped(nn.Module):
    """Clips its own weights as it is called."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        with torch.no_grad():
            self.layer.weight.clamp_(-0.1, 0.1)
        return self.layer(x)


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (Clipped, X),
        (
            lambda: nn.Sequential(nn.Embedding(4, 3, max_norm=0.5), nn.Flatten(), nn.Linear(6, 3)),
            torch.arange(24).reshape(12, 2) % 4,
        ),
    ],
)
def test_a_model_that_writes_into_its_parameters_is_refused_and_left_alone(make, inputs):
    torch.manual_seed(1)
    model = make().double()
    before = {name: entry.detach().clone() for name, entry in model.named_parameters()}
    with pytest.raises(ValueError, match="parameters in place"):
        curvature.empirical_loss(model, functional.cross_entropy, inputs, Y)
    assert all(torch.equal(entry, before[name]) for name, entry in model.named_parameters())


def test_a_model_that_counts_its_calls_is_found_out():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.calls = nn.Linear(4, 3), 0

        def forward(self, x):
            self.calls += 1
            return self.layer(x) * (1 + 1e-4 * self.calls)

    with pytest.raises(ValueError, match="deterministic"):
        curvature.empirical_loss(Counting().double(), functional.cross_entropy, X, Y)


def test_a_hook_that_changes_a_parameters_gradient_is_named():
    model = mlp()
    model[0].weight.register_hook(lambda g: 0 * g)
    with pytest.raises(ValueError, match=r"'0\.weight' carries a hook"):
        curvature.empirical_loss(model, functional.cross_entropy, X, Y)


@pytest.mark.parametrize("odd", [0, 1])
def test_pairs_of_numbers_as_complex_numbers_at_any_place(odd):
    """torch.view_as_complex looks at even places only; P is odd, so rows of unit vectors begin anywhere."""
    point = {"first": torch.ones(odd, dtype=torch.float64), "pairs": torch.randn(3, 2, dtype=torch.float64)}
    point["last"] = torch.ones(1 - odd, dtype=torch.float64)

    def loss(p):
        return torch.view_as_complex(p["pairs"]).abs().pow(4).sum() + p["first"].sum() ** 2 + p["last"].sum() ** 2

    def real(p):
        return (p["pairs"] ** 2).sum(1).pow(2).sum() + p["first"].sum() ** 2 + p["last"].sum() ** 2

    assert torch.allclose(curvature.hessian(loss, point), curvature.hessian(real, point), atol=1e-12)
    assert torch.allclose(curvature.trace(loss, point).value, curvature.trace(real, point).value)
