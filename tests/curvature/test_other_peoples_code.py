"""Kinds of models, losses and data that public bug reports are about: right, or refused for the true reason."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from workbench import curvature, memory

X = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def mlp(*between, dtype=torch.float64):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), *(between or (nn.Tanh(),)), nn.Linear(5, 3)).to(dtype)


def named(model):
    return {name: entry.detach() for name, entry in model.named_parameters() if entry.requires_grad}


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


def one(p, x, y):
    return functional.cross_entropy(torch.func.functional_call(MODEL, p, (x[None],)), y[None])


def batch_loss(p, x, y):
    return functional.cross_entropy(torch.func.functional_call(MODEL, p, (x,)), y)


MODEL = mlp()
DATA = TensorDataset(X, Y)


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


# --- random, drifting, scaled, broken ---------------------------------------------------------------------------------

FUNCTIONS = {
    "hessian_vector_product": lambda loss, p: curvature.hessian_vector_product(loss, p, torch.ones(43).to(X)),
    "hessian": curvature.hessian,
    "asymmetry": curvature.asymmetry,
    "spectrum": curvature.spectrum,
    "top_eigenpairs": lambda loss, p: curvature.top_eigenpairs(loss, p, 1),
    "sharpness": curvature.sharpness,
    "elementwise sharpness": lambda loss, p: curvature.sharpness(loss, p, scaling="elementwise"),
    "trace": curvature.trace,
    "frobenius_norm": curvature.frobenius_norm,
    "diagonal": curvature.diagonal,
    "spectral_density": curvature.spectral_density,
    "quadratic_worst_case": lambda loss, p: curvature.quadratic_worst_case(loss, p, 0.1),
    "worst_case": lambda loss, p: curvature.worst_case(loss, p, 0.1),
    "average_case": lambda loss, p: curvature.average_case(loss, p, 0.1),
}


class Drifting:
    def __init__(self):
        self.calls = 0

    def __call__(self, p):
        self.calls += 1
        return batch_loss(p, X, Y) * (1 + 1e-4 * self.calls)


def dropping(p):
    return functional.cross_entropy(functional.dropout(torch.func.functional_call(MODEL, p, (X,)), 0.2), Y)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_random_and_drifting_losses_are_refused_everywhere(name):
    for loss in (dropping, Drifting()):
        with pytest.raises(ValueError, match="not deterministic"):
            FUNCTIONS[name](loss, named(MODEL))


@pytest.mark.parametrize(
    "call", [curvature.per_sample_gradients, curvature.per_sample_gradient_norms, curvature.gradient_signal_to_noise]
)
def test_random_sample_losses_are_refused(call):
    def random(p, x, y):
        return one(p, functional.dropout(x, 0.5), y)

    with pytest.raises(ValueError, match="not deterministic"):
        call(random, named(MODEL), X, Y)


@pytest.mark.parametrize("scale", [1e-25, 1e-22, 1e20, 1e25])
def test_losses_of_any_scale_in_single_precision(scale):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 20), nn.Tanh(), nn.Linear(20, 3)).double()
    single, point = copy.deepcopy(model).float(), named(copy.deepcopy(model).float())
    exact = curvature.empirical_loss(model, functional.cross_entropy, X, Y)
    scaled = curvature.empirical_loss(single, lambda o, y: functional.cross_entropy(o, y) * scale, X.float(), Y)

    def close(got, right, tolerance=1e-4):
        error = (got.double() / scale - right).norm() / right.norm()
        assert error < tolerance, error

    reference = curvature.hessian(exact, named(model))
    values = torch.linalg.eigvalsh(reference)
    for loss in (scaled, lambda p: scaled(p)):
        close(curvature.hessian(loss, point), reference)
        close(curvature.sharpness(loss, point), values[-1])
        close(curvature.top_eigenpairs(loss, point, 2).values, values.flip(0)[:2])
        close(curvature.frobenius_norm(loss, point, products=1000).value, reference.norm())
        close(curvature.trace(loss, point).value, curvature.trace(exact, named(model)).value, 1e-3)
        estimate = curvature.frobenius_norm(loss, point)
        assert estimate.standard_error > 0 and math.isfinite(estimate.standard_error)
        close(
            curvature.worst_case(loss, point, 0.1, steps=5),
            curvature.worst_case(exact, named(model), 0.1, steps=5),
            1e-2,
        )
        close(
            curvature.quadratic_worst_case(loss, point, 0.1),
            curvature.quadratic_worst_case(exact, named(model), 0.1),
        )
    close(curvature.per_sample_gradient_norms(scaled, point), curvature.per_sample_gradient_norms(exact, named(model)))
    for call in (curvature.gradient_covariance, curvature.gradient_covariance_spectrum, curvature.empirical_fisher):
        with pytest.raises(ValueError, match="cannot hold"):
            call(scaled, point)


@pytest.mark.parametrize("name", ["trace", "frobenius_norm", "diagonal", "spectral_density", "top_eigenpairs"])
def test_parameters_that_are_not_finite_are_refused(name):
    broken = {key: entry.clone() for key, entry in named(MODEL).items()}
    broken["0.weight"][0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        FUNCTIONS[name](lambda p: batch_loss(p, X, Y), broken)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if name not in ("hessian", "asymmetry", "hessian_vector_product")]
)
def test_half_precision_is_refused_by_name(name, dtype):
    model = mlp(dtype=dtype)
    loss = curvature.empirical_loss(model, functional.cross_entropy, X.to(dtype), Y)
    with pytest.raises(ValueError, match=str(dtype).removeprefix("torch.")):
        FUNCTIONS[name](loss, named(model))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("hessian_vector_product",)])
def test_what_does_not_fit_is_refused_before_it_is_allocated(name):
    point = torch.zeros(1, dtype=torch.float64).expand(10**11)  # would be 800 GB
    with memory.sharing(1, 2.0**28), pytest.raises(memory.OutOfBudget):
        FUNCTIONS[name](lambda p: p.square().sum(), point)


@pytest.mark.parametrize("k", [0, 1.5, True, 44])
def test_counts_are_checked(k):
    with pytest.raises(ValueError, match="k="):
        curvature.top_eigenpairs(lambda p: batch_loss(p, X, Y), named(MODEL), k)


def test_equal_eigenvalues_have_a_density():
    for dtype in (torch.float32, torch.float64):
        density = curvature.spectral_density(lambda w: (w * w).sum() / 2, torch.randn(20, dtype=dtype))
        assert abs(float(torch.trapezoid(density.density, density.grid)) - 1) < 0.01


def test_an_asymmetry_beyond_rounding_is_refused():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * x.flip(0)

        @staticmethod
        def backward(ctx, g):
            return g

    def pseudo(p):
        return (p[:2] * p[2:].detach().exp() * p[2:]).sum()

    with pytest.raises(ValueError, match=r"symmetric|wrong"):
        curvature.hessian(lambda p: Wrong.apply(p).square().sum(), torch.linspace(1, 2, 4, dtype=torch.float64))
    assert float(curvature.asymmetry(pseudo, torch.ones(4, dtype=torch.float64))) < 1e-12
