"""Blocks of Hessian products: the same whatever number of vectors is multiplied at once."""

import pytest
import torch
from torch import nn

from workbench.curvature import empirical_loss, hvp_operator
from workbench.curvature.model import linearised


@pytest.mark.parametrize("operation_bytes", [0, 2**11, 2**40])
def test_products_do_not_depend_on_how_many_are_made_at_once(monkeypatch, operation_bytes):
    monkeypatch.setattr(linearised, "_OPERATION_BYTES", operation_bytes)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    loss = empirical_loss(model, nn.functional.mse_loss, inputs, inputs[:, :2] * 0.5)
    operator = hvp_operator(loss, loss.parameters())
    unit = torch.eye(operator.size, dtype=torch.float64)
    matrix = operator(unit)
    one_by_one = torch.stack([operator(vector) for vector in unit])
    torch.testing.assert_close(matrix, one_by_one, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(matrix, matrix.mT, rtol=1e-12, atol=1e-14)
    assert operator(unit[:0]).shape == (0, operator.size)
