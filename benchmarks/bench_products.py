"""Hessian-vector products of networks people train, beside a plain double-backward loop on a kept graph (below 1: faster)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import workbench as wb
from benchmarks.measure import compare
from benchmarks.modern_networks import MODERN
from workbench.curvature.model import plain_kernels

REPEATS = 2
_PRODUCTS = {"residual CNN": 64, "small ResNet": 16, "transformer": 64, "LSTM": 16, "MLP with LayerNorm": 64}


def rows() -> list[dict[str, object]]:
    """Many products at one point (in one block, one by one, rows of the Hessian), one product and the top 10 eigenpairs
    (against 40 products of the loop); everything set up anew each time."""
    return [_row(name, samples) for name in MODERN for samples in (100, 1000)]


def _row(name: str, samples: int) -> dict[str, object]:
    model, inputs, targets = trained(name, samples)
    loss = wb.curvature.empirical_loss(model, cross_entropy, inputs, targets)
    parameters = loss.parameters()
    size = sum(entry.numel() for entry in parameters.values())
    vectors = torch.randn(_PRODUCTS[name], size, generator=torch.Generator().manual_seed(2))
    unit = torch.zeros_like(vectors)
    unit[range(len(vectors)), torch.linspace(0, size - 1, len(vectors)).long()] = 1.0
    with plain_kernels():
        plain = _plain(model, inputs, targets)
        reference = plain(vectors)
        error = (wb.curvature.hvp_operator(loss, parameters)(vectors) - reference).abs().amax() / reference.abs().amax()

        def one_by_one() -> None:
            operator = wb.curvature.hvp_operator(loss, parameters)
            for vector in vectors:
                operator(vector)

        seconds = compare(
            {
                "loop": lambda: plain(vectors),
                "block": lambda: wb.curvature.hvp_operator(loss, parameters)(vectors),
                "one by one": one_by_one,
                "rows": lambda: wb.curvature.hvp_operator(loss, parameters)(unit),
                "top 10": lambda: wb.curvature.top_eigenpairs(loss, parameters, k=10, rtol=1e-3),
                "plain single": lambda: plain(vectors[:1]),
                "single": lambda: wb.curvature.hvp_operator(loss, parameters)(vectors[0]),
            },
            REPEATS,
        )
    return {
        "what": f"{name}, {size:,} parameters, {samples:,} samples",
        "products": len(vectors),
        "plain loop (CPU s)": f"{seconds['loop']:.3g}",
        "one block / loop": f"{seconds['block'] / seconds['loop']:.2f}",
        "one by one / loop": f"{seconds['one by one'] / seconds['loop']:.2f}",
        "rows / loop": f"{seconds['rows'] / seconds['loop']:.2f}",
        "top 10 / 40 products": f"{seconds['top 10'] / seconds['loop'] * len(vectors) / 40:.2f}",
        "single / plain single": f"{seconds['single'] / seconds['plain single']:.2f}",
        "largest difference": f"{float(error):.0e}",
    }


def trained(name: str, samples: int) -> tuple[nn.Module, Tensor, Tensor]:
    """The named network after 100 steps of SGD on digits, in evaluation mode, and some of the data [sample, 1, 8, 8]."""
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(images / 16 - 0.3, dtype=torch.float32).reshape(-1, 1, 8, 8)[:1000]
    targets = torch.tensor(labels)[:1000]
    torch.manual_seed(0)
    model = MODERN[name]()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for _ in range(100):
        chosen = torch.randint(0, 1000, (128,), generator=generator)
        optimizer.zero_grad()
        cross_entropy(model(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()
    return model.eval(), inputs[:samples], targets[:samples]


def _plain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
    """What a user writes: the gradient with its graph, and one more backward pass for every vector."""
    parameters = list(model.parameters())

    def products(vectors: Tensor) -> Tensor:
        gradient = torch.autograd.grad(cross_entropy(model(inputs), targets), parameters, create_graph=True)
        flat = torch.cat([entry.reshape(-1) for entry in gradient])
        pulled = [torch.autograd.grad(flat, parameters, vector, retain_graph=True) for vector in vectors]
        return torch.stack([torch.cat([entry.reshape(-1) for entry in product]) for product in pulled])

    return products
