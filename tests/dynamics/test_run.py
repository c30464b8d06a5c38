"""Runs: what they record, when they count as diverged, and that minibatches and switches are what they say."""

import math
from dataclasses import dataclass

import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.optimizers import gradient_descent, sam, usam
from workbench.problems.base import Problem


@dataclass(frozen=True, eq=False)
class Bowl(Problem):
    """Quadratic with the given diagonal Hessian."""

    eigenvalues: torch.Tensor

    def initial(self, seed):
        return draws.normal(seed, tuple(self.eigenvalues.shape), stream="initial")

    def loss(self, parameters):
        return 0.5 * (self.eigenvalues * parameters**2).sum()


@dataclass(frozen=True, eq=False)
class Line(Problem):
    """Least squares in one dimension: sample losses (w x - y)^2/2."""

    x: torch.Tensor
    y: torch.Tensor

    @property
    def data(self):
        return (self.x, self.y)

    def initial(self, seed):
        return {"w": draws.normal(seed, (1,), stream="initial")}

    def sample_loss(self, parameters, x, y):
        return 0.5 * (parameters["w"][0] * x - y) ** 2


BOWL = Bowl(torch.tensor([1.0, 4.0], dtype=torch.float64))
LINE = Line(torch.linspace(1, 2, 6, dtype=torch.float64), torch.linspace(0, 1, 6, dtype=torch.float64))


def test_gradient_descent_on_a_quadratic_is_a_power():
    start = torch.tensor([1.0, -1.0], dtype=torch.float64)
    run = wb.run(BOWL, gradient_descent(0.1), steps=25, start=start)
    torch.testing.assert_close(run.parameters, start * torch.tensor([0.9, 0.6], dtype=torch.float64) ** 25)
    assert not run.diverged and run.diverged_at == -1


def test_records_hold_the_quantity_at_the_named_steps():
    run = wb.run(BOWL, gradient_descent(0.1), steps=10, record={"loss": "train_loss", "x": lambda p: p}, every=4)
    data = run.dataset()
    assert data.step.values.tolist() == [0, 4, 8, 10]
    expected = 0.5 * (torch.tensor([1.0, 4.0]).double() * torch.tensor(data.x.values) ** 2).sum(-1)
    torch.testing.assert_close(torch.tensor(data.loss.values), expected)
    assert data.loss.attrs["long_name"] == "training loss"


def test_logarithmic_and_listed_steps():
    log = wb.run(BOWL, gradient_descent(0.1), steps=1000, record=["train_loss"], at="log").dataset().step.values
    assert log[0] == 0 and log[1] == 1 and log[-1] == 1000 and 25 <= len(log) <= 32
    listed = wb.run(BOWL, gradient_descent(0.1), steps=9, record=["train_loss"], at=[3, 7]).dataset()
    assert listed.step.values.tolist() == [3, 7]


def test_divergence_is_recorded_from_its_step_on():
    run = wb.run(
        BOWL, gradient_descent(1.0), steps=60, record=["train_loss"], every=1, start=torch.ones(2).double(), blowup=1e6
    )
    # |1 - 4|^t > 1e6 first at t = 13.
    assert run.diverged and run.diverged_at == 13
    losses = run.dataset().train_loss.values
    assert math.isfinite(losses[12]) and all(math.isnan(value) for value in losses[13:])
    assert torch.isnan(run.parameters).all()


def test_usam_diverges_exactly_beyond_its_threshold():
    """arXiv:2305.15287: on a quadratic USAM diverges iff eta beta (1 + rho beta) > 2."""

    def train(rho, fraction):
        run = wb.run(BOWL, usam(fraction * 2 / (4 * (1 + 4 * rho)), rho), steps=600)
        return {"steps": torch.tensor(run.steps)}

    result = wb.sweep(train, rho=[0.0, 0.1, 0.5], fraction=[0.98, 1.02])
    assert not result.diverged.sel(fraction=0.98).any() and result.diverged.sel(fraction=1.02).all()


def test_sam_on_a_quadratic_ends_in_its_two_cycle():
    run = wb.run(BOWL, sam(0.3, 0.2), steps=200, record={"x": lambda p: p}, at=[199, 200])
    last, end = run.records["x"].value
    torch.testing.assert_close(last, -end, rtol=1e-9, atol=1e-12)
    assert end[1].abs().item() == pytest.approx(0.3 * 4 * 0.2 / (2 - 0.3 * 4), rel=1e-9)


