"""Rewritten blocks compute what they computed before, to rounding."""

import functools

import numpy as np
import pytest
import torch
from dynamics.test_run import BOWL
from torch.fx.experimental.proxy_tensor import make_fx

import workbench as wb
from workbench.compiler import spell_out_scaled_sums
from workbench.dynamics.engine import step as steps
from workbench.dynamics.engine.rewriting import rewrite_for_cpu, tanh


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_is_within_5_units_in_the_last_place_everywhere(dtype):
    near = torch.linspace(-25, 25, 200_001, dtype=torch.float64)
    x = torch.cat([near, torch.linspace(0.49, 0.51, 20_001), torch.logspace(-30, 2, 50_001)]).to(dtype)
    exact = np.tanh(x.numpy().astype(np.longdouble))
    unit = np.spacing(np.abs(exact.astype(x.numpy().dtype)))
    assert (np.abs(tanh(x).numpy() - exact) <= 5 * unit).all()
    infinite = tanh(torch.tensor([float("inf"), -float("inf"), float("nan")], dtype=dtype))
    assert infinite[0] == 1 and infinite[1] == -1 and infinite[2].isnan()


@pytest.mark.parametrize(
    ("rows", "inner", "columns", "turned"), [(20, 5, 3, True), (3, 5, 20, False), (30, 4, 20, False)]
)
def test_narrow_products_are_turned_and_stay_equal(rows, inner, columns, turned):
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(4, rows, inner, generator=generator, dtype=torch.float64)
    right = torch.randn(4, inner, columns, generator=generator, dtype=torch.float64)

    def both(left, right):
        return torch.tanh(torch.bmm(left, right)), torch.bmm(right.mT, left.mT)

    module = make_fx(both)(left, right)
    rewrite_for_cpu(module)
    for new, old in zip(module(left, right), both(left, right), strict=True):
        assert new.shape == old.shape
        torch.testing.assert_close(new, old, rtol=1e-13, atol=1e-14)
    product = next(node for node in module.graph.nodes if "bmm" in str(node.target))
    assert turned == (product.args[0].op == "call_function")


def test_scaled_sums_are_spelled_out():
    def step(x, y):
        return torch.add(x, y, alpha=-0.3), torch.add(x, y), x + 2

    x, y = torch.arange(4.0), torch.ones(4)
    module = make_fx(step)(x, y)
    spell_out_scaled_sums(module.graph)
    module.recompile()
    assert not any(node.kwargs for node in module.graph.nodes)
    for new, old in zip(module(x, y), step(x, y), strict=True):
        torch.testing.assert_close(new, old)


@pytest.mark.slow
def test_a_compiled_single_network_equals_the_plain_one(monkeypatch):
    """Its weights' gradients are plain matrix products, into which the compiler folds the step, once without its size."""
    monkeypatch.setattr(steps, "BLOCK", 2)
    digits = wb.data.load("digits", train=60, centre=True)
    problem = wb.problems.classifier(digits, hidden=[12], loss="squared", dtype=torch.float64)
    runs = [
        wb.run(problem, wb.optimizers.gradient_descent(0.3), steps=15, compile=compile, progress=False)
        for compile in (False, True)
    ]
    for name, value in runs[0].parameters.items():
        torch.testing.assert_close(runs[1].parameters[name], value, rtol=1e-11, atol=1e-13)


def test_code_that_computes_something_else_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(
        torch._inductor, "compile", lambda module, tensors, options: lambda *x: module(*(2 * t for t in x))
    )
    run = wb.run(BOWL, wb.optimizers.gradient_descent(0.1), steps=20, compile=True, progress=False)
    plain = wb.run(BOWL, wb.optimizers.gradient_descent(0.1), steps=20, compile=False, progress=False)
    assert "do not compute what the steps compute" in caplog.text
    torch.testing.assert_close(run.parameters, plain.parameters)


@pytest.mark.slow
def test_a_compiled_sweep_of_networks_equals_the_plain_one(monkeypatch):
    monkeypatch.setattr(steps, "BLOCK", 2)
    digits = wb.data.load("digits", train=60, centre=True)
    problem = wb.problems.classifier(digits, hidden=[12], activation="tanh", loss="squared", dtype=torch.float64)

    def train(seed, compile):
        rule = wb.optimizers.sam(0.3, 0.05)
        return wb.run(problem, rule, seed=seed, steps=31, batch_size=20, compile=compile, progress=False).parameters

    def sweep(compile):
        return wb.sweep(functools.partial(train, compile=compile), seed=range(3), progress=False)

    plain, fast = sweep(False), sweep(True)
    for name in plain.data_vars:
        np.testing.assert_allclose(fast[name].values, plain[name].values, rtol=1e-11, atol=1e-13)
