"""ReLU networks on orthogonal inputs: closed forms, conservation, limits, independent integrators (arXiv:2206.00939)."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import linprog

import workbench as wb
from workbench.optimizers.continuous.flows import RK4, Heun
from workbench.papers.relu_gradient_flow import study
from workbench.papers.relu_gradient_flow.beyond import five_points, oblique
from workbench.papers.relu_gradient_flow.convex import least_variation_norm
from workbench.papers.relu_gradient_flow.explorer import compute
from workbench.papers.relu_gradient_flow.network import (
    covers,
    first_crossing_prediction,
    initial_cones,
    largest_step,
    relu_network,
    require_step,
)
from workbench.papers.relu_gradient_flow.outcome import widths
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


def test_three_integrators_agree_on_every_time_and_on_the_end():
    """Both crossings and the end of one start: Heun, RK4 and SciPy's adaptive integrator (dense output, tight tolerance)."""
    network = relu_network(TOY, 10, 1e-2)
    start = network.initial(1)
    top, middle, bottom = TOY.plateaus
    levels = {"first": (top + middle) / 2, "second": (middle + bottom) / 2}
    events = {name: lambda x, time, level=level: network.loss(x) - level for name, level in levels.items()}
    runs = [
        wb.run(network, rule, start=start, steps=round(20 / rule.dt), events=events) for rule in (Heun(0.02), RK4(0.02))
    ]
    size = network.width * 2

    def slope(_, flat):
        tensor = torch.from_numpy(flat)
        gradient = network.gradient({"w": tensor[:size].reshape(-1, 2), "a": tensor[size:]})
        return -torch.cat([gradient["w"].reshape(-1), gradient["a"]]).numpy()

    flat = torch.cat([start["w"].reshape(-1), start["a"]]).numpy()
    exact = solve_ivp(slope, (0, 20), flat, rtol=1e-10, atol=1e-14, dense_output=True)
    grid = np.linspace(0, 20, 4001)
    losses = [
        float(network.loss({"w": torch.from_numpy(x[:size].reshape(-1, 2)), "a": torch.from_numpy(x[size:])}))
        for x in exact.sol(grid).T
    ]
    for name, level in levels.items():
        reference = float(np.interp(-level, -np.array(losses), grid))
        heun, rk4 = (float(run.events[name]) for run in runs)
        allowed = study.time_tolerance(TOY, reference, 0.02)
        assert abs(heun - reference) < 4 / 3 * allowed and abs(rk4 - reference) < allowed
    for run in runs:  # where neurons switch the field jumps, so that no order holds in all entries
        end = torch.cat([run.parameters["w"].reshape(-1), run.parameters["a"]]).numpy()
        assert np.abs(end - exact.y[:, -1]).max() < 1e-4


@pytest.mark.parametrize("seed0", [0, 40])
def test_halving_the_step_changes_every_recorded_time_by_less_than_the_stated_tolerance(seed0):
    whole, half = (
        study.flows(TOY, [1e-2, 1e-6], 3, width=20, dt=dt, settle=3.0, kept=10, seed0=seed0) for dt in (0.08, 0.04)
    )
    for name in ("first", "second"):
        change = abs(whole[name] - half[name])
        allowed = study.time_tolerance(TOY, whole[name], 0.08)
        assert (change < allowed).all() and float(allowed.max()) < 0.05


def test_what_the_flow_conserves_it_conserves_to_eight_digits():
    """a^2 - |w|^2 at the card's own steps, toy and generic data, and at the order of the integrator."""
    assert float(study.flows(TOY, [1e-2], 2, width=60, dt=0.02, settle=5.0, kept=20).imbalance.max()) < 1e-8
    exact = study.flows(generic(), [1e-6], 2, width=60, dt=0.1, kept=20, integrator="rk4")
    assert float(exact.imbalance.max()) < 1e-8
    coarse, fine = (
        study.flows(TOY, [1e-2], 2, width=20, dt=dt, settle=5.0, kept=20).imbalance.max() for dt in (0.08, 0.04)
    )
    assert float(fine) < float(coarse) / 3 < 1e-6
    doubled = study.flows(TOY, [1e-2], 2, width=20, dt=0.04, settle=5.0, kept=20, output_speed=2.0)
    assert float(doubled.imbalance.max()) > 0.1


