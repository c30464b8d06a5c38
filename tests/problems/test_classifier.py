"""Classifiers: losses, errors, initialisations and what curvature sees, on tensors and on digits."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

import workbench as wb
from workbench.parameters import count, ravel
from workbench.problems import circle, classifier, networks


@pytest.fixture
def toy():
    inputs = wb.draws.normal(0, (12, 4), stream="inputs")
    targets = wb.draws.integers(0, 3, (12,), stream="targets")
    return inputs[:8], targets[:8], inputs[8:], targets[8:]


def test_cross_entropy_and_squared_loss_agree_with_torch(toy):
    inputs, targets, test_inputs, test_targets = toy
    for loss, reference in (
        ("cross_entropy", functional.cross_entropy),
        ("squared", lambda f, t: 0.5 * ((f - functional.one_hot(t, 3)) ** 2).sum(1).mean()),
    ):
        problem = classifier(toy, hidden=[5], loss=loss, n_classes=3)
        parameters = problem.initial(1)
        module = networks.mlp([4, 5, 3]).double()
        module.load_state_dict(parameters)
        torch.testing.assert_close(problem.loss(parameters), reference(module(inputs), targets))
        torch.testing.assert_close(
            problem.measures["test_loss"](parameters), reference(module(test_inputs), test_targets)
        )
        expected = (module(test_inputs).argmax(1) != test_targets).double().mean()
        assert problem.measures["test_error"](parameters) == expected


def test_weight_decay_is_in_the_loss_but_not_in_the_measured_loss(toy):
    plain, decayed = classifier(toy, n_classes=3), classifier(toy, n_classes=3, weight_decay=0.3)
    parameters = plain.initial(0)
    penalty = 0.15 * ravel(parameters).square().sum()
    torch.testing.assert_close(decayed.loss(parameters), plain.loss(parameters) + penalty)
    assert decayed.measures["train_loss"](parameters) == plain.measures["train_loss"](parameters)
    gradient = ravel(decayed.gradient(parameters)) - ravel(plain.gradient(parameters))
    torch.testing.assert_close(gradient, 0.3 * ravel(parameters))


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus", "gelu", "sigmoid", "identity"])
def test_backpropagation_is_the_derivative_of_the_loss(toy, activation, loss):
    problem = classifier(toy, [5, 4], activation, loss, n_classes=3, weight_decay=0.2, init=0.7)
    parameters = problem.initial(4)
    expected = torch.func.grad(problem.loss)(parameters)
    torch.testing.assert_close(problem.gradient(parameters), expected, rtol=1e-11, atol=1e-13)
    batch = tuple(tensor[2:5] for tensor in problem.data)
    expected = torch.func.grad(problem.batch_loss)(parameters, batch)
    torch.testing.assert_close(problem.gradient(parameters, batch), expected, rtol=1e-11, atol=1e-13)

    def along(gradient):
        return torch.func.grad(lambda point: wb.parameters.inner(gradient(point), parameters))(parameters)

    torch.testing.assert_close(along(problem.gradient), along(torch.func.grad(problem.loss)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("init", "scale"), [("lecun", 1.0), ("he", 2.0)])
def test_initial_weights_have_the_variance_of_their_scheme(init, scale):
    inputs = torch.zeros(2, 200, dtype=torch.float64)
    problem = classifier((inputs, torch.tensor([0, 1])), hidden=[300], init=init)
    parameters = problem.initial(3)
    for name, fan_in in (("0.weight", 200), ("2.weight", 300)):
        entries = parameters[name].flatten()
        standard_error = math.sqrt(2 / len(entries))
        assert entries.var().item() * fan_in / scale == pytest.approx(1.0, abs=6 * standard_error)
    assert parameters["0.bias"].abs().max() == 0 == parameters["2.bias"].abs().max()


def test_a_numeric_init_is_the_deviation_of_every_parameter():
    values = torch.cat([ravel(circle().initial(seed)) for seed in range(200)])
    assert values.std().item() == pytest.approx(0.5, abs=6 * 0.5 / math.sqrt(2 * len(values)))
    assert circle().initial(0)["0.bias"].abs().min() > 0


def test_circle_problem_is_the_one_described():
    problem = circle()
    parameters = problem.initial(0)
    assert count(parameters) == 65
    assert parameters["0.weight"].dtype == torch.float64
    hidden = torch.tanh(problem.inputs @ parameters["0.weight"].T + parameters["0.bias"])
    outputs = (hidden @ parameters["2.weight"].T + parameters["2.bias"])[:, 0]
    targets = torch.tensor([1.0, -1.0, 1.0, -1.0, 0.5])
    torch.testing.assert_close(problem.loss(parameters), 0.5 * ((outputs - targets) ** 2).mean())
    torch.testing.assert_close(
        problem.inputs[1], torch.tensor([math.cos(0.4 * math.pi), math.sin(0.4 * math.pi)]).double()
    )
    sharpness = [wb.curvature.spectrum(problem.loss, problem.initial(seed))[-1].item() for seed in range(12)]
    assert min(sharpness) > 3.5 and max(sharpness) < 8.5


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_curvature_sees_the_layers_and_agrees_with_automatic_differentiation(toy, loss):
    problem = classifier(toy, hidden=[4, 3], loss=loss, n_classes=3, weight_decay=0.1)
    parameters = problem.initial(2)
    assert problem.empirical.structure is not None
    torch.testing.assert_close(problem.empirical(parameters), problem.loss(parameters))

    def flat(vector):
        return problem.loss(wb.parameters.unravel(vector, parameters))

    expected = torch.func.hessian(flat)(ravel(parameters))
    torch.testing.assert_close(wb.curvature.hessian(problem.loss, parameters), expected, rtol=1e-10, atol=1e-12)


def test_a_sweep_over_seeds_and_splits_equals_the_runs_alone():
    def train(seed, rho):
        digits = wb.data.load("digits", train=96, seed=seed)
        problem = classifier(digits, hidden=[16], activation="relu", loss="cross_entropy")
        rule = wb.optimizers.m_sam(0.05, rho, m=8, beta=0.9)
        run = wb.run(problem, rule, seed=seed, epochs=2, batch_size=32, record=["train_loss", "test_error"])
        return dict(run.records)

    result = wb.sweep(train, seed=range(3), rho=[0.0, 0.1])
    alone = train(1, 0.1)
    np.testing.assert_allclose(result.train_loss.sel(seed=1, rho=0.1), alone["train_loss"].value, rtol=1e-4)
    assert not np.allclose(result.train_loss.sel(seed=0), result.train_loss.sel(seed=1))
    assert set(result.train_loss.dims) == {"seed", "rho", "step"}


def test_training_on_digits_learns():
    digits = wb.data.load("digits", train=400, centre=True)
    problem = classifier(digits, hidden=[32], loss="squared")
    run = wb.run(
        problem, wb.optimizers.gradient_descent(0.3), epochs=40, batch_size=100, record=["train_error", "test_error"]
    )
    assert run.records["test_error"].value[0] > 0.7
    assert run.records["test_error"].value[-1] < 0.15


def test_a_diverged_network_has_no_error_rate(toy):
    problem = classifier(toy, n_classes=3)
    parameters = {name: value * torch.nan for name, value in problem.initial(0).items()}
    assert torch.isnan(problem.error(parameters, *problem.data))


def test_making_a_problem_and_its_structure_leaves_the_global_generator_alone(toy):
    before = torch.random.get_rng_state()
    problem = classifier(toy, n_classes=3)
    assert problem.empirical is not None
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "hinge"}, "loss must be one of squared, cross_entropy"),
        ({"activation": "swish"}, "activation must be one of tanh, relu"),
        ({"hidden": 32}, "hidden must be a list"),
        ({"hidden": [4, 0]}, "every entry of hidden must be an int >= 1, got 0"),
        ({"weight_decay": -1.0}, "weight_decay must be a finite number >= 0"),
        ({"init": "xavier"}, "init must be 'lecun', 'he'"),
        ({"init": 0.0}, "init must be a finite number > 0"),
        ({"dtype": torch.int64}, "dtype must be a floating-point type"),
        ({"n_classes": 2}, "targets must be classes in 0..1, got 0 to 2"),
    ],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        classifier((torch.zeros(3, 2), torch.arange(3)), **options)


def test_data_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="differ in length: 3 and 2"):
        classifier((torch.zeros(3, 2), torch.zeros(2)))
    with pytest.raises(ValueError, match="needs integer class targets"):
        classifier((torch.zeros(3, 2), torch.zeros(3)), loss="cross_entropy")
    with pytest.raises(ValueError, match="at least one training sample"):
        classifier((torch.zeros(0, 2), torch.zeros(0)))
    with pytest.raises(ValueError, match="n_classes must be given"):
        wb.sweep(lambda seed: {"loss": _problem_of(seed).loss(_problem_of(seed).initial(seed))}, seed=range(2))


def _problem_of(seed):
    return classifier((wb.draws.normal(seed, (4, 2)), wb.draws.integers(seed, 3, (4,))))
