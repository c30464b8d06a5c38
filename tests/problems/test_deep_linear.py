"""Deep linear networks: products, gradients and refusals."""

import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.problems.factorised.deep_linear import deep_linear, end_to_end, partial_products


@pytest.mark.parametrize("widths", [(3,), (4, 2), (5, 3, 4)])
def test_the_gradient_is_automatic_differentiations(widths):
    problem = deep_linear(draws.normal(0, (2, 3)), widths)
    point = problem.initial(1)
    written, automatic = problem.gradient(point), torch.func.grad(problem.loss)(point)
    assert all(torch.allclose(written[name], automatic[name], atol=1e-12) for name in point)


def test_partial_products_split_the_chain_at_every_layer():
    layers = [draws.normal(i, shape) for i, shape in enumerate([(4, 3), (2, 4), (5, 2)])]
    after, before = partial_products(layers)
    for a, layer, b in zip(after, layers, before, strict=True):
        assert torch.allclose(a @ layer @ b, end_to_end(layers), atol=1e-12)


def test_gradient_descent_learns_the_target_in_a_sweep_over_depth_one_more():
    problem = deep_linear(torch.diag(torch.tensor([1.0, 0.5], dtype=torch.float64)), (3,))

    def train(seed, step_size):
        run = wb.run(problem, wb.optimizers.gradient_descent(step_size), seed=seed, steps=400, record=["train_loss"])
        return run.records

    result = wb.sweep(train, seed=range(3), step_size=[0.1, 0.2])
    assert float(result.train_loss.isel(step=-1).max()) < 1e-6


@pytest.mark.parametrize(
    ("target", "widths", "words"), [(torch.zeros(3), (2,), "matrix"), (torch.eye(2), (), "hidden")]
)
def test_what_is_no_chain_of_matrices_is_refused(unchecked_shapes, target, widths, words):
    with pytest.raises(ValueError, match=words):
        deep_linear(target, widths)
