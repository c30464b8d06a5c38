"""Explorers without a kernel: every position of a slider has its picture, within the page's budget; the page runs one script."""

import base64
import hashlib
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from workbench.explorers import static
from workbench.explorers.frame import Control, Explorer


def draw(figure, slope, height, kind):
    if height > 0.9:
        raise ValueError("too high <here>")
    axes = figure.subplots()
    axes.plot([0, 1], [height, height + slope], "o" if kind == "dots" else "-")
    axes.set(ylim=(-1, 3))
    return f"ends at {height + slope:.2f} & more"


def explorer(paper=""):
    controls = [
        Control("slope", "slope", 0.5, 0.0, 1.0, 0.1),
        Control("rho", "radius", 0.1, 0.01, 10.0, kind="log")
        if paper
        else Control("height", "height", 0.0, 0.0, 1.0, 0.1),
        Control("kind", "kind", "line", kind="choice", choices=("line", "dots")),
    ]
    show = (lambda figure, slope, rho, kind: draw(figure, slope, 0.0, kind)) if paper else draw
    return Explorer("A <test>", controls, show, size=(3, 2), paper=paper)


@pytest.fixture(autouse=True)
def few_states(monkeypatch):
    monkeypatch.setattr(static, "MOST_STATES", 24)


@pytest.fixture(scope="module")
def page():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static, "MOST_STATES", 24)
        return static.page(explorer())


def content(page):
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(data)


def image(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_every_combination_of_the_first_two_sliders_and_every_other_alone_is_there(page):
    found = content(page)
    sliders = re.findall(r'type="range" min="0" max="(\d+)"', page)
    most = [int(last) + 1 for last in sliders] + [2]
    assert found["crossed"] == 2 and len(most) == 3
    start = found["starts"]
    assert {f"{i},{j},{start[2]}" for i in range(most[0]) for j in range(most[1])} <= set(found["states"])
    assert f"{start[0]},{start[1]},1" in found["states"]


def test_the_first_picture_with_the_difference_on_it_is_the_picture_of_the_values(page):
    shown = explorer()
    words = [json.loads(html.unescape(text)) for text in re.findall(r'data-words="(.*?)"', page)]
    (first,) = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]*)"', page)
    base = np.array(image(first).convert("RGB")).astype(int)
    for key in ("0,0,0", f"{len(words[0]) - 1},1,0", f"{content(page)['starts'][0]},0,1"):
        over, text, _ = content(page)["states"][key]
        slope, height, kind = (entries[int(place)] for entries, place in zip(words, key.split(","), strict=True))
        shown.set(slope=float(slope), height=float(height), kind=kind)
        assert text == shown.readout == f"ends at {float(height) + float(slope):.2f} & more"
        layer = np.array(image(over).convert("RGBA")).astype(int)
        drawn = np.where(layer[..., 3:] > 0, layer[..., :3], base)
        exact = np.array(image(base64.b64encode(shown.picture)).convert("RGB")).astype(int)
        assert np.abs(drawn - exact).mean() < 2, "64 colours are close to all"


@pytest.mark.parametrize("budget", [20_000, 40_000])
def test_the_page_keeps_its_budget_and_its_start(budget):
    shown = explorer()
    shown.set(slope=0.9)
    page = static.page(shown, budget)
    assert len(page.encode()) <= budget
    found = content(page)
    assert found["states"][",".join(map(str, found["starts"]))][0] == ""
    assert shown.values["slope"] == 0.5


def test_a_budget_below_one_picture_is_refused():
    with pytest.raises(ValueError, match="first picture"):
        static.fragment(explorer(), 2000)


def test_values_without_a_picture_say_why(page):
    states = content(page)["states"].values()
    assert {text for picture, text, _ in states if picture is None} == {
        "✘ These values give no picture: too high <here>"
    }


def test_the_policy_allows_the_one_script_and_nothing_else(page):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    allowed = "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and re.findall(r"script-src ([^;]*)", policy) == [f"'{allowed}'"]
    assert "A &lt;test&gt;" in page and "<test>" not in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)


def test_what_is_no_parameter_of_the_card_is_called_view_only():
    page = static.fragment(explorer("unified-sam"), 40_000)
    assert page.count("view only") == 0, "nothing is shared with this card, so there is no rerun to be told apart from"
    shared = static.fragment(explorer("eigenvalue-filtering"), 40_000)
    assert shared.count("<small>view only</small>") == 2
    found = content(shared)
    assert {line for _, _, line in found["states"].values()} >= {"workbench run eigenvalue-filtering -p rho=0.1"}


@pytest.mark.browser
def test_a_slider_is_moved_from_the_keyboard(page, chromium, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page.replace("<style>", "<style>img { background: #fff; }"), encoding="utf-8")
    tab = chromium.new_page(viewport={"width": 390, "height": 800})
    faults = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    tab.goto(path.as_uri())
    slope, height = tab.locator("input[type=range]").all()
    assert tab.locator(".readout").inner_text() == "ends at 0.50 & more"
    slope.focus()
    tab.keyboard.press("Home")
    assert slope.get_attribute("aria-valuetext") == "0"
    assert tab.locator(".readout").inner_text() == "ends at 0.00 & more"
    height.focus()
    tab.keyboard.press("ArrowRight")
    moved = float(height.get_attribute("aria-valuetext"))
    assert tab.locator(".readout").inner_text() == f"ends at {moved:.2f} & more", "the first two move together"
    tab.locator("select").select_option("dots")
    assert (slope.get_attribute("aria-valuetext"), height.get_attribute("aria-valuetext")) == ("0.5", "0")
    assert "kind dots" in tab.locator(".picture img").first.get_attribute("alt")
    over = tab.locator(".picture img").nth(1)
    assert over.is_visible()
    assert over.evaluate("image => getComputedStyle(image).backgroundColor") == "rgba(0, 0, 0, 0)", "hides the first"
    tab.get_by_role("button", name="Reset").click()
    assert tab.locator(".readout").inner_text() == "ends at 0.50 & more"
    assert not tab.locator(".picture img").nth(1).is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert faults == []
    tab.close()
