"""The user's model: evaluated as it is, and left as it was."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from workbench.curvature import (
    average_case,
    empirical_loss,
    hessian,
    hessian_vector_product,
    per_sample_gradients,
    sharpness,
    top_eigenpairs,
    trace,
    worst_case,
)
from workbench.curvature.model import (
    ExactOperations,
    Linearised,
    each,
    modules_of,
    plain_kernels,
    substituted,
    untouched,
)

X = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(8) % 3


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()


def shared():
    torch.manual_seed(0)
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 3)).double()
    model[4].weight = layer.weight
    return model


def held(model):
    return [(id(module), name, value) for module in model.modules() for name, value in vars(module).items()]


def named(model):
    return {name: entry.detach() for name, entry in model.named_parameters()}


class Remembering(nn.Module):
    """Stores what it computes in every way that modules have: attribute, list, dict, buffer, count, lazily made table."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen, self.by_name, self.count, self.table = nn.Linear(4, 3), [], {}, 0, None
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        h = self.layer(x)
        if self.table is None:
            self.table = torch.cos(h.new_ones(3).cumsum(0))
        self.last, self.mean, self.count = h, h.detach().mean(0), self.count + 1
        self.seen.append(h)
        self.by_name["h"] = h
        return torch.tanh(h * self.table)


