"""The page "Curvature of your network", executed from top to bottom, and its pictures."""

import re
from pathlib import Path

import matplotlib
import pytest
import torch
from matplotlib import pyplot as plt

from workbench import curvature

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "your-network.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names that the page leaves, executed in an empty folder."""
    folder, names = tmp_path_factory.mktemp("page"), {"__name__": "page", "folder": None}
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context(), torch.random.fork_rng():
        patch.chdir(folder)
        for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.S):
            exec(compile(block, "your-network.md", "exec"), names)
        plt.close("all")
    return {**names, "folder": folder}


def test_its_pictures_are_made_by_it_and_shown_with_words(page):
    shown = dict(re.findall(r"!\[(.*?)\]\((.*?)\)", PAGE)[i][::-1] for i in range(3))
    assert set(shown) == {path.name for path in page["folder"].iterdir()}
    assert all(len(words) > 60 and (DOCS / name).is_file() for name, words in shown.items())


def test_the_resnets_largest_eigenvalue_lies_in_its_interval(page):
    model = page["resnet"]
    loss = curvature.empirical_loss(model, page["cross_entropy"], page["inputs"], page["targets"])
    low, high = page["top"].intervals[0]
    value = curvature.sharpness(loss, loss.parameters())
    assert low - 1e-3 * high < value < high * (1 + 1e-3)


def test_the_transformer_is_watched_for_few_products_and_reaches_adams_edge(page):
    data = page["watch"].dataset()
    assert float(data.sharpness_products[1:].mean()) <= 5
    assert float(data.sharpness_threshold[0]) == pytest.approx(38 / 0.01)
    ratio = data.sharpness / data.sharpness_threshold
    assert 0.5 < float(ratio[20:].max()) < 1.5 and float(ratio[0]) > 2


def test_the_lstms_noise_is_that_of_all_gradients_together(page):
    rows = curvature.per_sample_gradients(
        curvature.empirical_loss(page["lstm"], page["cross_entropy"], page["inputs"], page["targets"]),
        dict(page["lstm"].named_parameters()),
    )
    torch.testing.assert_close(page["norms"], rows.norm(dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(page["spectrum"].sum(), rows.var(0, correction=0).sum(), rtol=1e-3, atol=0)
