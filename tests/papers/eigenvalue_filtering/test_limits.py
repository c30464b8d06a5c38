"""What counts as a limit: converged over a window, not leaving; the audit reaches only just above the edge."""

import numpy as np
import pytest
import torch
import xarray as xr

import workbench as wb
from workbench.dynamics.limits import converged
from workbench.papers.eigenvalue_filtering.limits import audit_band, audit_steps, audited, is_limit, window
from workbench.papers.eigenvalue_filtering.minima import minimum

F = wb.problems.ScalarFactorisation()
RULE = wb.optimizers.gradient_descent(0.2)


def settled(start, steps):
    return wb.run(F, RULE, start=start, steps=steps, record=["gradient_norm"], at=window(steps))


def test_a_run_on_its_way_out_looks_converged_and_is_no_limit():
    # Released at ratio 1.02 with an offset of a few 1e-15 it grows by 4 % a step: a gradient of 1e-11, and rising.
    run = settled(minimum(10.2) + 2e-15, 200)
    assert converged(F, RULE, run) and not is_limit(F, RULE, run, 1e-10)


def test_runs_that_settled_are_limits_and_cut_short_ones_are_not():
    assert is_limit(F, RULE, settled(minimum(9.0) + 1e-3, 600), 1e-10)
    assert not is_limit(F, RULE, settled(minimum(9.0) + 1e-3, 60), 1e-10)
    assert not is_limit(F, RULE, settled(torch.full((2,), 40.0, dtype=torch.float64), 60), 1e-10)


def test_the_gradient_must_have_been_small_for_a_while():
    # Converged at the very end only: a twentieth of the run earlier the gradient was still above tol.
    for steps in range(60, 400):
        run = settled(minimum(9.0) + 1e-3, steps)
        if converged(F, RULE, run):
            break
    assert not is_limit(F, RULE, run, 1e-10)


def test_the_band_is_narrow():
    assert audit_band(2000) == 1.005 and audit_band(20_000) == pytest.approx(1.00065)
    assert audit_steps(1.0015, 2000, 1e-10) > 8000
    assert audit_steps(1.00001, 2000, 1e-10) == 256_000 and audit_steps(1.005, 2000, 1e-10) == 8000


def audit(ratios):
    ratio = xr.DataArray(ratios, dims="seed", coords={"seed": range(len(ratios))})
    points = torch.stack([minimum(10 * r) for r in ratios]).numpy()
    places = xr.DataArray(points, dims=("seed", "parameter"), coords={"seed": ratio.seed})
    return audited(F, ratio, places, lambda here: RULE, lambda vector: vector, steps=2000, tol=1e-10)


def test_only_limits_just_above_the_edge_are_audited():
    ratios = [0.9] * 120 + [1.004, 1.006]
    found = audit(ratios)
    assert bool(found.readable) and int(found.suspects.sum()) == 1
    assert found.ratio.values[120] == pytest.approx(0.996, abs=1e-3)
    np.testing.assert_array_equal(found.ratio.values[[0, 121]], [0.9, 1.006])


def test_more_than_one_suspect_in_a_hundred_leaves_the_statement_open():
    found = audit([0.9] * 50 + [1.004])
    assert not bool(found.readable) and float(found.ratio.max()) == 1.004
