"""Whatever `card.save` accepts comes back bit for bit; all else is refused by name, in a notebook and in a job alike."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import xarray
from test_open_runs import put

import workbench as wb
from workbench.batch.results.store import Store
from workbench.claims.arrays import as_dataset

NAN = np.float64(np.nan)
VALUES = {
    "truth": np.array([True, False, True]),
    "small": np.array([-128, 0, 127], np.int8),
    "whole": np.array([-(2**53), 0, 2**53]),
    "counts": np.array([0, 1, 2**32 - 1], np.uint32),
    "half": np.array([1 / 3, np.inf, np.nan], np.float16),
    "single": np.array([1 / 3, -0.0, np.nan], np.float32),
    "double": np.array([1 / 3, 5e-324, -np.inf]),
    "complex": np.array([1 + 2j, complex(-0.0, np.nan), 1e300j]),
    "complex_single": np.array([1 + 2j, 0, 3], np.complex64),
    "days": np.array(["2024-02-29", "NaT", "1600-01-01"], "datetime64[s]"),
    "instants": np.array([1, 2**62, -5]).astype("datetime64[ns]"),
    "durations": np.array([1, -3, 7]).astype("timedelta64[ms]"),
    "text": np.array(["", "Grüße ∇²f 🎉", "NaN"]),
    "objects": np.array(["sam", "", "usam"], object),
}
HUGE = {"seeds": np.array([2**53 + 1, -(2**63), 7]), "hashes": np.array([2**64 - 1, 0, 1], np.uint64)}
ATTRIBUTES = {
    "scale_factor": 10.0, "add_offset": 1, "_FillValue": 0.0, "missing_value": 1.0, "dtype": "bool",
    "units": "seconds since 2000-01-01",
    "calendar": "noleap", "coordinates": "x y", "valid_range": [0, 1], "_Unsigned": "true", "none": None, "yes": True,
    "whole": 2**70,
    "nan": float("nan"), "list": [1, "a", None, [2.5]], "tuple": (1, (2,)), "dict": {"a": {"b": [1]}}, "empty": "", "Ä ö": "ß",
    "numpy": np.float32(1 / 3), "array": np.array([[1, 2]], np.int16), "date": np.datetime64("2024-01-01"), "workbench": "mine",
}  # fmt: skip


def of(values: np.ndarray, cut: slice = slice(None), **attributes) -> xarray.Dataset:
    return xarray.Dataset({"x": ("sample", values[cut], attributes), "one": values[1]})


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path / "papers"))
    return Store(tmp_path / "runs")


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal to the last bit, type and shape included; text by its letters."""
    if one.dtype.kind in "UO":
        return one.shape == other.shape and one.tolist() == other.tolist() and other.dtype.kind == "U"
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("kind", [*VALUES, *HUGE])
def test_values_of_every_type_from_complete_incomplete_and_ragged_grids(store, kind):
    values = (VALUES | HUGE)[kind]
    for a, b in ((1, 1), (1, 2), (2, 1)):
        put(store, "toy", measured={"m": as_dataset("m", of(values))}, a=a, b=b)
    for _ in range(2):  # as combined, and from the copy in the cache
        complete = wb.open_runs("toy", store=store.root, b=1)
        for a in (1, 2):
            assert same(values, complete.x.sel(a=a).values) and same(
                np.asarray(values[1]), complete.one.sel(a=a).values
            )
    if kind in HUGE:
        with pytest.warns(UserWarning, match="is left out: it holds whole numbers beyond"):
            assert "x" not in wb.open_runs("toy", store=store.root)
        return
    holes = wb.open_runs("toy", store=store.root)
    put(store, "ragged", measured={"m": as_dataset("m", of(values))}, a=1)
    put(store, "ragged", measured={"m": as_dataset("m", of(values, slice(2)))}, a=2)
    ragged = wb.open_runs("ragged", store=store.root)
    kept = values.astype(float) if values.dtype.kind in "biu" else values
    for there in (holes.x.sel(a=1, b=2).values, ragged.x.sel(a=1).values):
        assert same(kept, there)
    for missing in (holes.x.sel(a=2, b=2).values, ragged.x.sel(a=2).values[2:]):
        assert (missing == "").all() if values.dtype.kind in "UO" else (missing != missing).all()


