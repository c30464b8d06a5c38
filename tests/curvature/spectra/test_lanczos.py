"""Eigenpairs against known spectra, clustered and repeated ones included, and the honesty of their errors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from workbench.curvature import ConvergenceError, empirical_loss, hessian, top_eigenpairs
from workbench.curvature.spectra.missed import christoffel_sum

BULK = np.linspace(-0.1, 1.0, 150)


def quadratic(eigenvalues, seed=0, dtype=torch.float64):
    values = torch.as_tensor(np.asarray(eigenvalues), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(normal)[0]
    matrix = ((basis * values) @ basis.mT).to(dtype)
    matrix = (matrix + matrix.mT) / 2
    return (lambda w: 0.5 * w @ matrix @ w), torch.zeros(len(values), dtype=dtype), matrix


def wanted(eigenvalues, which, k):
    keys = {"largest": lambda v: -v, "smallest": lambda v: v, "magnitude": lambda v: -abs(v)}
    return np.array(sorted(np.asarray(eigenvalues, dtype=float), key=keys[which])[:k])


SPECTRA = {
    "clustered outliers": np.concatenate([[10, 10 - 1e-5, 10 - 2e-5, 9.9], BULK]),
    "repeated outliers": np.concatenate([[5.0] * 7, BULK]),
    "negative outliers": np.concatenate([[-20, -20, -15, -3.1], [3.0, 3.0, 2.9], BULK]),
    "identity": np.ones(120),
    "low rank": np.concatenate([[3.0, 2, 2, 2], np.zeros(150)]),
    "zero": np.zeros(120),
    "geometric": 10.0 ** -np.linspace(0, 10, 200),
    "no gaps": np.linspace(0, 1, 150),
}


@pytest.mark.parametrize("which", ["largest", "magnitude"])
@pytest.mark.parametrize("name", SPECTRA)
def test_every_wanted_eigenvalue_is_found_with_its_multiplicity(name, which):
    loss, origin, matrix = quadratic(SPECTRA[name])
    pairs = top_eigenpairs(loss, origin, 6, which=which)
    truth = torch.as_tensor(wanted(SPECTRA[name], which, 6))
    assert pairs.products > 0
    torch.testing.assert_close(pairs.values, truth, rtol=1e-9, atol=1e-12)
    residuals = (pairs.vectors @ matrix - pairs.values[:, None] * pairs.vectors).norm(dim=1)
    assert (residuals <= 1.5 * pairs.residuals + 1e-300).all()
    assert (pairs.residuals <= torch.maximum(1.01e-6 * truth.abs(), torch.tensor(1e-12))).all()
    assert (pairs.intervals[:, 0] <= truth).all() and (truth <= pairs.intervals[:, 1]).all()
    torch.testing.assert_close(pairs.vectors @ pairs.vectors.mT, torch.eye(6, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["negative outliers", "repeated outliers", "low rank"])
def test_smallest(name):
    loss, origin, _ = quadratic(SPECTRA[name])
    pairs = top_eigenpairs(loss, origin, 4, which="smallest")
    torch.testing.assert_close(
        pairs.values, torch.as_tensor(wanted(SPECTRA[name], "smallest", 4)), rtol=1e-9, atol=1e-12
    )


@given(st.lists(st.floats(-10, 10), min_size=8, max_size=8), st.integers(1, 5), st.integers(0, 3))
def test_any_outliers_with_multiplicity(outliers, k, repeats):
    spectrum = np.concatenate([np.repeat(outliers, repeats + 1), np.linspace(-0.5, 0.5, 130)])
    loss, origin, _ = quadratic(spectrum)
    pairs = top_eigenpairs(loss, origin, k, which="magnitude")
    torch.testing.assert_close(
        pairs.values.abs(), torch.as_tensor(np.abs(wanted(spectrum, "magnitude", k))), rtol=1e-7, atol=0
    )


def test_the_chance_of_a_missed_eigenvalue_is_bounded_where_gaps_allow():
    loss, origin, _ = quadratic(SPECTRA["repeated outliers"])
    assert 0 < top_eigenpairs(loss, origin, 7).miss_probability <= 1e-3
    loss, origin, _ = quadratic(SPECTRA["identity"])
    assert top_eigenpairs(loss, origin, 3).miss_probability == 0


def test_christoffel_bound_is_the_weight_at_the_nodes_of_the_rule():
    # At a node of the n-point Gauss rule the sum over its n polynomials is the inverse of the node's weight.
    diagonal, off = np.array([1.0, 2.0, -0.5, 0.3]), np.array([0.7, 0.4, 0.9])
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    for node, weight in zip(nodes, vectors[0] ** 2, strict=True):
        total = christoffel_sum(node, diagonal, np.append(off, 1e8))
        assert total == pytest.approx(1 / weight, rel=1e-10)


def test_memory_for_few_vectors_still_converges(monkeypatch):
    loss, origin, _ = quadratic(np.concatenate([np.linspace(2, 4, 8), np.linspace(-1, 1.0, 400)]))
    monkeypatch.setenv("WORKBENCH_MEMORY", str(408 * 8 * 30 / 2**30))
    pairs = top_eigenpairs(loss, origin, 8)
    torch.testing.assert_close(pairs.values, torch.linspace(4, 2, 8, dtype=torch.float64), rtol=1e-9, atol=0)
    monkeypatch.setenv("WORKBENCH_MEMORY", str(408 * 8 * 10 / 2**30))
    with pytest.raises(ValueError, match="Lower k"):
        top_eigenpairs(loss, origin, 8)


def test_network_against_the_dense_hessian_in_both_precisions():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4)).double()
    inputs, targets = torch.randn(50, 6, dtype=torch.float64), torch.randint(4, (50,))
    loss = empirical_loss(model, nn.functional.cross_entropy, inputs, targets)
    truth = torch.linalg.eigvalsh(hessian(loss, loss.parameters())).flip(0)[:5]
    torch.testing.assert_close(top_eigenpairs(loss, loss.parameters(), 5).values, truth, rtol=1e-9, atol=0)
    single = empirical_loss(model.float(), nn.functional.cross_entropy, inputs.float(), targets)
    pairs = top_eigenpairs(single, single.parameters(), 5)
    assert pairs.values.dtype == torch.float32
    assert (pairs.intervals[:, 0] <= truth).all() and (truth <= pairs.intervals[:, 1]).all()


def test_small_problems_are_solved_densely():
    loss, origin, matrix = quadratic([3.0, -1.0, 2.0])
    pairs = top_eigenpairs(loss, origin, 3, which="magnitude")
    torch.testing.assert_close(pairs.values, torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64))
    torch.testing.assert_close(pairs.vectors @ matrix, pairs.values[:, None] * pairs.vectors)
    assert pairs.miss_probability == 0 and pairs.products == 3
    assert "3 products" in repr(pairs)


def test_same_seed_same_pairs():
    loss, origin, _ = quadratic(SPECTRA["geometric"])
    first, second = (top_eigenpairs(loss, origin, 3, seed=4) for _ in range(2))
    assert torch.equal(first.vectors, second.vectors)


def test_what_was_reached_comes_with_the_error():
    loss, origin, _ = quadratic(np.linspace(0, 1, 300))
    with pytest.raises(ConvergenceError, match="max_products=20") as caught:
        top_eigenpairs(loss, origin, 5, max_products=20)
    reached = caught.value.reached
    assert reached.products == 20 and len(reached.values) == 5
    assert (reached.intervals[:, 1] > reached.values).all() and reached.miss_probability == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"which": "top"}, "which='top'"),
        ({"rtol": 0.0}, "rtol=0.0"),
        ({"k": 0}, "k=0"),
        ({"k": 1000}, "between 1 and the number of parameters, 154"),
    ],
)
def test_bad_arguments(change, message):
    loss, origin, _ = quadratic(SPECTRA["low rank"])
    with pytest.raises(ValueError, match=message):
        top_eigenpairs(loss, origin, **{"k": 2, **change})


def test_losses_without_a_hessian_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        top_eigenpairs(lambda w: w.norm(), torch.zeros(200, dtype=torch.float64), 2)
    with pytest.raises(ValueError, match="not finite"):
        top_eigenpairs(lambda w: w.abs().pow(1.5).sum(), torch.zeros(200, dtype=torch.float64), 2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_chance_of_missing_that_is_above_the_promised_one_is_said(dtype):
    values = (1 + 1e-5 * torch.arange(300, dtype=torch.float64) / 300).to(dtype)  # the 10th has neighbours on its heels
    with pytest.warns(UserWarning, match="may have been missed"):
        pairs = top_eigenpairs(lambda w: 0.5 * (values * w * w).sum(), torch.ones(300, dtype=dtype), 10)
    assert pairs.miss_probability > 1e-3
    torch.testing.assert_close(pairs.values, values[-10:].flip(0), rtol=1e-5, atol=1e-5)
