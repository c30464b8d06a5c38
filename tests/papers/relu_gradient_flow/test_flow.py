"""ReLU networks on orthogonal inputs: closed forms, conservation, limits, independent integrators (arXiv:2206.00939)."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

import workbench as wb
from workbench.optimizers.continuous.flows import RK4, Heun
from workbench.papers.relu_gradient_flow import study
from workbench.papers.relu_gradient_flow.network import covers, initial_cones, largest_step, relu_network, require_step
from workbench.papers.relu_gradient_flow.points import (
    Points,
    aligned_cosine,
    generic,
    high_dimension,
    nonorthogonal_toy,
    probability_of_minimum_norm,
    probability_of_zero_loss,
    random_orthogonal,
    toy,
)

TOY = toy()


def test_the_written_gradient_is_automatic_differentiations():
    for points, activation in ((generic(), "relu"), (nonorthogonal_toy(), "linear")):
        network = relu_network(points, 12, 0.7, activation=activation)
        start = network.initial(3)
        written, automatic = network.gradient(start), torch.func.grad(network.loss)(start)
        assert all(torch.allclose(written[name], automatic[name], atol=1e-13) for name in start)


def test_starts_are_balanced_scale_and_emptied_cones_are_empty():
    points = generic()
    small, large = (relu_network(points, 40, scale).initial(5) for scale in (1e-8, 1e-2))
    assert torch.allclose(1e6 * small["w"], large["w"], rtol=1e-12)
    assert torch.allclose(small["a"].abs(), small["w"].norm(dim=1), rtol=1e-12)
    emptied = relu_network(points, 40, 1e-2, emptied=True).initial(5)
    assert not any(cone.any() for cone in initial_cones(emptied, points.inputs, points.labels))
    kept = emptied["w"].norm(dim=1) > 0
    assert torch.equal(emptied["w"][kept], large["w"][kept]) and 0 < int(kept.sum()) < 40
    assert (relu_network(points, 40, 1e-2, signs="positive").initial(5)["a"] > 0).all()


def test_two_integrators_of_different_order_and_scipy_agree_on_times():
    """The first crossing of one start: Heun, RK4 and SciPy's adaptive integrator (dense output, tight tolerance)."""
    network = relu_network(TOY, 10, 1e-2)
    start = network.initial(1)
    level = (TOY.plateaus[0] + TOY.plateaus[1]) / 2
    events = {"first": lambda x, time: network.loss(x) - level}
    times = [
        float(wb.run(network, rule, start=start, steps=round(12 / rule.dt), events=events).events["first"])
        for rule in (Heun(0.02), Heun(0.01), RK4(0.02))
    ]
    size = network.width * 2

    def slope(_, flat):
        tensor = torch.from_numpy(flat)
        gradient = network.gradient({"w": tensor[:size].reshape(-1, 2), "a": tensor[size:]})
        return -torch.cat([gradient["w"].reshape(-1), gradient["a"]]).numpy()

    flat = torch.cat([start["w"].reshape(-1), start["a"]]).numpy()
    exact = solve_ivp(slope, (0, 12), flat, rtol=1e-10, atol=1e-14, dense_output=True)
    grid = np.linspace(0, 12, 4801)
    losses = [
        float(network.loss({"w": torch.from_numpy(x[:size].reshape(-1, 2)), "a": torch.from_numpy(x[size:])}))
        for x in exact.sol(grid).T
    ]
    reference = float(np.interp(-level, -np.array(losses), grid))
    assert abs(times[0] - times[1]) < 2e-3
    assert all(abs(one - reference) < 3e-3 for one in times)


def test_the_flow_conserves_balance_at_the_order_of_the_integrator():
    coarse, fine = (
        study.flows(TOY, [1e-2], 2, width=20, dt=dt, settle=5.0, kept=20).imbalance.max() for dt in (0.08, 0.04)
    )
    assert float(fine) < float(coarse) / 3 < 1e-6
    doubled = study.flows(TOY, [1e-2], 2, width=20, dt=0.04, settle=5.0, kept=20, output_speed=2.0)
    assert float(doubled.imbalance.max()) > 0.1


