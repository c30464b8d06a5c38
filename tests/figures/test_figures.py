"""Figures draw the numbers they are given: intervals, cells, ends and labels, whatever container the data come in."""

import io

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from workbench import figures
from workbench.claims.judging.family import Pair
from workbench.claims.recording import record
from workbench.claims.verdict import Measurement, Verdict, verdict_of
from workbench.claims.written.condition import Condition
from workbench.claims.written.schema import Claim


@pytest.fixture
def ax():
    with matplotlib.rc_context():
        figures.use_style()
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def test_mean_band_is_students_t():
    samples = np.random.default_rng(0).normal(size=(7, 3))
    centre, low, high = figures.interval(samples)
    expected = stats.t.interval(0.95, 6, samples.mean(0), stats.sem(samples, axis=0))
    np.testing.assert_allclose(centre, samples.mean(0))
    np.testing.assert_allclose((low, high), expected)


def test_geometric_band_is_the_mean_band_of_the_logarithm():
    samples = np.random.default_rng(1).lognormal(size=(6, 4))
    np.testing.assert_allclose(np.log(figures.interval(samples, "geometric")), figures.interval(np.log(samples)))


@pytest.mark.parametrize("n", [6, 9, 20, 25])
def test_median_interval_covers_as_order_statistics_promise(n):
    samples = np.random.default_rng(2).normal(size=(n, 4000))
    centre, low, high = figures.interval(samples, "median")
    np.testing.assert_allclose(centre, np.median(samples, axis=0))
    coverage = np.mean((low <= 0) & (high >= 0))
    below = int(np.mean(np.sum(samples < low, axis=0)))
    exact = 1 - 2 * stats.binom.cdf(below, n, 0.5)
    assert exact >= 0.95 and coverage == pytest.approx(exact, abs=0.02)
    assert stats.binom.cdf(below + 1, n, 0.5) > 0.025, "a narrower interval would also have covered"


def test_median_of_too_few_seeds_has_no_interval():
    centre, low, high = figures.interval(np.arange(5.0), "median")
    assert centre == 2 and np.isnan(low) and np.isnan(high)


def test_runs_lost_on_the_way_leave_the_average_and_are_counted(ax):
    samples = np.array([[1.0, 1.0], [3.0, np.nan], [5.0, np.inf]])
    centre, low, _ = figures.interval(samples)
    assert centre.tolist() == [3.0, 1.0] and np.isnan(low[1])
    figures.band(ax, [0, 1], samples, "GD", diverged=[False, True, True])
    figures.band(ax, [0, 1], samples, "SAM")
    assert ax.get_legend_handles_labels()[1] == ["GD (2 of 3 diverged)", "SAM (2 of 3 incomplete)"]


@pytest.mark.parametrize(
    "wrap", [np.asarray, torch.tensor, lambda s: torch.tensor(s, requires_grad=True), np.ndarray.tolist]
)
def test_band_accepts_any_array(ax, wrap):
    samples = np.random.default_rng(3).normal(size=(5, 4))
    assert figures.band(ax, range(4), wrap(samples), "GD", xlabel="step", ylabel="loss") is ax
    np.testing.assert_allclose(ax.lines[0].get_ydata(), samples.mean(0))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")


def sweep() -> xr.DataArray:
    values = np.random.default_rng(4).lognormal(size=(4, 3, 6))
    axes = {"step": np.arange(4), "rho": [0.0, 0.05, 0.1], "seed": range(6)}
    array = xr.DataArray(
        values, dims=tuple(axes), coords=axes, name="loss", attrs={"long_name": "train loss", "units": "nats"}
    )
    array["step"].attrs["units"] = "epochs"
    return array


def test_sweep_bands_take_lines_and_labels_from_the_array(ax):
    data = sweep()
    figures.sweep_bands(ax, data, "step", "rho", log=True)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("step [epochs]", "train loss [nats]", "log")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "0.05", "0.1"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), np.exp(np.log(data.sel(rho=0.05)).mean("seed")))


