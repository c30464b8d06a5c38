"""Recorded operations serve only where they are proven, and otherwise double backward does."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from workbench.curvature import empirical_loss, hessian, hvp_operator, top_eigenpairs
from workbench.curvature.model import linearised
from workbench.curvature.recorded import Recorded
from workbench.curvature.recorded import kinds as kinds_of_rules
from workbench.curvature.recorded.rules import Elementwise


@pytest.fixture(autouse=True)
def large_operations(monkeypatch):
    """Small networks as if their operations were large, where recording pays."""
    monkeypatch.setattr(linearised, "_OPERATION_BYTES", 0)


@pytest.fixture
def products(monkeypatch):
    made = []
    plain = Recorded.product
    monkeypatch.setattr(Recorded, "product", lambda self, vector: made.append(1) or plain(self, vector))
    return made


def network(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), *layers, nn.Linear(4, 2)).double()


def loss_of(model):
    inputs = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return empirical_loss(model, functional.cross_entropy, inputs, torch.arange(6) % 2)


def double_backward(loss):
    parameters = {name: entry.clone().requires_grad_() for name, entry in loss.parameters().items()}
    leaves = list(parameters.values())
    gradients = torch.autograd.grad(loss(parameters), leaves, create_graph=True)
    flat = torch.cat([entry.reshape(-1) for entry in gradients])
    rows = [torch.autograd.grad(entry, leaves, retain_graph=True) for entry in flat]
    return torch.stack([torch.cat([entry.reshape(-1) for entry in row]) for row in rows])


def block(loss):
    operator = hvp_operator(loss, loss.parameters())
    return operator(torch.eye(operator.size, dtype=torch.float64))


def test_a_proven_recording_serves(products):
    loss = loss_of(network(nn.LayerNorm(4), nn.Tanh()))
    torch.testing.assert_close(block(loss), double_backward(loss), rtol=1e-12, atol=1e-14)
    size = sum(entry.numel() for entry in loss.parameters().values())
    assert len(products) == size + 1  # one for the proof
    block(loss)
    assert len(products) == 2 * size + 1  # which holds for the loss, not for the point


def test_a_single_product_at_a_new_loss_is_double_backward(products):
    loss = loss_of(network(nn.LayerNorm(4), nn.Tanh()))
    operator = hvp_operator(loss, loss.parameters())
    rows = torch.stack([operator(row) for row in torch.eye(operator.size, dtype=torch.float64)])
    torch.testing.assert_close(rows, double_backward(loss), rtol=1e-12, atol=1e-14)
    assert 0 < len(products) <= operator.size - 3  # the first few were not recorded


def test_a_wrong_rule_is_found_out_and_not_used(monkeypatch, products):
    class Wrong(Elementwise):
        def push(self, changes, free):
            return 1.001 * super().push(changes, free)

    monkeypatch.setattr(kinds_of_rules, "Elementwise", Wrong)
    loss = loss_of(network(nn.LayerNorm(4), nn.Tanh()))
    torch.testing.assert_close(block(loss), double_backward(loss), rtol=1e-12, atol=1e-14)
    assert len(products) == 1


def test_a_rule_that_fails_leaves_the_matter_to_autograd(monkeypatch, products):
    monkeypatch.setattr(Elementwise, "pull", lambda self, gradient: 1 / 0)
    loss = loss_of(network(nn.LayerNorm(4), nn.Tanh()))
    torch.testing.assert_close(block(loss), double_backward(loss), rtol=1e-12, atol=1e-14)
    assert not products


def test_operations_that_torch_differentiates_wrongly_twice_are_not_recorded(products):
    model = network(nn.Tanh())
    nn.utils.parametrizations.weight_norm(model[0])
    loss = loss_of(model)
    matrix = block(loss)
    assert len(products) == 1  # the proof, which failed
    step = 1e-5
    point = loss.parameters()
    flat = torch.cat([entry.reshape(-1) for entry in point.values()])
    sizes = [entry.numel() for entry in point.values()]

    def gradient(vector):
        parts = dict(zip(point, vector.split(sizes), strict=True))
        held = {name: parts[name].reshape(point[name].shape).requires_grad_() for name in point}
        found = torch.autograd.grad(loss(held), list(held.values()))
        return torch.cat([entry.reshape(-1) for entry in found])

    unit = torch.eye(len(flat), dtype=torch.float64) * step
    differences = torch.stack([(gradient(flat + row) - gradient(flat - row)) / (2 * step) for row in unit])
    torch.testing.assert_close(matrix, differences, rtol=1e-6, atol=1e-8)


def test_a_branch_with_other_operations_is_proven_by_itself(products):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(3, 4), nn.LayerNorm(4)

        def forward(self, inputs):
            hidden = self.norm(self.layer(inputs))
            return hidden.tanh() if float(self.layer.bias.detach()[0]) > 0 else hidden.sin()

    torch.manual_seed(0)
    loss = loss_of(Branching().double())
    point = loss.parameters()
    for sign in (1.0, -1.0):
        point["layer.bias"][0] = sign
        torch.testing.assert_close(block(loss), double_backward(loss), rtol=1e-12, atol=1e-14)
    size = sum(entry.numel() for entry in point.values())
    assert len(products) == 2 * (size + 1)


def test_every_door_uses_it(products):
    loss = loss_of(network(nn.LayerNorm(4), nn.GELU()))
    reference = double_backward(loss)
    torch.testing.assert_close(hessian(loss, loss.parameters()), reference, rtol=1e-10, atol=1e-13)
    used = len(products)
    assert used
    pairs = top_eigenpairs(loss, loss.parameters(), k=2, rtol=1e-6)
    torch.testing.assert_close(pairs.values, torch.linalg.eigvalsh(reference).flip(0)[:2], rtol=1e-6, atol=1e-9)
    assert len(products) > used


def test_products_of_a_recording_do_not_depend_on_each_other():
    loss = loss_of(network(nn.LayerNorm(4), nn.ReLU()))
    operator = hvp_operator(loss, loss.parameters())
    vectors = torch.randn(6, operator.size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kept = vectors.clone()
    together = operator(vectors)
    assert torch.equal(operator(vectors.flip(0)).flip(0), together)
    assert torch.equal(vectors, kept)


def test_what_is_mostly_unknown_is_left_to_double_backward(products):
    loss = loss_of(network(nn.LayerNorm(4), nn.Tanh(), nn.GroupNorm(2, 4)))
    many = nn.Sequential(*(nn.GroupNorm(2, 4) for _ in range(12)))
    mostly = loss_of(network(many))
    torch.testing.assert_close(block(mostly), double_backward(mostly), rtol=1e-12, atol=1e-14)
    assert not products
    torch.testing.assert_close(block(loss), double_backward(loss), rtol=1e-12, atol=1e-14)
    assert products
