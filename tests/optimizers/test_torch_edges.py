"""The edge of torch's own optimizers: their updates grow beyond it and shrink below, and as_torch agrees with the rule."""

import pytest
import torch

import workbench as wb
from workbench.optimizers import edge
from workbench.optimizers.torch.edges import torch_edge


def edge_of(make, gradient=0.7):
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    optimizer = make([weight])
    return torch_edge(optimizer, {"w": weight}, {"w": torch.full((2,), gradient, dtype=torch.float64)})


def grows(make, eigenvalue):
    """Whether the optimizer's own updates on eigenvalue/2 |x|^2 grow, from a small start."""
    weight = torch.nn.Parameter(torch.full((2,), 1e-3, dtype=torch.float64))
    optimizer = make([weight])
    sizes = []
    for _ in range(400):
        optimizer.zero_grad()
        (0.5 * eigenvalue * weight.square().sum()).backward()
        optimizer.step()
        sizes.append(float(weight.detach().norm()))
    return max(sizes[-20:]) > max(sizes[40:60])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.8},
        {"momentum": 0.8, "nesterov": True},
        {"momentum": 0.8, "dampening": 0.5},
        {"momentum": 0.5, "weight_decay": 2.0},
    ],
)
def test_sgd_grows_beyond_its_edge_only(options):
    def make(parameters):
        return torch.optim.SGD(parameters, lr=0.1, **options)

    found = edge_of(make)
    assert found.root is None
    threshold = float(found.threshold) - float(found.shift)
    assert not grows(make, 0.97 * threshold) and grows(make, 1.03 * threshold)


def stepped(make, steps=5):
    weight = torch.nn.Parameter(torch.tensor([1.0, -0.5], dtype=torch.float64))
    optimizer = make([weight])
    for _ in range(steps):
        optimizer.zero_grad()
        (weight.square() * torch.tensor([3.0, 1.0])).sum().backward()
        optimizer.step()
    gradient = 2 * weight.detach() * torch.tensor([3.0, 1.0])
    return optimizer, weight, gradient


def test_adam_of_torch_has_the_edge_of_the_rule():
    optimizer, weight, gradient = stepped(lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.99)))
    ours, same, _ = stepped(lambda p: RuleClosure(wb.optimizers.adam(0.02, 0.8, 0.99), p))
    found, wanted = (
        torch_edge(optimizer, {"w": weight}, {"w": gradient}),
        torch_edge(ours.inner, {"w": same}, {"w": gradient}),
    )
    torch.testing.assert_close(found.root, wanted.root)
    torch.testing.assert_close(found.threshold, wanted.threshold)
    assert float(found.threshold) == pytest.approx(2 * 1.8 / 0.2 / 0.02)


class RuleClosure:
    """An optimizer of as_torch behind torch's calls without a closure."""

    def __init__(self, rule, parameters):
        self.inner, self.parameters = wb.optimizers.as_torch(rule, parameters), parameters

    def zero_grad(self):
        pass

    def step(self):
        (weight,) = self.parameters
        self.inner.step(lambda: (weight.square() * torch.tensor([3.0, 1.0])).sum())


def test_as_torch_takes_step_sizes_from_its_groups_and_sams_edge_from_the_gradient():
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    rule = wb.optimizers.sam(0.1, rho=0.3, beta=0.5)
    optimizer = wb.optimizers.as_torch(rule, [weight])
    optimizer.param_groups[0]["lr"] = 0.4
    gradient = torch.tensor([0.3, 0.4], dtype=torch.float64)
    found = torch_edge(optimizer, {"w": weight}, {"w": gradient})
    wanted = edge(wb.optimizers.sam(0.4, rho=0.3, beta=0.5), None, gradient).threshold
    assert float(found.threshold) == pytest.approx(float(wanted))


def jacobian_radius(step_size, beta, decay, eigenvalue):
    """AdamW along one axis with its preconditioner frozen at 1."""
    a = [
        [1 - step_size * decay - step_size * (1 - beta) * eigenvalue, -step_size * beta],
        [(1 - beta) * eigenvalue, beta],
    ]
    return float(wb.curvature.spectral_radius(torch.tensor(a, dtype=torch.float64)))


def test_decoupled_weight_decay_lowers_the_threshold():
    found = edge_of(lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.9, 0.999), weight_decay=0.5))
    threshold = float(found.threshold)
    assert float(found.shift) == 0
    assert jacobian_radius(0.1, 0.9, 0.5, 0.999 * threshold) < 1 < jacobian_radius(0.1, 0.9, 0.5, 1.001 * threshold)


@pytest.mark.parametrize(
    "options", [{}, {"centered": True}, {"momentum": 0.5, "weight_decay": 0.1}], ids=["plain", "centred", "momentum"]
)
def test_rmsprops_preconditioner_is_the_one_of_its_next_step(options):
    optimizer, weight, gradient = stepped(lambda p: torch.optim.RMSprop(p, lr=0.02, alpha=0.9, **options))
    found = torch_edge(optimizer, {"w": weight}, {"w": gradient})
    before, buffer = weight.detach().clone(), optimizer.state[weight].get("momentum_buffer")
    buffer = 0.0 if buffer is None else buffer.clone()
    weight.grad = gradient.clone()
    optimizer.step()
    moved = (before - weight.detach()) / 0.02 - options.get("momentum", 0.0) * buffer
    whole = gradient + options.get("weight_decay", 0.0) * before
    torch.testing.assert_close(moved, found.root.square() * whole)
    assert float(found.threshold) == pytest.approx(2 * (1 + options.get("momentum", 0.0)) / 0.02)


def test_groups_with_other_step_sizes_count_as_a_preconditioner():
    one, two = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = torch.optim.SGD([{"params": [one]}, {"params": [two], "lr": 0.4, "weight_decay": 0.1}], lr=0.1)
    found = torch_edge(optimizer, {"a": one, "b": two}, {"a": one.detach(), "b": two.detach()})
    assert found.root.tolist() == [1, 1, 2, 2] and found.shift.tolist() == [0, 0, 0.1, 0.1]
    assert float(found.threshold) == pytest.approx(20)


def test_refusals():
    one, two = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    gradient = {"a": torch.ones(2), "b": torch.ones(2)}
    with pytest.raises(ValueError, match=r"does not hold the parameters \['b'\]"):
        torch_edge(torch.optim.SGD([one], lr=0.1), {"a": one, "b": two}, gradient)
    with pytest.raises(ValueError, match="LBFGS is not known; known are SGD, Adam"):
        torch_edge(torch.optim.LBFGS([one, two]), {"a": one, "b": two}, gradient)
    with pytest.raises(ValueError, match="maximises"):
        torch_edge(torch.optim.SGD([one, two], lr=0.1, maximize=True), {"a": one, "b": two}, gradient)
    groups = [{"params": [one]}, {"params": [two], "momentum": 0.5}]
    with pytest.raises(ValueError, match="no single threshold"):
        torch_edge(torch.optim.SGD(groups, lr=0.1), {"a": one, "b": two}, gradient)