def wide():
    return xr.DataArray(np.ones((2, 41, 3)), dims=("seed", "n", "step"))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda ax: figures.band(ax, [0, 1, 2], np.ones((5, 2))), "one x per step"),
        (lambda ax: figures.band(ax, [0, 1], -np.ones((5, 2)), average="geometric"), "positive"),
        (lambda ax: figures.band(ax, [0, 1], np.ones((5, 2)), average="mode"), "'median'"),
        (lambda ax: figures.band(ax, [0, 1], np.ones((5, 2)), confidence=95), "confidence=95"),
        (lambda ax: figures.band(ax, None, np.ones((5, 2))), "x=None"),
        (lambda ax: figures.sweep_bands(ax, sweep(), "step"), "rho"),
        (lambda ax: figures.spectrum_strip(ax, [[1.0]], ["a", "b"]), "2 labels"),
        (lambda ax: figures.spectrum_strip(ax, [[1.0]] * 3, list("abc"), band=[[(0, 1)]] * 2), "2 entries"),
        (lambda ax: figures.trajectory(ax, None, np.ones((5, 2))), "wrap it in a list"),
        (lambda ax: figures.trajectory(ax, None, np.full((1, 5, 2), np.nan)), "extent"),
        (lambda ax: figures.phase_diagram(ax, [0, 1], [0, 1, 2], np.ones((2, 3))), "transpose"),
        (lambda ax: figures.phase_diagram(ax, [0, 1], [1, 2], np.ones((2, 2)), log="x"), "positive values"),
        (lambda ax: figures.phase_diagram(ax, [1, 0], [1, 2], np.ones((2, 2))), "increasing"),
        (lambda ax: figures.forest(ax, []), "empty"),
        (lambda ax: figures.band(ax, [0, 1], np.ones((5, 2)) * 1j), "samples is complex: plot abs, real or imag"),
        (lambda ax: figures.spectrum_strip(ax, [[0.5 + 2j]], ["SAM"]), "'SAM' is complex"),
        (lambda ax: figures.heatmap(ax, [[1.0, "a"]]), "values holds str"),
        (lambda ax: figures.band(ax, ["a", "b"], np.ones((5, 2))), "x has texts"),
        (
            lambda ax: figures.sweep_bands(ax, sweep().assign_coords(rho=list("abc")).mean("step"), "rho"),
            "rho has texts",
        ),
        (lambda ax: figures.phase_diagram(ax, np.array(["2026-01-01"], "M8[D]"), [1], [[1.0]]), "x holds dates"),
        (lambda ax: figures.band(ax, [0, np.nan], np.ones((5, 2))), "not finite"),
        (lambda ax: figures.band(ax, [0, 1], np.zeros((5, 2)), log=True), "average='median'"),
        (lambda ax: figures.band(ax, [0, 1], np.ones((5, 2)), diverged=[True]), "one entry per seed"),
        (lambda ax: figures.sweep_bands(ax, wide(), "step", "n"), "n has 41 values"),
        (lambda ax: figures.phase_diagram(ax, [1, 2], [1], [[1, 2]], log_colour=True, vmin=-1), "vmin=-1"),
        (lambda ax: figures.phase_diagram(ax, [1, 2], [1], [[1, 2]], diverged=[True]), "one entry per cell"),
        (lambda ax: figures.loglog(ax, sweep().mean("rho"), "step"), "step has numbers <= 0"),
        (lambda ax: figures.loglog(ax, sweep(), "step"), "select first"),
        (lambda ax: figures.paired_ratio(ax, sweep().mean("step"), 0.2, arm="rho"), "baseline must be one of"),
        (lambda ax: figures.paired_ratio(ax, -sweep().mean("step"), 0.0, arm="rho"), "numbers <= 0"),
        (lambda ax: figures.image_strip(ax, np.full((2, 4, 4), 2.0)), "outside limits"),
        (lambda ax: figures.image_strip(ax, np.ones((2, 2, 4, 4))), "1 or 3 channels"),
        (lambda ax: figures.image_strip(ax, np.ones((2, 4, 4)), ["a"]), "labels has 1 entries for 2"),
    ],
)
def test_unusable_input_is_refused_in_words(ax, call, words):
    with pytest.raises(ValueError, match=words):
        call(ax)


