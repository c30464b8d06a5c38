import sys

import pytest
import torch

from workbench import memory
from workbench.curvature import asymmetry, hessian, hessian_vector_product, hvp_operator, spectrum
from workbench.curvature.model.traffic import runs_at_once
from workbench.parameters import ravel


def symmetric(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return matrix + matrix.mT


def test_quadratics_and_quartics_have_their_closed_forms():
    matrix = symmetric(6)
    point = torch.linspace(-1, 1, 6, dtype=torch.float64)
    expected = matrix + torch.diag(12 * point**2)
    result = hessian(lambda p: 0.5 * p @ matrix @ p + (p**4).sum(), point)
    torch.testing.assert_close(result, expected)
    assert torch.equal(result, result.mT)


def test_dict_parameters_are_ravelled_in_their_own_order():
    parameters = {"b": torch.randn(2, 3, dtype=torch.float64), "a": torch.randn(4, dtype=torch.float64)}

    def loss(p):
        return (p["b"].sum(1) ** 3).sum() * (p["a"] ** 2).sum() + p["b"].sin().sum()

    reference = torch.func.hessian(lambda v: loss({"b": v[:6].reshape(2, 3), "a": v[6:]}))(ravel(parameters))
    torch.testing.assert_close(hessian(loss, parameters), reference)


def test_matrix_shaped_parameters():
    weight = torch.randn(3, 2, dtype=torch.float64)
    matrix = hessian(lambda w: torch.linalg.matrix_norm(w.mT @ w) ** 2 / 4, weight)
    reference = torch.func.hessian(lambda v: torch.linalg.matrix_norm(v.reshape(3, 2).mT @ v.reshape(3, 2)) ** 2 / 4)
    torch.testing.assert_close(matrix, reference(weight.reshape(-1)))


def test_rows_do_not_depend_on_the_blocks(monkeypatch):
    matrix, point = symmetric(7), torch.randn(7, dtype=torch.float64)

    def loss(p):
        return (p @ matrix).cos().sum()

    whole = hessian(loss, point)
    monkeypatch.setattr(sys.modules["workbench.curvature.hessian"], "_BLOCK_BYTES", 1)
    torch.testing.assert_close(hessian(loss, point), whole, rtol=1e-14, atol=1e-14)


def test_constant_and_unused_parameters_have_zero_curvature():
    parameters = {"used": torch.ones(2), "unused": torch.ones(3)}
    matrix = hessian(lambda p: (p["used"] ** 2).sum(), parameters)
    assert torch.equal(matrix, torch.diag(torch.tensor([2.0, 2.0, 0.0, 0.0, 0.0])))


def test_runs_in_a_batch_equal_single_runs():
    matrix, points = symmetric(5), torch.randn(4, 5, dtype=torch.float64)

    def loss(p):
        return (p @ matrix).tanh().square().sum()

    together = torch.func.vmap(lambda p: hessian(loss, p))(points)
    torch.testing.assert_close(together, torch.stack([hessian(loss, point) for point in points]))


@pytest.mark.parametrize("structure", ["tensor", "dict"])
def test_products_are_the_hessian_times_the_vector(structure):
    matrix, point = symmetric(6), torch.randn(6, dtype=torch.float64)

    def loss(p):
        v = p if isinstance(p, torch.Tensor) else torch.cat([p["x"].reshape(-1), p["y"]])
        return 0.5 * v @ matrix @ v + (v**3).sum()

    dense = matrix + torch.diag(6 * point)
    block = torch.randn(3, 6, dtype=torch.float64)
    parameters = point if structure == "tensor" else {"x": point[:4].reshape(2, 2), "y": point[4:]}
    torch.testing.assert_close(hessian_vector_product(loss, parameters, block), block @ dense)
    torch.testing.assert_close(hessian_vector_product(loss, parameters, block[0]), dense @ block[0])
    if structure == "dict":
        vector = {"x": block[0, :4].reshape(2, 2), "y": block[0, 4:]}
        torch.testing.assert_close(ravel(hessian_vector_product(loss, parameters, vector)), dense @ block[0])
    operator, size, dtype, _ = hvp_operator(loss, parameters)
    assert (size, dtype) == (6, torch.float64)
    torch.testing.assert_close(operator(block), block @ dense)


def test_products_can_be_differentiated():
    point, vector = torch.randn(4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    third = torch.func.grad(lambda p: hessian_vector_product(lambda q: (q**4).sum(), p, vector).sum())(point)
    torch.testing.assert_close(third, 24 * point * vector)


def test_modules_keep_their_graph_to_themselves():
    layer = torch.nn.Linear(2, 1)
    parameters = dict(layer.named_parameters())
    inputs = torch.ones(3, 2)
    matrix = hessian(lambda p: torch.func.functional_call(layer, p, (inputs,)).square().mean(), parameters)
    assert not matrix.requires_grad
    assert layer.weight.grad is None


def test_asymmetry_is_rounding_for_smooth_losses():
    matrix, point = symmetric(30), torch.randn(30, dtype=torch.float64)

    def loss(p):
        return (p.to(matrix.dtype) @ matrix).tanh().square().sum()

    assert asymmetry(loss, point) < 1e-13
    dense, error = hessian(loss, point, return_error=True)
    assert torch.equal(dense, hessian(loss, point))
    assert error == asymmetry(loss, point)
    assert asymmetry(lambda p: (p @ matrix.float()).tanh().square().sum(), point.float()) < 1e-4


def test_random_losses_are_refused():
    with pytest.raises(ValueError, match="deterministic"):
        hessian(lambda p: (p * torch.randn(3)).square().sum(), torch.ones(3))


def test_what_does_not_fit_is_refused_before_any_work():
    calls = []

    def loss(p):
        calls.append(1)
        return p.square().sum()

    with memory.sharing(1, limit=1e6), pytest.raises(memory.OutOfBudget, match=r"20,000 x 20,000.*top_eigenpairs"):
        hessian(loss, torch.zeros(20_000))
    with memory.sharing(1, limit=1e6), pytest.raises(MemoryError, match="spectral_density"):
        spectrum(loss, torch.zeros(20_000))
    assert not calls


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "empty dict"),
        ({"w": [1.0]}, "list"),
        (torch.arange(3), "int64"),
        ({"a": torch.ones(1), "b": torch.ones(1, dtype=torch.float64)}, "one dtype"),
    ],
)
def test_unfit_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        hessian(lambda p: p.sum(), parameters)


def test_unfit_losses_and_vectors_are_named():
    point = torch.ones(3)
    with pytest.raises(ValueError, match=r"one number, got \(3,\)"):
        hessian(lambda p: p**2, point)
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        hessian_vector_product(lambda p: p.square().sum(), point, torch.ones(4))
    with pytest.raises(ValueError, match="float64"):
        hessian_vector_product(lambda p: p.square().sum(), point, torch.ones(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="keys differ"):
        hessian_vector_product(lambda p: p["a"].sum(), {"a": point}, {"b": point})


def test_the_runs_of_nested_batches_are_counted():
    counts = []

    def loss(p):
        counts.append(runs_at_once(p))
        return p.sum()

    assert runs_at_once(torch.ones(5)) == 1
    torch.func.vmap(torch.func.vmap(loss))(torch.ones(3, 4, 5, dtype=torch.float64))
    assert counts == [12]
