"""Exact sharpness against the whole Hessian, flat minima, identities, and gradient descent near minimisers (arXiv:2509.25783)."""

import math

import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.papers.deep_matrix_factorization import escape, study
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


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 1, 4), (2, 4, 5), (4, 4, 5)])
@pytest.mark.parametrize("rank", [None, 1])
def test_the_whole_hessian_has_twice_the_eigenvalues_of_k(depth, shape, rank):
    d0, d1, width = shape
    target = draws.normal(depth, (d1, d0))
    if rank:
        left, values, right = torch.linalg.svd(target, full_matrices=False)
        target = values[0] * left[:, :1] @ right[:1]
    layers = random_minimiser(target, [width] * (depth - 1), depth // 2, seed=3)
    assert torch.allclose(end_to_end(layers), target, atol=1e-10)
    whole = spectrum(layers, target).sort(descending=True).values
    own = 2 * torch.linalg.eigvalsh(sharpness_matrix(layers)).flip(0)
    kept = min(len(whole), len(own))
    assert torch.allclose(whole[:kept], own[:kept], rtol=0, atol=1e-10 * float(own[0]))
    assert whole[kept:].abs().max() < 1e-10 * own[0] if kept < len(whole) else True
    assert float(flattest_sharpness(target, depth)) <= float(own[0]) * (1 + 1e-12)
    assert float(own[0]) <= float(upper_bound(layers)) * (1 + 1e-12)


def test_unequal_widths_are_covered():
    target = draws.normal(0, (2, 3))
    layers = random_minimiser(target, [3, 6, 4], 2, seed=1)
    value, _ = exact_sharpness(layers)
    assert float(value) == pytest.approx(float(spectrum(layers, target).max()), rel=1e-11)


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


@pytest.mark.parametrize("c", [0.9, 0.99, 1.01, 1.1])
def test_growth_along_the_top_eigenvector(c):
    found = study.growth([2, 3], [c], 4)
    assert (abs(found.limit - abs(2 * c - 1)) <= found.computed.max("seed")).all()
    assert (abs(study.growth([2], [c], 4, direction="gauge").rate - 1) < 1e-4).all()


def test_who_stays_and_who_leaves():
    found = study.escapes([2], [0.9, 1.05], [1e-3, 1e-6], 4, 600)
    assert (found.furthest.sel(c=0.9) <= found.start.sel(c=0.9) * (1 + 1e-9)).all()
    assert (found.final.sel(c=1.05) > 10 * found.start.sel(c=1.05)).all()
    landed = found.stability.where(found.converged & found.escaped)
    assert float(landed.max()) <= 1
    ratio = found.final.sel(c=1.05, eps=1e-3) / found.final.sel(c=1.05, eps=1e-6)
    assert float(abs(ratio - 1).max()) < 0.2
    assert escape.escape_happens(1.05, 1e-6, 600) and not escape.escape_happens(1.01, 1e-6, 600)


def test_the_ceiling_of_the_step_size():
    target = torch.diag(torch.tensor([2.0, 0.5], dtype=torch.float64))
    assert step_size_ceiling(target, 3) == pytest.approx(1 / (3 * 2 ** (4 / 3)))
    found = study.ceiling([2], [0.9, 1.03], 8, 1500).converged.mean("seed")
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