def test_strip_marks_eigenvalues_outside_the_pass_band(ax):
    spectra = [torch.tensor([0.0, 1.0, 2.0]), np.array([[-1.0, 1.0], [3.0, np.nan]])]
    figures.spectrum_strip(ax, spectra, ["USAM", "GD"], band=[(0.0, 2.0), (-4.0, -3.0)])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["USAM", "GD\n(2 outside)"]
    low, high = ax.get_xlim()
    assert low < -4 and high > 3
    figures.spectrum_strip(ax, spectra, ["USAM", "GD"], band=[[(0.0, 1.0)], [(-1.0, 3.0)]])
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["USAM\n(1 outside)", "GD"]


def test_strip_forgives_rounding_at_the_bands_end(ax):
    figures.spectrum_strip(ax, [[-1e-9, 5.0 + 1e-9]], ["GD"], band=[(0.0, 5.0)])
    assert ax.get_yticklabels()[0].get_text() == "GD"


def test_trajectory_draws_level_sets_of_a_tensor_function_and_marks_divergence(ax):
    inside = torch.tensor([[1.0, 1.0], [0.5, 0.2], [0.0, 0.0]])
    away = np.array([[1.0, -1.0], [1e30, 2.0], [np.nan, np.nan]])
    figures.trajectory(ax, lambda p: (p**2).sum(), [inside, away], ["GD", "SAM"], xlabel="$u$", ylabel="$v$")
    low, high = ax.get_xlim()
    assert low < 0 and 1 < high < 10, "a diverging run must not set the frame"
    assert ax.get_legend_handles_labels()[1] == ["GD", "SAM (diverged)"]
    assert len(ax.collections) == 2


def test_a_path_without_a_finite_start_is_named(ax):
    gone = np.full((3, 2), np.nan)
    figures.trajectory(ax, None, [np.array([[0.0, 0.0], [1.0, 1.0]]), gone], ["GD", "SAM"])
    assert ax.get_legend_handles_labels()[1] == ["GD", "SAM (no finite start)"]
    assert "SAM has no finite start" in figures.alt_text(ax.figure)


def test_phase_diagram_hatches_diverged_cells_and_places_edges_between_centres(ax):
    rho, step = np.array([0.01, 0.1, 1.0]), np.array([1.0, 2.0])
    values = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
    lost = np.isnan(values)
    figures.phase_diagram(
        ax, rho, step, values, boundary={"edge": lambda r: 1 / r}, diverged=lost, log="x", label="loss"
    )
    mesh, hatched = ax.collections[:2]
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], 10.0 ** np.array([-2.5, -1.5, -0.5, 0.5]))
    np.testing.assert_allclose(mesh.get_coordinates()[:, 0, 1], [0.5, 1.5, 2.5])
    assert np.ma.getmaskarray(mesh.get_array()).ravel().tolist() == [False] * 5 + [True]
    assert hatched.get_hatch() and len(hatched.get_paths()) == 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["diverged", "edge"]


def uncovered(ax, shape) -> int:
    """Cells that are neither coloured nor marked."""
    ax.figure.canvas.draw()
    covered = ax.collections[0].get_facecolors()[:, 3].reshape(shape) > 0
    for collection in ax.collections[1:]:
        covered |= ~np.ma.getmaskarray(collection.get_array()).reshape(shape)
    return int((~covered).sum())