@pytest.mark.parametrize(
    "points", [TOY, generic(), random_orthogonal(2, 1, 4, 1), random_orthogonal(1, 3, 6, 2)], ids=repr
)
def test_the_closed_form_of_the_least_norm_is_the_convex_programme_s(points):
    found = least_variation_norm(points)
    assert found.lower <= points.minimum_norm * (1 + 1e-12) and points.minimum_norm <= found.norm * (1 + 1e-9)
    assert found.norm - found.lower <= 1e-8 * found.norm
    assert np.allclose(found.outputs(points.inputs.numpy()), points.labels.numpy(), atol=1e-8)
    assert np.abs(found.weights).sum() == pytest.approx(found.norm, rel=1e-8)
    # A dual point in closed form: alpha_k = y_k/(|x_k|^2 N_s), N_s the part of N* of its sign.
    squares = points.inputs.square().sum(1)
    parts = torch.where(points.positive, points.directions[0].norm(), points.directions[1].norm())
    alpha = points.labels / (squares * parts)
    anywhere = torch.randn(
        4000, points.inputs.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    values = (anywhere / anywhere.norm(dim=1, keepdim=True) @ points.inputs.mT).clamp_min(0) @ alpha
    assert float(values.abs().max()) <= 1 + 1e-12
    assert float(alpha @ points.labels) == pytest.approx(points.minimum_norm, rel=1e-12)


@pytest.mark.parametrize("points", [toy(60.0), toy(135.0), nonorthogonal_toy()], ids=["60", "135", "five"])
def test_off_orthogonality_the_programme_is_the_linear_programme_over_a_fine_circle(points):
    turn = np.linspace(0, 2 * np.pi, 7200, endpoint=False)
    features = np.maximum(points.inputs.numpy() @ np.stack([np.cos(turn), np.sin(turn)]), 0)
    circle = linprog(np.ones(2 * len(turn)), A_eq=np.hstack([features, -features]), b_eq=points.labels.numpy())
    found = least_variation_norm(points)
    assert found.lower - 1e-6 <= circle.fun <= found.norm * (1 + 5e-4)


def test_the_limit_of_the_flow_is_the_convex_programme_s():
    points = generic()
    found = study.flows(points, [1e-6, 1e-8], 2, width=200, dt=0.2, kept=40)
    over = found.half_norm - least_variation_norm(points).norm
    assert bool(study.settled(found, points).all()) and float(over.min()) > 0
    assert np.allclose(over, study.excess(found, points), atol=1e-7)
    slope = np.log(over.sel(scale=1e-6) / over.sel(scale=1e-8)) / np.log(100)
    assert float(abs(slope - points.excess_exponent).max()) < 0.05


def test_acute_angles_keep_the_norm_above_the_least_and_obtuse_ones_do_not():
    found = oblique([60.0, 120.0], [1e-3, 1e-5], 2, width=30, dt=0.1)
    assert float(found.final.max()) < 1e-8
    assert (found.excess.sel(angle=60.0) > 0.1).all() and (abs(found.excess.sel(angle=120.0, scale=1e-5)) < 1e-8).all()


def test_crossings_follow_the_rates():
    found = study.flows(TOY, [1e-6, 1e-8], 3, width=60, dt=0.05, settle=14.0, kept=100)
    for name, rate in zip(("first", "second"), TOY.rates, strict=True):
        slope = (found[name].sel(scale=1e-8) - found[name].sel(scale=1e-6)) / np.log(100)
        assert float(abs(slope * rate - 1).max()) < 0.01
    positive = Points(torch.eye(2, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64))
    single = study.flows(positive, [1e-3], 2, width=20, dt=0.1, settle=20.0, kept=10)
    assert (single.final < 1e-8).all() and bool(single.plus.any())
    assert float(abs(study.excess(single, positive)).where(single.plus).max()) < 0.1
    with pytest.raises(ValueError, match="both signs"):
        study.crossing_rates(single, positive, 0.1)
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


def test_the_time_of_alignment_is_an_event_that_follows_the_law_at_every_scale():
    found = study.alignment(generic(), [1e-5, 1e-7], 2, width=100, dt=0.05, until=14.0)
    assert float(abs(found.aligned - found.aligned_law).max()) < 5e-3
    assert float(abs(found.aligned.sel(scale=1e-5) - found.aligned.sel(scale=1e-7)).max()) < 1e-4
    assert study.alignment(generic(), [1e-5], 2, width=100, dt=0.05, until=1.0).aligned.isnull().all()


def test_the_predicted_crossing_is_the_measured_one_to_a_per_cent_and_missing_where_there_is_none():
    found = study.flows(TOY, [1e-5], 4, width=60, dt=0.05, settle=2.0, kept=10)
    network = relu_network(TOY, 60, 1e-5)
    predicted = [first_crossing_prediction(network.initial(seed), TOY, 1) for seed in range(4)]
    assert np.allclose(predicted, found["first"].isel(scale=0), rtol=0.02)
    large = {name: 1e6 * entry for name, entry in network.initial(0).items()}
    assert math.isnan(first_crossing_prediction(large, TOY, 1))
    assert math.isnan(first_crossing_prediction(relu_network(TOY, 60, 1e-5, signs="positive").initial(0), TOY, -1))


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
    found = widths([4, 16], 6, scale=1e-8)
    assert (found.fits == found.covered).all()
    assert (found.cones <= found.covered).all()


def test_every_width_has_starts_of_its_own_and_a_part_is_the_whole_s():
    both, later = widths([4, 16], 3, scale=1e-6), widths([16], 3, scale=1e-6, seed0=3)
    assert np.allclose(both.final.sel(width=16), later.final.sel(width=16), rtol=1e-9)


def test_the_explorer_follows_the_same_flow_and_compares_with_the_programme():
    found = compute(1e-4, 20, 3, 90.0, 1.0, -1.0)
    flow = study.flows(TOY, [1e-4], 1, width=20, dt=0.05, settle=14.0, seed0=3)
    assert found.losses[-1] < 1e-10 and float(flow.final.squeeze()) < 1e-10
    assert found.excess == pytest.approx(float(study.excess(flow, TOY).squeeze()), rel=0.1)
    five = five_points(scale=1.0, width=30, settle=60.0)
    assert five.loss < 1e-4 and five.excess > 0.05
    assert np.allclose(five.least.outputs(five.points.inputs.numpy()), five.points.labels.numpy(), atol=1e-7)


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
        (lambda: Points(torch.eye(2, dtype=torch.float64), torch.tensor([1.0, math.nan], dtype=torch.float64)), "finite"),
        (lambda: toy(labels=(1.0, -2.0)).require_two_phases(), "must differ"),
        (lambda: toy(labels=(1.0, 2.0)).require_two_phases(), "both signs"),
        (lambda: relu_network(TOY, 1), "width"),
        (lambda: relu_network(TOY, 5, 0.0), "scale"),
        (lambda: relu_network(TOY, 5, 1e-3, activation="tanh"), "activation"),
        (lambda: require_step(10 * largest_step(TOY), TOY), "dt must be in"),
        (lambda: study.flows(TOY, [1e-2], 1, width=5, dt=0.05, integrator="midpoint"), "integrator must be one of"),
        (lambda: least_variation_norm(random_orthogonal(6, 6, 12)), "at most 10"),
        (
            lambda: least_variation_norm(
                Points(torch.ones(2, 2, dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64), orthogonal=False)
            ),
            "interpolable",
        ),
    ],
)  # fmt: skip
def test_what_the_theorem_does_not_cover_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_nearly_orthogonal_data_keep_their_teacher():
    points = high_dimension(n=12, d=40)
    assert points.inputs.shape == (12, 40) and not points.orthogonal
