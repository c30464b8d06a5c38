"""What every explorer shows: after any moves the picture of its values, with nothing left from before, and all of it."""

import gc
import importlib
import io

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from workbench import papers
from workbench.explorers.scene import decades, png, round_up, set_limits

MODULES = {"first_look": "workbench.lab.first_look", **papers.explorers()}


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def ends(control):
    """The last and the first value of a control."""
    return (control.choices[-1], control.choices[0]) if control.kind == "choice" else (control.high, control.low)


def module_of(name):
    return importlib.import_module(MODULES[name])


@pytest.fixture(scope="module", params=sorted(MODULES))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def shown(name):
    return module_of(name).explorer()


def test_after_many_moves_the_picture_is_that_of_a_fresh_explorer(name, shown):
    start = shown.picture
    for control in shown.controls.values():
        for value in ends(control):
            shown.set(**{control.name: value})
            assert "no picture" not in shown._readout.value
        fresh = module_of(name).explorer(**shown.values)
        np.testing.assert_array_equal(pixels(shown.picture), pixels(fresh.picture))
        assert shown._readout.value == fresh._readout.value
    assert shown.picture != start
    shown.reset()
    assert shown.picture == start


def test_the_picture_shows_all_that_an_ordinary_figure_does(name, shown):
    """Only where artists overlap may a pixel differ: what moves lies on what does not."""
    shown.reset()
    figure = Figure(figsize=shown._painter._figure.get_size_inches(), layout="constrained", dpi=100)
    canvas = FigureCanvasAgg(figure)
    assert module_of(name).draw(figure, **shown.values)
    canvas.draw()
    ordinary = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    assert (np.abs(ordinary - pixels(shown.picture)).max(-1) > 40).mean() < 0.005


def test_most_moves_leave_the_still_part_as_it_is(name, shown):
    shown.reset()
    if not shown._painter.scene.moving:
        pytest.skip("drawn anew at every move: there is no still part")
    still = shown._painter._still
    first = next(iter(shown.controls.values()))
    shown.set(**{first.name: first.value})
    assert shown._painter._still is still


def test_an_error_in_the_middle_leaves_nothing_behind(name, shown, monkeypatch):
    shown.reset()
    start, scene = shown.picture, shown._painter.scene
    if not scene.moving:
        pytest.skip("drawn anew at every move: there is no middle")
    last = list(shown.controls.values())[-1]
    for artist in scene.moving[len(scene.moving) // 2 :]:
        monkeypatch.setattr(artist, "draw", lambda renderer: 1 / 0)
    shown.set(**{last.name: ends(last)[0]})
    assert "division by zero" in shown._readout.value and shown.picture == start
    monkeypatch.undo()
    shown.reset()
    assert shown.picture == start


def test_png_is_read_back_by_others():
    drawn = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(png(drawn)), drawn)
    np.testing.assert_array_equal(pixels(png(drawn[:, ::-1])), drawn[:, ::-1])


def test_rounded_limits_contain_what_they_are_for():
    for value in np.geomspace(1e-3, 1e4, 301):
        assert value <= round_up(value) * (1 + 1e-8) <= 1.35 * value
        low, high = decades(value, 1.5 * value, 2)
        assert low <= value and 1.5 * value <= high and high / low >= 99
    assert round_up(0.3) == pytest.approx(0.3) and decades(0.01, 0.1) == (0.01, 0.1)


def test_limits_set_to_what_they_are_change_nothing():
    figure = Figure()
    axes = figure.subplots()
    set_limits(axes, (0, 2), (1, 3))
    FigureCanvasAgg(figure).draw()
    set_limits(axes, (0.0, 2.0), (1.0, 3.0))
    assert not figure.stale
    set_limits(axes, y=(1, 4))
    assert figure.stale and axes.get_ylim() == (1, 4)


def test_many_moves_leave_nothing_behind(name, shown):
    # What one explorer alone can leak shows within fifty moves; five hundred of one see what the frame leaves behind.
    controls, moves = list(shown.controls.values()), 500 if name == "first_look" else 50

    def move(times):
        for turn in range(times):
            control = controls[turn % len(controls)]
            low, high = ends(control)
            if control.kind == "choice":
                value = control.choices[turn // len(controls) % len(control.choices)]
            else:
                value = low + (high - low) * (turn % 7) / 6
            shown.set(**{control.name: round(value) if control.kind == "int" else value})
        gc.collect()
        return len(gc.get_objects()), sum(type(one) is Figure for one in gc.get_objects())

    before, figures = move(10)
    start = shown.redraws
    after, figures_after = move(moves)
    assert shown.redraws == start + moves and figures_after == figures
    assert after < 1.005 * before
