"""Compiled runs are the plain runs, to rounding; what is lifted comes back as it was."""

import functools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from dynamics.test_run import BOWL, LINE

import workbench as wb
from workbench.compiler import compiler_found
from workbench.dynamics.engine import step
from workbench.dynamics.engine.lifting import Lifted
from workbench.optimizers import StepDecay, m_sam, usam


@dataclass(frozen=True)
class Pair:
    scale: float
    tensor: torch.Tensor


def test_lifting_takes_every_tensor_and_puts_others_in_its_place():
    inside = torch.tensor(3.0)

    def closure(x):
        return x * inside

    thing = (Pair(2.0, torch.tensor(1.0)), {"f": closure, "g": functools.partial(torch.add, torch.tensor(5.0))}, None)
    lifted = Lifted(thing)
    assert [t.item() for t in lifted.tensors] == [1.0, 3.0, 5.0]
    pair, functions, nothing = lifted.rebuild([torch.tensor(10.0), torch.tensor(20.0), torch.tensor(30.0)])
    assert pair.tensor == 10.0 and pair.scale == 2.0 and nothing is None
    assert functions["f"](torch.tensor(2.0)) == 40.0 and functions["g"](torch.tensor(1.0)) == 31.0
    assert Lifted(thing).structure == lifted.structure
    assert Lifted((Pair(2.5, torch.tensor(1.0)),)).structure != Lifted((Pair(2.0, torch.tensor(1.0)),)).structure


def sweep(compile):
    def train(seed, rho):
        rule = usam(StepDecay(0.1, (30,)), rho, beta=0.5)
        run = wb.run(
            LINE,
            rule,
            seed=seed,
            steps=43,
            batch_size=2,
            record=["train_loss"],
            at=[10, 43],
            integrate={"area": lambda p: p["w"][0]},
            compile=compile,
        )
        return {**run.records, **run.integrals, "end": run.parameters}

    return wb.sweep(train, seed=[0, 1, 2], rho=[0.0, 0.2, 300.0])


@pytest.fixture
def short_blocks(monkeypatch):
    """Compiling two steps takes a third of the time that eight take."""
    monkeypatch.setattr(step, "BLOCK", 2)


@pytest.mark.slow
def test_a_compiled_sweep_equals_the_plain_one(short_blocks):
    plain, fast = sweep(False), sweep(True)
    for name in ("train_loss", "area", "end"):
        np.testing.assert_allclose(fast[name].values, plain[name].values, rtol=1e-10)
    assert (plain.diverged == fast.diverged).all() and (plain.diverged_at == fast.diverged_at).all()
    assert plain.diverged.sel(rho=300.0).all() and not plain.diverged.sel(rho=0.0).any()


@pytest.mark.slow
def test_a_compiled_single_run_and_grouped_ascents(short_blocks):
    rule = m_sam(0.1, 0.2, 2)
    plain = wb.run(LINE, rule, seed=4, steps=19, batch_size=6, compile=False)
    fast = wb.run(LINE, rule, seed=4, steps=19, batch_size=6, compile=True)
    torch.testing.assert_close(fast.parameters["w"], plain.parameters["w"], rtol=1e-12, atol=0)


def test_without_a_compiler_the_run_goes_on(monkeypatch, caplog):
    monkeypatch.setattr("shutil.which", lambda name: None)
    compiler_found.cache_clear()
    with caplog.at_level("WARNING", logger="workbench"):
        run = wb.run(BOWL, wb.optimizers.gradient_descent(0.1), steps=20, compile=True)
    compiler_found.cache_clear()
    assert not run.diverged and len(caplog.records) == 1 and "no C++ compiler" in caplog.text


def test_what_cannot_be_traced_runs_as_it_is(caplog):
    def odd(parameters):
        return torch.tensor(float(parameters[0].item()))

    with caplog.at_level("WARNING", logger="workbench"):
        run = wb.run(BOWL, wb.optimizers.gradient_descent(0.1), steps=16, compile=True, integrate={"odd": odd})
    assert "without torch.compile" in caplog.text and torch.isfinite(run.integrals["odd"])
