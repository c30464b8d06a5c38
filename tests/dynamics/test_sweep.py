"""A sweep is every single run, labelled: equal to the runs done alone, whatever the chunks."""

import numpy as np
import pytest
import torch
import xarray as xr
from dynamics.test_run import BOWL, LINE

import workbench as wb
from workbench import memory
from workbench.dynamics import Labelled


def train(seed, rho, step_size=0.1, rule="usam"):
    made = wb.optimizers.by_name(rule, step_size, rho=rho, beta=0.5)
    run = wb.run(LINE, made, seed=seed, epochs=4, batch_size=2, record=["train_loss"])
    return {**run.records, "end": run.parameters}


def test_every_point_equals_the_run_done_alone():
    result = wb.sweep(train, seed=range(3), rho=[0.0, 0.1])
    for seed in range(3):
        for rho in (0.0, 0.1):
            alone = wb.run(LINE, wb.optimizers.usam(0.1, rho), seed=seed, epochs=4, batch_size=2, record=["train_loss"])
            swept = result.sel(seed=seed, rho=rho)
            np.testing.assert_allclose(swept.train_loss.values, alone.dataset().train_loss.values, rtol=1e-13)
            np.testing.assert_allclose(swept.end.values, alone.parameters["w"].numpy(), rtol=1e-13)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 100])
def test_results_do_not_depend_on_the_chunks(chunk_size):
    whole = wb.sweep(train, seed=range(4), rho=[0.0, 0.1, 0.4], step_size=[0.1, 1.5])
    chunked = wb.sweep(train, seed=range(4), rho=[0.0, 0.1, 0.4], step_size=[0.1, 1.5], chunk_size=chunk_size)
    assert bool(whole.diverged.any()) or float(whole.train_loss.max()) > 0
    xr.testing.assert_allclose(whole, chunked, rtol=1e-12)
    assert (whole.diverged == chunked.diverged).all() and (whole.diverged_at == chunked.diverged_at).all()


def test_dimensions_coordinates_and_attributes():
    result = wb.sweep(train, rho=[0.0, 0.1], seed=range(2), rule=["gd", "usam+heavy_ball"])
    assert result.train_loss.dims == ("rho", "seed", "rule", "step")
    assert result.end.dims == ("rho", "seed", "rule", "parameter")
    assert result.rule.values.tolist() == ["gd", "usam+heavy_ball"]
    assert result.train_loss.attrs["long_name"] == "training loss"
    assert result.epoch.dims == ("step",)


def test_divergence_is_data():
    def run(step_size, seed):
        return wb.run(
            BOWL, wb.optimizers.gradient_descent(step_size), seed=seed, steps=50, record=["train_loss"], every=10
        ).records

    result = wb.sweep(run, step_size=[0.1, 1.0], seed=[0, 1])
    assert result.diverged.values.tolist() == [[False, False], [True, True]]
    assert (result.diverged_at.sel(step_size=0.1) == -1).all() and (result.diverged_at.sel(step_size=1.0) > 0).all()
    bad = result.train_loss.sel(step_size=1.0, seed=0)
    late = bad.step >= int(result.diverged_at.sel(step_size=1.0, seed=0))
    assert bad.where(late, drop=True).isnull().all() and bad.where(~late, drop=True).notnull().all()


def test_static_axes_may_change_shapes():
    def run(n, x):
        return {"total": (torch.arange(n) * x).sum()}

    result = wb.sweep(run, n=[2, 3, 5], x=[1.0, 2.0], static=["n"])
    assert result.total.sel(n=5, x=2.0).item() == 20.0


def test_only_static_axes():
    result = wb.sweep(lambda name: {"length": torch.tensor(len(name))}, name=["a", "bcd"])
    assert result.length.values.tolist() == [1, 3]


def test_labelled_values_keep_their_names():
    def value(x):
        return {"curve": Labelled(x * torch.arange(3.0), ("lag",), {"lag": [10, 20, 30]}, "m", "a curve")}

    curve = wb.sweep(value, x=[1.0, 2.0]).curve
    assert curve.sel(x=2.0, lag=30).item() == 4.0 and curve.attrs == {"long_name": "a curve", "units": "m"}


def test_too_large_chunks_are_made_smaller_and_too_large_runs_are_refused():
    asked = []

    def value(x):
        asked.append(1)
        memory.require(1000, "a thing", "Use less.")
        return {"y": 2 * x}

    result = wb.sweep(value, x=np.arange(10.0), memory=3000)
    assert result.y.values.tolist() == (2 * np.arange(10.0)).tolist() and len(asked) == 5
    with pytest.raises(memory.OutOfBudget, match=r"a thing needs 1e\+03 bytes.*Use less"):
        wb.sweep(value, x=np.arange(10.0), memory=999)


def test_a_value_that_is_not_finite_counts_as_diverged_where_nothing_is_run():
    result = wb.sweep(lambda x: {"y": 1 / x}, x=[0.0, 1.0])
    assert result.diverged.values.tolist() == [True, False]


BAD = [
    ({}, "at least one axis"),
    ({"seed": []}, "axis seed is empty"),
    ({"seed": 3, "rho": [0.1]}, "axis seed must be a list"),
    ({"seed": [1, 1], "rho": [0.1]}, "repeated"),
    ({"seed": [1], "rhoo": [0.1]}, "rhoo: not an argument"),
    ({"seed": [1], "method": ["a", "b"]}, "cannot be called method"),
    ({"seed": [1]}, "also needs rho"),
    ({"seed": [1], "rho": [0.1], "static": ["m"]}, "no axis"),
    ({"seed": [1], "rho": [0.1], "chunk_size": 0}, "chunk_size"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_sweeps_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        wb.sweep(train, **arguments)


def test_an_axis_that_shapes_the_computation_says_so():
    with pytest.raises(ValueError, match="static"):
        wb.sweep(lambda n: wb.run(BOWL, wb.optimizers.gradient_descent(0.1), steps=n).records, n=[1, 2])


def test_a_value_named_like_an_axis_is_refused():
    with pytest.raises(ValueError, match="the name of an axis"):
        wb.sweep(lambda x: {"x": 2 * x}, x=[1.0, 2.0])
