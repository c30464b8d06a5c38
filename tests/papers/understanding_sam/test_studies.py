"""What the room measures: nulls that change nothing, guards that fail closed, extrapolations with a known limit."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

from workbench.papers import understanding_sam as room
from workbench.papers.understanding_sam.cifar import kind_of

STUDY = room.DiagonalStudy(range(3, 6), 10, 15, 2, 0.1)


def swapped(displacement):
    return dataclasses.replace(STUDY, displacement=displacement)


def test_without_displacement_every_run_is_gradient_descent():
    none, gd = swapped("none"), STUDY.descent(0.3, [20, 40])
    end, steps = gd.sel(step=40), {"gamma": 0.3, "steps": 40}
    for run in (
        none.trained(1, rhos=[0.3], **steps).isel(step=-1, rho=0),
        none.trained(10, rhos=[0.3], **steps).isel(step=-1, rho=0),
        none.grouped([5], rho=0.3, **steps).sel(m=5),
        none.late(rho=0.3, starts=[5], **steps).isel(start=0),
        none.sam_then_descent(0.3, 0.3, 20).isel(step=-1),
    ):
        np.testing.assert_allclose(run.test_loss, end.test_loss, rtol=1e-12)
    np.testing.assert_allclose(none.grouped([1], rho=0.3, **steps).sel(m=1).decay, end.log_decay, atol=1e-13)


def test_shared_and_single_put_one_method_in_place_of_the_other():
    one, full = (STUDY.trained(m, 0.2, [0.1], 30).test_loss.values for m in (1, 10))
    assert not np.allclose(one, full, rtol=1e-3)
    np.testing.assert_allclose(swapped("shared").trained(1, 0.2, [0.1], 30).test_loss.values, full, rtol=1e-12)
    np.testing.assert_allclose(swapped("single").trained(10, 0.2, [0.1], 30).test_loss.values, one, rtol=1e-12)


def test_a_run_that_has_not_converged_is_the_worst_value():
    run = xr.Dataset(
        {"test_loss": ("seed", [0.5, 0.5, np.nan, 1 + 1e-14]), "train_loss": ("seed", [1e-5, 1.0, np.nan, 0.0])}
    )
    ratio = room.against(run, xr.DataArray(np.ones(4), dims="seed"), worst=np.inf)
    assert ratio.values.tolist() == [0.5, np.inf, np.inf, 1.0]
    assert float(room.log_distance(xr.DataArray(np.inf), xr.DataArray(1.0))) == np.inf


def test_stalls_are_unknown_where_no_radius_reaches_the_stability_number():
    tuned = xr.Dataset({"train_loss": (("seed", "step"), [[1.0, 2.0], [1.0, 0.5], [1.0, 0.5], [1.0, np.nan]]),
                        "rho": ("seed", [0.1, 0.1, np.nan, 0.1])})  # fmt: skip
    found = room.stalled(tuned, xr.Dataset({"train_loss": ("seed", np.ones(4))}))
    np.testing.assert_array_equal(found, [1.0, 0.0, np.nan, 1.0])


def test_fine_tuning_starts_from_the_weights_and_stability_number_zero_is_descent():
    before = STUDY.descent(0.2, [400]).isel(step=-1)
    tuned = STUDY.finetuned(before, 0.05, [1.5], 50)
    start = tuned.train_loss.isel(step=0)
    np.testing.assert_allclose(start.sel(Lam=0.0), before.train_loss, rtol=1e-12)
    assert (tuned.rho.sel(Lam=0.0) == 0).all() and (tuned.rho.sel(Lam=1.5) > 0).all()


@pytest.mark.parametrize(("offset", "expected"), [(0.0, "small"), (0.3, "large")])
def test_extrapolation_finds_the_limit_in_units_of_its_error(offset, expected):
    h = xr.DataArray([0.1, 0.05, 0.025], dims="gamma")
    errors = offset + xr.DataArray([1.0, -0.5, 0.2], dims="feature") * (h + 2 * h**2 + h**3)
    ratio = float(room.over_computed_error(errors, largest=True))
    assert (ratio < 0.2) if expected == "small" else (ratio > 50)


def test_extrapolation_knows_nothing_where_changes_do_not_shrink():
    errors = xr.DataArray([[1.0, 0.5, 0.1], [1.0, 1.6, 0.4]], dims=("feature", "gamma"))
    assert np.isnan(room.over_computed_error(errors, largest=True))


def test_the_theorem_holds_and_the_other_methods_formula_does_not():
    few = dataclasses.replace(STUDY, seeds=range(3, 5))
    flows = {
        name: room.along_the_flow(few, (0.2, 0.3), 10.0, (0.1, 0.05, 0.025), formula=name)
        for name in ("exact", "other method")
    }
    ratios = {name: room.over_computed_error(flow.decay - flow.predicted, largest=True) for name, flow in flows.items()}
    assert (ratios["exact"] <= 1).all()
    assert (ratios["other method"] > 10).all()
    minimiser = room.over_computed_error(flows["exact"].beta - flows["exact"].at_effective, largest=False)
    assert (minimiser <= 1).all()


def test_evenly_spread_decay_has_no_contrast():
    limits = STUDY.limits(xr.DataArray(np.full((3, 15), 0.2), dims=("seed", "feature")))
    np.testing.assert_allclose(limits.contrast, 1)
    np.testing.assert_allclose(limits.own, limits.even)


def test_convergence_bounds_and_the_two_cycle():
    exact = room.deterministic(range(20))
    assert (exact.gradient <= 1).all() and (exact.rate <= 1).all()
    assert (room.alignment(range(50)).excess >= 0).all()
    assert not (room.deterministic(range(20), 0.25).gradient <= 1).all()
    assert room.two_cycle() <= 1 < room.two_cycle(displaced=False)


def test_stochastic_runs_have_the_bounds_of_the_theorems():
    found = room.nonconvex(range(20), [16, 64], [1, 8])
    assert found.mean_square.sizes == {"seed": 20, "size": 2, "horizon": 2}
    assert (found.mean_square.mean("seed") < found.bound).all()
    # Twice the steps: both terms of the bound fall by sqrt(4) = 2 from T = 16 to 64.
    np.testing.assert_allclose(found.bound.sel(horizon=16) / found.bound.sel(horizon=64), 2)
    pl = room.under_pl(range(10), 2000, [1])
    assert (pl.loss.mean("seed") < pl.bound).all()


def test_relu_radius_zero_does_not_depend_on_the_displacement():
    own, random = (room.fits(range(2), [0.3], 1e-4, 20, displacement) for displacement in ("own", "random"))
    np.testing.assert_array_equal(own.slope_tv.sel(rho=0.0), random.slope_tv.sel(rho=0.0))
    assert not np.allclose(own.slope_tv.sel(rho=0.3), random.slope_tv.sel(rho=0.3), rtol=1e-6)


@pytest.fixture(scope="module")
def digits():
    return room.DigitsStudy(range(2), 64, 2, 32)


def test_digits_nulls_are_the_runs_they_stand_for(digits):
    erm, random = digits.trained("ERM", 0.0), digits.trained("random", 0.2)
    off, null = (dataclasses.replace(digits, displacement=name).trained("8-SAM", 0.2) for name in ("none", "random"))
    np.testing.assert_array_equal(off.weights, erm.weights)
    np.testing.assert_array_equal(null.weights, random.weights)
    assert not np.allclose(digits.trained("8-SAM", 0.2).weights, erm.weights, atol=1e-4)
    other = digits.trained("ERM", 0.0, other_start=True)
    assert not np.allclose(other.weights, erm.weights, atol=1e-2)
    line = digits.on_the_line(erm, other, np.linspace(0, 1, 5))
    np.testing.assert_allclose(line.test_error.sel(t=0), erm.test_error, rtol=1e-6)
    assert room.without_barrier(line).dims == ("seed",)


def test_noisy_labels_choose_and_judge_on_different_images(digits):
    noise = digits.noisy(["ERM", "8-SAM"], 0.2, 0.6)
    stopped = room.early_stopped(noise)
    step = noise.even_error.argmin("step")
    np.testing.assert_array_equal(stopped.best, noise.odd_error.isel(step=step))
    # Nine in ten of the wrong labels are missed by chance.
    assert (noise.noisy_error.isel(step=0) > 60).all()


def test_folders_without_images_are_refused_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither CIFAR python files"):
        kind_of(str(tmp_path))


def test_a_small_image_folder_trains(tmp_path):
    from PIL import Image

    for part, count in (("train", 10), ("test", 2)):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(count):
                pixels = torch.randint(0, 255, (32, 32, 3), generator=torch.Generator().manual_seed(k)).to(torch.uint8)
                Image.fromarray(pixels.numpy()).save(tmp_path / part / name / f"{k}.png")
    errors = room.validation_errors(str(tmp_path), range(1), (0.1,), epochs=1, width=4)
    assert errors.sizes == {"rule": 3, "seed": 1}
    assert ((errors >= 0) & (errors <= 100)).all()
