"""What the claims measure: measures under noise against loops, identities of the controls, guards, tables, explorer."""

import types

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import workbench as wb
from workbench.papers.f2m import explorer, figures, published
from workbench.papers.f2m.base import train_bases
from workbench.papers.f2m.embeddings import Dense
from workbench.papers.f2m.episodes import deal, images
from workbench.papers.f2m.measures import gradient_variance, labels_that_differ, under_noise
from workbench.papers.f2m.noise import BoxNoise
from workbench.papers.f2m.settings import BaseTraining, Protocol
from workbench.papers.f2m.study import Study

NETWORK = Dense((64, 16, 8))


def parameters(**changes):
    """The card's, but few seeds and steps."""
    few = {"seeds": 2, "ablation_seeds": 2, "network_seeds": 2, "shot_draws": 1, "base_steps": 60}
    defaults = dict(wb.card("f2m").parameters({}))
    return types.SimpleNamespace(**(defaults | few | changes))


@pytest.fixture(scope="module")
def episodes():
    return deal(images("digits"), [5, 6], Protocol(shot_draws=1))


@pytest.fixture(scope="module")
def bases(episodes):
    return train_bases(NETWORK, BaseTraining(0.0, base_steps=60), episodes)


def loss_and_prototypes(bases, episodes, seed, noise):
    own = {name: value[seed : seed + 1] for name, value in bases.parameters.items()}
    own |= {name: own[name] + value for name, value in noise.items()}
    losses, centres = [], []
    for label, rows in enumerate(episodes.train[seed]):
        z = NETWORK.embed(own, episodes.images[rows][None])[0]
        outputs = z @ own["classifier.weight"][0] + own["classifier.bias"][0]
        losses.append(-torch.log_softmax(outputs, -1)[:, label].mean())
        centres.append(z.mean(0))
    return torch.stack(losses).mean().double(), torch.stack(centres).double()


def test_measures_under_noise_are_those_of_a_loop(bases, episodes):
    found = under_noise(bases, episodes, [0.0, 0.1], n=3)
    assert float(found.loss_change.sel(radius=0).max()) == float(found.drift.sel(radius=0).max()) == 0
    draw, change, drift = BoxNoise([6], stream="measures"), [], []
    plain, still = loss_and_prototypes(bases, episodes, 1, {})
    for _ in range(3):
        noise = {name: 0.1 * draw(1, bases.parameters[name][1:])[0] for name in NETWORK.noisy}
        loss, centres = loss_and_prototypes(bases, episodes, 1, noise)
        change.append(float(loss - plain) ** 2)
        drift.append(float(((centres - still).norm(dim=-1) / still.norm(dim=-1)).mean()))
    assert float(found.loss_change.sel(radius=0.1, seed=6)) == pytest.approx(np.mean(change), rel=1e-3)
    assert float(found.drift.sel(radius=0.1, seed=6)) == pytest.approx(np.mean(drift), rel=1e-4)


def test_the_gradients_variance_is_that_of_averages(bases, episodes):
    found = gradient_variance(bases, episodes, (1, 2), radius=0.2, gradients=5, per_class=2)
    draw, slopes = BoxNoise([5], stream="gradients"), []
    noises = {}
    for name in NETWORK.noisy:
        noises[name] = 0.2 * draw(10, bases.parameters[name][:1])[:, 0]
    rows = episodes.train[0, :, :2]
    for k in range(10):
        own = {name: value[:1].clone() for name, value in bases.parameters.items()}
        leaves = [(own[name] + noises[name][k]).requires_grad_() for name in noises]
        own |= dict(zip(noises, leaves, strict=True))
        z = NETWORK.embed(own, episodes.images[rows.flatten()][None])[0]
        outputs = z @ own["classifier.weight"][0] + own["classifier.bias"][0]
        loss = torch.nn.functional.cross_entropy(outputs, torch.arange(6).repeat_interleave(2))
        slopes.append(torch.cat([slope.flatten() for slope in torch.autograd.grad(loss, leaves)]).numpy())
    single = np.array(slopes, np.float64)
    assert float(found.sel(m_draws=1, seed=5)) == pytest.approx(single[:5].var(0, ddof=1).sum(), rel=1e-3)
    pairs = single.reshape(5, 2, -1).mean(1)
    assert float(found.sel(m_draws=2, seed=5)) == pytest.approx(pairs.var(0, ddof=1).sum(), rel=1e-3)
    same = gradient_variance(bases, episodes, (2,), radius=0.2, gradients=5, per_class=2, same_noise=True)
    assert float(same.sel(seed=5)[0]) == pytest.approx(single[::2].var(0, ddof=1).sum(), rel=1e-3)


