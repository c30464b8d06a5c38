"""The explorers' frame: redraws in place, says what is wrong, and does not grow."""

import asyncio
import gc
import importlib
import math
import os
import shlex
import time

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest

from workbench import claims, papers
from workbench.batch import papers as batch_papers
from workbench.batch.grid import assignments
from workbench.explorers.frame import Control, Explorer


def draw(figure, rho, n, rule):
    if rho > 5:
        raise ValueError("rho must be at most 5 <here>")
    figure.subplots().plot([0, rho], [0, n])
    return f"{rule}: {rho:g}"


def explorer():
    controls = [
        Control("rho", "radius", 0.1, 0.01, 10.0, kind="log", unit="length"),
        Control("n", "samples", 3, 1, 9, kind="int"),
        Control("rule", "rule", "sam", kind="choice", choices=("sam", "usam")),
    ]
    return Explorer("A test", controls, draw, size=(2, 1))


def picture(shown):
    return bytes(shown._picture.value)


def test_moving_a_control_changes_the_picture_and_the_read_out():
    shown = explorer()
    before = picture(shown)
    assert before.startswith(b"\x89PNG")
    shown.set(rho=1.0, n=8)
    assert picture(shown) != before and shown._readout.value == "sam: 1"
    assert shown.values == {"rho": 1.0, "n": 8, "rule": "sam"}


def test_a_change_in_the_widget_redraws():
    shown = explorer()
    shown._widgets["rule"].value = "usam"
    assert shown._readout.value.startswith("usam")


def test_several_changes_in_a_row_redraw_once():
    async def hold_the_key():
        shown = explorer()
        start = shown.redraws
        for n in range(1, 9):
            shown._widgets["n"].value = n
        await asyncio.sleep(0.2)
        return shown.redraws - start

    assert asyncio.run(hold_the_key()) == 1


def test_errors_are_shown_escaped_and_the_picture_stays():
    shown = explorer()
    before = picture(shown)
    shown.set(rho=10.0)
    assert "at most 5 &lt;here&gt;" in shown._readout.value and picture(shown) == before
    shown.reset()
    assert "no picture" not in shown._readout.value and shown.values["rho"] == 0.1


@pytest.mark.parametrize("room", sorted(papers.explorers()))
def test_the_command_runs_the_paper_with_what_its_card_knows(room):
    shown = importlib.import_module(papers.explorers()[room]).explorer()
    buttons = {button.description: button for button in buttons_of(shown)}
    if not shown.shared:
        assert set(buttons) == {"Reset"}
        return
    buttons["Copy as a command"].click()
    assert shown._copied.layout.display is None and shown._copied.value == shown.command()
    words = shlex.split(shown.command())
    slug = room.replace("_", "-")
    assert words[:3] == ["workbench", "run", slug]
    found = assignments(words[4::2], "-p", [slug], several=False)
    assert found == pytest.approx({name: shown.values[name] for name in shown.shared})


def buttons_of(shown):
    return [widget for row in shown.children for widget in getattr(row, "children", []) if hasattr(widget, "click")]


