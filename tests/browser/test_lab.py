"""Five minutes of a user in a real browser: start page, sliders, a paper, a mistake."""

import os
from pathlib import Path

import pytest
from lab_page import Lab

START = "/lab/tree/notebooks/00_start_here.ipynb"
PAPER = "/lab/tree/notebooks/first-paper.ipynb"
SHOTS = os.environ.get("WORKBENCH_SCREENSHOTS")


@pytest.fixture(scope="module")
def lab(context, server):
    opened = Lab(context, server)
    yield opened
    opened.close()


def shoot(lab, name):
    """Keep screenshots at two widths where somebody wants to look at them."""
    if SHOTS:
        for width in (1920, 1280):
            lab.page.set_viewport_size({"width": width, "height": 1000})
            lab.page.wait_for_timeout(800)
            lab.page.screenshot(path=str(Path(SHOTS) / f"{name}-{width}.png"))


def test_the_start_page_is_what_one_sees_first(lab):
    lab.open("/")
    assert "00_start_here.ipynb" in lab.page.url
    shoot(lab, "start-before")
    assert lab.page.locator("text=Would you like to get notified").count() == 0
    assert lab.page.locator(".jp-RenderedImage img").count() >= 1
    assert lab.complaints == []


def test_the_start_page_runs_and_links_the_papers(lab):
    lab.run_all()
    assert lab.page.locator(".jp-NotebookPanel .jp-OutputArea-output:has-text('Traceback')").count() == 0
    assert lab.page.locator(".jp-OutputArea-output .jp-RenderedImage img, .jp-OutputArea-output img").count() >= 2
    link = lab.page.locator(".jp-RenderedHTML a", has_text="first-paper").first
    assert "first-paper" in link.get_attribute("href")
    shoot(lab, "start-run")
    assert lab.complaints == []


def test_a_slider_moves_by_mouse_and_reset_brings_the_start_back(lab):
    before = lab.picture()
    handle = lab.explorer().locator(".noUi-handle").first
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    lab.page.mouse.move(x, y)
    lab.page.mouse.down()
    lab.page.mouse.move(x + 40, y, steps=5)
    lab.page.mouse.up()
    lab.wait_for_picture(lambda pixels: pixels != before)
    lab.explorer().locator("button", has_text="Reset").click()
    lab.wait_for_picture(lambda pixels: pixels == before)
    assert lab.complaints == []


def test_a_slider_and_the_buttons_work_by_keyboard(lab):
    explorer = lab.explorer()
    start = lab.picture()
    handle = explorer.locator(".noUi-handle").first
    handle.focus()
    for _ in range(8):
        lab.page.keyboard.press("ArrowRight")
    lab.wait_for_picture(lambda pixels: pixels != start)
    explorer.locator("button", has_text="Reset").focus()
    lab.page.keyboard.press("Enter")
    lab.wait_for_picture(lambda pixels: pixels == start)
    assert lab.complaints == []


def test_the_launcher_has_a_card_for_every_notebook(lab):
    pytest.importorskip("jupyter_app_launcher", reason="Launcher cards need jupyter-app-launcher")
    lab.page.click(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook", position={"x": 5, "y": 5})
    lab.page.keyboard.press("Control+Shift+L")
    card = lab.page.locator(".jp-LauncherCard", has_text="first-paper")
    card.wait_for()
    shoot(lab, "launcher")
    card.click()
    lab.page.wait_for_selector(".lm-TabBar-tab.lm-mod-current >> text=first-paper.ipynb")
    assert lab.complaints == []


def test_a_paper_runs_to_its_scoreboard(context, server):
    lab = Lab(context, server)
    lab.open(PAPER)
    lab.run_all()
    board = lab.page.locator(".jp-RenderedHTML", has_text="1 claims: 1 reproduced").last
    board.scroll_into_view_if_needed()
    assert "loss-falls" in board.inner_text() and "✔ reproduced" in board.inner_text()
    shoot(lab, "paper")
    assert lab.complaints == []
    lab.close()


def test_an_impossible_value_is_answered_in_words(context, server):
    lab = Lab(context, server)
    lab.open(PAPER)
    lab.run_all()
    before = lab.picture()
    readout = lab.explorer().locator(".widget-readout").first
    readout.click()
    lab.page.keyboard.press("Control+A")
    lab.page.keyboard.type("1.5")
    lab.page.keyboard.press("Enter")
    message = lab.explorer().locator("text=diverges at step sizes of 1 and more, got 1.5")
    message.wait_for()
    assert "✘ These values give no picture" in lab.explorer().inner_text()
    assert lab.picture() == before
    shoot(lab, "impossible")
    lab.explorer().locator("button", has_text="Reset").click()
    lab.page.wait_for_function(
        "() => !document.querySelector('.workbench-explorer').textContent.includes('no picture')"
    )
    assert lab.complaints == []
    lab.close()


def test_every_explorer_moves_by_keyboard(context, server, explorer_names):
    lab = Lab(context, server)
    lab.open("/lab/tree/scratch/explorers.ipynb")
    lab.run_all()
    for index, name in enumerate(explorer_names):
        before = lab.picture(index)
        lab.explorer(index).locator(".noUi-handle").first.focus()
        for _ in range(4):
            lab.page.keyboard.press("ArrowRight")
        lab.wait_for_picture(lambda pixels, before=before: pixels != before, index)
        assert "no picture" not in lab.explorer(index).inner_text(), name
        shoot(lab, f"explorer-{name}")
    assert lab.complaints == []
    lab.close()


def test_an_impossible_parameter_is_answered_in_words(context, server):
    lab = Lab(context, server)
    lab.open("/lab/tree/scratch/impossible.ipynb")
    cell = lab.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell", has_text="step_size: float").first
    cell.locator(".cm-content").click()
    lab.page.keyboard.press("Control+A")
    lab.page.keyboard.insert_text("step_size: float = -1.0\nn_steps: int = 0\nn_seeds: int = 10")
    for _ in range(2):
        lab.page.keyboard.press("Shift+Enter")
    answer = lab.page.locator(".jp-OutputArea-output", has_text="parameters refused").first
    answer.wait_for()
    words = answer.inner_text()
    assert "step_size: -1.0 is too small; allowed: float, > 0 and <= 2" in words
    assert "n_steps: 0 is too small; allowed: int, >= 1. steps of every run" in words
    assert "Traceback" not in words and "workbench/claims" not in words
    shoot(lab, "impossible-parameter")
    assert lab.complaints == []
    lab.close()
