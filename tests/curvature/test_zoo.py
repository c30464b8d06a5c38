"""Modules that people train: right, or refused in words, and left as they were (the whole table is docs/zoo.md)."""

import pytest
import torch

from benchmarks.zoo import ANIMALS, examine

_FUNCTIONS = [
    *("hessian_vector_product", "hessian", "any loss", "top_eigenpairs", "gauss_newton", "per_sample_gradients"),
    *("per_sample_gradient_norms", "worst_case", "average_case", "update_jacobian"),
]


@pytest.mark.parametrize("name", ANIMALS)
def test_double_precision(name):
    wrong = [finding for finding in examine(ANIMALS[name], torch.float64, _FUNCTIONS) if not finding.right]
    assert not wrong, wrong


@pytest.mark.parametrize("name", ["MLP", "LayerNorm", "scaled dot-product attention", "LSTM", "pruned", "residual CNN"])
def test_single_precision(name):
    wrong = [finding for finding in examine(ANIMALS[name], torch.float32, _FUNCTIONS) if not finding.right]
    assert not wrong, wrong
