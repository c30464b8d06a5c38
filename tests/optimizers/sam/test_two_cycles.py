"""Stability of normalised rules on quadratics: closed forms against steps of the rules themselves."""

import math

import numpy as np
import pytest
import torch

import workbench as wb
from workbench import optimizers as o
from workbench.draws.table import rows_of
from workbench.dynamics.engine.lifting import Lifted
from workbench.dynamics.sources import AllSamples
from workbench.optimizers import Moment
from workbench.papers.sam_atlas.quadratics import CYCLING

D = torch.float64
MULTIPLIED = [name for name in CYCLING if name != "multi_step_sam"]


def settled(rule, amplitude, other, steps=200):
    """The state (x, *memory) of a run on the axis that has reached its cycle."""
    bowl = wb.problems.quadratic([1.0, other])
    start = torch.tensor([amplitude, 0.0], dtype=D)
    done = wb.run(bowl, rule, steps=steps, start=start, at=[], compile=False, progress=False)
    return bowl, (done.parameters, *Lifted(done.state).tensors)


def measured(rule, other, axis):
    """The spectral radius of one step's derivative along an axis, by central differences at the cycle."""
    bowl, state = settled(rule, o.two_cycle(rule, 1.0).amplitude, other)

    def advance(x, *memory):
        """A late step: the first one of some rules fills their memory."""
        oracle = AllSamples().oracle(Moment(bowl, x, torch.tensor(9), rows_of({})))
        moved, after = rule.step(oracle, x, Lifted(rule.init(x)).rebuild(list(memory)))
        return (moved, *Lifted(after).tensors)

    columns = []
    for part in range(len(state)):
        if state[part].dim() == 0:
            continue
        moved = []
        for sign in (1, -1):
            changed = [one.clone() for one in state]
            changed[part][axis] += sign * 1e-6
            moved.append([one[axis] for one in advance(*changed) if one.dim()])
        columns.append([(float(up) - float(down)) / 2e-6 for up, down in zip(*moved, strict=True)])
    return np.abs(np.linalg.eigvals(np.array(columns).T)).max()


