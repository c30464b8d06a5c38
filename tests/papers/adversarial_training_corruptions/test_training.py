"""Training rules: radii, a separately written adversarial training, paired draws, guards, refusals; convolutional networks."""

import types

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn import functional

from workbench.papers.adversarial_training_corruptions import comparison, convolutional, digits, evaluation
from workbench.papers.adversarial_training_corruptions.rules import STANDARD, Rule, rlat_radii
from workbench.problems import networks
from workbench.problems.networks.stacked import sample_cross_entropy
from workbench.problems.networks.training import sgd

SMALL = digits.Setting(n_train=200, n_test=100, hidden=(16, 12), epochs=2, batch_size=50)


def test_radii_are_the_released_ones():
    sizes = [3072, 64 * 32 * 32, 64 * 32 * 32, 128 * 16 * 16, 256 * 8 * 8, 512 * 4 * 4]
    wanted = [0.08, 0.8533, 0.5689, 0.2133, 0.0853, 0.0356]
    assert rlat_radii(0.08, sizes) == pytest.approx(wanted, abs=5e-5)
    net = convolutional.Setting("cifar10", network="preactivation_resnet18", n_train=256, batch_size=2).build(0)
    counted = convolutional.activations(net, convolutional.tapped_layers(net), torch.rand(2, 3, 32, 32))
    assert rlat_radii(0.08, counted) == pytest.approx(wanted, abs=5e-5)


def test_without_hidden_radii_rlat_is_l2_training_written_anew():
    rule, network = Rule("l2", 0.5), SMALL.network()
    data = digits.split(range(2), SMALL)
    images, targets = data.train_images.double(), data.train_targets.double()
    ours, theirs = (network.initial(range(2), torch.float64) for _ in range(2))
    velocities = [torch.zeros_like(value) for value in ours.values()]
    momenta = [torch.zeros_like(value) for value in theirs.values()]
    for step in range(10):
        x, y = images[:, 10 * step : 10 * step + 20], targets[:, 10 * step : 10 * step + 20]
        gradients = digits.update_gradient(rule, network, ours, x, y)
        sgd(list(ours.values()), gradients, velocities, 0.05, 5e-4)
        point = x.clone().requires_grad_()
        leaves = {name: value.detach().requires_grad_() for name, value in theirs.items()}
        total = -(y * torch.log_softmax(network.forward(leaves, point), -1)).sum()
        (slope,) = torch.autograd.grad(total, point)
        moved = (x + 0.5 * slope / slope.flatten(2).norm(dim=2, keepdim=True).clamp(min=1e-12)).clamp(0, 1)
        loss = -(y * torch.log_softmax(network.forward(leaves, moved), -1)).sum() / 20
        for value, slope, momentum in zip(
            theirs.values(), torch.autograd.grad(loss, list(leaves.values())), momenta, strict=True
        ):
            momentum.mul_(0.9).add_(slope + 5e-4 * value)
            value.sub_(0.05 * momentum)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) <= 1e-6
    perturbed, hidden = digits.perturbed(Rule("rlat", 0.5), network, ours, x, y)
    again, none = digits.perturbed(rule, network, ours, x, y)
    assert torch.allclose(perturbed, again) and not none and len(hidden) == 2


