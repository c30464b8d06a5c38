"""Kinds of models, losses and data that public bug reports are about: right, or refused for the true reason."""

import pytest
import torch
from small_classifier import DATA, MODEL, X, Y, batch_loss, mlp, named, one
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from workbench import curvature


def rows_by_loop(model, function, inputs, targets):
    found = []
    for i in range(len(inputs)):
        value = function(model(inputs[i : i + 1]), targets[i : i + 1])
        found.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(value, [*model.parameters()])]))
    return torch.stack(found)


# --- structure only where it is proven --------------------------------------------------------------------------------


def pruned_linear():
    model = mlp()
    prune.random_unstructured(model[0], "weight", 0.4)
    return model, X


def pruned_convolution():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(2, 3)).double()
    prune.l1_unstructured(model[0], "weight", 2)
    return model, X.reshape(12, 1, 2, 2)


def registered_scale():
    model = mlp()
    model[0].register_parameter("scale", nn.Parameter(torch.tensor(2.0, dtype=torch.float64)))
    model[0].register_forward_hook(lambda module, _, output: output * module.scale)
    return model, X


def users_hook():
    model = mlp()
    model[0].register_forward_hook(lambda module, _, output: 3 * output)
    return model, X


def elements_of_a_weight():
    class Sliced(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.b(torch.tanh(self.a(x))) + self.a.weight[:3].sum(1)

    torch.manual_seed(1)
    return Sliced().double(), X


@pytest.mark.parametrize(
    "make", [pruned_linear, pruned_convolution, registered_scale, users_hook, elements_of_a_weight]
)
def test_no_result_from_a_structure_that_does_not_hold(make):
    model, inputs = make()
    loss = curvature.empirical_loss(model, functional.cross_entropy, inputs, Y)
    right = rows_by_loop(model, functional.cross_entropy, inputs, Y)
    torch.full((4000,), 7e77, dtype=torch.float64)  # freed memory that is not zero
    assert torch.allclose(curvature.per_sample_gradients(loss, named(model)), right, atol=1e-12)
    assert torch.allclose(curvature.per_sample_gradient_norms(loss, named(model)), right.norm(dim=1), atol=1e-12)
    plain = curvature.hessian(lambda p: loss(p), named(model))
    assert torch.allclose(curvature.hessian(loss, named(model)), plain, atol=1e-12)
    assert torch.allclose(curvature.top_eigenpairs(loss, named(model), 1).values, torch.linalg.eigvalsh(plain)[-1:])


def test_time_steps_are_not_taken_for_samples():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.b(torch.tanh(self.a(x.transpose(0, 1)))).mean(0)

    torch.manual_seed(1)
    model, inputs = TimeFirst().double(), torch.randn(12, 3, 4, dtype=torch.float64)
    loss = curvature.empirical_loss(model, functional.cross_entropy, inputs, Y)
    right = rows_by_loop(model, functional.cross_entropy, inputs, Y)
    assert torch.allclose(curvature.per_sample_gradients(loss, named(model)), right, atol=1e-12)


@pytest.mark.parametrize("between", [lambda p: nn.ReLU(p), lambda p: nn.ELU(inplace=p), lambda p: nn.SiLU(p)])
def test_operations_in_place_keep_the_structure(between):
    losses = [curvature.empirical_loss(mlp(between(p)), functional.cross_entropy, X, Y) for p in (True, False)]
    assert losses[0].structure is not None and losses[0].structure.chain
    matrices = [curvature.hessian(loss, loss.parameters()) for loss in losses]
    assert torch.allclose(*matrices, atol=1e-14)


def test_a_layer_called_by_keyword_keeps_the_structure():
    class ByKeyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.b(input=torch.tanh(self.a(input=x)))

    loss = curvature.empirical_loss(ByKeyword().double(), functional.cross_entropy, X, Y)
    assert loss.structure is not None
    plain = curvature.hessian(lambda p: loss(p), loss.parameters())
    assert torch.allclose(curvature.hessian(loss, loss.parameters()), plain, atol=1e-13)


# --- mean, sum, couples, unknown because ------------------------------------------------------------------------------


def masked(outputs, targets):
    half = torch.arange(12) < 6
    return functional.cross_entropy(outputs[half], targets[half])


@pytest.mark.parametrize(
    ("model", "function", "targets", "reduction", "words"),
    [
        (mlp, functional.cross_entropy, Y, "mean", ""),
        (mlp, nn.CrossEntropyLoss(reduction="sum"), Y, "sum", ""),
        (mlp, nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]).double()), Y, None, "couples"),
        (mlp, nn.CrossEntropyLoss(ignore_index=0), Y, None, "couples|not finite"),
        (mlp, masked, Y, None, "unknown.*IndexError"),
        (
            lambda: nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()).double(),
            functional.binary_cross_entropy,
            (Y > 0).double()[:, None],
            "mean",
            "",
        ),
        (
            lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1)).double(),
            lambda outputs, targets: functional.nll_loss(outputs.log(), targets),
            Y,
            "mean",
            "",
        ),
        (mlp, lambda o, y: functional.cross_entropy(o - o.mean(0), y), Y, None, "couples"),
    ],
)
def test_how_a_loss_combines_its_samples(model, function, targets, reduction, words):
    loss = curvature.empirical_loss(model(), function, X, targets)
    assert loss.reduction == reduction
    if reduction is None:
        with pytest.raises(ValueError, match=words):
            curvature.per_sample_gradients(loss, loss.parameters())
        loss_again = lambda p: loss(p)  # noqa: E731
        assert torch.allclose(
            curvature.hessian(loss, loss.parameters()), curvature.hessian(loss_again, loss.parameters())
        )
    else:
        rows = curvature.per_sample_gradients(loss, loss.parameters())
        whole = torch.autograd.grad(function(loss.model(X), targets), [*loss.model.parameters()])
        combined = rows.mean(0) if reduction == "mean" else rows.sum(0)
        assert torch.allclose(combined, torch.cat([entry.reshape(-1) for entry in whole]), atol=1e-12)