@pytest.mark.parametrize("name", MULTIPLIED)
@pytest.mark.parametrize("other", [0.6, 1.3, -0.5])
def test_multipliers_are_those_of_a_step(name, other):
    rule = CYCLING[name](0.7, 0.1)
    factor = abs(o.two_cycle(rule, 1.0).multiplier(other))
    assert factor == pytest.approx(measured(rule, other, 1), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("name", [name for name in MULTIPLIED if name not in ("vasso", "f_sam")])
def test_the_radial_factor_is_that_of_a_step(name):
    rule = CYCLING[name](0.7, 0.1)
    assert abs(o.two_cycle(rule, 1.0).radial) == pytest.approx(measured(rule, 0.6, 0), rel=1e-5)


@pytest.mark.parametrize("name", CYCLING)
@pytest.mark.parametrize("a, scale", [(0.8, 1.0), (0.9, 4.0)])
def test_amplitudes_are_fixed_by_two_steps(name, a, scale):
    """Started on the axis, at any curvature: after many steps |x| = X, alternating in sign."""
    rule = CYCLING[name](a / scale, 0.2)
    amplitude = o.two_cycle(rule, scale).amplitude
    line = wb.problems.quadratic([scale])
    start = torch.tensor([0.7], dtype=D)
    ends = [
        float(wb.run(line, rule, steps=steps, start=start, at=[], compile=False, progress=False).parameters)
        for steps in (200, 201)
    ]
    np.testing.assert_allclose(np.abs(ends), amplitude, rtol=1e-9)
    assert ends[0] * ends[1] < 0


def test_look_sam_repeats_every_second_round():
    rule, k = o.look_sam(0.4, 0.1, 3), 3
    line, a = wb.problems.quadratic([1.0]), 0.4
    amplitude = o.two_cycle(rule, 1.0).amplitude
    assert amplitude == pytest.approx((1 - a) ** (k - 1) * a * 0.1 / (1 + (1 - a) ** k))
    done = wb.run(line, rule, steps=3 * 200, start=torch.tensor([0.05], dtype=D), at=[], compile=False, progress=False)
    assert abs(float(done.parameters)) == pytest.approx(amplitude, rel=1e-9)


def test_s2_sam_has_a_four_cycle_beyond_one():
    a, rho = 1.4, 0.1
    first = a**2 * rho / (1 + (1 - a) ** 2)
    line, start = wb.problems.quadratic([1.0]), torch.tensor([0.03], dtype=D)
    path = [
        float(wb.run(line, o.s2_sam(a, rho), steps=n, start=start, at=[], compile=False, progress=False).parameters)
        for n in (400, 401, 402, 403)
    ]
    sizes = sorted({round(abs(x), 9) for x in path})
    assert sizes == pytest.approx(sorted([first, abs((1 - a) * first + a * rho)]), rel=1e-6)


@pytest.mark.parametrize("a", [0.4, 0.8, 1.4])
def test_the_set_of_sams_cycle_is_the_top_axis_and_the_saddle_region(a):
    (low, high), (zero, one) = o.cycle_set(o.sam(a, 0.1), 1.0)
    assert (low, high) == pytest.approx((-2 / (2 - a), -a / (2 - a))) and (zero, one) == pytest.approx((0, 1))
    cycle = o.two_cycle(o.sam(a, 0.1), 1.0)
    assert cycle.attracts([0.5, 0.99]) and not cycle.attracts([0.5, 1.01])
    assert cycle.attracts([0.5 * (low + high)]) and not cycle.attracts([0.98 * high])


def test_gsam_lets_flat_directions_grow_from_a_kappa_on():
    a = 0.5
    for kappa, grows in ((1.2, False), (1.5, True)):
        assert (abs(o.two_cycle(o.gsam(a, 0.1, kappa), 1.0).multiplier(1e-3)) > 1) == grows == (kappa > 2 / (2 - a))


@pytest.mark.parametrize("lam, edge", [(0.0, 1.0), (0.2, 0.867), (0.5, 0.764), (1.0, 2 / 3)])
def test_sampas_interval(lam, edge):
    assert o.max_sharpness(o.sampa(0.5, 0.1, lam)) == pytest.approx(edge / 0.5, rel=1e-3)
    for a, inside in ((0.999 * edge, True), (1.001 * edge, False)):
        step = np.array([[1 - a, lam * a], [a, -a]])
        exact = 4 / (3 + math.sqrt(1 + 8 * lam))
        assert (np.abs(np.linalg.eigvals(step)).max() <= 1 + 1e-12) == (a <= exact) or abs(a - exact) < 1e-3 * inside


def test_tilted_sams_filter_is_the_derivative_of_the_tilted_mean():
    """By quadrature over e: d/dx of E[exp(t f(x + e)) f'(x + e)]/E[exp(t f(x + e))] at 0 on f = lambda x^2/2."""
    tilt, sigma = 1.5, 0.4
    rule = o.tilted_sam(0.3, 0.0, sigma, tilt)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    for curvature in (0.5, 2.0, -1.0):
        points = lambda x: curvature * (x + sigma * nodes)  # noqa: E731, B023
        tilts = lambda x: weights * np.exp(tilt * curvature * (x + sigma * nodes) ** 2 / 2)  # noqa: E731, B023
        mean = lambda x: (tilts(x) * points(x)).sum() / tilts(x).sum()  # noqa: E731, B023
        slope = (mean(1e-4) - mean(-1e-4)) / 2e-4
        assert o.curvature_polynomial(rule)(curvature) == pytest.approx(slope, rel=1e-6)
    assert o.admissible_set(rule)[0] == pytest.approx((0.0, 2 / (0.3 + 2 * tilt * sigma**2)))


def test_bsams_interval():
    rule = o.bsam(0.02, 0.0, math.inf, 0.0, 0.1, beta1=0.9)
    assert o.max_sharpness(rule) == pytest.approx(0.1 * 2 * 1.9 / (0.1 * 0.02))


REFUSED = [
    (lambda: o.two_cycle(o.usam(0.1, 0.1), 1.0), "no 2-cycle"),
    (lambda: o.two_cycle(o.sam(0.1, 0.0), 1.0), "no 2-cycle"),
    (lambda: o.two_cycle(o.sam(2.5, 0.1), 1.0), "smaller step_size"),
    (lambda: o.two_cycle(o.sam(0.1, 0.1), -1.0), "eigenvalue must be"),
    (lambda: o.two_cycle(o.stable_sam(0.1, 0.1), 1.0), "gradient descent"),
    (lambda: o.two_cycle(o.s2_sam(0.1, 0.1), 1.0), "4-cycle"),
    (lambda: o.two_cycle(o.sampa(0.1, 0.1), 1.0), "admissible_set"),
    (lambda: o.two_cycle(o.f_sam(0.1, 0.1, 2.0, 0.1), 1.0), "downhill"),
    (lambda: o.two_cycle(o.random_sam(0.1, 0.1), 1.0), "no 2-cycle"),
    (lambda: o.two_cycle(o.look_sam(1.2, 0.1), 1.0), "< 1"),
    (lambda: o.two_cycle(o.sam(o.Cosine(0.1, 10), 0.1), 1.0), "one constant number"),
    (lambda: o.two_cycle(o.vasso(0.1, 0.1, beta=0.9), 1.0).multiplier(0.5), "no multiplier"),
    (lambda: o.cycle_set(o.vasso(0.1, 0.1), 1.0), "no filter"),
    (lambda: o.admissible_set(o.sam(0.1, 0.1)), "two_cycle"),
    (lambda: o.admissible_set(o.tilted_sam(0.1, 0.1, 0.1, 1.0)), "rho = 0"),
]


@pytest.mark.parametrize("ask, words", REFUSED)
def test_what_has_no_closed_form_is_refused_in_words(ask, words):
    with pytest.raises(ValueError, match=words):
        ask()
