"""Eigenvalues followed along matrices with known spectra: errors, residuals, products, and independence of company."""

import itertools
import math

import pytest
import torch

from workbench import curvature, memory
from workbench.curvature import Tracker
from workbench.curvature.products import HVPOperator

SIZE, STEPS = 80, 90
GENERATOR = torch.Generator().manual_seed(0)
BULK = torch.rand(SIZE, generator=GENERATOR, dtype=torch.float64) * 0.6 - 0.1
TURN = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=GENERATOR, dtype=torch.float64))[0]


def operator(matrix, counted=None):
    def product(vector):
        if counted is not None:
            counted.append(1)
        return matrix @ vector

    return HVPOperator(product, lambda: matrix[0], len(matrix), matrix.dtype, matrix.device)


def crossing(h, t):
    h[0], h[3] = 10, 5 + 0.1 * t


def crossing_of_three(h, t):
    h[0], h[1], h[2], h[3] = 10, 9 + 0.03 * t, 8 + 0.06 * t, 6 + 0.1 * t


def rise_from_the_bulk(h, t):
    h[0], h[1], h[57] = 10, 8, 0.3 + 0.2 * t


def jump_in_an_unseen_direction(h, t):
    h[0], h[1], h[57] = 10, 6, 0.2 if t < 41 else 20


def jump_to_other_vectors(h, t):
    i = 0 if t < 33 else 70 if t < 61 else 5
    h[i], h[i + 1] = 10, 7


def drop_of_the_largest(h, t):
    h[0], h[1], h[2], h[9] = 10 if t < 50 else 2, 6, 5.5, 5


def jump_in_scale(h, t):
    h[0], h[1] = 10, 7
    h *= 1 if t < 30 else 100 if t < 60 else 1e-3


CONSTRUCTED = [
    crossing,
    crossing_of_three,
    rise_from_the_bulk,
    jump_in_an_unseen_direction,
    jump_to_other_vectors,
    drop_of_the_largest,
    jump_in_scale,
]


def spectra(change):
    for t in range(STEPS):
        h = BULK.clone()
        change(h, t)
        yield h


def turning(degrees):
    """The eigenvector of the largest eigenvalue turns in a plane, by so much a step."""
    h = BULK.clone()
    h[0], h[1] = 10, 9
    for t in range(STEPS):
        angle = math.radians(degrees * t)
        plane = torch.eye(SIZE, dtype=torch.float64)
        plane[0, 0] = plane[9, 9] = math.cos(angle)
        plane[0, 9], plane[9, 0] = -math.sin(angle), math.sin(angle)
        yield plane @ torch.diag(h) @ plane.mT


def followed(matrices, seed=0, k=1):
    tracker, found, truths = Tracker(k, seed=seed), [], []
    for matrix in matrices:
        found.append(tracker.of(operator(matrix)))
        truths.append(torch.linalg.eigvalsh(matrix).flip(0))
    return found, torch.stack(truths)


def errors(found, truths):
    values = torch.stack([one.values for one in found])
    wanted = truths[:, : values.shape[1]]
    return ((values - wanted) / wanted).abs().amax(1)


@pytest.mark.parametrize("change", CONSTRUCTED, ids=lambda change: change.__name__)
@pytest.mark.parametrize("turned", [False, True])
def test_no_constructed_jump_or_crossing_is_missed_at_four_products_a_step(change, turned):
    matrices = (TURN @ torch.diag(h) @ TURN.mT if turned else torch.diag(h) for h in spectra(change))
    found, truths = followed(matrices)
    off = errors(found, truths)[1:]
    assert off.median() < 0.01 and off.amax() < 0.05
    assert torch.stack([one.products for one in found[1:]]).double().mean() <= 4


@pytest.mark.parametrize("degrees", [3, 15])
def test_a_turning_eigenvector_is_followed(degrees):
    found, truths = followed(turning(degrees))
    assert errors(found, truths).amax() < 0.01
    assert torch.stack([one.products for one in found[1:]]).double().mean() <= 4


