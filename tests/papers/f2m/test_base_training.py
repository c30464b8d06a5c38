"""Base training against loops written anew; noise, minibatches, networks; what is refused."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from workbench.papers.f2m.base import base_loss, noisy_losses, train_bases
from workbench.papers.f2m.embeddings import Convolutional, Dense, Residual, classifier, logits
from workbench.papers.f2m.episodes import deal, images, minibatch_order, protocol_of
from workbench.papers.f2m.noise import GRID, SHAPES, BoxNoise
from workbench.papers.f2m.settings import BaseTraining, Protocol

SMALL = Dense((64, 16, 8))


@pytest.fixture(scope="module")
def episodes():
    return deal(images("digits"), [5, 6, 7], Protocol(shot_draws=1))


def plain_losses(parameters, inputs, noise, lam):
    """L_base of one seed, draw by draw, sample by sample."""

    def embed(weights, image):
        hidden = torch.relu(image @ weights["0.weight"] + parameters["0.bias"][0])
        return torch.relu(hidden @ weights["1.weight"] + parameters["1.bias"][0])

    def centres(weights):
        return torch.stack([torch.stack([embed(weights, image) for image in rows]).mean(0) for rows in inputs])

    still, losses = centres(parameters), []
    for draw in range(len(noise["0.weight"])):
        weights = {name: parameters[name] + noise[name][draw] for name in ("0.weight", "1.weight")}
        total, count = 0.0, 0
        for label, rows in enumerate(inputs):
            for image in rows:
                outputs = embed(weights, image) @ parameters["classifier.weight"] + parameters["classifier.bias"][0]
                total, count = total - torch.log_softmax(outputs, -1)[label], count + 1
        moved = (centres(weights) - still).square().sum(-1).mean()
        losses.append(total / count + lam * moved)
    return torch.stack(losses)


def test_the_objective_and_its_gradient_are_those_of_a_loop(episodes):
    seeds = episodes.seeds[:2]
    parameters = {
        name: value.double().requires_grad_()
        for name, value in (SMALL.initial(seeds) | classifier(seeds, 8, 6)).items()
    }
    inputs = episodes.images[episodes.train[:2, :, :3]].double()
    draw = BoxNoise(seeds)
    noise = {name: 0.3 * draw(3, parameters[name]) for name in SMALL.noisy}
    recipe = BaseTraining(0.3, 2.0, 3, std_weight=0.5)
    total, cross = base_loss(SMALL, recipe, parameters, inputs, torch.arange(6).expand(2, 6), noise)
    names = list(parameters)
    slopes = torch.autograd.grad(total.sum(), [parameters[name] for name in names])
    for seed in range(2):
        own = {name: value[seed].detach().requires_grad_() for name, value in parameters.items()}
        losses = plain_losses(own, inputs[seed].flatten(2), {k: v[:, seed] for k, v in noise.items()}, 2.0)
        wanted = losses.mean() + 0.5 * losses.std()
        assert total[seed].item() == pytest.approx(wanted.item(), rel=1e-9)
        for name, slope in zip(names, torch.autograd.grad(wanted, [own[name] for name in names]), strict=True):
            torch.testing.assert_close(slopes[names.index(name)][seed], slope, rtol=1e-8, atol=1e-12)
    assert (cross < total).all()


def test_training_is_sgd_with_momentum_written_anew(episodes):
    recipe, one = BaseTraining(0.05, 1.0, 2, base_steps=6), episodes.of(1, 2)
    trained = train_bases(SMALL, recipe, one)
    seed = one.seeds[0]
    weights = SMALL.initial([seed]) | classifier([seed], 8, 6)
    momenta = {name: torch.zeros_like(value) for name, value in weights.items()}
    classes, samples = minibatch_order(seed, 6, 6, 120)
    draw, losses = BoxNoise([seed]), []
    for step in range(6):
        leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
        inputs = torch.stack([one.images[one.train[0, c, samples[step, c]]] for c in classes[step].tolist()])
        noise = {name: 0.05 * draw(2, leaves[name]) for name in SMALL.noisy}
        total, cross = noisy_losses(SMALL, leaves, inputs[None], classes[step][None], noise, 1.0)
        slopes = torch.autograd.grad(total.mean(), list(leaves.values()))
        losses.append(cross.mean().item())
        for name, slope in zip(leaves, slopes, strict=True):
            momenta[name] = 0.9 * momenta[name] + slope + 5e-4 * weights[name]
            weights[name] = weights[name] - (0.1 if step < 4.2 else 0.01) * momenta[name]
    for name, value in weights.items():
        torch.testing.assert_close(trained.parameters[name], value, rtol=1e-5, atol=1e-6)
    assert float(trained.loss[0]) == pytest.approx(losses[-1], rel=1e-4)
    stored = SMALL.embed(trained.parameters, one.images[one.train[:, 2]]).mean(1)
    torch.testing.assert_close(trained.prototypes[:, 2], stored)


def test_pf_without_gradient_is_no_pf_bit_for_bit(episodes):
    released = train_bases(SMALL, BaseTraining(0.05, 1.0, pf_gradient=False, base_steps=20), episodes)
    none = train_bases(SMALL, BaseTraining(0.05, 0.0, base_steps=20), episodes)
    with_gradient = train_bases(SMALL, BaseTraining(0.05, 1.0, base_steps=20), episodes)
    assert all(torch.equal(released.parameters[name], none.parameters[name]) for name in none.parameters)
    assert not torch.equal(with_gradient.parameters["0.weight"], none.parameters["0.weight"])


def test_a_seed_is_the_same_alone_and_among_others(episodes):
    recipe = BaseTraining(0.05, base_steps=20)
    together = train_bases(SMALL, recipe, episodes)
    alone = train_bases(SMALL, recipe, episodes.of(2, 3))
    cut = train_bases(SMALL, recipe, episodes, together=2)
    for name, value in together.parameters.items():
        torch.testing.assert_close(value[2:], alone.parameters[name], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(value, cut.parameters[name], rtol=1e-4, atol=1e-5)


def test_noise_is_a_seeds_own_and_stays_in_the_box():
    like = torch.zeros(2, 300, 40)
    first, second = BoxNoise([3, 4]), BoxNoise([4])
    pair, single = first(2, like), second(2, like[:1])
    assert torch.equal(pair[:, 1], single[:, 0]) and not torch.equal(pair[:, 0], pair[:, 1])
    assert not torch.equal(pair, first(2, like))
    assert float(pair.abs().max()) <= 1 and float(pair.mean()) == pytest.approx(0, abs=0.02)
    assert float(pair.var()) == pytest.approx(1 / 3, abs=0.02)


def test_the_released_grid_has_beta_weights():
    draws = BoxNoise([1], "beta-grid")(40, torch.zeros(1, 100, 100))[:, 0].flatten(1).numpy()
    assert set(np.unique(draws)) <= set(GRID.tolist())
    allowed = {(a, b): np.diff(stats.beta.cdf(np.linspace(0, 1, 6), a, b)) for a in SHAPES for b in SHAPES}
    for row in draws:
        found = np.array([(row == point).mean() for point in GRID])
        assert min(np.abs(found - weights).max() for weights in allowed.values()) < 0.03
    assert np.abs(draws.mean(1)).max() > 0.5, "asymmetric weights shift all weights of a tensor together"


def test_minibatches_hold_different_samples_of_at_most_sixteen_classes():
    classes, samples = minibatch_order(2, 5, 6, 120)
    assert classes.tolist() == [list(range(6))] * 5 and samples.shape == (5, 6, 16)
    assert all(len(set(row)) == 16 and max(row) < 120 for row in samples.flatten(0, 1).tolist())
    many, few = minibatch_order(2, 5, 60, 9)
    assert all(len(set(row)) == 16 and max(row) < 60 for row in many.tolist()) and few.shape == (5, 16, 9)


def test_the_dense_network_is_two_linear_layers_with_relu():
    parameters = Dense((64, 128, 64)).initial([3])
    layers = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
    layers[0].weight.data, layers[0].bias.data = parameters["0.weight"][0].T, parameters["0.bias"][0, 0]
    layers[2].weight.data, layers[2].bias.data = parameters["1.weight"][0].T, parameters["1.bias"][0, 0]
    inputs = images("digits").inputs[:9]
    torch.testing.assert_close(Dense().embed(parameters, inputs[None])[0], layers(inputs.flatten(1)))
    for name, fan_in in (("0.weight", 64), ("1.weight", 128)):
        assert float(parameters[name].var()) == pytest.approx(2 / fan_in, rel=0.05)


def test_the_convolutional_network_is_its_layers():
    network = Convolutional((3, 8, 8, 16, 16))
    parameters = network.initial([0, 1])
    inputs = torch.linspace(-1, 1, 2 * 3 * 3 * 64).reshape(2, 3, 3, 8, 8)
    values = inputs[1]
    for index, (fan_in, fan_out) in enumerate(((3, 8), (8, 8), (8, 16), (16, 16))):
        layer = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
        layer.weight.data = parameters[f"{index}.weight"][1]
        values = torch.relu(nn.GroupNorm(8, fan_out)(layer(values)))
        values = nn.MaxPool2d(2)(values) if index in (1, 2) else values
    torch.testing.assert_close(network.embed(parameters, inputs)[1], values.mean((2, 3)))
    assert network.noisy == ("2.weight", "3.weight") and (values >= 0).all()


def test_the_residual_network_has_noise_on_its_last_convolutions():
    network = Residual(width=4)
    parameters = network.initial([0, 1])
    assert [parameters[name].dim() for name in network.noisy] == [5] * 4
    assert network.noisy == tuple(f"blocks.{k}.conv{j}.weight" for k in (6, 7) for j in (1, 2))
    embedded = network.embed(parameters | classifier([0, 1], 32, 3), torch.ones(2, 3, 3, 8, 8))
    assert embedded.shape == (2, 3, network.features) and (embedded >= 0).all()
    assert logits(classifier([0, 1], 32, 3), embedded).shape == (2, 3, 3)


def test_a_collapsed_embedding_is_refused_in_words(episodes):
    with pytest.raises(RuntimeError, match="embedding collapsed, lower lam or b"):
        train_bases(Dense((64, 64, 32)), BaseTraining(0.2, 10.0, base_steps=60), episodes)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"b": -0.1}, "b must be a finite number >= 0"),
        ({"lam": float("nan")}, "lam must be a finite number"),
        ({"m_draws": 0}, "m_draws must be an int >= 1"),
        ({"std_weight": 2.0, "m_draws": 1}, "std_weight needs m_draws >= 2"),
        ({"noise": "normal"}, "noise must be one of uniform, beta-grid"),
        ({"base_steps": 0}, "base_steps must be an int >= 1"),
        ({"base_lr": 0.0}, "base_lr must be a finite number > 0"),
    ],
)
def test_bad_recipes_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        BaseTraining(**wrong)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("digits", 1, 2, 5, 1), "n_base must be an int >= 2"),
        (("digits", 10, 2, 5, 1), "positive multiple of way"),
        (("digits", 7, 2, 5, 1), "positive multiple of way"),
        (("digits", 6, 2, 31, 4), "shot \\* shot_draws must be at most 120"),
        (("svhn", 6, 2, 5, 1), "dataset must be one of"),
    ],
)
def test_bad_protocols_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        protocol_of(*given)