@pytest.mark.parametrize("room", sorted(papers.explorers()))
def test_the_notebook_copy_has_the_values_and_the_rest_is_called_view_only(room, tmp_path, monkeypatch):
    shown = importlib.import_module(papers.explorers()[room]).explorer()
    viewed = set(shown.controls) - set(shown.shared)
    said = [widget.value for widget in shown.children if "View only" in getattr(widget, "value", "")]
    assert bool(said) == bool(viewed and shown.shared)
    slug = room.replace("_", "-")
    if not shown.shared or not batch_papers.notebook_of(slug).is_file():
        return
    monkeypatch.setattr(batch_papers, "root", lambda: tmp_path)
    {button.description: button for button in buttons_of(shown)}["Open as a notebook"].click()
    (written,) = (tmp_path / "scratch").glob("*.ipynb")
    assert shown._copied.value == f"written: {written}"
    cells = [cell for cell in nbformat.read(written, as_version=4).cells if cell.cell_type == "code"]
    assert not any(cell.outputs for cell in cells)
    place = next(k for k, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    namespace = {}
    exec(cells[place].source + "\n" + cells[place + 1].source, namespace)
    found = claims.card(slug).parameters(namespace)
    assert {name: getattr(found, name) for name in shown.shared} == {name: shown.values[name] for name in shown.shared}


def refused(**values):
    shown = explorer()
    before, held, redraws = shown.values, picture(shown), shown.redraws
    with pytest.raises(ValueError, match=next(reversed(values))):
        shown.set(**values)
    return shown.values == before and picture(shown) == held and shown.redraws == redraws


@pytest.mark.parametrize(
    "values",
    [
        {"n": 99},
        {"n": 2.5},
        {"n": True},
        {"rho": 100.0},
        {"rho": math.nan},
        {"rho": math.inf},
        {"rho": "0.1"},
        {"rho": None},
        {"rule": "nonsense"},
        {"rho": 1.0, "rule": "nonsense"},
        {"rule": "usam", "n": 3, "rho": 1e-9},
        {"rho": 0.5, "sigma": 1},
    ],
)
def test_a_move_is_all_or_nothing(values):
    assert refused(**values)


@pytest.mark.parametrize("rho", [0.01, 10.0])
def test_the_values_shown_can_be_set_again(rho):
    shown = explorer()
    shown.set(rho=rho)
    shown.set(**shown.values)
    assert shown.values["rho"] == pytest.approx(rho, rel=1e-9)


def test_numpys_numbers_are_numbers():
    shown = explorer()
    shown.set(rho=np.float32(0.5), n=np.int64(4), rule=np.str_("usam"))
    assert shown.values == {"rho": 0.5, "n": 4, "rule": "usam"}


@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_passes_and_leaves_no_message(failure, monkeypatch):
    def stop(figure, a):
        if a > 0.5:
            time.sleep(0.05)
            raise failure

    shown = Explorer("Stops", [Control("a", "a", 0.0, 0.0, 1.0)], stop, size=(1, 1))
    monkeypatch.setattr("workbench.explorers.frame.BUSY_AFTER", 0.01)
    with pytest.raises(failure):
        shown.set(a=1.0)
    assert shown._busy.value == "&nbsp;"
    shown.set(a=0.2)
    assert "✘" not in shown._readout.value


def test_many_moves_leave_nothing_behind():
    shown = explorer()
    gc.collect()
    figures = len([o for o in gc.get_objects() if type(o).__name__ == "Figure"])
    for move in range(50):
        shown._widgets["n"].value = 1 + move % 9
    gc.collect()
    assert len([o for o in gc.get_objects() if type(o).__name__ == "Figure"]) == figures
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "bad",
    [
        {"value": 2.0, "low": 0.0, "high": 1.0},
        {"value": 1.0, "low": 0.0, "high": 1.0, "kind": "log"},
        {"value": "x", "kind": "choice", "choices": ("a",)},
    ],
)
def test_controls_refuse_what_does_not_fit(bad):
    with pytest.raises(ValueError, match="rho"):
        Control("rho", "radius", **bad)


def test_unknown_parameters_are_named():
    with pytest.raises(ValueError, match="unknown parameter rhoo"):
        explorer().set(rhoo=1.0)


def test_a_redraw_announces_itself_only_when_it_takes_long(monkeypatch):
    words = []

    def slow(figure, seconds):
        time.sleep(seconds)

    shown = Explorer("Slow", [Control("seconds", "seconds", 0.0, 0.0, 1.0)], slow, size=(1, 1))
    shown._busy.observe(lambda change: words.append(change["new"]), names="value")
    monkeypatch.setattr("workbench.explorers.frame.BUSY_AFTER", 30.0)
    shown.set(seconds=0.01)
    assert words == []
    monkeypatch.setattr("workbench.explorers.frame.BUSY_AFTER", 0.01)
    shown.set(seconds=0.3)
    assert words == ["computing …", "&nbsp;"]


def test_saved_without_a_front_end_it_is_a_sentence(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("JPY_SESSION_NAME", "VSCODE_", "COLAB_"))]:
        monkeypatch.delenv(name)
    saved = explorer()._repr_mimebundle_()
    assert saved["text/plain"] == "A test: run this cell in JupyterLab to move radius, samples, rule."
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    assert "application/vnd.jupyter.widget-view+json" in explorer()._repr_mimebundle_()
