"""Attacks: exact on linear models, never outside ball and box, no weaker with more effort, equal to loops written anew."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn
from torch.nn import functional

from workbench import draws
from workbench.problems import attacks, networks

POINTS = draws.uniform(0, (12, 8))
POINTS[:, :3] = 0  # at the box's edge, as the background of digits
SLOPES = draws.normal(1, (12, 8))


def linear(points):
    return (points * SLOPES).sum(-1)


def best_in_ball_and_box(point, slope, radius):
    """The maximum of slope * d over |d| <= radius and the box, by bisection on the ball's multiplier."""
    low, high = 0.0, 1e9
    for _ in range(300):
        scale = (low + high) / 2
        cut = np.clip(scale * slope, -point, 1 - point)
        low, high = (scale, high) if np.linalg.norm(cut) <= radius else (low, scale)
    return float(slope @ np.clip(low * slope, -point, 1 - point))


def small_network(seed=0, features=8):
    # smooth, so that it has no kinks between a solver and its optimum
    net = nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    return networks.initialise(net, seed)


def loss_of(net, targets):
    return lambda points: functional.cross_entropy(net(points), targets, reduction="none")


@pytest.mark.parametrize("radius", [0.01, 0.3, 0.9, 5.0])
def test_exact_on_linear_models(radius):
    for found in (
        attacks.one_step(linear, POINTS, radius),
        attacks.pgd(linear, POINTS, radius, steps=10, step_size=10 * radius).inputs,
    ):
        wanted = [best_in_ball_and_box(x, w, radius) for x, w in zip(POINTS.numpy(), SLOPES.numpy(), strict=True)]
        assert torch.allclose(linear(found - POINTS), torch.tensor(wanted, dtype=torch.float64), atol=1e-6, rtol=0)
    # Without a box the dual norms: radius * |w|_2 and radius * |w|_1.
    free = attacks.one_step(linear, POINTS, radius, box=None)
    assert torch.allclose(linear(free - POINTS), radius * SLOPES.norm(dim=1), atol=1e-12)
    free = attacks.pgd(linear, POINTS, radius, "linf", box=None).values - linear(POINTS)
    assert torch.allclose(free, radius * SLOPES.abs().sum(1), atol=1e-12)
    boxed = attacks.pgd(linear, POINTS, radius, "linf").inputs
    wanted = torch.where(SLOPES > 0, torch.minimum(POINTS + radius, torch.ones(())), (POINTS - radius).clamp(min=0))
    assert torch.allclose(boxed, wanted, atol=1e-12)


def test_a_step_of_the_radius_is_cut_at_the_box():
    found = attacks.one_step(linear, POINTS, 0.4, step_size=0.4)
    wanted = (POINTS + 0.4 * SLOPES / SLOPES.norm(dim=1, keepdim=True)).clamp(0, 1)
    assert torch.allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_never_outside_ball_and_box(norm, dtype):
    net, points = small_network().to(dtype), POINTS.to(dtype)
    objective = loss_of(net, torch.arange(12) % 3)
    for radius in (0.0, 1e-3, 0.2, 3.0):
        found = [
            attacks.one_step(objective, points, radius, norm),
            attacks.one_step(objective, points, radius, norm, step_size=0.7 * radius),
            attacks.pgd(objective, points, radius, norm, steps=5, starts=3).inputs,
            attacks.pgd(objective, points, radius, norm, steps=3, step_size=7.0, warm=points.flip(0)).inputs,
        ]
        for inputs in found:
            assert inputs.min() >= 0 and inputs.max() <= 1
            moved = inputs - points
            length = moved.norm(dim=1) if norm == "l2" else moved.abs().amax(1)
            assert (length <= radius * (1 + 1e-6) + 2**-23).all()
        if radius == 0:
            assert torch.equal(found[2], points)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_more_starts_and_larger_radii_never_find_less(norm):
    objective = loss_of(small_network(), torch.arange(12) % 3)
    values = [attacks.pgd(objective, POINTS, 0.4, norm, starts=starts, seed=3).values for starts in (1, 2, 5)]
    assert (values[1] >= values[0]).all() and (values[2] >= values[1]).all()
    smaller = None
    before = objective(POINTS).detach()
    for radius in (0.1, 0.2, 0.5, 1.0):
        found = attacks.pgd(objective, POINTS, radius, norm, warm=smaller)
        assert (found.values >= before).all()
        assert torch.allclose(found.values, objective(found.inputs).detach())
        smaller, before = found.inputs, found.values