def test_minibatches_visit_every_sample_once_an_epoch_and_drop_the_rest():
    rows = draws.numbers(draws.Epochs("batches", 10, 4), 3, 6)
    for epoch in rows.reshape(3, 8):
        assert len(set(epoch.tolist())) == 8
    assert not torch.equal(rows[0], rows[2])


def test_with_replacement_draws_uniformly():
    drawn = draws.numbers(draws.Integers("batches", 5, (8,)), 0, 500).reshape(-1)
    assert torch.bincount(drawn, minlength=5).float().std() < 120
    assert drawn.min() == 0 and drawn.max() == 4


def test_a_whole_epoch_in_one_batch_is_the_full_gradient():
    shuffled = wb.run(LINE, gradient_descent(0.1), seed=2, steps=7, batch_size=6)
    full = wb.run(LINE, gradient_descent(0.1), seed=2, steps=7)
    torch.testing.assert_close(shuffled.parameters["w"], full.parameters["w"], rtol=1e-13, atol=0)


def test_epochs_give_steps_and_an_epoch_coordinate():
    data = wb.run(LINE, gradient_descent(0.1), epochs=4, batch_size=2, record=["train_loss"]).dataset()
    assert data.step.values.tolist() == [0, 3, 6, 9, 12]
    assert data.epoch.values.tolist() == [0, 1, 2, 3, 4]


def test_stages_switch_the_rule_and_start_a_fresh_state():
    erm, other = wb.optimizers.heavy_ball(0.05, 0.9), usam(0.02, 0.3)
    both = wb.run(BOWL, [(erm, 12), (other, 5), (erm, 3)], seed=1)
    point = wb.run(BOWL, erm, seed=1, steps=12).parameters
    point = wb.run(BOWL, other, steps=5, start=point).parameters
    point = wb.run(BOWL, erm, steps=3, start=point).parameters
    assert torch.equal(both.parameters, point) and both.steps == 20


def test_integrals_sum_step_size_times_the_value_before_the_step():
    run = wb.run(
        BOWL, gradient_descent(0.1), steps=40, start=torch.ones(2).double(), integrate={"area": lambda p: p[0]}
    )
    assert run.integrals["area"].item() == pytest.approx(0.1 * (1 - 0.9**40) / (1 - 0.9))


def test_the_previous_minibatch_is_the_ascent_direction_of_its_surrogate():
    rule = wb.optimizers.previous_sam(0.1, 0.2)
    run = wb.run(LINE, rule, seed=5, steps=2, batch_size=2)
    w = LINE.initial(5)["w"]
    batches = [(LINE.x[rows], LINE.y[rows]) for rows in draws.numbers(draws.Epochs("batches", 6, 2), 5, 2)]

    def gradient(point, batch):
        return (batch[0] * (point * batch[0] - batch[1])).mean()

    w = w - 0.1 * gradient(w + 0.2 * gradient(w, batches[0]).sign(), batches[0])
    w = w - 0.1 * gradient(w + 0.2 * gradient(w, batches[0]).sign(), batches[1])
    torch.testing.assert_close(run.parameters["w"], w, rtol=1e-13, atol=0)


BAD = [
    ({"steps": 0}, "steps"),
    ({"steps": 3, "epochs": 2}, "either steps or epochs"),
    ({}, "either steps or epochs"),
    ({"steps": 3, "batch_size": 2}, "no samples"),
    ({"steps": 3, "record": ["test_error"]}, "no measure 'test_error'"),
    ({"steps": 3, "record": "train_loss"}, "list of names"),
    ({"steps": 3, "at": [5]}, "between 0 and 3"),
    ({"steps": 3, "at": "linear"}, '"log"'),
    ({"steps": 3, "every": 1, "at": [1]}, "not both"),
    ({"steps": 3, "start": torch.tensor([math.nan, 1.0])}, "loss at the start is nan"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments_are_refused_before_the_first_step(arguments, message):
    with pytest.raises(ValueError, match=message):
        wb.run(BOWL, gradient_descent(0.1), **arguments)


@pytest.mark.parametrize("size", [0, 7, 2.0])
def test_bad_batch_sizes(size):
    with pytest.raises(ValueError, match="batch_size"):
        wb.run(LINE, gradient_descent(0.1), steps=2, batch_size=size)
