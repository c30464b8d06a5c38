"""Network factories: shapes, sizes of the published architectures, and training through a classifier."""

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.problems import classifier, networks


def _images(size=8, channels=3):
    return wb.draws.normal(0, (4, channels, size, size), dtype=torch.float32), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("build", "millions"),
    [
        # 11.17 and 21.28 M are the usual counts of these ResNets on CIFAR; WRN-16-8 has 11.0 M (arXiv:1605.07146, table 4).
        (networks.preactivation_resnet18, 11.17),
        (networks.preactivation_resnet34, 21.33),
        (networks.wide_resnet, 10.96),
    ],
)
def test_published_architectures_have_their_sizes(build, millions):
    with torch.device("meta"):
        assert networks.count_parameters(build()) / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("norm", ["group", "batch"])
@pytest.mark.parametrize(
    "build",
    [
        lambda norm: networks.preactivation_resnet18(3, width=4, norm=norm),
        lambda norm: networks.wide_resnet(10, 1, 3, norm=norm),
    ],
)
def test_residual_networks_train_through_a_classifier(build, norm):
    problem = classifier(_images(), model=build(norm), loss="cross_entropy")
    run = wb.run(problem, wb.optimizers.sam(0.0005, 0.01), steps=4, record=["train_loss"])
    losses = run.records["train_loss"].value
    assert losses[-1] < losses[0]


def test_group_norm_has_half_as_many_groups_as_channels():
    groups = {
        m.num_groups / m.num_channels
        for m in networks.preactivation_resnet18(width=8).modules()
        if isinstance(m, nn.GroupNorm)
    }
    assert groups == {0.5}


def test_mlp_and_cnn_shapes():
    assert networks.mlp([4, 7, 7, 2], "gelu")(torch.zeros(5, 4)).shape == (5, 2)
    assert networks.cnn(6, 1, (3, 5))(torch.zeros(2, 1, 8, 8)).shape == (2, 6)


def test_a_cnn_runs_in_a_sweep_with_grouped_ascent():
    problem = classifier(_images(channels=1), model=networks.cnn(3, 1, (2, 3), "tanh"), loss="cross_entropy")

    def train(seed):
        run = wb.run(
            problem, wb.optimizers.m_sam(0.1, 0.05, m=2), seed=seed, epochs=2, batch_size=4, record=["train_loss"]
        )
        return dict(run.records)

    result = wb.sweep(train, seed=range(2))
    torch.testing.assert_close(
        torch.from_numpy(result.train_loss.values[1]), train(1)["train_loss"].value, rtol=1e-5, atol=1e-6
    )


def test_a_module_keeps_its_own_parameters_and_dtype():
    module = networks.mlp([4, 3, 2])
    before = networks.named_parameters(module)
    inputs = wb.draws.normal(0, (5, 4))
    problem = classifier((inputs, torch.tensor([0, 1, 0, 1, 0])), model=module)
    run = wb.run(problem, wb.optimizers.gradient_descent(0.1), steps=2)
    assert run.parameters["0.weight"].dtype == torch.float64
    assert module[0].weight.dtype == torch.float32
    torch.testing.assert_close(networks.named_parameters(module), before, rtol=0, atol=0)


def test_layers_that_are_no_pure_function_are_refused_with_a_remedy():
    data = _images()
    with pytest.raises(ValueError, match="track_running_stats=False"):
        classifier(data, model=nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, 3)))
    with pytest.raises(ValueError, match=r"call \.eval\(\)"):
        classifier(data, model=nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3)))


def test_outputs_that_do_not_match_the_classes_are_explained():
    problem = classifier(_images(), model=networks.cnn(10, 3), loss="cross_entropy")
    with pytest.raises(ValueError, match="give n_classes"):
        problem.loss(problem.initial(0))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: networks.mlp([3]), "at least inputs and outputs"),
        (lambda: networks.mlp([3, 2], "swish"), "activation must be one of"),
        (lambda: networks.wide_resnet(15), "depth must be 6 b"),
        (lambda: networks.preactivation_resnet18(width=5), "width must be even"),
        (lambda: networks.preactivation_resnet18(norm="layer"), "norm must be one of group, batch"),
    ],
)
def test_bad_architectures_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()
