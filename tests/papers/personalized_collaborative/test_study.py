"""The notebook's measurements: known values, the rule against the recursion, digits, explorer and figures."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from workbench.figures import alt_text
from workbench.papers.personalized_collaborative import explorer, figures, pictures, study
from workbench.papers.personalized_collaborative import rotated_digits as digits
from workbench.papers.personalized_collaborative.simulated_users import simulated_over_exact

MODEL = study.model_q(6)
ETAS = [0.05, 0.2, 0.6]


def test_mean_gradients_are_running_means_of_the_moments():
    means = study.mean_gradients(MODEL, [1, 7], ETAS, 30, beta=[0.0, 0.2], zeta=1.0, K0=4)
    assert means.dims == ("N", "beta", "step_size", "step") and means.shape == (2, 2, 3, 31)
    alone = MODEL.moments(np.array([7.0]), 0.2, 30, zeta=1.0, beta=0.2, K0=4).gradient[0]
    np.testing.assert_allclose(
        means.sel(N=7, beta=0.2, step_size=0.2), alone.cumsum("step") / (alone.step + 1), rtol=1e-12
    )
    best = study.tuned(means)
    assert float(best.sel(N=7)) == float(means.sel(N=7).isel(step=-1).min())
    assert study.tuned(means, 10).shape == (2,)


def test_speed_up_counts_the_start_and_is_zero_when_never_reached():
    local = study.mean_gradients(MODEL, [1], ETAS, 200, mode="local")
    level = float(study.tuned(local).item())
    free = study.mean_gradients(MODEL, [1, 15], ETAS, 200, mode="wga")
    speed = study.speed_up(free, level, 200)
    assert 1 < float(speed[0]) < float(speed[1])
    reached = int(np.argmax((free.isel(beta=0).sel(N=15) <= level).any("step_size").values))
    assert float(speed[1]) == 200 / reached and float(study.speed_up(free, level, 200, 50)[1]) == 200 / (reached + 50)
    assert float(study.speed_up(free, 0.0, 200)[0]) == 0.0
    assert np.isnan(study.local_exponents(study.speed_up(free, 0.0, 200))).all()


def test_closed_forms_of_the_study():
    np.testing.assert_allclose(study.stationary_ratio([1, 9]), 1, rtol=1e-12)
    found = study.best_weights([(0.3, 0.1, 9)])
    assert abs(found.found - found.formula).item() <= 5e-4 and found.settled.item() < 1e-9
    assert study.best_weights([(0.3, 0.1, 9)], ignore_bias=True).formula.item() == pytest.approx(0.9)
    assert (study.over_the_limit([7], [1.0], T=200) >= 1).all()
    assert (study.over_the_limit([63], [np.inf], T=200, mode="wga", bias=0.0) < 1).all()


def test_curvature_that_differs_costs_gain():
    gains = study.shifted_gains(MODEL, [0, 1], [0.0, 0.3], N_list=(3, 63), T=100)
    assert gains.dims == ("seed", "delta", "N")
    assert (gains.isel(delta=0) > gains.isel(delta=1)).all()
    recursion = study.bias_recursion(MODEL, [0.0, 0.1], 0, T=100)
    assert (recursion.step <= 1 + 1e-12).all() and (recursion.forward <= 1 + 1e-12).all()
    assert float(study.bias_recursion(MODEL, [0.1], 0, T=100, drop_shift=True).step[0]) > 1


def test_gain_over_its_scale_grows_with_time():
    relative = study.relative_gains(MODEL, [3], [100, 400])
    assert float(relative[0, 1]) > float(relative[0, 0])


@pytest.mark.parametrize("setting", [(0.2, 0.05, 8), (0.5, 0.2, 3), (0.3, 0.0, 1)])
def test_the_rule_has_the_moments_of_the_recursion(setting):
    ratio = simulated_over_exact(*setting, range(300), T=60)
    error = float(ratio.std()) / 300**0.5
    assert abs(float(ratio.mean()) - 1) <= 4 * error and error < 0.02


def test_the_users_of_a_seed():
    split = digits.rotated_users(3, 45.0)
    assert len(split.members) == 9 and split.members[0].inputs.shape == (150, 65)
    assert all(member.inputs.shape == (200, 65) for member in split.members[1:])
    assert (split.members[4].inputs[:, -1] == 1).all() and split.test_inputs.shape == (500, 65)
    still, permuted = digits.rotated_users(3, 0.0), digits.rotated_users(3, 0.0, "shuffled")
    torch.testing.assert_close(still.members[2].inputs, permuted.members[2].inputs)
    assert not torch.equal(still.members[2].targets, permuted.members[2].targets)
    torch.testing.assert_close(still.members[2].targets.sum(0), permuted.members[2].targets.sum(0))
    torch.testing.assert_close(still.members[0].inputs, split.members[0].inputs)
    silent = digits.rotated_users(3, 0.0, "none").members[1]
    assert not silent.gradient(silent.initial(0)).any()


def test_softmax_gradient_and_least_loss():
    problem = digits.rotated_users(0, 0.0, n0=40, N=0).members[0]
    weights = 0.1 * torch.randn(65, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(problem.gradient(weights), torch.func.grad(problem.loss)(weights))
    batch = tuple(t[:1] for t in problem.data)
    torch.testing.assert_close(problem.gradient(weights, batch), torch.func.grad(problem.batch_loss)(weights, batch))
    least = digits.least_loss(0, 40)
    for _ in range(300):
        weights = weights - 0.4 * problem.gradient(weights)
    assert least < float(problem.loss(weights)) < least + 0.05


def test_methods_on_the_digits_share_their_draws():
    runs = {method: digits.trained(method, range(2), 30.0, T=20, n0=60, ni=40) for method in digits.METHODS}
    assert all(
        found.gap.min() > 0 and 0 <= found.accuracy.min() <= found.accuracy.max() <= 1 for found in runs.values()
    )
    again = digits.trained("bc", range(1, 2), 30.0, T=20, n0=60, ni=40)
    np.testing.assert_allclose(again.gap, runs["bc"].gap[1:], rtol=1e-10)
    still = digits.trained("null", range(2), 0.0, T=20, n0=60, ni=40)
    np.testing.assert_allclose(still.gap, runs["null"].gap, rtol=1e-10)  # silent users have no angle
    assert not np.allclose(runs["null"].gap, runs["local"].gap)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: digits.rotated_users(0, 0.0, "loud"), "users must be one of"),
        (lambda: digits.rotated_users(0, 0.0, n0=1000, ni=400), "at most 1797"),
        (lambda: digits.rotated_users(0, 0.0, n0=5), "digits_n0"),
        (lambda: digits.trained("fedavg", range(1), 0.0), "method must be one of"),
        (lambda: study.model_q(3, "linear"), "spectrum must be"),
        (lambda: explorer.compute(eta=1.5), "eta"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_explorer_is_the_recursion():
    picture = explorer.compute(N=7, zeta=0.5, alpha=7 / 8, eta=0.2)
    model = study.model_q(20)
    corrected = study.mean_gradients(model, [7], [0.2], 500, zeta=0.5, K0=32).values.ravel()
    np.testing.assert_allclose(picture.curves[3], corrected, rtol=1e-12)
    assert picture.curves[2, -1] <= min(picture.curves[0, -1], picture.curves[1, -1]) * (1 + 0.02)
    figure = Figure(figsize=(9, 3.8))
    words = explorer.draw(figure, N=15, zeta=0.0)
    FigureCanvasAgg(figure).draw()
    assert "Least:" in words and len(figure.axes) == 2
    widget = explorer.explorer()
    widget.set(zeta=1.0, N=63)
    assert "bias correction" in widget._readout.value


def test_every_figure_draws_and_has_words():
    figure, axes = plt.subplots(2, 3)
    free = study.mean_gradients(MODEL, [1, 3], ETAS, 50, mode="wga")
    pictures.speed_ups(axes[0, 0], {"WGA": study.speed_up(free, 0.1, 50)})
    pictures.gains_by_shift(axes[0, 1], study.shifted_gains(MODEL, [0, 1], [0.0, 0.3], N_list=(1, 3), T=30))
    limits = study.over_the_limit([7, 63], [1.0], T=50)
    pictures.limits(axes[0, 2], limits, study.over_the_limit([7, 63], [np.inf], T=50, mode="wga", bias=0.0))
    pictures.curves(axes[1, 0], {"WGA": free.isel(N=0)})
    pictures.weights(axes[1, 1], 0.3, 0.1, 9)
    pictures.weight_map(axes[1, 2], 9)
    FigureCanvasAgg(figure).draw()
    words = alt_text(figure)
    assert "times the limit" in words and "least risk at alpha = 0.354" in words
    plt.close(figure)
    figure, ax = plt.subplots()
    local = digits.trained("local", range(3), 0.0, T=10, n0=60, ni=40).gap
    pictures.digit_gaps(ax, {("BC", 0.0): 0.8 * local, ("BC", 90.0): local}, local, [0.0, 90.0])
    assert "BC, 0 degrees: 0.80 [0.80, 0.80]" in alt_text(figure)
    plt.close(figure)


def test_the_notebooks_figures_label_their_arrays():
    free, biased = (study.mean_gradients(MODEL, [1, 3], ETAS, 50, mode="wga", zeta=zeta) for zeta in (0.0, 1.0))
    local = study.mean_gradients(MODEL, [1], ETAS, 50, mode="local")
    speed = study.speed_up(free, 0.1, 50)
    gains = study.shifted_gains(MODEL, [0, 1], [0.0, 0.3], N_list=(1, 3), T=30)
    alone = digits.trained("local", range(3), 0.0, T=10, n0=60, ni=40)
    half = {angle: alone.assign(gap=0.5 * alone.gap) for angle in (0.0, 90.0)}
    twice = {angle: alone.assign(gap=2 * alone.gap) for angle in (0.0, 90.0)}
    drawn = [
        (figures.draw_speed_ups(speed, speed, 1.0, gains), "BC, $\\zeta=1$"),
        (figures.draw_means(3, 1.0, local, free, biased, biased), "WGA, $\\zeta=1$"),
        (figures.draw_digit_gaps(alone, half, twice, alone, twice), "BC, silent users"),
    ]
    for figure, label in drawn:
        FigureCanvasAgg(figure).draw()
        shown = [
            text.get_text() for ax in figure.axes for text in (*ax.get_legend().get_texts(), *ax.get_xticklabels())
        ]
        assert label in shown
    words = alt_text(drawn[-1][0])
    assert "BC, 90 degrees: 0.50" in words and "WGA, 0 degrees: 2.00" in words
    for figure, _ in drawn:
        plt.close(figure)
