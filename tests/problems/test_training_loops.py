"""Schedules at their corners, SGD against torch's own."""

import pytest
import torch

from workbench.problems.networks.training import sgd, three_stages, warm_cosine


def test_schedules():
    steps = [warm_cosine(k, 100, 0.1) for k in range(100)]
    assert steps[4] == 0.1 and steps[0] == pytest.approx(0.02) and steps == sorted(steps[:5]) + sorted(steps[5:])[::-1]
    assert steps[-1] < 1e-4
    assert [round(three_stages(k, 100, 1.0), 6) for k in (0, 33, 34, 66, 67, 99)] == [1, 1, 0.1, 0.1, 0.01, 0.01]


def test_sgd_is_torchs():
    ours = [torch.arange(6.0, dtype=torch.float64).reshape(2, 3), torch.ones(4, dtype=torch.float64)]
    theirs = [value.clone().requires_grad_() for value in ours]
    velocities = [torch.zeros_like(value) for value in ours]
    optimizer = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=0.01)
    for step in range(4):
        gradients = [torch.sin(value + step) for value in ours]
        for value in theirs:
            value.grad = torch.sin(value.detach() + step)
        sgd(ours, gradients, velocities, 0.1, 0.01)
        optimizer.step()
    assert all(torch.allclose(one, other.detach(), atol=1e-14) for one, other in zip(ours, theirs, strict=True))
