"""Many jobs' arrays as one labelled object, against the same thing put together by hand."""

from __future__ import annotations

import gc
import itertools
import json

import numpy as np
import pytest
import xarray

import workbench as wb
from workbench.batch.jobs import digest
from workbench.batch.results.store import Store
from workbench.claims.recording import write_results


def put(store: Store, paper: str, preset: str = "laptop", measured=None, **parameters):
    """A finished job with these parameters whose results are `measured` (name to Dataset)."""
    key = digest([paper, preset, parameters])
    folder = store.begin(key)
    write_results(folder / "results.nc", measured)
    (folder / "provenance.json").write_text('{"finished": "2024-01-01T00:00:00Z"}')
    content = {
        "hash": key,
        "status": "finished",
        "paper": paper,
        "preset": preset,
        "parameters": parameters,
        "key": key,
        "identity": {"key": key, "modules": {}, "environment": {}, "notebook": "", "claims": "", "data": {}},
    }
    return store.finish(folder, paper, key, content)


def losses(rho: float, n: int, steps=(0, 10, 20)) -> xarray.Dataset:
    values = rho + n * np.arange(5.0)[:, None] + np.array(steps) / 100
    return xarray.Dataset(
        {
            "loss": (("seed", "step"), values, {"units": "nat"}),
            "diverged": ("seed", values[:, 0] > 10),
            "name": ("seed", [f"s{i}" for i in range(5)]),
            "best": values.min(),
        },
        {"seed": np.arange(5), "step": np.array(steps)},
    )


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path / "papers"))
    return Store(tmp_path / "runs")


def test_swept_parameters_become_dimensions(store):
    grid = list(itertools.product([0.2, 0.0, 0.1], [3, 1]))
    for rho, n in grid:
        put(store, "toy", measured={"training": losses(rho, n)}, rho=rho, n=n, fixed="x")
    runs = wb.open_runs("toy", store=store.root)
    assert dict(runs.sizes) == {"rho": 3, "n": 2, "seed": 5, "step": 3}
    for rho, n in grid:
        one = runs.sel(rho=rho, n=n)
        xarray.testing.assert_equal(
            one[["loss", "diverged", "name", "best"]].drop_vars(["rho", "n", "job"]), losses(rho, n)
        )
    assert runs.loss.attrs["units"] == "nat" and runs.diverged.dtype == bool
    assert json.loads(runs.attrs["parameters"]) == {"fixed": "x"} and runs.attrs["jobs"] == 6
    assert (store.root / "toy" / str(runs.job.sel(rho=0.2, n=3).values)).is_dir()


def test_the_result_is_loaded_when_used_and_the_combined_file_made_once(store):
    for rho in (0.0, 1.0):
        put(store, "toy", measured={"training": losses(rho, 1)}, rho=rho)
    first = wb.open_runs("toy", store=store.root)
    assert isinstance(first.loss.values.base, np.memmap) or isinstance(first.loss.values, np.memmap)
    (cache,) = (store.root / ".cache").glob("*/index.json")
    made = cache.stat().st_mtime_ns
    xarray.testing.assert_identical(first.load(), wb.open_runs("toy", store=store.root).load())
    assert cache.stat().st_mtime_ns == made
    put(store, "toy", measured={"training": losses(2.0, 1)}, rho=2.0)
    assert wb.open_runs("toy", store=store.root).rho.values.tolist() == [0, 1, 2]


def test_parameters_swept_together_share_a_dimension(store):
    for a, b in [(1, "x"), (2, "y"), (3, "z")]:
        for rho in (0.0, 0.5):
            put(store, "toy", measured={"training": losses(rho, a)}, a=a, b=b, rho=rho)
    runs = wb.open_runs("toy", store=store.root)
    assert {"a", "rho"} <= set(runs.dims) and "b" not in runs.dims
    assert runs.b.dims == ("a",) and runs.b.values.tolist() == ["x", "y", "z"]


def test_combinations_that_were_not_run_are_missing_values(store):
    for rho, n in [(0.0, 1), (0.0, 2), (1.0, 1), (2.0, 2)]:
        put(store, "toy", measured={"training": losses(rho, n)}, rho=rho, n=n)
    runs = wb.open_runs("toy", store=store.root).load()
    assert np.isnan(runs.loss.sel(rho=1.0, n=2)).all() and runs.job.sel(rho=1.0, n=2) == ""
    xarray.testing.assert_equal(runs.loss.sel(rho=2.0, n=2).drop_vars(["rho", "n", "job"]), losses(2.0, 2).loss)


