"""A network with a loss function of one's own, on a loader: the same numbers as the built-in loss and the plain tensors give."""

from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional

import workbench as wb
from workbench.problems import Problem, classifier

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(24, 4, generator=GENERATOR, dtype=torch.float64)
CLASSES = torch.randint(0, 3, (24,), generator=GENERATOR)


def focal(outputs, targets):
    chosen = torch.log_softmax(outputs, -1).gather(-1, targets[:, None])[:, 0]
    return -((1 - chosen.exp()) ** 2 * chosen).mean()


def loader(batch_size=10, **options):
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, CLASSES), batch_size, **options)


@pytest.mark.parametrize("model", [None, torch.nn.Linear(4, 3)])
def test_cross_entropy_as_ones_own_function_is_the_built_in_one(model):
    own, built_in = (
        classifier((INPUTS, CLASSES), hidden=[5], model=model, loss=loss)
        for loss in (functional.cross_entropy, "cross_entropy")
    )
    x = built_in.initial(3)
    batch = built_in.data[0][5:9], built_in.data[1][5:9]
    torch.testing.assert_close(own.loss(x), built_in.loss(x))
    for of in (None, batch):
        torch.testing.assert_close(own.gradient(x, of), built_in.gradient(x, of))
    torch.testing.assert_close(wb.curvature.hessian(own.loss, x), wb.curvature.hessian(built_in.loss, x))
    torch.testing.assert_close(own.measures["train_error"](x), built_in.measures["train_error"](x))


def test_the_gradient_of_ones_own_loss_is_that_of_its_values():
    problem = classifier((INPUTS, CLASSES), hidden=[5], loss=focal)
    x = problem.initial(0)
    torch.testing.assert_close(problem.gradient(x), torch.func.grad(problem.loss)(x))
    outputs = problem.outputs(x, INPUTS)
    torch.testing.assert_close(problem.loss(x), focal(outputs, CLASSES))


def test_numbers_arrive_as_rows():
    def laplace(outputs, targets):
        assert outputs.shape == targets.shape
        return (outputs - targets).abs().mean()

    problem = classifier((INPUTS, INPUTS[:, 0]), hidden=[], activation="identity", loss=laplace)
    x = {"0.weight": torch.zeros(1, 4).double(), "0.bias": torch.zeros(1).double()}
    torch.testing.assert_close(problem.loss(x), INPUTS[:, 0].abs().mean())


def test_ones_own_loss_may_take_more_outputs_than_there_are_numbers():
    def normal(outputs, targets):
        mean, log_deviation = outputs[:, :1], outputs[:, 1:]
        return (log_deviation + ((targets - mean) / log_deviation.exp()) ** 2 / 2).mean()

    problem = classifier((INPUTS, INPUTS[:, 0]), model=torch.nn.Linear(4, 2), loss=normal)
    zero = {name: torch.zeros_like(value) for name, value in problem.initial(0).items()}
    torch.testing.assert_close(problem.loss(zero), (INPUTS[:, 0] ** 2).mean() / 2)


def test_a_loader_is_its_samples():
    whole = classifier((INPUTS, CLASSES, INPUTS, CLASSES), hidden=[5])
    read = classifier((loader(), loader(7)), hidden=[5])
    x = whole.initial(1)
    torch.testing.assert_close(read.loss(x), whole.loss(x))
    torch.testing.assert_close(read.measures["test_error"](x), whole.measures["test_error"](x))
    torch.testing.assert_close(classifier(loader(shuffle=True), hidden=[5]).loss(x), whole.loss(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: classifier((INPUTS, CLASSES), loss="focal"), r"a function loss\(outputs, targets\)"),
        (lambda: classifier(object(), loss=focal), "a loader of"),
        (lambda: classifier(torch.utils.data.DataLoader(INPUTS, 4)), "batches must be"),
        (lambda: wb.run(lambda x: x, wb.optimizers.gradient_descent(0.1), steps=1), "must be a Problem, got function"),
    ],
)
def test_what_is_no_loss_and_no_data_is_said_in_words(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_loss_per_sample_is_refused():
    problem = classifier((INPUTS, CLASSES), loss=lambda outputs, targets: (outputs**2).sum(-1))
    with pytest.raises(ValueError, match=r"one number, the mean over the samples, got shape \(24,\)"):
        problem.loss(problem.initial(0))


def test_plain_and_frozen_dataclasses_are_problems():
    def made(**options):
        @dataclass(eq=False, **options)
        class Valley(Problem):
            centre: torch.Tensor

            def loss(self, x):
                return ((x - self.centre) ** 2).sum() / 2

        return Valley(torch.ones(2))

    for problem in (made(), made(frozen=True)):
        run = wb.run(problem, wb.optimizers.gradient_descent(0.5), start=torch.zeros(2), steps=1)
        torch.testing.assert_close(run.parameters, torch.full((2,), 0.5))
        assert repr(problem) == "Valley(centre=float32[2])"


def test_a_problem_does_not_print_its_data():
    assert len(repr(classifier((INPUTS, CLASSES), loss=focal))) < 400


@pytest.mark.parametrize("start", [torch.ones(3).double(), torch.zeros(0).double(), {"x": torch.ones(2)}, 1.0, [1.0]])
def test_a_start_that_does_not_fit_is_refused_in_words(start):
    with pytest.raises(ValueError, match="start"):
        wb.run(wb.problems.quadratic([1.0, 2.0]), wb.optimizers.gradient_descent(0.1), start=start, steps=1)


@pytest.mark.parametrize(
    "rule", [wb.optimizers.adam(0.1), wb.optimizers.sam(0.1, 0.05), wb.optimizers.heavy_ball(0.1, 0.9)]
)
def test_a_single_start_becomes_double_where_the_problem_is(rule):
    problem = wb.problems.quadratic([1.0, 2.0])
    runs = [wb.run(problem, rule, start=torch.ones(2, dtype=kind), steps=3) for kind in (torch.float32, torch.float64)]
    assert runs[0].parameters.dtype == torch.float64
    torch.testing.assert_close(runs[0].parameters, runs[1].parameters, rtol=0, atol=0)
