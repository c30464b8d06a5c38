"""Losses that are random, drift, are tiny or huge, half precise, broken or too large: right, or refused for the true reason."""

import copy
import math

import pytest
import torch
from small_classifier import MODEL, X, Y, batch_loss, mlp, named, one
from torch import nn
from torch.nn import functional

from workbench import curvature, memory

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


@pytest.mark.parametrize("function", [curvature.hessian, curvature.trace, curvature.top_eigenpairs])
def test_parameters_without_entries_are_refused(function):
    with pytest.raises(ValueError, match="no entries"):
        function(lambda p: (p**2).sum(), torch.zeros(0))


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
    # Symmetric, and yet of no function: rows alone do not show what is detached.
    with pytest.raises(ValueError, match="detached"):
        curvature.asymmetry(pseudo, torch.ones(4, dtype=torch.float64))