def test_no_gradient_masking_on_networks_and_masking_is_seen():
    objective = loss_of(small_network(), torch.arange(12) % 3)
    for norm in ("l2", "linf"):
        rungs = [float(value) for value in attacks.ladder(objective, POINTS, 0.3, norm).values()]
        clean, random, step, projected, longer, starts = rungs
        assert max(clean, random) < step <= projected + 1e-9 and starts >= projected and longer >= projected - 1e-3

    def masked(points):  # steps of 1/64: no slope anywhere, so that a random direction does better
        return linear((64 * points).round() / 64 + 0 * points)

    rungs = attacks.ladder(masked, POINTS, 0.3)
    assert rungs["one step"] == rungs["clean"] and rungs["three starts"] > rungs["projected"]


def test_near_the_optimum_that_a_solver_finds():
    net, targets = small_network(), torch.arange(12) % 3
    found = attacks.pgd(loss_of(net, targets), POINTS, 0.3, steps=100, starts=3).values
    for k in (0, 5, 11):
        point = POINTS[k]

        def negative(move, point=point, k=k):
            moved = torch.tensor(move, requires_grad=True)
            value = functional.cross_entropy(net(point + moved), targets[k])
            (slope,) = torch.autograd.grad(value, moved)
            return -value.item(), -slope.numpy()

        ball = {"type": "ineq", "fun": lambda d: 0.09 - d @ d, "jac": lambda d: -2 * d}
        bounds = list(zip(-point.numpy(), 1 - point.numpy(), strict=True))
        solved = minimize(negative, np.zeros(8), jac=True, method="SLSQP", bounds=bounds, constraints=[ball])
        assert found[k] == pytest.approx(-solved.fun, abs=1e-3)


def test_agrees_with_a_loop_written_anew():
    net, targets = small_network(), torch.arange(12) % 3
    found = attacks.pgd(loss_of(net, targets), POINTS, 0.1, "linf", steps=7).values
    for k in range(12):
        x, best = POINTS[k].clone(), -math.inf
        for step in range(8):
            x.requires_grad_()
            loss = functional.cross_entropy(net(x), targets[k])
            best = max(best, loss.item())
            (slope,) = torch.autograd.grad(loss, x)
            if step < 7:
                x = (x.detach() + 2.5 * 0.1 / 7 * slope.sign()).clamp(POINTS[k] - 0.1, POINTS[k] + 0.1).clamp(0, 1)
        assert found[k].item() == pytest.approx(best, abs=1e-12)


def test_many_networks_at_once_are_the_networks_alone():
    net = networks.StackedMLP((8, 6, 3), batch_norm=False)
    parameters = net.initial([0, 1, 2], torch.float64)
    targets = functional.one_hot(torch.arange(12) % 3, 3).double()
    radii = torch.tensor([0.1, 0.4, 0.0], dtype=torch.float64)[:, None]

    def objective(points, nets=slice(None)):
        chosen = {name: value[nets] for name, value in parameters.items()}
        return networks.sample_cross_entropy(net.forward(chosen, points), targets.expand(len(points), 12, 3))

    stacked = POINTS.expand(3, 12, 8)
    together = attacks.one_step(objective, stacked, radii)
    for k in range(3):
        alone = attacks.one_step(lambda x, k=k: objective(x, slice(k, k + 1)), stacked[:1], float(radii[k]))
        assert torch.allclose(together[k], alone[0], atol=1e-12)


def test_a_vanishing_gradient_moves_nothing_and_tiny_ones_their_full_length():
    flat = attacks.one_step(lambda x: 0 * x.sum(-1), POINTS, 0.5)
    assert torch.equal(flat, POINTS)
    for scale in (1e-30, 1e30):
        tiny = attacks.one_step(
            lambda x, scale=scale: scale * linear(x.double()).float(), POINTS.float(), 0.1, box=None
        )
        assert torch.allclose((tiny - POINTS.float()).norm(dim=1), torch.full((12,), 0.1), rtol=1e-4)