def test_no_label_differs_once_prototypes_are_normalised():
    assert [labels_that_differ(seed) for seed in range(3)] == [0, 0, 0]
    assert min(labels_that_differ(seed, normalise=False) for seed in range(3)) > 100
    with pytest.raises(ValueError, match="classes must be an int >= 2"):
        labels_that_differ(0, classes=1)


def test_without_noise_or_steps_the_methods_coincide():
    same = Study.of(parameters(base_noise=False, base_steps=300))
    assert float(np.abs(same.gain("f2m", "clamped wide")).max()) == 0
    still = Study.of(parameters(ft_steps=0, base_steps=300))
    assert float(np.abs(still.gain("fine-tuned", "baseline")).max()) == 0
    assert float(np.abs(still.drop("f2m") - still.drop("unclamped")).max()) == 0


def test_a_seed_that_has_not_converged_is_in_no_mean():
    study = Study.of(parameters(base_steps=30))
    assert not study.good("standard").all() and study.good("standard").sizes["seed"] == 2
    assert np.isnan(study.last("baseline")).equals(~study.good("standard"))
    assert np.isnan(study.accuracy("f2m")).any()


def test_figures_without_a_converged_seed_say_so():
    study = Study.of(parameters(base_steps=25))
    found = {name: study.noise_measures(name, [0.01, 0.02], 2, n=1) for name in ("standard", "f2m")}
    assert not study.good("standard").any() and np.isnan(found["standard"].drift).all()
    drawn = figures.draw_noise(found, {"drift": (found["f2m"].drift / found["standard"].drift).isel(radius=0).values})
    labels = [text.get_text() for text in drawn.axes[0].get_legend().get_texts()]
    assert len(labels) == 2 and all("not converged" in label for label in labels)
    gains = figures.draw_gains(study, ["f2m", "baseline"], {})
    assert len(gains.axes) == 2
    plt.close("all")


def test_widths_and_bases_have_their_axes():
    study = Study.of(parameters())
    curve = study.width_curve([0.01, 0.02])
    assert curve.dims == ("base", "width", "group", "seed") and curve.shape == (3, 2, 3, 2)
    assert list(study.table().index) == [] and study.gain("f2m", "baseline").sizes == {"seed": 2}
    assert study.table().loc["F2M", "seeds"] == 2
    assert set(study.summary().method.values) == {"f2m", "baseline"}


def test_relations_are_refused_before_compute():
    card = wb.card("f2m")
    for wrong, words in (
        ({"way": 3}, "divide into sessions"),
        ({"n_base": 10}, "leave classes"),
        ({"shot": 40}, "shot \\* shot_draws"),
        ({"network_seeds": 30}, "share the first seeds"),
        ({"std_weight": 1.0, "m_draws": 1}, "m_draws >= 2"),
        ({"clamp": False, "clamp_width": 0.5}, "width of the clamp"),
        ({"b": 0.0}, "b: 0.0 is too small"),
        ({"seed0": 10}, "on which b was chosen"),
    ):
        with pytest.raises(ValueError, match=words):
            card.parameters(wrong)


def test_missing_images_name_the_place(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="miniimagenet"):
        images("miniimagenet")


def test_published_gains_are_differences_of_the_tables():
    table = wb.card("f2m").published("published")
    assert sorted(published.gains(table, "printed")) == pytest.approx([0.53, 0.65, 0.82, 0.84])
    assert sorted(published.gains(table, "rerun")) == pytest.approx([-1.16, -0.4, 1.02])
    with pytest.raises(ValueError, match="origin must be one of printed, rerun"):
        published.gains(table, "ours")
    curves = wb.card("f2m").published("sessions").set_index("method")
    row = table[(table.data == "CIFAR-100") & (table.split == "random")].iloc[0]
    assert (curves.loc["F2M", "9"], curves.loc["Baseline", "9"]) == (row.f2m_last, row.baseline_last)


def test_every_move_of_the_explorer_gives_a_picture_and_a_command(monkeypatch):
    short = {name: BaseTraining(recipe.b, recipe.lam, base_steps=60) for name, recipe in explorer.RECIPES.items()}
    monkeypatch.setattr(explorer, "RECIPES", short)
    for cached in (explorer.bases, explorer.compute, explorer.frozen):
        cached.cache_clear()
    shown = explorer.explorer()
    before = shown.picture
    shown.set(clamp_width=0.06, ft_steps=50, clamped=True)
    assert shown.picture != before and "✘" not in shown._readout.value
    assert "clamp_width=0.06" in shown.command() and "ft_steps=50" in shown.command()
    assert "clamped" not in shown.command()
    words = explorer.draw(Figure(), base="standard", ft_steps=0)
    first, second = words.split(";")
    assert next(word for word in first.split() if word[0].isdigit()) in second
    for cached in (explorer.bases, explorer.compute, explorer.frozen):
        cached.cache_clear()