CALLS = {
    "hessian": hessian,
    "product": lambda loss, p: hessian_vector_product(loss, p, torch.ones(15, dtype=torch.float64)),
    "top": lambda loss, p: top_eigenpairs(loss, p, 1),
    "trace": trace,
    "sharpness": sharpness,
    "worst": lambda loss, p: worst_case(loss, p, 0.1, steps=2),
    "average": lambda loss, p: average_case(loss, p, 0.1, directions=3),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("form", ["empirical", "any"])
def test_nothing_of_an_evaluation_stays_in_the_model(call, form):
    model = Remembering().double()
    before = held(model)
    losses = {
        "empirical": lambda: empirical_loss(model, functional.cross_entropy, X, Y),
        "any": lambda: lambda p: functional.cross_entropy(torch.func.functional_call(model, p, (X,)), Y),
    }
    CALLS[call](losses[form](), named(model))
    after = held(model)
    assert len(after) == len(before)
    assert all(now[:2] == then[:2] and now[2] is then[2] for now, then in zip(after, before, strict=True))
    assert model.seen == [] and model.by_name == {} and model.count == 0 and not model.mean.any()
    copy.deepcopy(model)
    assert model(X).grad_fn is not None


def test_per_sample_gradients_leave_nothing_either():
    model = Remembering().double()
    before = held(model)

    def one(p, x, y):
        return functional.cross_entropy(torch.func.functional_call(model, p, (x[None],)), y[None])

    per_sample_gradients(one, named(model), X, Y)
    assert all(now[2] is then[2] for now, then in zip(held(model), before, strict=True))


def test_every_place_of_a_shared_parameter_is_replaced_and_put_back():
    model = shared()
    own = list(model.parameters())
    doubled = {name: (2 * entry.detach()).requires_grad_() for name, entry in model.named_parameters()}
    with substituted(model, doubled):
        value = model(X).square().sum()
        assert model[0].weight is model[2].weight is model[4].weight is doubled["0.weight"]
        gradients = torch.autograd.grad(value, list(doubled.values()))
    assert all(now is then for now, then in zip(model.parameters(), own, strict=True))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for entry in twin.parameters():
            entry.mul_(2)
    expected = torch.autograd.grad(twin(X).square().sum(), list(twin.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(gradients, expected, strict=True))


def test_an_exception_inside_leaves_the_model_too():
    model = mlp()
    own = model[0].weight
    with pytest.raises(RuntimeError), substituted(model, {"0.weight": torch.zeros(7, 7, dtype=torch.float64)}):
        model(X)
    assert model[0].weight is own


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="no parameters or buffers named"), substituted(mlp(), {"9.weight": X}):
        pass


def test_buffers_of_training_modules_keep_their_values():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    with untouched(model):
        model(X)
    assert not model[1].running_mean.any() and int(model[1].num_batches_tracked) == 0


MODEL = mlp()


def test_modules_are_found_through_closures_defaults_partials_and_globals():
    model = mlp()

    def inner(p):
        return model(p)

    assert modules_of(lambda p: inner(p)) == [model]
    assert modules_of(lambda p, module=model: module(p)) == [model]
    assert modules_of(lambda p: MODEL(p)) == [MODEL]
    assert modules_of(model[0], model) == [model]


def test_a_derivative_that_runs_the_model_again_sees_the_same_parameters():
    model = mlp()

    def loss(p):
        def part(x):
            return torch.func.functional_call(model, p, (x,))

        return functional.cross_entropy(part(X), Y)

    class Middle(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp()

        def forward(self, x):
            return checkpoint(self.body, x, use_reentrant=False)

    net = Middle()
    elsewhere = {name: entry + 0.3 for name, entry in named(net).items()}
    found = hessian(empirical_loss(net, functional.cross_entropy, X, Y), elsewhere)
    plain = hessian(loss, {name.removeprefix("body."): entry for name, entry in elsewhere.items()})
    assert torch.allclose(found, plain, rtol=1e-9, atol=1e-12)


def test_a_loss_that_reads_the_models_own_parameters_is_refused_with_the_way_out():
    model = mlp()

    def loss(p):
        value = functional.cross_entropy(torch.func.functional_call(model, p, (X,)), Y)
        return value + sum(entry.square().sum() for entry in model.parameters())

    with pytest.raises(ValueError, match="empirical_loss"):
        hessian(loss, named(model))


def test_a_loss_that_no_parameter_reaches_is_refused():
    model = mlp()
    with pytest.raises(ValueError, match="no parameter reaches"):
        hessian(lambda p: functional.cross_entropy(model(X), Y).detach(), named(model))


def test_parameters_in_plain_lists_are_refused():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.mine = [self.layer.weight]

        def forward(self, x):
            return x @ self.mine[0].T + self.layer.bias

    with pytest.raises(ValueError, match=r"reads parameter 'layer\.weight'"):
        empirical_loss(Listed().double(), functional.cross_entropy, X, Y)


def test_a_second_derivative_that_detaches_is_found_out():
    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            return g * 3 * ctx.saved_tensors[0].detach() ** 2

    with pytest.raises(ValueError, match="Half"):
        hessian(lambda x: Half.apply(x).sum(), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(
    "function",
    [
        lambda p: functional.layer_norm(p, (4,), torch.linspace(0.5, 1, 4, dtype=p.dtype)).tanh(),
        lambda p: functional.batch_norm(p, None, None, training=True).tanh(),
        lambda p: functional.instance_norm(p.reshape(2, 2, 4)).tanh(),
        lambda p: torch._weight_norm(p, torch.linspace(1, 2, 4, dtype=p.dtype)[:, None], 0).tanh(),
        lambda p: functional.mse_loss(p.tanh(), X[:4], reduction="none"),
        lambda p: functional.huber_loss(p.tanh(), X[:4], reduction="none", delta=0.3),
        lambda p: torch.cdist(p, X[4:]).tanh(),
        lambda p: functional.embedding_bag(torch.tensor([[0, 1], [2, 3]]), p).tanh(),
        lambda p: functional.embedding_bag(torch.tensor([0, 1, 2, 3]), p, torch.tensor([0, 3]), mode="sum").tanh(),
    ],
)
def test_exact_operations_have_the_same_values_and_right_third_derivatives(function):
    weights = torch.linspace(-1, 1, function(X[:4]).numel(), dtype=torch.float64)

    def loss(p):
        return (function(p).reshape(-1) * weights).sum()

    def second(p, direction):
        p = p.detach().requires_grad_() if not p.requires_grad else p
        (slope,) = torch.autograd.grad(loss(p), p, create_graph=True)
        return torch.autograd.grad(slope, p, direction, create_graph=True)[0], p

    point, u, v = X[:4], X[4:], X[4:].flip(0)
    plain = loss(point)
    with ExactOperations():
        assert torch.allclose(loss(point), plain, rtol=1e-12)
        product, leaf = second(point, v)
        (third,) = torch.autograd.grad((product * u).sum(), leaf)
        differences = (second(point + 1e-5 * u, v)[0] - second(point - 1e-5 * u, v)[0]) / 2e-5
        product = product.detach()

        def slope(at):
            at = at.detach().requires_grad_()
            return torch.autograd.grad(loss(at), at)[0]

        rise = (slope(point + 1e-5 * v) - slope(point - 1e-5 * v)) / 2e-5
    assert torch.allclose(product, rise, rtol=1e-6, atol=1e-8)
    assert torch.allclose(third, differences.detach(), rtol=1e-5, atol=1e-7)


def test_kernels_are_as_before_afterwards():
    before = torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()
    with plain_kernels():
        assert not torch.backends.cuda.flash_sdp_enabled()
    assert (torch.backends.cuda.flash_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()) == before


def test_a_loop_takes_the_place_of_vmap():
    def unbatchable(x):
        return x * float(x.sum())  # a number of one run has no batch

    points = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(each(unbatchable, points), torch.stack([row * row.sum() for row in points]))
    with pytest.raises(ValueError, match="vmap"):
        torch.func.vmap(lambda block: each(unbatchable, block))(points[None])


def test_a_faster_way_is_compared_on_every_row_together(monkeypatch):
    """Wrong where the first row does not show it: rows of unused weights are zero in any way of computing them."""
    model = nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(2, 3)).double()
    loss = empirical_loss(model, functional.cross_entropy, torch.tensor([[1], [2], [3]]), torch.tensor([0, 1, 2]))
    right = hessian(lambda p: loss(p), named(model))
    assert not right[:2].any()
    for way in ("_by_transform", "_by_batched_backward"):
        monkeypatch.setattr(Linearised, way, lambda self, vectors: 2 * torch.stack([*map(self._backward, vectors)]))
    assert torch.allclose(hessian(lambda p: loss(p), named(model)), right, atol=1e-14)


def test_a_loss_that_reads_a_model_inside_another_is_refused():
    """gpytorch's marginal likelihood holds the model that it is the likelihood of."""
    model = mlp()

    class Likelihood(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, outputs):
            return functional.cross_entropy(outputs, Y) + sum(p.square().sum() for p in self.model.parameters())

    likelihood = Likelihood()
    with pytest.raises(ValueError, match="empirical_loss"):
        hessian(lambda p: likelihood(torch.func.functional_call(model, p, (X,))), named(model))