@pytest.mark.parametrize(
    "cells",
    [
        [[0.0, 1.0, 10.0], [1e-3, -2.0, np.nan]],
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        [[3.0, 3.0, 3.0], [np.inf, -np.inf, np.nan]],
        [[np.nan, np.nan, np.nan], [np.nan, np.nan, np.nan]],
    ],
)
@pytest.mark.parametrize("log_colour", [True, False])
@pytest.mark.parametrize("draw", ["phase_diagram", "heatmap"])
def test_no_cell_is_blank_and_none_is_called_diverged_unless_the_sweep_says_so(ax, cells, log_colour, draw):
    cells = np.array(cells)
    if draw == "heatmap":
        figures.heatmap(ax, cells) if not log_colour else figures.heatmap(ax, cells, log_colour=True)
    else:
        figures.phase_diagram(ax, [1, 2, 3], [1, 2], cells, log_colour=log_colour)
    assert uncovered(ax, cells.shape) == 0
    legend = [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else []
    off = np.isinf(cells) | (cells <= 0 if log_colour else False)
    assert legend == [name for name, marked in (("missing", np.isnan(cells)), ("off the scale", off)) if marked.any()]


def ragged():
    """Records of two series, taken every 2 and every 3 steps, and of a third whose second seed ends early."""
    samples = xr.DataArray(
        np.full((3, 3, 12), np.nan), dims=("seed", "every", "step"), coords={"every": [2, 3, 1], "step": range(12)}
    )
    for row, every in enumerate(samples.every.values):
        samples[:, row, ::every] = 1.0 + np.arange(3)[:, None]
    samples[1, 2, 5:] = np.nan
    return samples


def test_every_series_is_drawn_through_its_own_steps(ax):
    figures.sweep_bands(ax, ragged(), "step", "every")
    assert [line.get_label() for line in ax.lines] == ["2", "3", "1 (1 of 3 incomplete)"]
    assert [line.get_xdata().tolist() for line in ax.lines[:2]] == [[0, 2, 4, 6, 8, 10], [0, 3, 6, 9]]
    assert np.isfinite(ax.lines[2].get_ydata()).all() and len(ax.lines[2].get_xdata()) == 12


def test_a_series_of_one_step_has_a_marker(ax):
    figures.sweep_bands(ax, ragged().isel(step=[0]), "step", "every")
    assert all(line.get_marker() == "o" and len(line.get_xdata()) == 1 for line in ax.lines)


def test_the_sweeps_mask_is_counted_value_by_value(ax):
    mask = xr.DataArray([[True, False, False]] * 2 + [[False] * 3], dims=("seed", "every"), coords={"every": [2, 3, 1]})
    figures.sweep_bands(ax, ragged(), "step", "every", diverged=mask)
    assert [line.get_label() for line in ax.lines] == ["2 (2 of 3 diverged)", "3", "1"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1000001, 1000002, 1000003], ["1000001", "1000002", "1000003"]),
        ([1e6 + 1, 1e6 + 2], ["1000001", "1000002"]),
        ([0.1, 0.1 + 1e-12], ["0.1", "0.100000000001"]),
        (np.float32([0.1, 0.2]), ["0.1", "0.2"]),
        (["two_step_usam", "sam"], ["two step usam", "sam"]),
        (["a_b", "a b"], ["a_b", "a b"]),
        ([True, False], ["True", "False"]),
        (np.array(["2026-01-01", "2026-01-02"], "M8[ns]"), ["2026-01-01", "2026-01-02"]),
    ],
)
def test_values_have_the_shortest_texts_that_tell_them_apart(ax, values, expected):
    data = xr.DataArray(np.ones((2, len(values), 3)), dims=("seed", "n", "step"), coords={"n": values})
    figures.sweep_bands(ax, data, "step", "n")
    assert [line.get_label() for line in ax.lines] == expected
    ax.clear()
    figures.heatmap(ax, data.mean("seed"), "n", "step")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == expected


def test_forty_lines_differ_in_colour_or_dash(ax):
    figures.sweep_bands(ax, wide().isel(n=slice(40)), "step", "n")
    assert len({(line.get_color(), line.get_linestyle()) for line in ax.lines}) == 40


def test_dates_are_an_axis_and_unsorted_places_are_sorted(ax):
    dates = np.array(["2026-01-02", "2026-01-01", "2026-01-03"], "M8[ns]")
    figures.band(ax, dates, np.array([[2.0, 1.0, 3.0]] * 2))
    ax.figure.canvas.draw()
    assert any("2026" in tick.get_text() or "-" in tick.get_text() for tick in ax.get_xticklabels())
    assert ax.lines[0].get_ydata().tolist() == [1.0, 2.0, 3.0] and np.diff(ax.lines[0].get_xdata()).tolist() == [
        1.0,
        1.0,
    ]


