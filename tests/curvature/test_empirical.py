import pytest
import torch
from torch import nn
from torch.nn import functional

from workbench.curvature import empirical_loss, hessian, spectrum

INPUTS = torch.linspace(-1, 1, 24).reshape(6, 4)
TARGETS = torch.arange(6) % 3


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def test_value_weight_decay_and_parameters():
    network = model()
    loss = empirical_loss(network, functional.cross_entropy, INPUTS, TARGETS, weight_decay=0.2)
    parameters = loss.parameters()
    squares = sum(entry.square().sum() for entry in network.parameters())
    expected = functional.cross_entropy(network(INPUTS), TARGETS) + 0.1 * squares
    torch.testing.assert_close(loss(parameters), expected.detach())
    assert list(parameters) == [name for name, _ in network.named_parameters()]
    samples = torch.stack([loss.sample_loss(parameters, x, y) for x, y in zip(INPUTS, TARGETS, strict=True)])
    torch.testing.assert_close(samples.mean() + 0.1 * squares, expected)


def test_only_trainable_parameters_count():
    network = model()
    network[0].requires_grad_(False)
    loss = empirical_loss(network, functional.cross_entropy, INPUTS, TARGETS)
    assert list(loss.parameters()) == ["2.weight", "2.bias"]
    assert spectrum(loss, loss.parameters()).shape == (18,)
    with pytest.raises(ValueError, match=r"frozen .*0\.weight"):
        loss(dict(network.named_parameters()))
    with pytest.raises(ValueError, match=r"missing \['2.bias'\]"):
        loss({"2.weight": network[2].weight})
    network.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen"):
        empirical_loss(network, functional.cross_entropy, INPUTS, TARGETS)


def reduction_of(loss_function, targets=TARGETS, inputs=INPUTS, network=None):
    network = network or model()
    return empirical_loss(network, loss_function, inputs, targets).reduction


def test_how_samples_combine_is_found_out():
    assert reduction_of(functional.cross_entropy) == "mean"
    assert reduction_of(nn.CrossEntropyLoss(reduction="sum")) == "sum"
    assert reduction_of(nn.CrossEntropyLoss(label_smoothing=0.1)) == "mean"
    assert reduction_of(lambda o, t: (o.sum(1) - t).square().sum() / 6) == "sum"
    assert reduction_of(lambda o, t: (o.sum(1) - t).square().mean().sqrt()) is None
    assert reduction_of(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))) is None
    assert reduction_of(nn.CrossEntropyLoss(ignore_index=1)) is None
    assert reduction_of(functional.mse_loss, model()(INPUTS).detach()) == "mean"
    batch_statistics = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval()
    assert reduction_of(functional.cross_entropy, network=batch_statistics) is None


@pytest.mark.parametrize(
    "loss_function",
    [nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0])), nn.CrossEntropyLoss(ignore_index=1)],
)
def test_coupled_samples_still_have_their_hessian(loss_function):
    network = model()
    loss = empirical_loss(network, loss_function, INPUTS, TARGETS)
    reference = hessian(
        lambda p: loss_function(torch.func.functional_call(network, p, (INPUTS,)), TARGETS), loss.parameters()
    )
    torch.testing.assert_close(hessian(loss, loss.parameters()), reference)


def test_made_inside_a_batch_of_data_sets():
    network, data = model(), torch.stack([INPUTS, INPUTS**2])

    def top(inputs):
        loss = empirical_loss(network, functional.cross_entropy, inputs, TARGETS)
        return spectrum(loss, loss.parameters())[-1]

    alone = torch.stack([top(inputs) for inputs in data])
    torch.testing.assert_close(torch.func.vmap(top)(data), alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {**a, "targets": TARGETS[:4]}, "same number of samples"),
        (lambda a: {**a, "inputs": INPUTS[:0], "targets": TARGETS[:0]}, "empty"),
        (lambda a: {**a, "inputs": INPUTS.double()}, "float64"),
        (lambda a: {**a, "weight_decay": -1.0}, "weight_decay"),
        (lambda a: {**a, "inputs": INPUTS / 0}, "non-finite inputs"),
        (lambda a: {**a, "loss_function": nn.CrossEntropyLoss(reduction="none")}, "one number"),
        (
            lambda a: {
                **a, "model": nn.Linear(4, 1), "loss_function": functional.mse_loss, "targets": torch.ones(6)
            },
            r"broadcast.*reshape",
        ),
        (lambda a: {**a, "model": nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))}, r"model.eval\(\)"),
        (lambda a: {**a, "model": nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))}, r"model.eval\(\)"),
        (
            lambda a: {**a, "loss_function": lambda o, t: functional.cross_entropy(o + torch.randn(6, 3), t)},
            "not deterministic",
        ),
    ],
)  # fmt: skip
def test_unfit_arguments_are_refused_with_advice(change, message):
    arguments = change(
        {"model": model(), "loss_function": functional.cross_entropy, "inputs": INPUTS, "targets": TARGETS}
    )
    with pytest.raises(ValueError, match=message):
        empirical_loss(**arguments)


def test_a_model_put_back_into_training_mode_is_noticed():
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    loss = empirical_loss(network, functional.cross_entropy, INPUTS, TARGETS)
    hessian(loss, loss.parameters())
    network.train()
    with pytest.raises(ValueError, match="training mode"):
        hessian(loss, loss.parameters())


def test_parameters_of_another_precision_are_named():
    loss = empirical_loss(model(), functional.cross_entropy, INPUTS, TARGETS)
    with pytest.raises(ValueError, match=r"0\.weight.*float64"):
        hessian(loss, {name: entry.double() for name, entry in loss.parameters().items()})
