"""The exact Hessian of an MLP 64-64-10 on the 1,797 digits (P = 4,810), from layers and from products, against its peers."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import workbench as wb
from benchmarks.measure import available, compare, row
from workbench.curvature.flat import flatten
from workbench.curvature.hessian import hessian_rows
from workbench.curvature.products import autograd_operator

REPEATS = 3
BLOCK = 64


def rows() -> list[dict[str, object]]:
    """Dense Hessians in both precisions, then all eigenvalues against the cost of a matrix product."""
    return [entry for dtype in (torch.float32, torch.float64) for entry in [*_hessians(dtype), _eigenvalues(dtype)]]


def digits_network(dtype: torch.dtype) -> tuple[nn.Sequential, Tensor, Tensor]:
    """The network, its inputs and its targets."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)).to(dtype)
    images, labels = load_digits(return_X_y=True)
    return model, torch.tensor(images / 16, dtype=dtype), torch.tensor(labels)


def _hessians(dtype: torch.dtype) -> list[dict[str, object]]:
    model, inputs, targets = digits_network(dtype)
    loss = wb.curvature.empirical_loss(model, functional.cross_entropy, inputs, targets)
    parameters = loss.parameters()
    ours = {
        "taps": lambda: wb.curvature.hessian(loss, parameters),
        "products": lambda: hessian_rows(autograd_operator(loss, parameters)),
    }
    peers = {
        "torch.func, jacrev of grad in chunks": lambda: _torch_func(model, inputs, targets),
        "JAX, jitted chunked products": _jax(model, inputs, targets) if available("jax") else None,
        "curvlinops times identity": _curvlinops(model, inputs, targets) if available("curvlinops") else None,
        "hessian-eigenthings times identity": (
            _eigenthings(model, inputs, targets) if available("hessian_eigenthings") else None
        ),
    }
    reference = ours["taps"]()
    errors = {}
    for name, call in {**ours, **peers}.items():
        if call is not None:
            found = torch.as_tensor(np.array(call()), dtype=dtype)
            errors[name] = float((found - reference).abs().max() / reference.abs().max())
    timed = compare({**ours, **{name: call for name, call in peers.items() if call}}, REPEATS, warmups=0)
    what = f"exact Hessian, {str(dtype).removeprefix('torch.')}"
    others = {"workbench's own products": timed["products"], **{name: timed.get(name) for name in peers}}
    errors["workbench's own products"] = errors["products"]
    return [
        row(what, timed["taps"], name, seconds, f"largest difference {errors[name]:.0e}" if seconds else "")
        for name, seconds in others.items()
    ]


def _torch_func(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    flat, unflatten = flatten({name: entry.detach() for name, entry in model.named_parameters()})

    def loss(vector: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, unflatten(vector), (inputs,)), targets)

    return torch.func.jacrev(torch.func.grad(loss), chunk_size=BLOCK)(flat)


def _jax(model: nn.Module, inputs: Tensor, targets: Tensor) -> Callable[[], object]:
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    jax.config.update("jax_enable_x64", inputs.dtype == torch.float64)
    parameters = [jnp.asarray(entry.detach().numpy()) for entry in model.parameters()]
    flat, unravel = ravel_pytree(parameters)
    x, y = jnp.asarray(inputs.numpy()), jnp.asarray(targets.numpy())

    def loss(vector):
        first, first_bias, last, last_bias = unravel(vector)
        outputs = jnp.tanh(x @ first.T + first_bias) @ last.T + last_bias
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], axis=1).mean()

    @jax.jit
    def dense(vector):
        def product(direction):
            return jax.jvp(jax.grad(loss), (vector,), (direction,))[1]

        return jax.lax.map(product, jnp.eye(vector.size, dtype=vector.dtype), batch_size=BLOCK)

    return lambda: dense(flat).block_until_ready()


def _curvlinops(model: nn.Module, inputs: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    from curvlinops import HessianLinearOperator

    operator = HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), [(inputs, targets)], check_deterministic=False
    )
    unit = torch.eye(operator.shape[0], dtype=inputs.dtype)
    return lambda: torch.cat([operator @ unit[:, i : i + BLOCK] for i in range(0, len(unit), BLOCK)], dim=1)


def _eigenthings(model: nn.Module, inputs: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    from hessian_eigenthings import HessianOperator, supervised_loss

    operator = HessianOperator(model, [(inputs, targets)], supervised_loss(functional.cross_entropy))
    unit = torch.eye(operator.size, dtype=inputs.dtype)
    return lambda: torch.stack([operator.matvec(direction) for direction in unit])


def _eigenvalues(dtype: torch.dtype) -> dict[str, object]:
    """All eigenvalues; the other side is 4/3 P^3 operations at the speed of a matrix product: the limit."""
    model, inputs, targets = digits_network(dtype)
    loss = wb.curvature.empirical_loss(model, functional.cross_entropy, inputs, targets)
    matrix = wb.curvature.hessian(loss, loss.parameters())
    start = time.process_time()
    values = wb.curvature.spectrum(loss, loss.parameters())
    seconds = time.process_time() - start
    product = compare({"product": lambda: matrix @ matrix}, repeats=1)["product"]
    note = f"{len(values):,} eigenvalues; {100 * product * 2 / 3 / seconds:.0f} % of that limit, Hessian included"
    what = f"exact spectrum, {str(dtype).removeprefix('torch.')}"
    return row(what, seconds, "4/3 P^3 operations as a matrix product", product * 2 / 3, note)