def test_layer_steps_are_the_gradients_at_inputs_and_hidden_values():
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    networks.initialise(net, 2)
    targets, layers = torch.arange(12) % 3, networks.hidden_layers(net)
    objective = loss_of(net, targets)
    perturbed, steps = attacks.layer_step(net, layers, objective, POINTS, [0.3, 0.2, 0.1])
    assert torch.equal(perturbed, attacks.one_step(objective, POINTS, 0.3, step_size=0.3))
    taps = [torch.zeros(12, width, dtype=torch.float64, requires_grad=True) for width in (6, 5)]
    hidden = net[1](net[0](POINTS)) + taps[0]
    outputs = net[4](net[3](net[2](hidden)) + taps[1])
    slopes = torch.autograd.grad(functional.cross_entropy(outputs, targets, reduction="sum"), taps)
    for step, slope, radius in zip(steps, slopes, (0.2, 0.1), strict=True):
        assert torch.allclose(step, radius * slope / slope.norm(dim=1, keepdim=True).clamp(min=1e-300), atol=1e-12)
    with attacks.perturbed_layers(layers, steps):
        raised = objective(perturbed)
    assert (raised > objective(POINTS)).all() and torch.equal(objective(POINTS), objective(POINTS))
    assert all(parameter.requires_grad for parameter in net.parameters())
    alone, none = attacks.layer_step(net, layers, objective, POINTS, [0.3, 0.0, 0.0])
    assert torch.equal(alone, perturbed) and all(not step.any() for step in none)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: attacks.one_step(linear, 255 * POINTS, 0.1), "divide bytes by 255"),
        (lambda: attacks.one_step(linear, POINTS.long(), 0.1, box=None), "floating-point"),
        (lambda: attacks.one_step(linear, POINTS, -0.1), "radius"),
        (lambda: attacks.one_step(linear, POINTS, 0.1, "l1"), "norm must be one of l2, linf"),
        (lambda: attacks.one_step(lambda x: linear(x).mean(), POINTS, 0.1), "one value per sample"),
        (lambda: attacks.one_step(lambda x: x, POINTS, 0.1), "one value per sample"),
        (lambda: attacks.pgd(linear, POINTS, 0.1, steps=0), "steps"),
        (lambda: attacks.pgd(linear, POINTS, 0.1, starts=0), "starts"),
        (lambda: attacks.pgd(linear, POINTS, 0.1, step_size=0.0), "step_size"),
        (lambda: attacks.pgd(linear, POINTS, 0.1, warm=POINTS[:3]), "warm"),
        (lambda: attacks.layer_step(nn.Identity(), [], linear, POINTS, [0.1, 0.1]), "radii needs"),
        (lambda: attacks.layer_step(nn.Identity(), [nn.ReLU()], linear, POINTS, [0.1, 0.1]), "ran 0 times"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_warm_start_alone_does_not_try_the_inputs_first():
    # Two hills: the zero start climbs the near one; the given start is on the far one.
    inputs, far = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 0.8, dtype=torch.float64)

    def objective(x):
        return (torch.exp(-50 * (x - 0.2) ** 2) + 2 * torch.exp(-50 * (x - 0.9) ** 2)).sum(-1)

    both = attacks.pgd(objective, inputs, 1.0, "linf", steps=30, step_size=0.01, warm=far, box=None)
    alone = attacks.pgd(objective, inputs, 1.0, "linf", steps=30, step_size=0.01, warm=far, starts=0, box=None)
    zero = attacks.pgd(objective, inputs, 1.0, "linf", steps=30, step_size=0.01, box=None)
    assert abs(alone.inputs - 0.9) < 0.011 and torch.equal(alone.inputs, both.inputs)
    assert abs(zero.inputs - 0.2) < 0.011
    with pytest.raises(ValueError, match="starts"):
        attacks.pgd(objective, inputs, 1.0, "linf", starts=0, box=None)
