"""Flows against their order and the exact solution, diffusions against a plain loop and their moments; time, stops, events."""

import math
from dataclasses import dataclass

import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.draws import Normal, numbers
from workbench.dynamics.sources import AdditiveNoise
from workbench.optimizers import RK4, Euler, EulerMaruyama, Heun, LogEulerMaruyama, Milstein, UnifiedSAM
from workbench.problems.base import Problem

D = torch.float64
RATES = torch.tensor([0.5, 1.0, 3.0], dtype=D)


class Quartic(Problem):
    """f(x) = sum x^4/4, whose flow is x/sqrt(1 + 2 x^2 t)."""

    def initial(self, seed):
        return 1 + draws.uniform(seed, (2,), stream="initial")

    def loss(self, parameters):
        return (parameters**4 / 4).sum()


class Bowl(Problem):
    def initial(self, seed):
        return torch.ones(3, dtype=D)

    def loss(self, parameters):
        return 0.5 * (RATES * parameters**2).sum()


@pytest.mark.parametrize(("scheme", "order"), [(Euler, 1), (Heun, 2), (RK4, 4)])
def test_flows_converge_with_their_order(scheme, order):
    problem = Quartic()
    start = problem.initial(0)
    exact = start / (1 + 2 * start**2).sqrt()
    errors = [(wb.run(problem, scheme(1 / n), steps=n).parameters - exact).norm().item() for n in (80, 160)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_flows_follow_effective_gradients_and_know_their_time():
    record = {"t": "time", "x": lambda x: x}
    run = wb.run(Bowl(), RK4(0.01, UnifiedSAM(0.1, 0.0)), steps=100, record=record, at=[0, 50, 100])
    assert run.records["t"].value.tolist() == pytest.approx([0, 0.5, 1.0]) and float(run.time) == pytest.approx(1)
    torch.testing.assert_close(run.parameters, torch.exp(-RATES * (1 + 0.1 * RATES)), rtol=2e-7, atol=0)


@dataclass(frozen=True, eq=False)
class Geometric:
    """dX = a X dt + b X dW."""

    a: float
    b: float

    def noise(self, x):
        return x

    def drift(self, oracle, x):
        return self.a * x

    def diffusion(self, oracle, x, dw):
        return self.b * x * dw


def written_out(scheme, x, a, b, dt, z):
    dw = dt**0.5 * z
    if scheme is LogEulerMaruyama:
        return x * torch.exp((a - b * b / 2) * dt + b * dw)
    moved = x + a * x * dt + b * x * dw
    return moved + b * b * x * (dw * dw - dt) / 2 if scheme is Milstein else moved


@pytest.mark.parametrize("scheme", [EulerMaruyama, Milstein, LogEulerMaruyama])
def test_diffusions_are_the_plain_loop_in_sweeps_and_traced(scheme):
    a, b, dt, steps = 0.3, 0.4, 0.01, 130

    def walk(seed, **options):
        return {"x": wb.run(Bowl(), scheme(Geometric(a, b), dt), seed=seed, steps=steps, **options).parameters}

    found = wb.sweep(walk, seed=[0, 5], chunk_size=1, progress=False)
    for seed in (0, 5):
        x = torch.ones(3, dtype=D)
        for z in numbers(Normal("noise", (3,)), seed, steps):
            x = written_out(scheme, x, a, b, dt, z)
        torch.testing.assert_close(torch.tensor(found.x.sel(seed=seed).values), x, rtol=1e-12, atol=0)
        assert torch.equal(walk(seed)["x"], walk(seed, compile=False)["x"])


@dataclass(frozen=True, eq=False)
class AtOnce(Geometric):
    def increment(self, oracle, x, dt, dw):
        return x * (self.a * dt + self.b * dw)


@pytest.mark.parametrize("scheme", [EulerMaruyama, Milstein])
def test_an_equation_may_give_drift_and_diffusion_at_once(scheme):
    apart, at_once = (
        wb.run(Bowl(), scheme(equation(0.3, 0.4), 0.01), seed=1, steps=30, progress=False).parameters
        for equation in (Geometric, AtOnce)
    )
    torch.testing.assert_close(at_once, apart, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("scheme", "order"), [(EulerMaruyama, 0.5), (Milstein, 1.0)])
def test_strong_orders_on_one_brownian_path(scheme, order):
    a, b, fine = 0.3, 0.8, 256

    def error(seed, pieces):
        n = fine // pieces
        run = wb.run(Bowl(), scheme(Geometric(a, b), 1 / n, pieces=pieces), seed=seed, steps=n, progress=False)
        w = numbers(Normal("noise", (3,)), seed, fine).sum(0) / fine**0.5
        return {"error": (run.parameters - torch.exp(a - b * b / 2 + b * w)).abs().mean()}

    errors = wb.sweep(error, static=["pieces"], seed=range(40), pieces=[4, 32], progress=False).error.mean("seed")
    assert math.log(float(errors[1] / errors[0]), 8) == pytest.approx(order, abs=0.15)


def test_discrete_noise_and_the_diffusion_share_the_path():
    @dataclass(frozen=True, eq=False)
    class Langevin(Geometric):
        def drift(self, oracle, x):
            return -oracle.gradient(x)

        def diffusion(self, oracle, x, dw):
            return -(self.a**0.5) * self.b * dw

    eta, sigma, r = 0.08, 0.5, 8
    steps = wb.run(Bowl(), wb.optimizers.gradient_descent(eta), seed=3, steps=1, source=AdditiveNoise(sigma, pieces=r))
    path = wb.run(Bowl(), EulerMaruyama(Langevin(eta, sigma), eta / r), seed=3, steps=r)
    z = numbers(Normal("noise", (3,)), 3, r).sum(0) / r**0.5
    torch.testing.assert_close(steps.parameters, 1 - eta * (RATES + sigma * z), rtol=1e-12, atol=0)
    # The same noise: the difference is the drift's, of second order in eta.
    assert (steps.parameters - path.parameters).abs().max() < eta**2 * 9


def test_a_stop_freezes_a_run_and_its_time():
    def fall(rate):
        rule = Euler(0.01)
        start = torch.stack([torch.ones((), dtype=D), rate, rate])
        run = wb.run(
            Bowl(), rule, steps=300, start=start, stop=lambda x, t: x[0] <= 0.5, record=["train_loss"], every=50
        )
        return {"x": run.parameters, "t": run.time, "n": run.stopped_at, **run.records}

    alone = fall(torch.tensor(1.0, dtype=D))
    first = math.ceil(math.log(0.5) / math.log(1 - 0.005))
    assert int(alone["n"]) == first and float(alone["t"]) == pytest.approx(0.01 * first)
    assert float(alone["x"][0]) == pytest.approx(0.995**first)
    swept = wb.sweep(fall, rate=[1.0, 2.0], progress=False)
    assert (swept.n == first).all() and float(swept.x[0, 0]) == pytest.approx(0.995**first)
    torch.testing.assert_close(torch.tensor(swept.train_loss[0].values), alone["train_loss"].value, rtol=1e-12, atol=0)
    never = wb.run(Bowl(), Euler(0.01), steps=5, stop=lambda x, t: t > 1)
    assert int(never.stopped_at) == -1


def test_events_are_the_times_of_the_first_change_of_sign():
    events = {"half": lambda x, t: x[1] - 0.5, "never": lambda x, t: x[0] + 1, "clock": lambda x, t: t - 0.123}
    run = wb.run(Bowl(), Euler(0.1), steps=120, events=events)
    before, after = 0.9**6, 0.9**7
    assert float(run.events["half"]) == pytest.approx(0.6 + 0.1 * (before - 0.5) / (before - after))
    assert run.events["never"].isnan() and float(run.events["clock"]) == pytest.approx(0.123)
    assert int(run.steps) == 120 and not run.diverged


def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_not_stopped():
    problem = wb.problems.quadratic([0.5, 2.0])
    rule = wb.optimizers.heavy_ball(wb.optimizers.StepDecay(0.1, (25,)), 0.9)
    options = {
        "seed": 2,
        "source": AdditiveNoise(0.1),
        "average": {"ema": wb.optimizers.EMA(0.9)},
        "record": {"loss": "train_loss", "t": "time"},
    }
    whole = wb.run(problem, rule, steps=40, every=10, **options)
    half = wb.run(problem, rule, steps=20, every=10, **options)
    rest = wb.run(problem, rule, steps=20, every=10, start=half.checkpoint, **options)
    assert torch.equal(whole.parameters, rest.parameters) and torch.equal(whole.state, rest.state)
    assert torch.equal(whole.averages["ema"], rest.averages["ema"]) and torch.equal(whole.time, rest.time)
    assert rest.dataset().step.values.tolist() == [20, 30, 40]
    assert torch.equal(whole.records["loss"].value[2:], rest.records["loss"].value)


@dataclass(frozen=True, eq=False)
class Correlated:
    """dX_i = X_i sum_k b_ik dW_k."""

    b: torch.Tensor

    def noise(self, x):
        return self.b[0]

    def drift(self, oracle, x):
        return torch.zeros_like(x)

    def diffusion(self, oracle, x, dw):
        return x * (self.b @ dw)


@dataclass(frozen=True, eq=False)
class CorrelatedWithVariance(Correlated):
    def variance(self, oracle, x):
        return x * x * (self.b**2).sum(1)


def test_the_log_scheme_is_exact_for_correlated_noise_and_needs_its_variance():
    b = torch.tensor([[0.4, -0.2], [0.1, 0.3], [0.0, 0.5]], dtype=D)
    run = wb.run(Bowl(), LogEulerMaruyama(CorrelatedWithVariance(b), 0.1), seed=2, steps=10, progress=False)
    w = 0.1**0.5 * numbers(Normal("noise", (2,)), 2, 10).sum(0)
    torch.testing.assert_close(run.parameters, torch.exp(b @ w - (b**2).sum(1) / 2), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=r"variance\(oracle, x\)"):
        wb.run(Bowl(), LogEulerMaruyama(Correlated(b), 0.1), seed=2, steps=10, progress=False)
