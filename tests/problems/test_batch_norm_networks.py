"""Small networks with batch normalisation: stacked ones against modules, statistics, shapes, seeds, refusals."""

import pytest
import torch
from torch import nn

from workbench import draws
from workbench.optimizers import recompute_batch_norm
from workbench.problems import networks

INPUTS = draws.uniform(0, (50, 12))


@pytest.mark.parametrize("norm", [True, False])
def test_stacked_networks_are_the_modules(norm):
    stacked = networks.StackedMLP((12, 7, 5, 3), batch_norm=norm)
    parameters = stacked.initial([4, 9], torch.float64)
    parameters = {
        name: value + 0.1 * draws.normal(1, tuple(value.shape), stream=name) for name, value in parameters.items()
    }
    frozen = stacked.statistics(parameters, INPUTS)
    for k in range(2):
        module = networks.batch_norm_mlp([12, 7, 5, 3], norm=norm).double()
        linears = [layer for layer in module if isinstance(layer, nn.Linear)]
        norms = [layer for layer in module if isinstance(layer, nn.BatchNorm1d)]
        for index, linear in enumerate(linears):
            linear.weight.data = parameters[f"{index}.weight"][k].T
            (norms[index] if norm and index < 2 else linear).bias.data = parameters[f"{index}.bias"][k, 0]
        for index, layer in enumerate(norms):
            layer.weight.data = parameters[f"{index}.scale"][k, 0]
        module.train()
        assert torch.allclose(module(INPUTS), stacked.forward(parameters, INPUTS)[k])
        recompute_batch_norm(module, [INPUTS])
        module.eval()
        seen = stacked.forward(parameters, INPUTS[:9], statistics=frozen)[k]
        # torch keeps the unbiased variance
        assert torch.allclose(module(INPUTS[:9]), seen, rtol=0.05, atol=0.05)
        assert torch.allclose(networks.embedding(module, INPUTS[:9]), module[:-1](INPUTS[:9]))


def test_frozen_statistics_make_samples_independent_and_perturbations_are_added():
    net = networks.StackedMLP((12, 7, 3))
    parameters = net.initial([0], torch.float64)
    frozen = net.statistics(parameters, INPUTS)
    whole = net.forward(parameters, INPUTS, statistics=frozen)
    assert torch.allclose(whole, net.forward(parameters, INPUTS))
    assert torch.allclose(net.forward(parameters, INPUTS[:3], statistics=frozen), whole[:, :3])
    (hidden,) = net.hidden(parameters, INPUTS)
    moved = net.forward(parameters, INPUTS, perturbations=[-hidden])
    assert torch.allclose(moved, torch.zeros_like(moved))
    assert hidden.min() == 0 and networks.StackedMLP((12, 7, 3), batch_norm=False).statistics(parameters, INPUTS) == []


def test_initial_weights_have_their_deviations_and_depend_on_the_seed_alone():
    net = networks.StackedMLP((200, 100, 50))
    one, two = (net.initial(seeds) for seeds in ([3], [5, 3]))
    assert all(torch.equal(one[name][0], two[name][1]) for name in one)
    assert one["0.weight"].std() == pytest.approx((2 / 200) ** 0.5, rel=0.05)
    assert one["1.weight"].std() == pytest.approx((1 / 100) ** 0.5, rel=0.05)
    module = networks.initialise(networks.batch_norm_cnn(10, 3, (40, 50), (1, 2)), 3)
    assert module[3].weight.detach().std() == pytest.approx((2 / 360) ** 0.5, rel=0.05)
    assert module[-1].weight.detach().std() == pytest.approx((1 / 50) ** 0.5, rel=0.1)
    assert module[1].weight.eq(1).all() and module[1].bias.eq(0).all()
    again = networks.initialise(networks.batch_norm_cnn(10, 3, (40, 50), (1, 2)), 3)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("size", [7, 28])
def test_heads_and_strides(size):
    images = torch.rand(2, 1, size, size)
    for head in ("mean", "flatten"):
        net = networks.batch_norm_cnn(10, 1, (4, 6, 8), (2, 2, 1), head=head, size=size)
        assert net(images).shape == (2, 10) and len(networks.hidden_layers(net)) == 3
    assert net[-1].in_features == 8 * (-(-size // 4)) ** 2


def test_running_statistics_of_residual_networks_are_kept():
    net = networks.preactivation_resnet18(3, width=4, norm="running")
    kept = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    recompute_batch_norm(net, [torch.rand(8, 3, 8, 8)])
    assert all(layer.track_running_stats and layer.running_mean is not None for layer in kept)
    assert any(layer.running_mean.any() for layer in kept)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: networks.StackedMLP((3,)), "sizes"),
        (lambda: networks.batch_norm_mlp([3]), "sizes"),
        (lambda: networks.batch_norm_cnn(widths=(4, 5), strides=(2,)), "one entry per convolution"),
        (lambda: networks.batch_norm_cnn(head="max"), "head must be one of mean, flatten"),
        (lambda: networks.batch_norm_cnn(head="flatten"), "size"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
