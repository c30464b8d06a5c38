"""Rewritten blocks compute what they computed before, to rounding."""

import functools

import numpy as np
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

import workbench as wb
from workbench.dynamics import stepping
from workbench.dynamics.rewriting import rewritten, tanh


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

    module = rewritten(make_fx(both)(left, right))
    for new, old in zip(module(left, right), both(left, right), strict=True):
        assert new.shape == old.shape
        torch.testing.assert_close(new, old, rtol=1e-13, atol=1e-14)
    product = next(node for node in module.graph.nodes if "bmm" in str(node.target))
    assert turned == (product.args[0].op == "call_function")


@pytest.mark.slow
def test_a_compiled_sweep_of_networks_equals_the_plain_one(monkeypatch):
    monkeypatch.setattr(stepping, "BLOCK", 2)
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