def test_bfloat16_and_masked_arrays_are_numbers(ax):
    figures.band(ax, [0, 1], torch.ones(3, 2, dtype=torch.bfloat16))
    figures.band(ax, [0, 1], np.ma.masked_equal([[1, 2], [0, 4]], 0))
    assert ax.lines[0].get_ydata().tolist() == [1.0, 1.0] and ax.lines[1].get_ydata().tolist() == [1.0, 3.0]


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("slope", [0.0, 1e-13, 1e-16])
def test_level_sets_of_nearly_constant_losses(ax, log, slope):
    figures.trajectory(ax, lambda w: 1 + slope * (w * w).sum(), [np.array([[0.0, 0.0], [1.0, 1.0]])], log=log)
    ax.figure.canvas.draw()
    assert len(ax.lines) == 3


def test_heatmap_of_a_labelled_array_in_either_order(ax):
    array = sweep().mean("seed").isel(step=slice(2))
    figures.heatmap(ax, array, "rho", "step")
    first = {(text.get_position(), text.get_text()) for text in ax.texts}
    ax.clear()
    figures.heatmap(ax, array.transpose(), "rho", "step")
    assert first == {(text.get_position(), text.get_text()) for text in ax.texts} and len(first) == 6
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.05", "0.1"]


def claim(relation, threshold, *measured, p=(0.0, 1.0)):
    condition = Condition(quantity="q", statistic="mean", relation=relation, threshold=threshold)
    one = Claim(id="c", statement="s", source="Fig. 1", origin="printed", condition=[condition])
    conditions = (Measurement(condition, Pair(*p), *measured, n=10),) if measured else ()
    return Verdict(one, conditions[0].verdict if measured else "not run", conditions=conditions)


def test_forest_draws_the_claimed_side_to_the_right(ax):
    claims = [
        claim("<=", 0.8, 0.7, 0.6, 0.79),
        claim(">=", 3.0, 2.0, 1.0, 2.5, p=(1.0, 0.0)),
        claim("<", 1.0),
    ]
    figures.forest(ax, {"paper": "p", "claims": [record(one) for one in claims]})
    spans = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"][1:]
    assert min(spans[0]) > 0 > max(spans[1])
    markers = {line.get_marker() for line in ax.lines}
    assert {figures.VERDICTS["reproduced"][1], figures.VERDICTS["contradicted"][1]} <= markers
    assert [text.get_text() for text in ax.texts] == ["not run"]


def test_forest_takes_a_cards_verdicts(ax):
    condition = Condition(quantity="loss ratio", statistic="ratio", relation="<=", threshold=0.8)
    measured = Claim(id="gain", statement="s", source="Fig. 1", origin="printed", paper=0.7, condition=[condition])
    missing = measured.model_copy(update={"id": "missing"})
    verdict = verdict_of(measured, {"value": [0.5, 0.55, 0.6, 0.52, 0.51, 0.58]})
    figures.forest(ax, {"gain": verdict, "missing": Verdict(missing)})
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["gain", "missing"]
    drawn = [line.get_xdata() for line in ax.lines if line.get_marker() == figures.VERDICTS["reproduced"][1]]
    assert len(drawn) == 1 and drawn[0][0] > 0


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_data_give_the_same_bytes_on_another_day(kind, monkeypatch):
    def picture() -> bytes:
        with matplotlib.rc_context():
            figures.use_style()
            fig, ax = plt.subplots()
            figures.band(ax, range(3), np.arange(15.0).reshape(5, 3), "GD")
            buffer = io.BytesIO()
            fig.savefig(buffer, format=kind)
            plt.close(fig)
            return buffer.getvalue()

    first = picture()
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert first == picture()
    if kind == "png":
        assert plt.imread(io.BytesIO(first)).shape[:2] == (400, 750)


def test_a_notebook_draws_each_figure_once():
    from IPython.core.interactiveshell import InteractiveShell
    from matplotlib_inline.config import InlineBackend

    shell = InteractiveShell.instance()
    try:
        shell.kernel = object()
        with matplotlib.rc_context():
            figures.use_style()
        assert InlineBackend.instance().print_figure_kwargs == {"bbox_inches": None}
    finally:
        InlineBackend.clear_instance()
        InteractiveShell.clear_instance()
