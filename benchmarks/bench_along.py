"""Sharpness at every step of full-batch training with one jump to other weights, and sample gradients of a loader."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import workbench as wb
from benchmarks.bench_products import trained
from benchmarks.measure import compare, once
from workbench import curvature

SAMPLES, STEPS, JUMP = 200, 60, 40
_STEP_SIZES = {"residual CNN": 0.15, "transformer": 0.1, "LSTM": 0.3, "MLP with LayerNorm": 0.15}
_LOADED = 4000


def rows() -> list[dict[str, object]]:
    """Errors against top_eigenpairs, products and time of each step after the first; then loaders beside one tensor."""
    return [*(_along(name) for name in _STEP_SIZES), *_loaders()]


def _along(name: str) -> dict[str, object]:
    model, inputs, targets = trained(name, SAMPLES)
    loss = curvature.empirical_loss(model, cross_entropy, inputs, targets)
    noise, step_size, taken, errors, found = torch.Generator().manual_seed(0), _STEP_SIZES[name], [], [], []
    watch = wb.Watch(loss)
    for step in range(STEPS):
        if step == JUMP:
            # Other weights and a quarter of the step size.
            step_size /= 4
            with torch.no_grad():
                for entry in model.parameters():
                    entry += 0.5 * entry.std() * torch.randn(entry.shape, generator=noise) if entry.numel() > 1 else 0
        taken.append(once(watch))
        found.append(watch.dataset().isel(step=-1))
        truth = curvature.top_eigenpairs(loss, loss.parameters(), 1, rtol=1e-4).values[0]
        errors.append(abs(float(found[-1].sharpness) / float(truth) - 1))
        _descend(model, inputs, targets, step_size)
    times = compare(
        {
            "gradient": lambda: _gradient(model, inputs, targets),
            "sharpness": lambda: curvature.sharpness(loss, loss.parameters()),
        },
        3,
    )
    products = [float(one.sharpness_products) for one in found[1:]]
    per_step = statistics.mean(taken[1:])
    return {
        "what": f"sharpness along {STEPS} steps, {name}, {SAMPLES} samples",
        "products a step": f"{statistics.mean(products):.2f}",
        "most, first": f"{max(products):.0f}, {float(found[0].sharpness_products):.0f}",
        "median error": f"{100 * statistics.median(errors):.2f} %",
        "worst error": f"{100 * max(errors):.2f} %",
        "time a step in gradients": f"{per_step / times['gradient']:.1f}",
        "`sharpness` in gradients": f"{times['sharpness'] / times['gradient']:.0f}",
        "loader / tensor": "",
    }


def _gradient(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(cross_entropy(model(inputs), targets), list(model.parameters())))


def _descend(model: nn.Module, inputs: Tensor, targets: Tensor, step_size: float) -> None:
    gradient = _gradient(model, inputs, targets)
    with torch.no_grad():
        torch._foreach_sub_(list(model.parameters()), gradient, alpha=step_size)


def _loaders() -> list[dict[str, object]]:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = (
        torch.randn(_LOADED, 1, 8, 8, generator=generator),
        torch.randint(10, (_LOADED,), generator=generator),
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    loss = curvature.empirical_loss(model, cross_entropy, inputs, targets)
    loader, parameters = DataLoader(TensorDataset(inputs, targets), batch_size=64), loss.parameters()
    functions: list[Callable] = [
        curvature.per_sample_gradients,
        curvature.per_sample_gradient_norms,
        curvature.gradient_covariance_spectrum,
    ]
    return [_loader_row(function, loss, parameters, loader) for function in functions]


def _loader_row(
    function: Callable, loss: curvature.EmpiricalLoss, parameters: dict[str, Tensor], loader: DataLoader
) -> dict[str, object]:
    batches = list(loader)
    seconds = compare(
        {
            "tensor": lambda: function(loss, parameters),
            "batches": lambda: function(loss, parameters, batches),
            "loader": lambda: function(loss, parameters, loader),
            "reading": lambda: [None for _ in loader],
        },
        7,
    )
    ratios = {name: value / seconds["tensor"] for name, value in seconds.items()}
    return {
        "what": f"{function.__name__} of a loader over one tensor, {_LOADED:,} samples",
        "loader / tensor": f"{ratios['loader']:.2f}, of which reading alone {ratios['reading']:.2f}; "
        f"batches of 64 in memory {ratios['batches']:.2f}",
    }
