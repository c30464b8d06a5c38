"""The explorer's numbers are the exact ones; study tables have their shapes and their known values; every figure draws."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.figures import alt_text
from workbench.papers.sequential_closeness_testing import explorer, figures, pictures, study
from workbench.papers.sequential_closeness_testing.bernoulli import batch_size_bernoulli
from workbench.papers.sequential_closeness_testing.empirical_distance import half_moved, uniform
from workbench.papers.sequential_closeness_testing.stopping_law import sequential_dp
from workbench.papers.sequential_closeness_testing.stopping_rules import stopping_rule
from workbench.papers.sequential_closeness_testing.z_simulation import z_paths


@pytest.mark.parametrize("rule", explorer.RULES)
def test_explorer_is_the_programme(rule):
    picture = explorer.compute(rule, 0.2, 1e-3, 0.72)
    law = sequential_dp(0.72, stopping_rule(rule, 0.2, 1e-3))
    assert pytest.approx(law.E_tau, abs=2 * picture.leftover * picture.times[-1] + 1e-9) == picture.E_tau
    np.testing.assert_allclose(picture.pmf, np.pad(law.pmf, (0, len(picture.pmf)))[: len(picture.pmf)], atol=1e-14)
    assert picture.p_reject + picture.p_accept + picture.leftover == pytest.approx(1)
    assert (picture.occupancy >= 0).all() and picture.occupancy.max() <= 1


def test_explorer_draws_and_refuses():
    figure = Figure(figsize=(9, 3.8))
    words = explorer.draw(figure, eps=0.2, delta=0.01, p=0.5)
    FigureCanvasAgg(figure).draw()
    assert "batch of 144" in words and len(figure.axes) == 2
    widget = explorer.explorer()
    widget.set(eps=0.3, test="glr")
    assert "batch of" in widget._readout.value
    with pytest.raises(ValueError, match="eps"):
        explorer.compute("sprt", 0.6, 0.01, 0.5)


def test_tables():
    table = study.exact_costs([0.2], [1e-2, 1e-4])
    assert table["size"].dims == ("rule", "eps", "delta", "hypothesis")
    assert float(table.saving.sel(rule="sprt", delta=1e-2, hypothesis="no difference", eps=0.2)) == pytest.approx(
        batch_size_bernoulli(0.2, 1e-2) / sequential_dp(0.5, stopping_rule("sprt", 0.2, 1e-2)).E_tau
    )
    swapped = study.exact_costs([0.2], [1e-2], assignment="swapped")
    np.testing.assert_array_equal(swapped["size"].sel(rule="glr"), table["size"].sel(rule="sprt", delta=[1e-2]))
    slopes = study.factor_slopes(0.2, [1e-4, 1e-8, 1e-16])
    assert slopes.slope.shape == (2, 2) and (slopes.slope < slopes.limit).all()


def test_runs_of_the_study():
    few = study.small_alphabets([2, 3], 0.3, 0.1, 5, seed0=3)
    assert few.share.shape == (2, 2, 5) and not few.wrong.all()
    cells = [(100, 0.45, 4.0)]
    assert not study.stopping_over_crossing(cells, 0.05, 3).censored.any()
    given_up = study.stopping_over_crossing(cells, 0.05, 2, same=True, t_max=500)
    assert given_up.censored.all() and (given_up > 1).all()
    alarms = study.false_alarms(0.05, [32.0, 1e-3], 3, t_max=200)
    assert alarms.shape == (2, 5, 3) and not alarms.sel(c=32.0).any() and alarms.sel(c=1e-3).mean() > 0.8
    known = study.known_distance(100, 0.2, [0.45], 0.05, 4.0, 3)
    assert (known.tau <= known.accepts).all() and (known.saving > 1).all()
    same = study.known_distance(100, 0.2, [0.45, 0.3], 0.05, 4.0, 3, same=True)
    np.testing.assert_array_equal(same.tau[0], same.tau[1])


def test_every_figure_draws_and_has_words():
    figure, axes = plt.subplots(2, 3)
    laws = study.stopping_laws(0.2, 1e-2)
    pictures.stopping_times(axes[0, :2], laws, 144, 0.2)
    pictures.savings(axes[0, 2], study.exact_costs([0.2], [1e-2, 1e-4]), 0.2)
    deltas = [1e-4, 1e-8, 1e-16]
    pictures.slopes(axes[1, 0], study.factor_slopes(0.2, deltas), study.factor_slopes(0.2, deltas, looks=2))
    pictures.costs(axes[1, 1], study.costs_by_distance(0.2, 1e-2, [0.0, 0.1, 0.2, 0.4]), 0.2, 144)
    paths = [z_paths(uniform(10), half_moved(10, d), 3, 300) for d in (0.0, 0.4)]
    pictures.z_paths_picture(axes[1, 2], *paths, 10, 0.4, 0.05, 4.0, 300)
    FigureCanvasAgg(figure).draw()
    words = alt_text(figure)
    assert "two looks" in words and "times fewer" in words and "cross u_t" in words
    plt.close(figure)
    figure, ax = plt.subplots()
    times = study.crossing_times([100, 1000], [0.4], 0.05, [4.0, 32.0]).isel(d=0)
    pictures.crossings(ax, times, "n", "c", {"$n^{2/3}$": 2 / 3})
    assert "slope" in alt_text(figure)
    plt.close(figure)


def test_simulated_times_are_the_ratios_times_the_crossing_time():
    cells = [(100, 0.45, 4.0), (200, 0.45, 4.0), (100, 0.3, 4.0)]
    ratios = study.stopping_over_crossing(cells, 0.05, 3)
    taus = study.simulated_times(ratios, [cells[2], cells[0]], "d", 0.05)
    assert taus.dims == ("d", "run") and taus.d.values.tolist() == [0.3, 0.45]
    np.testing.assert_allclose(taus / taus.t_star, ratios.values[[2, 0]])
    np.testing.assert_allclose(taus, np.round(taus))


def test_the_figures_of_two_panels_have_the_words_of_both():
    times = study.crossing_times([100, 200], [0.3, 0.45], 0.05, [4.0])
    cells = [(100, 0.45, 4.0), (200, 0.45, 4.0), (100, 0.3, 4.0)]
    ratios = study.stopping_over_crossing(cells, 0.05, 3)
    taus = [study.simulated_times(ratios, cells[:2], "n", 0.05), study.simulated_times(ratios, cells[::2], "d", 0.05)]
    alarms = study.false_alarms(0.05, [32.0], 3, t_max=200).assign_coords(c=["rigorous"])
    far = study.known_distance(100, 0.2, [0.3, 0.45], 0.05, 4.0, 3)
    deltas = [1e-4, 1e-8, 1e-16]
    slopes = study.factor_slopes(0.2, deltas)
    sizes, paths = study.costs_by_distance(0.2, 1e-2, [0.0, 0.1, 0.2, 0.4]), study.example_paths(10, [0.0, 0.4], 3, 300)
    drawn = {
        "last slope": figures.draw_factor_four(study.exact_costs([0.2], deltas), 0.2, slopes, slopes),
        "cross u_t": figures.draw_distances(sizes, 0.2, 144, paths, 0.05, 4.0),
        "simulated means": figures.draw_crossings(times.sel(d=0.45), times.isel(c=0), *taus),
        "rigorous, c = 32: 0.0 to 0.0 per cent": figures.draw_many_letters(alarms, {"rigorous": 32.0}, 0.05, far),
    }
    for words, figure in drawn.items():
        FigureCanvasAgg(figure).draw()
        assert words in alt_text(figure) and len(figure.axes) == 2
        plt.close(figure)