def test_jobs_with_other_coordinates_or_lengths_are_aligned(store):
    put(store, "toy", measured={"training": losses(0.0, 1, steps=(0, 10))}, rho=0.0)
    put(store, "toy", measured={"training": losses(1.0, 1, steps=(10, 20, 30))}, rho=1.0)
    runs = wb.open_runs("toy", store=store.root)
    assert runs.step.values.tolist() == [0, 10, 20, 30]
    assert np.isnan(runs.loss.sel(rho=0.0, step=20)).all() and not np.isnan(runs.loss.sel(step=10)).any()
    for n in (2, 4):
        put(store, "bare", measured={"m": xarray.Dataset({"x": ("sample", np.arange(float(n)))})}, n=n)
    bare = wb.open_runs("bare", store=store.root)
    assert bare.x.shape == (2, 4) and np.isnan(bare.x.values[0, 2:]).all()


def test_several_saved_datasets_are_a_tree_and_name_takes_one(store):
    for rho in (0.0, 1.0):
        measured = {"training": losses(rho, 1), "spectrum": xarray.Dataset({"eigenvalues": ("eigenvalue", np.ones(3))})}
        put(store, "toy", measured=measured, rho=rho)
    runs = wb.open_runs("toy", store=store.root)
    assert isinstance(runs, xarray.DataTree) and set(runs.children) == {"training", "spectrum"}
    assert runs["spectrum"]["eigenvalues"].dims == ("rho", "eigenvalue")
    assert wb.open_runs("toy", name="training", store=store.root).loss.dims == ("rho", "seed", "step")
    with pytest.raises(ValueError, match="'training', 'spectrum'"):
        wb.open_runs("toy", name="nothing", store=store.root)


def test_choosing_jobs(store):
    for rho, n in itertools.product([0.0, 1.0, 2.0], [1, 2]):
        put(store, "toy", measured={"training": losses(rho, n)}, rho=rho, n=n)
    assert dict(wb.open_runs(store=store.root, n=1, rho=[0.0, 2.0]).sizes) == {"rho": 2, "seed": 5, "step": 3}
    assert "rho" not in wb.open_runs(store=store.root, n=1, rho=1.0).dims
    put(store, "toy", "smoke", measured={"training": losses(0.0, 1)}, rho=0.0, n=1)
    for wrong, message in [
        ({}, "smoke; choose one"),
        ({"radius": 1}, "no such parameter; it has n, rho"),
        ({"rho": 9.0}, "no finished job"),
        ({"preset": "paper"}, "no finished job"),
    ]:
        with pytest.raises(ValueError, match=message):
            wb.open_runs("toy", store=store.root, **wrong)
    with pytest.raises(ValueError, match="workbench run nothing"):
        wb.open_runs("nothing", store=store.root)
    assert wb.open_runs("toy", store=store.root, preset="smoke").attrs["jobs"] == 1


def test_scattered_jobs_do_not_fill_a_huge_grid(store):
    dataset = xarray.Dataset({"x": 1.0})
    for i in range(41):
        put(store, "toy", measured={"m": dataset}, a=i * 7 % 20, b=i * i % 41, c=i % 39)
    with pytest.raises(ValueError, match="select some"):
        wb.open_runs("toy", store=store.root)
    assert wb.open_runs("toy", store=store.root, a=[0, 7]).attrs["jobs"] < 10


def test_opening_again_and_again_while_others_are_open(store):
    for rho in (0.0, 1.0):
        put(store, "toy", measured={"training": losses(rho, 1), "more": losses(rho, 2)}, rho=rho)
    kept, total = [], 0.0
    for i in range(60):
        kept = [*kept[-3:], wb.open_runs("toy", name="training" if i % 2 else None, store=store.root)]
        total += float(kept[-1]["more/loss" if i % 2 == 0 else "loss"].sum())
        if i % 7 == 0:
            gc.collect()
    assert total == pytest.approx(30 * sum(float(losses(rho, n).loss.sum()) for rho in (0.0, 1.0) for n in (1, 2)))
