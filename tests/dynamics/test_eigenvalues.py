"""Sharpness as a record of runs: values, what stands beside them, sweeps and their chunks, the edge, names."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench import curvature
from workbench.dynamics import TopEigenvalues
from workbench.optimizers import edge


@pytest.fixture(scope="module")
def problem():
    return wb.problems.circle()


def test_a_record_is_the_sharpness_with_a_residual_for_at_most_four_products(problem):
    rule, weights = wb.optimizers.gradient_descent(0.4), []

    def keep(parameters):
        weights.append(parameters)
        return problem.loss(parameters)

    run = wb.run(problem, rule, steps=40, every=1, record={"loss": keep, "sharpness": "sharpness"}, progress=False)
    exact = np.array([float(curvature.spectrum(problem.loss, here)[-1]) for here in weights])
    data = run.dataset()
    off = np.abs(data.sharpness / exact - 1)
    assert float(off.median()) < 0.01 and float(off.max()) < 0.05
    assert float(data.sharpness_products[1:].mean()) <= 4
    assert bool((data.sharpness_residual >= 0).all())
    assert data.sharpness.attrs["long_name"] == "sharpness"


def test_sweeps_give_single_runs_whatever_their_chunks(problem):
    def one(seed, step_size):
        rule = wb.optimizers.sam(step_size, rho=0.05)
        return wb.run(
            problem, rule, seed=seed, steps=12, every=2, record=["preconditioned_sharpness"], progress=False
        ).records

    whole = wb.sweep(one, seed=[0, 1], step_size=[0.1, 0.5], progress=False)
    single = wb.sweep(one, seed=[0, 1], step_size=[0.1, 0.5], progress=False, chunk_size=1)
    for name in whole.data_vars:
        np.testing.assert_allclose(whole[name], single[name], rtol=1e-8, atol=1e-12)
    assert {"preconditioned_sharpness_residual", "preconditioned_sharpness_products"} < set(whole.data_vars)
    # The seed of the searches is the run's: the first evaluation starts from it.
    alone = wb.run(
        problem, wb.optimizers.sam(0.5, rho=0.05), seed=1, steps=12, every=2, record=["sharpness"], progress=False
    )
    np.testing.assert_allclose(
        alone.records["sharpness"].value, whole.preconditioned_sharpness.sel(seed=1, step_size=0.5), rtol=1e-8
    )


def test_the_preconditioned_record_is_that_of_the_rules_edge(problem):
    rule = wb.optimizers.adam(0.02)
    run = wb.run(problem, rule, steps=9, at=[9], record=["preconditioned_sharpness"], progress=False)
    here = edge(rule, run.state, problem.gradient(run.parameters), 9)
    root = torch.cat([entry.reshape(-1) for entry in here.root.values()])
    matrix = root[:, None] * curvature.hessian(problem.loss, run.parameters) * root
    value = float(run.records["preconditioned_sharpness"].value[0])
    assert value == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=0.005)
    assert float(run.records["preconditioned_sharpness_threshold"].value[0]) == pytest.approx(38 / 0.02)


def test_several_eigenvalues_and_those_at_an_average(problem):
    record = {"top": TopEigenvalues(3), "averaged": ("mean", TopEigenvalues(1))}
    run = wb.run(
        problem,
        wb.optimizers.gradient_descent(0.3),
        steps=8,
        average={"mean": wb.optimizers.UniformMean()},
        record=record,
        progress=False,
    )
    data = run.dataset()
    assert data.top.dims == ("step", "eigenvalue") and data.top.eigenvalue.values.tolist() == [1, 2, 3]
    end = curvature.spectrum(problem.loss, run.parameters).flip(0)[:3]
    np.testing.assert_allclose(data.top[-1], end, rtol=0.01)
    mean = curvature.spectrum(problem.loss, run.averages["mean"])[-1]
    assert float(data.averaged[-1]) == pytest.approx(float(mean), rel=0.01)


def test_a_problems_own_sharpness_is_its_closed_form():
    problem = wb.problems.ScalarFactorisation()
    run = wb.run(problem, wb.optimizers.gradient_descent(0.01), steps=2, record=["sharpness"], progress=False)
    assert set(run.records) == {"sharpness"}


def test_after_divergence_records_are_nan():
    bowl = wb.problems.random_least_squares(0, n=20, d=12)
    run = wb.run(
        bowl, wb.optimizers.gradient_descent(50.0), steps=60, every=10, record=["sharpness"], blowup=1e3, progress=False
    )
    assert int(run.diverged_at) > 0
    assert bool(run.records["sharpness"].value[-1].isnan())


def test_refusals(problem):
    rule = wb.optimizers.gradient_descent(0.1)
    with pytest.raises(
        ValueError, match=r"no measure 'flatness'; known are .*sharpness, preconditioned_sharpness, time"
    ):
        wb.run(problem, rule, steps=1, record=["flatness"], progress=False)
    clash = {"top": TopEigenvalues(2), "top_residual": "train_loss"}
    with pytest.raises(ValueError, match="top records top_residual beside itself"):
        wb.run(problem, rule, steps=1, record=clash, progress=False)
    average = {"mean": wb.optimizers.UniformMean()}
    with pytest.raises(ValueError, match="steps at the parameters, not at 'mean'"):
        wb.run(
            problem, rule, steps=1, average=average, record={"x": ("mean", "preconditioned_sharpness")}, progress=False
        )
    with pytest.raises(ValueError, match="not known in closed form"):
        wb.run(problem, wb.optimizers.muon(0.1), steps=1, record=["preconditioned_sharpness"], progress=False)
    with pytest.raises(ValueError, match="k must be"):
        TopEigenvalues(0)
