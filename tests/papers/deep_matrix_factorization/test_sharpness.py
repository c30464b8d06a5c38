"""Exact sharpness against the whole Hessian, flat minima, identities, and gradient descent near minimisers (arXiv:2509.25783)."""

import math

import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.papers.deep_matrix_factorization import escape, leaving, study
from workbench.papers.deep_matrix_factorization.explorer import STEPS, compute
from workbench.papers.deep_matrix_factorization.minimisers import (
    flat_minimiser,
    gauge_transform,
    misaligned_pair,
    random_minimiser,
    unbalanced_flat_triple,
)
from workbench.papers.deep_matrix_factorization.sharpness import (
    balance,
    depth_two_excess,
    exact_sharpness,
    flattest_sharpness,
    rounding,
    sharpness_matrix,
    step_size_ceiling,
    upper_bound,
)
from workbench.problems.factorised.deep_linear import deep_linear, end_to_end


def named(layers):
    return {f"W{i + 1}": layer for i, layer in enumerate(layers)}


def spectrum(layers, target):
    problem = deep_linear(target, [layer.shape[0] for layer in layers[:-1]])
    return wb.curvature.spectrum(problem.loss, named(layers))


def rectangular(depth, widths):
    """Hidden widths that differ from layer to layer."""
    return [widths[i % len(widths)] for i in range(depth - 1)]


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("shape", [(1, 1, (3, 1, 2)), (3, 1, (4, 3)), (2, 4, (5, 4, 6)), (4, 4, (5, 4))])
@pytest.mark.parametrize("rank", [None, 1, 0])
def test_the_whole_hessian_has_twice_the_eigenvalues_of_k(depth, shape, rank):
    d0, d1, widths = shape
    target = draws.normal(depth, (d1, d0))
    if rank is not None:
        left, values, right = torch.linalg.svd(target, full_matrices=False)
        target = left[:, :rank] @ torch.diag(values[:rank]) @ right[:rank]
    layers = random_minimiser(target, rectangular(depth, widths), depth // 2, seed=3)
    assert torch.allclose(end_to_end(layers), target, atol=1e-10)
    whole = spectrum(layers, target).sort(descending=True).values
    own = 2 * torch.linalg.eigvalsh(sharpness_matrix(layers)).flip(0)
    kept = min(len(whole), len(own))
    assert torch.allclose(whole[:kept], own[:kept], rtol=0, atol=1e-10 * float(own[0]))
    assert float(whole[0]) == pytest.approx(float(exact_sharpness(layers)[0]), rel=1e-10)
    assert float(abs(whole[0] - own[0])) <= float(rounding(layers))
    assert whole[kept:].abs().max() < 1e-10 * own[0] if kept < len(whole) else True
    assert float(flattest_sharpness(target, depth)) <= float(own[0]) * (1 + 1e-12)
    assert float(own[0]) <= float(upper_bound(layers)) * (1 + 1e-12)


@pytest.mark.parametrize("depth", [2, 3, 5])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_flat_minimisers_of_rank_deficient_targets(depth, rank):
    target = draws.normal(depth, (3, rank)) @ draws.normal(7, (rank, 4))
    layers = flat_minimiser(target, [3, 2, 4, 2][: depth - 1], seed=2)
    assert torch.allclose(end_to_end(layers), target, atol=1e-12)
    whole, least = spectrum(layers, target), float(flattest_sharpness(target, depth))
    assert float(whole.max()) == pytest.approx(least, rel=1e-10, abs=1e-300)
    value, direction = exact_sharpness(layers)
    assert float(value) == pytest.approx(least, rel=1e-10, abs=1e-300)
    assert sum(float(part.square().sum()) for part in direction) == pytest.approx(1, abs=1e-12)
    assert float(rounding(layers)) >= 0
    assert rank == 0 or step_size_ceiling(target, depth) * least == pytest.approx(2)


def test_the_rounding_error_is_the_spec_s_sum():
    layers = [draws.normal(i, (3, 3)) for i in range(4)]
    norms = [float(torch.linalg.matrix_norm(layer, 2)) for layer in layers]
    p, u = math.prod(norms), 2.0**-52
    own = 36 * u * 2 * sum((p / norm) ** 2 for norm in norms)
    mixed = 4 * 3 * u * p * 2 * sum(p / (norms[i] * norms[j]) for i in range(4) for j in range(4) if i != j)
    assert float(rounding(layers)) == pytest.approx(own + mixed, rel=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_enough_rank_the_formula_stays_exact_at_depth_two_only(seed):
    """A hidden width below the rank of M: best approximations M_k = P Q, with a residual, through random gauges."""
    target = draws.normal(seed, (5, 4))
    left, values, right = torch.linalg.svd(target, full_matrices=False)
    gauge = draws.normal(seed, (2, 2), stream="gauge") + 2 * torch.eye(2, dtype=torch.float64)
    second, first = left[:, :2] @ torch.diag(values[:2]) @ gauge, torch.linalg.inv(gauge) @ right[:2]
    whole = float(spectrum([first, second], target).max())
    assert float(deep_linear(target, [2]).loss(named([first, second]))) == pytest.approx(
        float(values[2:].square().sum())
    )
    assert float(exact_sharpness([first, second])[0]) == pytest.approx(whole, rel=1e-10)
    deeper = [first, *random_minimiser(second, [5], 0, seed=seed)]
    assert float(spectrum(deeper, target).max()) > float(exact_sharpness(deeper)[0]) * (1 + 1e-9)


def test_the_top_eigenvector_is_one():
    target = draws.normal(4, (3, 2))
    layers = random_minimiser(target, [4, 3], 1, seed=2)
    value, direction = exact_sharpness(layers)
    problem, point = deep_linear(target, [4, 3]), named(layers)
    product = wb.curvature.hessian_vector_product(problem.loss, point, named(direction))
    for name, part in named(direction).items():
        assert torch.allclose(product[name], value * part, atol=1e-9 * float(value))
    assert sum(float(part.square().sum()) for part in direction) == pytest.approx(1, abs=1e-12)


def test_a_batch_is_its_members():
    target = draws.normal(4, (3, 3))
    one, two = (random_minimiser(target, [4, 4], i, seed=i) for i in (0, 2))
    both = [torch.stack(pair) for pair in zip(one, two, strict=True)]
    for function in (lambda layers: exact_sharpness(layers)[0], upper_bound, rounding):
        assert torch.allclose(function(both), torch.stack([function(one), function(two)]), rtol=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_flat_minimisers_attain_the_least_sharpness_with_unequal_frobenius_norms(depth):
    target = draws.normal(depth, (3, 3))
    layers = flat_minimiser(target, [5] * (depth - 1), seed=1)
    assert torch.allclose(end_to_end(layers), target, atol=1e-10)
    assert float(exact_sharpness(layers)[0]) == pytest.approx(float(flattest_sharpness(target, depth)), rel=1e-11)
    assert float(upper_bound(layers)) == pytest.approx(float(flattest_sharpness(target, depth)), rel=1e-11)
    norms = torch.stack([layer.norm() for layer in layers])
    assert norms.std() > 1e-4
    equal = flat_minimiser(target, [5] * (depth - 1), seed=1, split="equal")
    assert torch.stack([layer.norm() for layer in equal]).std() < 1e-12
    tilted = flat_minimiser(target, [5] * (depth - 1), seed=1, top_split=0.1)
    assert float(exact_sharpness(tilted)[0]) > float(flattest_sharpness(target, depth)) * 1.001


def test_depth_two_identity_and_its_counterexamples():
    target = draws.normal(1, (3, 3))
    layers = random_minimiser(target, [5], 0, seed=5)
    excess = float(exact_sharpness(layers)[0]) - 4 * float(torch.linalg.matrix_norm(target, 2))
    assert float(depth_two_excess(layers, target)) == pytest.approx(excess, rel=1e-10)
    for k in (0.5, 1.0, 3.0):
        pair, one = misaligned_pair(k)
        norms = [torch.linalg.matrix_norm(layer, 2) for layer in pair]
        assert norms[0] == norms[1] and torch.equal(end_to_end(pair), one)
        assert float(exact_sharpness(pair)[0]) / 4 - 1 == pytest.approx(k * k, rel=1e-12)


def test_balance_is_not_necessary_at_depth_three():
    layers, target = unbalanced_flat_triple()
    assert sorted(balance(layers).tolist()) == pytest.approx([1.0, 1.0, 1.1])
    assert float(exact_sharpness(layers)[0]) == pytest.approx(6, rel=1e-12)
    assert float(flattest_sharpness(target, 3)) == pytest.approx(6, rel=1e-12)


def test_the_gauge_path_is_least_sharp_at_spectral_balance():
    target = draws.normal(2, (3, 3))
    layers = random_minimiser(target, [4], 0, seed=0)
    a, b = (float(torch.linalg.matrix_norm(layer, 2)) for layer in layers)
    for g in (0.5, 1.0, 1.7):
        assert float(exact_sharpness(gauge_transform(layers, g))[0]) == pytest.approx(
            2 * (g * g * b * b + a * a / g**2), rel=1e-11
        )


@pytest.mark.parametrize("c", [0.5, 0.9, 0.99, 1.01, 1.1, 1.5])
def test_growth_along_the_top_eigenvector(c):
    found = leaving.growth([2, 3], [c], 4)
    assert (abs(found.limit - abs(2 * c - 1)) <= found.computed).all()
    assert float(found.computed.max()) < 1e-3
    still = leaving.growth([2], [c], 4, direction="gauge")
    assert (abs(still.limit - 1) < 1e-4).all()


def test_the_edge_lies_between_a_step_that_stays_and_one_that_leaves():
    """2/lambda_max to the resolution of the step size, on both sides, for every minimiser, at several resolutions and seeds."""
    for resolution, seed0 in ((1e-2, 0), (1e-5, 50)):
        found = leaving.edge([2, 3, 5], 4, resolution=resolution, seed0=seed0)
        assert (found.stays <= 1).all() and (found.leaves >= 1).all()
        assert float((found.leaves - found.stays).max()) <= resolution
    along = leaving.edge([2], 4, resolution=1e-2, direction="gauge")
    assert ((along.stays > 1) | (along.leaves < 1)).any()


def test_a_run_a_little_inside_the_edge_stays_and_a_little_outside_leaves():
    """Straight from automatic differentiation: gradient descent on the loss with a step size 1e-3 below and above 2/lambda."""
    target = draws.normal(3, (3, 2))
    layers = random_minimiser(target, [4, 3], 1, seed=1, spread=0.2, null_scale=0.3)
    problem, point = deep_linear(target, [4, 3]), named(layers)
    value, top = exact_sharpness(layers)
    for c in (1 - 1e-3, 1 + 1e-3):
        x = {name: point[name] + 1e-7 * part for name, part in named(top).items()}
        for _ in range(400):
            slope = torch.func.grad(problem.loss)(x)
            x = {name: x[name] - 2 * c / float(value) * slope[name] for name in x}
        away = sum(float(((x[name] - point[name]) * part).sum()) for name, part in named(top).items())
        assert abs(away) / 1e-7 == pytest.approx(abs(2 * c - 1) ** 400, rel=0.05)


def test_who_stays_and_who_leaves():
    found = leaving.escapes([2], [0.9, 1.05], [1e-3, 1e-6], 4, 600)
    assert (found.furthest.sel(c=0.9) <= found.start.sel(c=0.9) * (1 + 1e-9)).all()
    assert (found.final.sel(c=1.05) > 10 * found.start.sel(c=1.05)).all()
    landed = found.stability.where(found.converged & found.escaped)
    assert float(landed.max()) <= 1
    ratio = found.final.sel(c=1.05, eps=1e-3) / found.final.sel(c=1.05, eps=1e-6)
    assert float(abs(ratio - 1).max()) < 0.2


def test_the_ceiling_of_the_step_size():
    target = torch.diag(torch.tensor([2.0, 0.5], dtype=torch.float64))
    assert step_size_ceiling(target, 3) == pytest.approx(1 / (3 * 2 ** (4 / 3)))
    found = leaving.ceiling([2], [0.9, 1.03], 8, 1500).converged.mean("seed")
    assert float(found.sel(ratio=1.03).max()) == 0 and float(found.sel(ratio=0.9).min()) > 0


def test_a_run_that_blows_up_is_data():
    layers = [torch.full((1, 2, 2), 3.0, dtype=torch.float64) for _ in range(3)]
    done = escape.descend(layers, torch.eye(2, dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64), 60)
    assert not done.converged.any() and not math.isfinite(float(done.distance[-1]))
    assert done.stability(torch.tensor([1.0], dtype=torch.float64)).isnan().all()


def test_whole_hessians_and_narrow_layers_are_refused_in_words():
    with pytest.raises(ValueError, match="parameters; the whole Hessian"):
        study.exactness([6], [(10, 10, 40)], 2)
    with pytest.raises(ValueError, match="widths must be >= max"):
        random_minimiser(torch.eye(3, dtype=torch.float64), [2], 0)
    with pytest.raises(ValueError, match="rank 3"):
        flat_minimiser(torch.eye(3, dtype=torch.float64), [2])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: random_minimiser(torch.ones(1, 1, dtype=torch.float64), [], 0), "at least one hidden layer"),
        (lambda: random_minimiser(torch.ones(1, 1, dtype=torch.float64), [2], 2), "layer must be in"),
        (lambda: random_minimiser(torch.ones(1, 1, dtype=torch.float64), [2], -1), "layer must be in"),
        (lambda: random_minimiser(torch.ones(1, 1, dtype=torch.float64), [2], 0, spread=-1.0), "spread"),
        (lambda: flat_minimiser(torch.ones(1, 1, dtype=torch.float64), [2], split="half"), "split must be"),
        (lambda: flattest_sharpness(torch.ones(1, 1, dtype=torch.float64), 1), "L must be"),
        (lambda: depth_two_excess([torch.ones(1, 1)] * 3, torch.ones(1, 1)), "must be two"),
        (lambda: leaving.escapes([2], [0.0], [1e-3], 2, 60), "c must be"),
        (lambda: leaving.escapes([2], [0.9], [1.0], 2, 60), "eps must be"),
        (lambda: leaving.growth([2], [0.9], 2, eps=0.0), "eps must be"),
        (lambda: leaving.edge([2], 2, resolution=0.0), "resolution must be"),
        (lambda: compute(g=0.0), "needs g > 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_an_escape_that_has_no_time_to_happen_is_refused_by_the_card():
    card = wb.card("deep-matrix-factorization")
    with pytest.raises(ValueError, match="escape_steps is too small"):
        card.parameters({"escape_steps": 300})


@pytest.mark.parametrize(("g", "k", "c"), [(1.5, 0.5, 1.05), (0.4, 2.0, 0.8), (1.0, 0.0, 1.3)])
def test_the_explorer_s_orbit_is_gradient_descent_from_the_same_point(g, k, c):
    centre = [torch.tensor([[[1 / g], [0.0]]], dtype=torch.float64), torch.tensor([[[g, k * g]]], dtype=torch.float64)]
    value = exact_sharpness(centre)[0]
    norm = math.hypot(1 / g, g, k * g)
    start, _ = escape.displaced(centre, 1e-3, [0], [centre[1].mT / norm, centre[0].mT / norm])
    done = escape.descend(start, torch.ones(1, 1, 1, dtype=torch.float64), 2 * c / value, STEPS, centre=centre)
    found = compute(g, k, c)
    assert found.sharpness == pytest.approx(float(value), rel=1e-12)
    assert torch.allclose(torch.from_numpy(found.distance), done.distance[:, 0], rtol=1e-6, atol=1e-12)