def test_its_repr_does_not_print_the_data():
    assert len(repr(curvature.empirical_loss(mlp(), functional.cross_entropy, X, Y))) < 120


# --- data as loaders give them ----------------------------------------------------------------------------------------


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = mlp()

    def forward(self, x, scale=None):
        return {"logits": self.body(x if scale is None else x * scale)}


def test_dicts_of_inputs_and_outputs():
    model, scale = Keywords(), torch.linspace(1, 2, 12, dtype=torch.float64)[:, None]

    def function(outputs, targets):
        return functional.cross_entropy(outputs["logits"], targets)

    loss = curvature.empirical_loss(model, function, {"x": X, "scale": scale}, Y)
    plain = curvature.empirical_loss(model.body, functional.cross_entropy, X * scale, Y)
    assert loss.reduction == "mean"
    for call in (curvature.hessian, curvature.gauss_newton, curvature.per_sample_gradients):
        assert torch.allclose(call(loss, loss.parameters()), call(plain, plain.parameters()), atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"shuffle": True}])
def test_loaders_are_taken_where_a_loss_or_data_are(options):
    point, loader = named(MODEL), DataLoader(DATA, 5, **options)
    whole = curvature.empirical_loss(MODEL, functional.cross_entropy, X, Y)
    read = curvature.empirical_loss(MODEL, functional.cross_entropy, loader)
    right = curvature.hessian(whole, point)
    assert torch.allclose(curvature.hessian(read, point), right, atol=1e-12)
    assert torch.allclose(curvature.hessian(curvature.MinibatchLoss(batch_loss, loader), point), right, atol=1e-12)
    spectra = [curvature.gradient_covariance_spectrum(one, point, *data) for data in ((loader,), (X, Y))]
    assert torch.allclose(*spectra, atol=1e-12)
    dicts = [{"x": x, "y": y} for x, y in DataLoader(DATA, 5)]
    by_name = curvature.MinibatchLoss(lambda p, batch: batch_loss(p, batch["x"], batch["y"]), dicts)
    assert torch.allclose(curvature.hessian(by_name, point), right, atol=1e-12)
    norms = curvature.per_sample_gradient_norms(lambda p, batch: one(p, batch["x"], batch["y"]), point, dicts)
    assert torch.allclose(norms, curvature.per_sample_gradient_norms(whole, point), atol=1e-12)


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(DATA, 5, shuffle=True, drop_last=True),
        DataLoader(DATA, 5, sampler=RandomSampler(DATA, replacement=True)),
        iter(DataLoader(DATA, 5)),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda loader: curvature.MinibatchLoss(batch_loss, loader),
        lambda loader: curvature.per_sample_gradients(one, named(MODEL), loader),
        lambda loader: curvature.empirical_loss(MODEL, functional.cross_entropy, loader),
    ],
)
def test_loaders_that_change_the_loss_are_refused(loader, call):
    with pytest.raises(ValueError, match=r"every pass|only once"):
        call(loader)


def test_augmentation_is_found_out():
    class Noisy(TensorDataset):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return x + 0.01 * torch.randn_like(x), y

    with pytest.raises(ValueError, match="not deterministic"):
        curvature.sharpness(curvature.MinibatchLoss(batch_loss, DataLoader(Noisy(X, Y), 5)), named(MODEL))
