"""The explorer's curves are runs of the library's rule; pictures are drawn for every state; figures have words."""

import importlib

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure

import workbench as wb
from workbench.figures import alt_text
from workbench.papers.unified_sam import deterministic, figures
from workbench.papers.unified_sam.regressions import log_spectrum
from workbench.problems import quadratic

explorer = importlib.import_module("workbench.papers.unified_sam.explorer")  # the room's function has its name


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_curves_are_runs_of_the_rule(lam):
    picture = explorer.compute(lam, 0.5, 0.8, 10.0)
    problem = quadratic(log_spectrum(explorer.D, 10.0), rotation=explorer.SEED)
    rule = wb.optimizers.unified_sam(picture.gamma, picture.steps.rho, torch.tensor(lam, dtype=torch.float64))
    ran = wb.run(problem, rule, seed=explorer.SEED, steps=500, record=["train_loss"], every=10)
    losses = ran.records["train_loss"].value
    np.testing.assert_allclose(picture.losses[0, :51], losses / losses[0], rtol=1e-8)
    assert (picture.losses[0] <= picture.bound * (1 + 1e-12)).all()


def test_level_and_bound():
    picture = explorer.compute(1.0, 0.5, 1.0, 3.0)
    assert (
        picture.losses[0, -1] == pytest.approx(picture.level, rel=1e-6) and picture.neighbourhood > 10 * picture.level
    )
    with pytest.raises(ValueError, match="share = gamma/gamma"):
        explorer.compute(share=0.0)


@pytest.mark.parametrize(
    "state", [{}, {"lam": 0.0, "c": 0.0, "share": 0.05, "cond": 1.0}, {"lam": 1.0, "c": 0.95, "cond": 100.0}]
)
def test_draws_every_state(state):
    assert "gamma*" in explorer.draw(Figure(figsize=(9, 4)), **state)


def test_the_widget_starts_at_the_given_values_and_knows_the_card():
    widget = explorer.explorer(lam=0.6, cond=20.0)
    assert widget.values["lam"] == 0.6 and widget.shared == ["cond"]


def test_figures_say_what_they_show():
    runs = deterministic.descents(range(1), [0.0, 0.5, 1.0], 8, 5.0, 4000)
    words = alt_text(figures.draw_levels(runs, deterministic.over_plateau(runs)))
    assert "loss after 4000 steps" in words and "bound" in words
    rng = np.random.default_rng(0)
    step = np.unique(np.geomspace(100, 1000, 10).astype(int))
    values = xr.DataArray(
        np.exp(0.1 * rng.standard_normal((3, 6, 10))) / step, dims=("lam", "seed", "step"),
        coords={"lam": [0.0, 0.5, 1.0], "step": step},
    )  # fmt: skip
    assert "decreasing" in alt_text(figures.draw_decreasing(xr.Dataset({"decreasing": values, "constant": 2 * values})))
    ratios = xr.DataArray(4 + rng.random(6), dims="seed")
    assert "geometric mean" in alt_text(figures.draw_importance(ratios, ratios + 1, ratios, ratios > 4.5))
    gains = xr.DataArray(rng.random((5, 6)), dims=("rule", "seed"), coords={"rule": ["0", "0.5", "1", "1/t", "1-1/t"]})
    table = wb.card("unified-sam").published("table2")
    assert "paper: +0.45 at 0" in alt_text(figures.draw_gains(gains.sel(rule=["1"]), gains, table, 0.2, 0.2))
    assert "paper" not in alt_text(figures.draw_gains(gains.sel(rule=["1"]), gains, table, 0.25, 0.2))
