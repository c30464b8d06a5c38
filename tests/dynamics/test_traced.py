"""Traced runs are the plain runs to the last bit; what cannot be traced is run as it is written."""

from dataclasses import dataclass
from itertools import count

import pytest
import torch
from dynamics.test_run import BOWL, LINE

import workbench as wb
from workbench.dynamics.engine import stepping
from workbench.dynamics.engine.traced import Traced
from workbench.optimizers import EMA, StepDecay, m_sam, previous_sam, sam, usam
from workbench.optimizers.momentum import Descent

STEPS = 3 * stepping.MEDIUM
PLAIN = {"compile": False}


def sweep(options, **changes):
    def train(seed, rho):
        rule = usam(StepDecay(0.1, (30,)), rho, beta=0.5)
        given = {"steps": STEPS, "batch_size": 2, "record": ["train_loss"], "at": [1, 10, STEPS]} | changes
        run = wb.run(LINE, rule, seed=seed, integrate={"area": lambda p: p["w"][0]}, **given, **options)
        return {**run.records, **run.integrals, "end": run.parameters}

    return wb.sweep(train, seed=[0, 1, 2], rho=[0.0, 0.2, 300.0])


@pytest.fixture
def calls(monkeypatch):
    """How often the gradient of LINE has been written out in Python."""
    counted, gradient = [], type(LINE).gradient

    def counting(self, *arguments):
        counted.append(1)
        return gradient(self, *arguments)

    monkeypatch.setattr(type(LINE), "gradient", counting)
    return counted


@pytest.mark.parametrize("changes", [{}, {"batch_size": None}, {"sampling": "replacement"}])
def test_a_traced_sweep_equals_the_plain_one(calls, changes):
    plain = sweep(PLAIN, **changes)
    before = len(calls)
    traced = sweep({}, **changes)
    assert before > STEPS and len(calls) - before < 50
    assert traced.equals(plain)
    assert plain.diverged.sel(rho=300.0).all() and not plain.diverged.sel(rho=0.0).any()


@pytest.mark.parametrize("rule", [m_sam(0.1, 0.2, 2), previous_sam(0.1, 0.2), sam(0.1, 0.2, beta=0.9)])
def test_single_runs_grouped_and_earlier_ascents(calls, rule):
    plain, traced = (wb.run(LINE, rule, seed=4, steps=STEPS, batch_size=6, **options) for options in (PLAIN, {}))
    assert torch.equal(plain.parameters["w"], traced.parameters["w"])
    assert len(calls) < 1.5 * 2 * STEPS + 50


def test_stages_and_averages():
    stages = [(usam(0.1, 0.1), STEPS), (usam(0.05, 0.0, beta=0.5), STEPS)]
    ends = [wb.run(LINE, stages, batch_size=2, average={"ema": EMA(0.9)}, **options) for options in (PLAIN, {})]
    assert torch.equal(ends[0].averages["ema"]["w"], ends[1].averages["ema"]["w"])


@dataclass(frozen=True)
class Shaken:
    """The gradient at a random point nearby, by a name the library does not know."""

    name = "shaken"

    def __call__(self, oracle, parameters):
        return oracle.gradient(parameters + 0.1 * oracle.normal("shaken", parameters))


@dataclass(frozen=True)
class Noisy:
    """Numbers from torch's own generator."""

    name = "noisy"

    def __call__(self, oracle, parameters):
        return oracle.gradient(parameters) + torch.randn(parameters.shape, dtype=parameters.dtype)


@pytest.mark.parametrize(("gradient", "options"), [(Shaken(), {}), (Shaken(), {"compile": True}), (Noisy(), {})])
def test_random_numbers_are_drawn_at_every_step(gradient, options):
    ends = []
    for chosen in (PLAIN, options):
        torch.manual_seed(0)
        ends.append(wb.run(BOWL, Descent(gradient, 0.01), seed=1, steps=STEPS, **chosen).parameters)
    torch.testing.assert_close(*ends, rtol=1e-12 if "compile" in options else 0, atol=0)


@dataclass(frozen=True)
class Counted:
    """A gradient that Python changes from call to call; the number of calls is in a list, or out of sight."""

    name = "counted"
    listed: list
    hidden: count

    def __call__(self, oracle, parameters):
        self.listed.append(1)
        return oracle.gradient(parameters) + 1e-3 * len(self.listed) + 1e-3 * next(self.hidden)


@dataclass(frozen=True)
class Hidden(Counted):
    def __call__(self, oracle, parameters):
        return oracle.gradient(parameters) + 1e-3 * next(self.hidden)


@pytest.mark.parametrize("options", [{}, {"compile": True}])
@pytest.mark.parametrize("kind", [Counted, Hidden])
def test_a_step_that_changes_by_itself_is_neither_traced_nor_compiled(options, kind):
    gradient = kind([], count())
    wb.run(BOWL, Descent(gradient, 0.01), steps=STEPS, **options)
    assert next(gradient.hidden) >= STEPS


def test_one_may_differentiate_through_a_run():
    def end(rho, **options):
        return wb.run(BOWL, usam(0.01, rho), steps=STEPS, at=[], **options).parameters.sum()

    rho = torch.tensor(0.1, dtype=torch.float64)
    slopes = [torch.func.grad(lambda r, o=options: end(r, **o))(rho) for options in (PLAIN, {})]
    assert slopes[0] == slopes[1] != 0
    tangents = [torch.func.jvp(lambda r, o=options: end(r, **o), (rho,), (rho,))[1] for options in (PLAIN, {})]
    assert tangents[0] == tangents[1] != 0
    leaf = rho.clone().requires_grad_()
    end(leaf).backward()
    assert leaf.grad == slopes[0]


def test_what_objects_hold_may_change_from_run_to_run():
    class Pull:
        name, strength = "pull", torch.tensor(1.0, dtype=torch.float64)

        def __call__(self, oracle, parameters):
            return self.strength * parameters

    pull = Pull()
    first = wb.run(BOWL, Descent(pull, 0.01), steps=STEPS).parameters
    pull.strength = torch.tensor(2.0, dtype=torch.float64)
    torch.testing.assert_close(
        wb.run(BOWL, Descent(pull, 0.01), steps=STEPS).parameters, first * (0.98 / 0.99) ** STEPS
    )


def test_an_error_of_the_step_is_its_own():
    class Broken:
        name = "broken"

        def __call__(self, oracle, parameters):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        wb.run(BOWL, Descent(Broken(), 0.01), steps=STEPS)


def test_a_traced_function_computes_once_what_stays():
    seen = []

    def function(fixed, carry):
        seen.append(1)
        return (carry + (fixed * fixed).sum() * torch.tensor([1.0, 2.0]),)

    fixed, carry = torch.tensor([1.0, 2.0]), torch.zeros(2)
    traced = Traced()
    step = traced.prepare(function, (), [fixed], [carry])
    again = traced.prepare(function, (), [2 * fixed], [carry])
    assert len(seen) == 2, "once to write it down, once to see that it does the same again"
    assert torch.equal(step.args[-1], torch.tensor([5.0, 10.0])), "computed before the first step"
    assert torch.equal(step(carry)[0], torch.tensor([5.0, 10.0])) and torch.equal(again(carry)[0], 4 * step(carry)[0])
