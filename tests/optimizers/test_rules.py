"""Every rule against its formula written out by hand, and against what is known in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench.draws import Normal, numbers
from workbench.draws.table import rows_of
from workbench.dynamics.sources import AllSamples, SampleOracle
from workbench.optimizers import LinearDecay, Moment, StepDecay, SwitchOn, by_name
from workbench.problems.base import Problem

EIGENVALUES = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
START = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


class Cubic(Problem):
    """f(x) = sum h x^2/2 + x^4/12: gradient h x + x^3/3, Hessian h + x^2."""

    def loss(self, parameters):
        return (EIGENVALUES * parameters**2 / 2 + parameters**4 / 12).sum()


class Samples(Problem):
    """Five least-squares samples in three dimensions."""

    x = torch.arange(15, dtype=torch.float64).reshape(5, 3).sin()
    y = torch.linspace(-1, 1, 5, dtype=torch.float64)

    @property
    def data(self):
        return (self.x, self.y)

    def sample_loss(self, parameters, x, y):
        return 0.5 * (x @ parameters - y) ** 2


def g(x):
    return EIGENVALUES * x + x**3 / 3


def h(x):
    return EIGENVALUES + x**2


def oracle(problem, x, step=0, batch=None):
    return SampleOracle(AllSamples(), Moment(problem, x, torch.tensor(step), rows_of({})), batch)


def one_step(rule, problem=None, start=START, batch=None):
    return rule.step(oracle(problem or Cubic(), start, batch=batch), start, rule.init(start))[0]


RHO, ALPHA = 0.3, 0.1
UNIT = g(START) / g(START).norm()
WRITTEN_OUT = {
    "gd": g(START),
    "sam": g(START + RHO * UNIT),
    "usam": g(START + RHO * g(START)),
    "two_step_usam": g(START + RHO * g(START) + RHO * g(START + RHO * g(START))),
    "nested_usam": g(START + RHO * g(START + RHO * g(START))),
    "hessian_usam": g(START + RHO * h(START) * g(START)),
    "gradient_penalty": g(START) + RHO * h(START) * g(START),
}


@pytest.mark.parametrize("kind", WRITTEN_OUT)
def test_one_step_follows_the_formula(kind):
    moved = one_step(by_name(kind, ALPHA, rho=RHO))
    torch.testing.assert_close(moved, START - ALPHA * WRITTEN_OUT[kind], rtol=1e-14, atol=0)


@pytest.mark.parametrize("lam", [0.0, 0.25, 1.0])
def test_unified_sam_mixes_the_two_ascents(lam):
    length = g(START).norm()
    expected = g(START + RHO * (1 - lam + lam / length) * g(START))
    moved = one_step(wb.optimizers.unified_sam(ALPHA, RHO, lam))
    torch.testing.assert_close(moved, START - ALPHA * expected, rtol=1e-14, atol=0)


def test_weight_decay_acts_outside_of_the_ascent():
    ascent = wb.optimizers.UnifiedSAM(0.3, 0.5)
    decayed = wb.optimizers.Decayed(ascent, 0.1)
    oracle = SampleOracle(AllSamples(), Moment(Cubic(), START, torch.tensor(0), rows_of({})))
    torch.testing.assert_close(decayed(oracle, START), ascent(oracle, START) + 0.1 * START)
    assert decayed.name == ascent.name


@pytest.mark.parametrize("kind", WRITTEN_OUT)
@pytest.mark.parametrize("momentum", ["heavy_ball", "nesterov"])
def test_momentum_equals_the_two_point_form(kind, momentum):
    alpha = 0.01
    rule, plain = by_name(f"{kind}+{momentum}", alpha, rho=RHO, beta=0.6), by_name(kind, 1.0, rho=RHO)
    problem, x = Cubic(), START
    previous, current = START, START
    state = rule.init(x)
    for k in range(5):
        x, state = rule.step(oracle(problem, x, k), x, state)
        inertia = 0.6 * (current - previous)
        point = current + inertia if momentum == "nesterov" else current
        effective = point - one_step(plain, start=point)
        previous, current = current, current + inertia - alpha * effective
        torch.testing.assert_close(x, current, rtol=1e-12, atol=1e-14)


def test_zero_gradient_means_no_move_for_every_rule():
    origin = torch.zeros(3, dtype=torch.float64)
    for kind in WRITTEN_OUT:
        moved = one_step(by_name(kind, ALPHA, rho=RHO), start=origin)
        assert torch.equal(moved, origin), kind


def test_zero_radius_is_the_base_rule():
    for kind in WRITTEN_OUT:
        torch.testing.assert_close(
            one_step(by_name(kind, ALPHA, rho=0.0)), START - ALPHA * g(START), rtol=1e-15, atol=0
        )


def groups_by_hand(m, normalize):
    problem, total = Samples(), torch.zeros(3, dtype=torch.float64)
    for first in range(0, 4, m):
        x, y = problem.x[first : first + m], problem.y[first : first + m]
        gradient = x.T @ (x @ START - y) / m
        ascent = gradient / gradient.norm() if normalize else gradient
        total += x.T @ (x @ (START + RHO * ascent) - y) / m
    return total / (4 // m)


@pytest.mark.parametrize("m", [1, 2, 4])
@pytest.mark.parametrize("normalize", [True, False])
def test_m_sam_against_a_loop_over_groups(m, normalize):
    problem = Samples()
    batch = (problem.x[:4], problem.y[:4])
    moved = one_step(wb.optimizers.m_sam(ALPHA, RHO, m, normalize=normalize), problem, batch=batch)
    torch.testing.assert_close(moved, START - ALPHA * groups_by_hand(m, normalize), rtol=1e-13, atol=0)


def test_n_sam_ascends_along_the_full_gradient():
    problem = Samples()
    batch = (problem.x[:2], problem.y[:2])
    full = problem.gradient(START)
    expected = problem.gradient(START + RHO * full / full.norm(), batch)
    moved = one_step(wb.optimizers.n_sam(ALPHA, RHO), problem, batch=batch)
    torch.testing.assert_close(moved, START - ALPHA * expected, rtol=1e-14, atol=0)


def test_dnsam_divides_by_the_norm_of_the_whole_gradient():
    problem, rows = Samples(), torch.tensor([1, 3])
    batch = (Samples.x[rows], Samples.y[rows])

    def sampled(w):
        return Samples.x[rows].T @ (Samples.x[rows] @ w - Samples.y[rows]) / 2

    ascent = sampled(START) / problem.gradient(START).norm()
    expected = START - 0.1 * sampled(START + RHO * ascent)
    found = one_step(wb.optimizers.dnsam(0.1, RHO), problem, batch=batch)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=0)
    whole, same = (one_step(rule(0.1, RHO), problem) for rule in (wb.optimizers.dnsam, wb.optimizers.sam))
    torch.testing.assert_close(whole, same, rtol=1e-13, atol=0)


def test_random_ascent_has_length_rho_and_depends_on_the_seed_and_step():
    problem, rule = Samples(), wb.optimizers.random_sam(0.1, RHO)
    ends = [wb.run(problem, rule, start=START, seed=seed, steps=2).parameters for seed in (0, 1)]
    expected = START
    for z in numbers(Normal("ascent", (3,)), 0, 2):
        expected = expected - 0.1 * problem.gradient(expected + RHO * z / z.norm())
    torch.testing.assert_close(ends[0], expected, rtol=1e-14, atol=0)
    assert not torch.equal(ends[0], ends[1])


def test_multi_step_ascent_stays_in_the_ball_and_one_step_is_sam():
    one = wb.optimizers.multi_step_sam(ALPHA, RHO, 1)
    torch.testing.assert_close(one_step(one), one_step(wb.optimizers.sam(ALPHA, RHO)), rtol=1e-15, atol=0)
    seen = []

    class Watching(Cubic):
        def gradient(self, parameters, batch=None):
            seen.append((parameters - START).norm().item())
            return super().gradient(parameters)

    one_step(wb.optimizers.multi_step_sam(ALPHA, RHO, 20, 0.3), Watching())
    assert max(seen) <= RHO * (1 + 1e-12)
    assert seen[-1] == pytest.approx(RHO, rel=1e-9)


@given(st.floats(0.02, 1.9), st.floats(0.5, 5.0), st.floats(0.01, 1.0))
def test_sam_settles_on_the_two_cycle_of_a_parabola(u, eigenvalue, rho):
    """arXiv:2305.15287: |w*| = eta lambda rho/(2 - eta lambda)."""
    eta = u / eigenvalue
    cycle = eta * eigenvalue * rho / (2 - eta * eigenvalue)

    class Parabola(Problem):
        def loss(self, parameters):
            return eigenvalue * parameters[0] ** 2 / 2

    w = torch.tensor([cycle], dtype=torch.float64)
    after = one_step(wb.optimizers.sam(eta, rho), Parabola(), w)
    torch.testing.assert_close(after, -w, rtol=1e-10, atol=1e-14)


def test_schedules():
    def count(number):
        return torch.tensor(number, dtype=torch.float64)

    assert StepDecay(2.0, (3, 5))(count(2)).item() == 2.0
    assert StepDecay(2.0, (3, 5))(count(5)).item() == pytest.approx(0.02)
    assert LinearDecay(1.0, 4)(count(3)).item() == 0.25
    assert SwitchOn(0.7, 10)(count(9)).item() == 0.0 and SwitchOn(0.7, 10)(count(10)).item() == 0.7


BAD = [
    (lambda: wb.optimizers.gradient_descent(0.0), "step_size"),
    (lambda: wb.optimizers.gradient_descent(math.nan), "step_size"),
    (lambda: wb.optimizers.heavy_ball(0.1, 1.0), "beta"),
    (lambda: wb.optimizers.sam(0.1, -0.1), "rho"),
    (lambda: wb.optimizers.unified_sam(0.1, 0.1, 1.5), "lam"),
    (lambda: wb.optimizers.m_sam(0.1, 0.1, 0), "m must"),
    (lambda: wb.optimizers.sam(0.1, 0.1, momentum="sideways"), "momentum"),
    (lambda: wb.optimizers.sam(0.1, "0.1"), "rho"),
    (lambda: wb.optimizers.multi_step_sam(0.1, 0.1, 0), "ascent_steps"),
    (lambda: by_name("adam", 0.1), "unknown optimizer 'adam'"),
    (lambda: by_name("gd+adam", 0.1), "unknown optimizer"),
    (lambda: one_step(wb.optimizers.m_sam(0.1, 0.1, 2), Samples()), "m must divide"),
    (lambda: one_step(wb.optimizers.m_sam(0.1, 0.1, 2), Cubic()), "has no samples"),
]


@pytest.mark.parametrize(("call", "named"), BAD)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_repr_shows_the_hyper_parameters():
    assert repr(wb.optimizers.sam(0.1, 0.05)) == "sam(step_size=0.1, rho=0.05, lam=1)"
    assert "heavy_ball" in repr(wb.optimizers.usam(0.1, 0.05, beta=0.9))