def test_several_eigenvalues_are_followed_through_their_crossings():
    found, truths = followed((torch.diag(h) for h in spectra(crossing_of_three)), k=4)
    off = errors(found, truths)[1:]
    assert off.median() < 0.01 and off.amax() < 0.05
    assert torch.stack([one.products for one in found[1:]]).double().mean() <= 4 + 3


def network():
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise((5, 8, 8, 3))]
    model = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1], torch.nn.Tanh(), layers[2]).double()
    inputs = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    targets = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    return curvature.empirical_loss(model, torch.nn.functional.mse_loss, inputs, targets)


def test_a_network_at_the_edge_of_stability_with_a_jump_to_other_weights():
    loss = network()
    weights = loss.parameters()
    noise = torch.Generator().manual_seed(1)
    tracker, off, products, bounds = Tracker(), [], [], []
    for step in range(60):
        if step == 40:
            weights = {n: w + 0.4 * torch.randn(w.shape, generator=noise, dtype=w.dtype) for n, w in weights.items()}
        found = tracker(loss, weights)
        spectrum = curvature.spectrum(loss, weights)
        off.append(abs(float(found.values[0] / spectrum[-1]) - 1))
        products.append(float(found.products))
        bounds.append(float((spectrum - found.values[0]).abs().min() - found.residuals[0]))
        gradient = torch.func.grad(loss)(weights)
        weights = {name: weights[name] - (1.0 if step < 40 else 0.25) * gradient[name] for name in weights}
    off = torch.tensor(off[1:])
    assert off.median() < 0.01 and off.amax() < 0.05
    assert sum(products[1:]) / len(products[1:]) <= 4
    assert max(bounds) <= 1e-10


def test_an_eigenvalue_lies_within_each_residual_and_products_are_counted():
    counted, tracker = [], Tracker(3)
    for h in spectra(crossing_of_three):
        matrix = TURN @ torch.diag(h) @ TURN.mT
        before = len(counted)
        found = tracker.of(operator(matrix, counted))
        assert len(counted) - before == int(found.products)
        nearest = (h[:, None] - found.values).abs().amin(0)
        assert (nearest <= found.residuals + 1e-12).all()


def test_cold_checks_come_at_every_so_many_evaluations_and_follow_the_seed():
    matrix = torch.diag(BULK + torch.nn.functional.one_hot(torch.tensor(4), SIZE) * 9)

    def searches(seed):
        tracker = Tracker(seed=seed, check_every=7)
        return [tracker.of(operator(matrix)) for _ in range(22)]

    first, again, other = searches(1), searches(1), searches(2)
    assert all(bool(first[at].searched) for at in (0, 7, 14, 21))
    assert all(torch.equal(one.values, two.values) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0].residuals, other[0].residuals)


def test_many_runs_at_once_are_the_single_runs():
    matrices = [torch.stack([torch.diag(h) for h in spectra(change)][25:55]) for change in CONSTRUCTED[:5]]
    stacked, seeds = torch.stack(matrices, 1), torch.arange(5)

    def run(sequence, seed):
        tracker = Tracker(seed=seed)
        found = [tracker.of(operator(matrix)) for matrix in sequence]
        return tuple(torch.stack([getattr(one, name) for one in found]) for name in ("values", "residuals", "products"))

    together = torch.func.vmap(run, (1, 0))(stacked, seeds)
    for number, seed in enumerate(seeds):
        alone = run(stacked[:, number], seed)
        torch.testing.assert_close(together[0][number], alone[0], rtol=1e-11, atol=1e-11)
        assert torch.equal(together[2][number], alone[2])