def test_rules_perturb_as_they_say():
    network, parameters = SMALL.network(), SMALL.network().initial([0], torch.float64)
    x, y = digits.digits()[0][None, :40].double(), digits.digits()[1][None, :40].double()
    noise = torch.randn(1, 40, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def loss(images, hidden=()):
        return float(sample_cross_entropy(network.forward(parameters, images, perturbations=hidden), y).mean())

    clean = loss(x)
    for kind, radius in (("l2", 0.6), ("linf", 0.06)):
        up, _ = digits.perturbed(Rule(kind, radius), network, parameters, x, y)
        down, _ = digits.perturbed(Rule(kind, radius, direction="reversed"), network, parameters, x, y)
        blind, _ = digits.perturbed(Rule(kind, radius, direction="random"), network, parameters, x, y, noise)
        assert loss(down) < clean < loss(up) and abs(loss(blind) - clean) < loss(up) - clean
        for moved in (up, down, blind):
            size = (moved - x).norm(dim=2) if kind == "l2" else (moved - x).abs().amax(2)
            assert size.max() <= radius * (1 + 1e-9) and moved.min() >= 0 and moved.max() <= 1
    both, hidden = digits.perturbed(Rule("rlat", 0.4), network, parameters, x, y)
    lengths = [float(step.norm(dim=2).max()) for step in hidden]
    assert lengths == pytest.approx([0.4 / 64 * 16 / 2, 0.4 / 64 * 12 / 3]) and loss(both, hidden) > loss(both) > clean
    half, _ = digits.perturbed(Rule("gaussian", 0.3, 0.5), network, parameters, x, y, noise)
    assert torch.equal(half[:, :20], x[:, :20])
    assert torch.equal(half[:, 20:], (x + 0.3 * noise)[:, 20:].clamp(0, 1))
    for nothing in (STANDARD, Rule("l2", 0.0), Rule("gaussian", 0.0)):
        assert torch.equal(digits.perturbed(nothing, network, parameters, x, y, noise)[0], x)


def test_a_seed_gives_the_same_network_alone_and_among_others():
    for rule in (Rule("l2", 0.5), Rule("gaussian", 0.3), Rule("l2", 0.5, direction="random")):
        alone, among = digits.train(rule, range(4, 5), SMALL), digits.train(rule, range(3, 6), SMALL)
        for name, value in alone.parameters.items():
            assert torch.allclose(value[0], among.parameters[name][1], atol=2e-4)
    data = digits.split(range(2), SMALL)
    rows = [set(part.tolist()) for part in (*data.train_rows, *data.test_rows)]
    assert not rows[0] & rows[2] and rows[0] != rows[1] and len(rows[0]) == 200


def test_results_are_accuracies_of_the_networks():
    found = digits.results(STANDARD, range(2), SMALL, ["fog", "zoom_blur"], [1, 4])
    net, data = digits.train(STANDARD, range(2), SMALL), digits.split(range(2), SMALL)
    images = digits.corrupted("zoom_blur", 4)[data.test_rows].float() / 255
    right = (net.logits(images).argmax(-1) == data.test_labels).double().mean(-1)
    assert np.allclose(found.accuracy.sel(corruption="zoom_blur", severity=4), 100 * right)
    mean = evaluation.corrupted_mean(found.accuracy, "weather")
    assert np.allclose(mean, found.accuracy.sel(corruption="fog").mean("severity"))
    with pytest.raises(ValueError, match="noise"):
        evaluation.corrupted_mean(found.accuracy, "noise")
    ladder = digits.attack_ladder(STANDARD, range(2), 0.5, SMALL, n=20, networks=1).loc["ℓ2"]
    assert ladder["random"] < ladder["one step"] <= ladder["projected"] <= ladder["three starts"]


def test_comparisons_are_lazy_paired_and_guarded():
    asked = []

    def measured(rule, seeds):
        asked.append((rule, len(seeds)))
        values = np.full((len(seeds), 1, 2), 50.0 + rule.radius)
        training = np.array([90.0] * (len(seeds) - 1) + [70.0])
        cells = (("seed", "corruption", "severity"), values)
        return xr.Dataset(
            dict.fromkeys(("accuracy", "calibration_error", "overconfidence"), cells)
            | {"clean_accuracy": ("seed", training), "train_accuracy": ("seed", training)},
            {"seed": list(seeds), "corruption": ["fog"], "severity": [1, 2]},
        )

    l2, linf, drawn = Rule("l2", 1.0), Rule("linf", 0.1), Rule("l2", 2.0)
    compared = comparison.Comparison(measured, range(5, 13), 4, {STANDARD, l2}, {drawn}, 3)
    assert not asked
    gain = compared.gain(l2, STANDARD)
    assert gain.seed.values.tolist() == list(range(5, 13)) and (gain[:-1] == 1).all() and np.isnan(gain[-1])
    assert compared.gain(linf, STANDARD).seed.values.tolist() == [5, 6, 7, 8]
    compared.gain(l2, linf)
    assert asked == [(l2, 8), (STANDARD, 8), (linf, 4)]
    assert compared[drawn].sizes["seed"] == 3
    assert compared.table().loc["ℓ2 1", "gradients"] == 2 and compared.summary().sizes == {"rule": 4, "seed": 8}


def test_arms_follow_the_switches():
    p = types.SimpleNamespace(
        direction="random", smallest_radius=False, batch_norm=True, l2_radii=[0.2, 0.6, 1.6], l2_selected=0.6,
        linf_radii=[0.06, 0.25], linf_selected=0.06, rlat_radii=[0.4], noise_sigma=0.3, noise_shares=[1.0, 0.5],
    )  # fmt: skip
    arms = comparison.Arms.of(p)
    assert (
        arms.l2 == arms.random and arms.gaussian_half.share == 0.5 and [one.radius for one in arms.l2_others] == [0.2]
    )
    assert arms.l2 in arms.close and arms.gaussian in arms.shown and not arms.close & arms.shown
    p.direction, p.smallest_radius, p.batch_norm = "gradient", True, False
    arms = comparison.Arms.of(p)
    assert arms.l2.radius == 0.2 and arms.l2 == arms.l2_plain and arms.standard == arms.standard_plain


@pytest.mark.parametrize("kind", ["standard", "gaussian", "l2", "linf", "rlat"])
@pytest.mark.parametrize("network", ["cnn", "preactivation_resnet18"])
def test_convolutional_networks_take_a_step_of_every_rule(kind, network):
    setting = convolutional.Setting(
        "cifar10", n_train=8, batch_size=8, epochs=1, channels=(4, 8), network=network, n_test=8
    )
    net = (
        setting.build(0)
        if network == "cnn"
        else convolutional.Normalised(networks.preactivation_resnet18(10, width=4, norm="running"))
    )
    images, labels = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    rule = Rule(kind, 0.0 if kind == "standard" else 0.1)
    net.train()
    loss = convolutional.rule_loss(rule, net, images, labels, 0, 0)
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    assert all(torch.isfinite(slope).all() for slope in gradients)
    plain = functional.cross_entropy(net(images), labels)
    assert abs(loss - plain) < 1e-4 if kind == "standard" else (kind == "gaussian" or loss > plain)


def test_convolutional_training_learns_and_freezes_its_statistics():
    setting = convolutional.Setting("cifar10", n_train=40, batch_size=10, epochs=6, channels=(8, 8), step_size=0.1)
    labels = torch.arange(40) % 2
    images = (
        torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.5 * labels[:, None, None, None]
    )
    net = convolutional.train(Rule("l2", 0.3), 0, images, labels, setting)
    assert not net.training and (convolutional.logits(net, images).argmax(-1) == labels).float().mean() > 0.9
    assert torch.allclose(convolutional.logits(net, images)[:3], convolutional.logits(net, images[:3]), atol=1e-5)
    again = convolutional.train(Rule("l2", 0.3), 0, images, labels, setting)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Rule("sam"), "kind must be one of"),
        (lambda: Rule("l2", -1.0), "radius"),
        (lambda: Rule("gaussian", 0.3, 0.0), "share"),
        (lambda: Rule("l2", 0.3, direction="up"), "direction"),
        (lambda: Rule("standard", 0.3), "no radius"),
        (lambda: rlat_radii(0.1, []), "sizes is empty"),
        (lambda: digits.Setting(n_train=1500), "1797"),
        (lambda: digits.Setting(batch_size=1), "batch_size"),
        (lambda: convolutional.Setting("svhn"), "dataset"),
        (lambda: convolutional.Setting("mnist", cifar_c=True), "cifar_c needs"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