def test_attributes_of_every_type_change_nothing_and_come_back(store):
    values = np.array([0.5, 1.25, 2.0])
    made = xarray.Dataset(
        {"t": ("seed", values, ATTRIBUTES)},
        {"seed": ("seed", [3, 1, 2], {"units": "1"})},
        {"source": None, "note": [1]},
    )
    for a in (1, 2):
        put(store, "toy", measured={"m": as_dataset("m", made)}, a=a)
    for _ in range(2):
        runs = wb.open_runs("toy", store=store.root)
        assert same(values, runs.t.sel(a=1).values) and runs.seed.attrs == {"units": "1"}
        assert runs.attrs["source"] is None and runs.attrs["note"] == [1]
        for name, value in ATTRIBUTES.items():
            found = runs.t.attrs[name]
            assert type(found) is type(value) and repr(found) == repr(value), name
    path = store.root / "toy" / str(runs.job.values[0]) / "results.nc"
    with xarray.open_dataset(path, group="m", decode_times=False) as plain:  # another program sees the same numbers
        assert same(values, plain.t.values) and plain.t.attrs["units"] == ATTRIBUTES["units"]


REFUSED = {
    "variable 'x' holds Python objects": xarray.Dataset({"x": ("k", np.array([1, "a"], object))}),
    "variable 'x' holds Python objects (such as": xarray.Dataset({"x": ("k", np.array(["a", None], object))}),
    "variable 'x' holds text with a zero character": xarray.Dataset({"x": ("k", ["a\0b"])}),
    "variable 'x' has the type |S1": xarray.Dataset({"x": ("k", np.array([b"a"]))}),
    "variable 'x' has the type [('a'": xarray.Dataset({"x": ("k", np.zeros(2, [("a", float)]))}),
    "variable 'a/b': its name": xarray.Dataset({"a/b": 1.0}),
    "variable 3: its name is a int": xarray.Dataset({3: 1.0}),
    "dimension ' k': its name begins": xarray.Dataset({"x": (" k", [1.0])}),
    "variable 'e\u0301': its name is written": xarray.Dataset({"e\u0301": 1.0}),
    "variable 'job': this name is taken": xarray.Dataset({"job": 1.0}),
    "dimension 'job': this name is taken": xarray.Dataset({"x": ("job", [1.0])}),
    "variable 'k' is an index of several levels": xarray.Dataset({"x": ("k", [1.0])}, {"i": ("k", [0]), "j": ("k", [0])})
    .set_index(k=["i", "j"]),
    "variable 'x': the attribute 'f' is a function": xarray.Dataset({"x": ("k", [1.0], {"f": as_dataset})}),
    "the dataset: the attribute 'd' is a set": xarray.Dataset({"x": 1.0}, attrs={"d": {1}}),
    "needs an xarray Dataset or DataArray, got list": [1.0],
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("job", [False, True])
def test_what_cannot_be_kept_is_refused_by_name_everywhere(message, job, tmp_path, monkeypatch):
    if job:
        monkeypatch.setenv("WORKBENCH_JOB", str(tmp_path))
    with pytest.raises(ValueError, match=re.escape(f"card.save(measured=...): {message}")):
        wb.card("eigenvalue-filtering").save(measured=REFUSED[message])
    assert not list(tmp_path.iterdir())


def test_all_problems_are_named_at_once_and_later_changes_are_not_saved(tmp_path, monkeypatch):
    card = wb.card("eigenvalue-filtering")
    with pytest.raises(ValueError, match=r"'x'(.|\n)*'y'"):
        card.save(m=xarray.Dataset({"x": ("k", np.array([1, "a"], object)), "y": ("k", np.array([b"a", b"b"]))}))
    monkeypatch.setenv("WORKBENCH_JOB", str(tmp_path))
    made = xarray.Dataset({"x": ("k", [1.0, 2.0])})
    card.save(first=made)
    made.x.values[:] = 0
    card.save(second=made)
    with xarray.open_dataset(tmp_path / "results.nc", group="first") as kept:
        assert kept.x.values.tolist() == [1, 2]


def test_units_types_and_dimensions_that_differ_are_never_merged_silently(store):
    pairs = {
        "units": (
            of(VALUES["double"], units="ms"),
            of(VALUES["double"], units="s"),
            "x has the units .* in job .* and .* in job",
        ),
        "no-units": (
            of(VALUES["double"], units="ms"),
            of(VALUES["double"]),
            "x has the units .* in job .* and .* in job",
        ),
        "types": (
            of(VALUES["double"]),
            of(VALUES["text"]),
            "x holds (numbers|text) in job .* and (numbers|text) in job",
        ),
        "truth": (of(VALUES["truth"]), of(VALUES["small"]), "x holds (truth values|numbers) in job"),
        "dims": (of(VALUES["double"]), xarray.Dataset({"x": 1.0}), "x has the dimensions"),
        "labels": (
            of(VALUES["double"]),
            of(VALUES["double"]).assign_coords(sample=[1, 2, 3]),
            "has coordinates in job",
        ),
    }
    for paper, (one, two, message) in pairs.items():
        put(store, paper, measured={"m": one}, a=1)
        put(store, paper, measured={"m": two}, a=2)
        with pytest.raises(ValueError, match=message):
            wb.open_runs(paper, store=store.root)
    put(store, "fine", measured={"m": of(VALUES["single"], long_name="x", note="a")}, a=1)
    put(store, "fine", measured={"m": of(VALUES["double"], long_name="x", note="b")}, a=2)
    fine = wb.open_runs("fine", store=store.root)
    assert fine.x.dtype == np.float64 and fine.x.attrs == {"long_name": "x"}


def test_axes_keep_the_values_of_parameters(store):
    columns = {
        "beta": ([None, 0.9, 0.5], [0.5, 0.9, NAN]),
        "seed": ([2**63, 2**64 - 1], [2**63, 2**64 - 1]),
        "huge": ([2**70, 1], ["1", str(2**70)]),
        "mixed": ([1, 0.5], [0.5, 1.0]),
        "name": (["b", None], ["b", "null"]),
        "flag": ([True, False], [False, True]),
    }
    for paper, (values, expected) in columns.items():
        for value in values:
            put(store, paper, measured={"m": of(VALUES["double"])}, **{paper: value})
        found = wb.open_runs(paper, store=store.root)[paper].values
        np.testing.assert_array_equal(found, expected)
    flag = wb.open_runs("flag", store=store.root)
    both = flag.sel(flag=[True, False])
    assert both.flag.values.tolist() == [True, False] and both.sizes["flag"] == 2
    assert flag.sel(flag=True).flag.item() is True and flag.sel(flag=[True]).sizes["flag"] == 1
    assert wb.open_runs("beta", store=store.root).sel(beta=0.9).x.dims == ("sample",)
    for zero in (0.0, -0.0):
        put(store, "zero", measured={"m": of(VALUES["double"])}, rho=zero)
    with pytest.raises(ValueError, match="both stand at rho"):
        wb.open_runs("zero", store=store.root)


def test_own_names_of_dimensions_do_not_mix_with_those_of_the_sweep(store):
    made = xarray.Dataset(
        {"x": ("run", [1.0, 2.0]), "a": ("seed", [3.0, 4.0, 5.0])}, {"seed": [0, 1, 2]}, {"jobs": "mine"}
    )
    for a in (1, 2):
        put(store, "toy", measured={"m": as_dataset("m", made)}, a=a, seed=a)
    runs = wb.open_runs("toy", store=store.root)
    assert runs.x.dims == ("a", "run") and runs.a_measured.dims == ("a", "seed_measured") and runs.seed.dims == ("a",)
    assert runs.attrs["jobs"] == 2 and json.loads(runs.attrs["parameters"]) == {}