def test_the_limit_is_the_convex_programmes():
    """min sum_k c_k|.| over functions of one neuron a sign is a convex programme; solved by itself with SciPy."""
    points = generic()
    inputs, labels = points.inputs.numpy(), points.labels.numpy()

    def least(sign):
        own = labels * sign > 0
        rows, wanted = inputs[own], abs(labels[own])
        found = minimize(
            lambda v: float(np.linalg.norm(v)),
            np.linalg.lstsq(rows, wanted, rcond=None)[0] + 0.1,
            constraints={"type": "eq", "fun": lambda v: rows @ v - wanted},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        return found.fun

    assert points.minimum_norm == pytest.approx(least(1) + least(-1), rel=1e-7)
    found = study.flows(points, [1e-6, 1e-8], 2, width=200, dt=0.2, kept=40)
    over = study.excess(found, points)
    assert bool(study.settled(found, points).all()) and float(over.min()) > 0
    slope = np.log(over.sel(scale=1e-6) / over.sel(scale=1e-8)) / np.log(100)
    assert float(abs(slope - points.excess_exponent).max()) < 0.05


def test_crossings_follow_the_rates():
    found = study.flows(TOY, [1e-6, 1e-8], 3, width=60, dt=0.05, settle=14.0, kept=100)
    for name, rate in zip(("first", "second"), TOY.rates, strict=True):
        slope = (found[name].sel(scale=1e-8) - found[name].sel(scale=1e-6)) / np.log(100)
        assert float(abs(slope * rate - 1).max()) < 0.01
    one_sign = study.flows(TOY, [1e-4], 2, width=20, dt=0.05, settle=5.0, signs="positive")
    assert one_sign.second.isnull().all() and not study.settled(one_sign, TOY).any()


def test_alignment_is_the_tanh_law_to_second_order():
    coarse, fine = (
        float(study.alignment(generic(), [1e-6], 2, width=200, dt=dt, until=12.0).deviation.max()) for dt in (0.1, 0.05)
    )
    assert fine < 0.3 * coarse < 1e-3
    start = torch.tensor([0.1, 0.5], dtype=torch.float64)
    derivative = (aligned_cosine(0.7, 1e-6, start) - start) / 1e-6
    assert torch.allclose(derivative, 0.7 * (1 - start**2), atol=1e-5)


def test_outcome_probabilities_are_counts_over_all_patterns():
    """Independent fair signs and activations, enumerated for three neurons and 1 + 1 points."""
    zero = least = total = 0
    for signs in itertools.product((1, -1), repeat=3):
        for active in itertools.product(itertools.product((0, 1), repeat=2), repeat=3):
            seen = list(zip(signs, active, strict=True))
            plus = any(s > 0 and a[0] for s, a in seen)
            minus = any(s < 0 and a[1] for s, a in seen)
            zero += plus and minus
            least += plus and minus
            total += 1
    assert probability_of_zero_loss(3, 1, 1) == pytest.approx(zero / total)
    assert probability_of_minimum_norm(3, 1, 1) == pytest.approx(least / total)
    assert probability_of_zero_loss(8, 3, 3) > probability_of_minimum_norm(8, 3, 3)


def test_cones_decide_the_outcome_of_wide_and_narrow_networks():
    found = study.widths([4, 16], 6, scale=1e-8)
    assert (found.fits == found.covered).all()
    assert (found.cones <= found.covered).all()


def test_widths_share_draws_with_networks_of_their_own_size():
    points = random_orthogonal(2, 2, 5, seed=0)
    wide, narrow = relu_network(points, 9, 1e-3).initial(4), relu_network(points, 4, 1e-3).initial(4)
    assert torch.allclose(wide["w"][:4] * (9 / 4) ** 0.5, narrow["w"], rtol=1e-12)
    assert torch.equal(wide["a"][:4].sign(), narrow["a"].sign())
    assert covers(wide, points) in (True, False)


def test_closed_forms_of_the_toy():
    assert TOY.minimum_norm == pytest.approx(1 / math.sqrt(5) + 1 / math.sqrt(1.25))
    assert TOY.saddle_exponent == pytest.approx(0.4)
    assert TOY.plateaus == pytest.approx((0.5, 0.25, 0.0))
    assert TOY.rates == pytest.approx((math.sqrt(5) / 2, math.sqrt(1.25) / 2))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: random_orthogonal(3, 3, 5), "n_pos"),
        (lambda: Points(torch.eye(2, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)), "must not be 0"),
        (lambda: Points(torch.ones(2, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)), "pairwise orthogonal"),
        (lambda: toy(labels=(1.0, -2.0)).require_two_phases(), "must differ"),
        (lambda: toy(labels=(1.0, 2.0)).require_two_phases(), "both signs"),
        (lambda: relu_network(TOY, 1), "width"),
        (lambda: relu_network(TOY, 5, 0.0), "scale"),
        (lambda: relu_network(TOY, 5, 1e-3, activation="tanh"), "activation"),
        (lambda: require_step(10 * largest_step(TOY), TOY), "dt must be in"),
    ],
)  # fmt: skip
def test_what_the_theorem_does_not_cover_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_nearly_orthogonal_data_keep_their_teacher():
    points = high_dimension(n=12, d=40)
    assert points.inputs.shape == (12, 40) and not points.orthogonal