def test_a_diagonal_preconditioner_and_a_shift():
    root = 0.5 + torch.rand(SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    matrix = TURN @ torch.diag(BULK) @ TURN.mT + 5 * torch.outer(TURN[0], TURN[0])
    tracker = Tracker(2)
    found = [tracker.of(operator(matrix), root, 0.3) for _ in range(4)][-1]
    wanted = torch.linalg.eigvalsh(root[:, None] * (matrix + 0.3 * torch.eye(SIZE)) * root).flip(0)[:2]
    torch.testing.assert_close(found.values, wanted, rtol=0.01, atol=0)


def test_the_preconditioner_may_have_the_form_of_the_parameters():
    loss = network()
    weights = loss.parameters()
    root = {name: 0.5 + entry.abs() for name, entry in weights.items()}
    scaled = torch.cat([entry.reshape(-1) for entry in root.values()])
    matrix = scaled[:, None] * curvature.hessian(loss, weights) * scaled
    found = Tracker()(loss, weights, root=root)
    torch.testing.assert_close(found.values[0], torch.linalg.eigvalsh(matrix)[-1], rtol=0.005, atol=0)


@pytest.mark.parametrize(("scale", "dtype"), [(1e-30, torch.float32), (1e25, torch.float32), (1e-200, torch.float64)])
def test_hessians_whose_squares_leave_the_range_of_their_dtype(scale, dtype):
    matrix = (TURN @ torch.diag(BULK) @ TURN.mT + 5 * torch.outer(TURN[0], TURN[0])).to(dtype)
    tracker, plain = Tracker(), Tracker()
    for _ in range(3):
        found, usual = tracker.of(operator(matrix * scale)), plain.of(operator(matrix))
        torch.testing.assert_close(found.values / scale, usual.values, rtol=1e-3, atol=0)


def test_zero_matrices_and_a_few_parameters():
    nothing = torch.zeros(30, 30, dtype=torch.float64)
    tracker = Tracker()
    for _ in range(3):
        found = tracker.of(operator(nothing))
        assert float(found.values[0]) == 0 and float(found.residuals[0]) == 0
    small = torch.diag(torch.tensor([3.0, -7.0, 1.0], dtype=torch.float64))
    found = Tracker(2).of(operator(small))
    assert found.values.tolist() == [3.0, 1.0] and int(found.products) == 3
    plain = torch.diag(torch.arange(12, dtype=torch.float64))
    tracker = Tracker(10)
    for _ in range(3):
        torch.testing.assert_close(
            tracker.of(operator(plain)).values, torch.arange(11.0, 1, -1).double(), rtol=0.01, atol=0
        )


def test_after_a_point_that_is_not_finite_the_next_one_is_found():
    matrix = torch.diag(BULK + torch.nn.functional.one_hot(torch.tensor(4), SIZE) * 9)
    tracker = Tracker()
    tracker.of(operator(matrix))
    assert tracker.of(operator(matrix * math.nan)).values.isnan().all()
    found = tracker.of(operator(matrix))
    torch.testing.assert_close(found.values[0], torch.linalg.eigvalsh(matrix)[-1], rtol=0.005, atol=0)
    fresh = Tracker()
    assert fresh.of(operator(matrix * math.nan)).values.isnan().all()
    torch.testing.assert_close(
        fresh.of(operator(matrix)).values[0], torch.linalg.eigvalsh(matrix)[-1], rtol=0.005, atol=0
    )


def test_refusals():
    def square(x):
        return x.square().sum()

    with pytest.raises(ValueError, match="k"):
        Tracker(0)
    with pytest.raises(ValueError, match="check_every"):
        Tracker(check_every=0)
    with pytest.raises(ValueError, match="at most the number of parameters, 3"):
        Tracker(4)(square, torch.ones(3))
    with pytest.raises(ValueError, match="half precision"):
        Tracker()(square, torch.ones(30, dtype=torch.float16))
    tracker = Tracker()
    tracker(square, torch.ones(30))
    with pytest.raises(ValueError, match="a tracker for each network"):
        tracker(square, torch.ones(40))
    with memory.sharing(1, 1000.0), pytest.raises(memory.OutOfBudget, match="vectors of 30 parameters"):
        Tracker()(square, torch.ones(30))
