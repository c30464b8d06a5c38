"""Every picture has words: registered by what drew it, said by the caller, taken from the verdicts."""

import base64
import gc
import weakref

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from workbench import figures
from workbench.batch.report.notebook_figures import figures as pictures_of
from workbench.batch.running.html import to_html
from workbench.claims.judging.family import Pair
from workbench.claims.recording import record
from workbench.claims.verdict import Measurement, Verdict
from workbench.claims.written.condition import Condition
from workbench.claims.written.schema import Claim

CONDITION = Condition(quantity="q", statistic="mean", relation="<=", threshold=0.8)
CLAIM = Verdict(
    Claim(id="gain", statement="s", source="Fig. 1", origin="printed", condition=[CONDITION]),
    "reproduced",
    "reproduced",
    (Measurement(CONDITION, Pair(0.0, 1.0), 0.7, 0.61, 0.75, n=10),),
)


@pytest.fixture
def drawn():
    figure, ax = plt.subplots()
    figures.band(ax, [0, 10], np.array([[4.0, 1.0], [6.0, 3.0]]), "SAM", xlabel=r"radius $\rho$", ylabel="loss")
    yield figure
    plt.close(figure)


def test_words_are_the_callers_then_the_figures_then_the_verdicts(drawn):
    words = figures.alt_text(drawn, r"SAM loses by $\rho$", [CLAIM])
    assert words.startswith(
        "SAM loses by ρ. loss against radius ρ: SAM: 5 [-7.71, 17.7] at 0 to 2 [-10.7, 14.7] at 10, 2 runs."
    )
    assert words.endswith("gain: reproduced (0.7 [0.61, 0.75], claimed ≤ 0.8).")


def test_a_single_verdict_and_a_cards_content_are_taken_too(drawn):
    for claims in (CLAIM, {"claims": [record(CLAIM)]}, {"gain": CLAIM}, iter([CLAIM])):
        assert "gain: reproduced" in figures.alt_text(drawn, claims=claims)


def test_labels_set_after_drawing_and_hidden_axes(drawn):
    drawn.axes[0].set(title="Digits")
    assert figures.alt_text(drawn).startswith("Digits, loss against")
    drawn.axes[0].set_visible(False)
    assert figures.alt_text(drawn) == ""


def test_words_live_as_long_as_their_axes():
    figure, ax = plt.subplots()
    figures.describe(ax, "one")
    assert figures.alt_text(figure) == "one."
    gone = weakref.ref(ax)  # the registry must not be what keeps it
    plt.close(figure)
    del figure, ax
    gc.collect()
    assert gone() is None


def test_a_picture_without_words_is_refused():
    figure, ax = plt.subplots()
    ax.plot([0, 1])
    with pytest.raises(ValueError, match=r"give alt="):
        figures.show(figure)
    plt.close(figure)


def test_outside_notebooks_the_words_are_printed(drawn, capsys):
    figures.show(drawn, "SAM loses.")
    assert capsys.readouterr().out.startswith("SAM loses.")
    assert drawn.number not in plt.get_fignums()


@pytest.mark.slow
def test_a_notebooks_picture_carries_its_words_into_html_and_report(tmp_path):
    source = """
    import matplotlib.pyplot as plt, numpy as np
    import workbench.figures as figures
    figures.use_style()
    figure, ax = plt.subplots(figsize=(2, 1))
    figures.band(ax, [0, 1], np.ones((3, 2)), "SAM")
    figures.show(figure, "SAM stays < 2 & calm", caption=r"Loss for $\\rho=0$.")
    """
    lines = "\n".join(line.strip() for line in source.strip().splitlines())
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(lines)])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    outputs = notebook.cells[0].outputs
    assert len(outputs) == 2, "the inline backend must not draw the figure again"
    picture = outputs[0]
    assert base64.b64decode(picture.data["image/png"]).startswith(b"\x89PNG")
    alt = picture.metadata["image/png"]["alt"]
    assert alt.startswith("SAM stays < 2 & calm. SAM: 1") and picture.data["text/plain"] == alt
    html = to_html(notebook, "n")
    assert 'alt="SAM stays &lt; 2 &amp; calm. SAM: 1' in html and "<summary><em>Loss for" in html
    path = tmp_path / "n.ipynb"
    nbformat.write(notebook, path)
    (found,) = pictures_of(path)
    assert (found.alt, found.caption) == (alt, "Loss for ρ=0.")
