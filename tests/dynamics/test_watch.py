"""Sharpness along a loop of one's own: values, thresholds, the model left as it was."""

import pytest
import torch

import workbench as wb
from workbench import curvature

INPUTS = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.randn(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network():
    torch.manual_seed(2)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Dropout(0.3), torch.nn.Linear(6, 2)
    ).double()


def loss_of(model):
    return curvature.empirical_loss(model.eval(), torch.nn.functional.mse_loss, INPUTS, TARGETS)


def test_three_lines_in_a_loop_give_the_sharpness_at_every_second_step():
    model = network()
    loss = loss_of(model)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    watch = wb.Watch(loss, optimizer, every=2)
    exact, returned = [], []
    for _ in range(9):
        before = [parameter.grad for parameter in model.parameters()]
        returned.append(watch())
        assert all(now.grad is then for now, then in zip(model.parameters(), before, strict=True))
        assert model.training and model[2].training
        model.eval()
        exact.append(float(curvature.spectrum(loss, loss.parameters())[-1]))
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(INPUTS), TARGETS).backward()
        optimizer.step()
    data = watch.dataset()
    assert data.step.values.tolist() == [0, 2, 4, 6, 8]
    assert returned[1::2] == [None] * 4
    torch.testing.assert_close(
        torch.tensor(data.sharpness.values), torch.tensor(exact[::2]).double(), rtol=0.01, atol=0
    )
    assert data.sharpness_threshold.values.tolist() == [2 * 1.5 / 0.5] * 5
    assert {"sharpness_residual", "sharpness_products"} < set(data.data_vars)


def test_adams_preconditioner_is_followed_and_several_eigenvalues_have_a_dimension():
    model = network()
    loss, optimizer = loss_of(model), torch.optim.Adam(model.parameters(), lr=0.01)
    watch = wb.Watch(loss, optimizer, k=2)
    for _ in range(4):
        watch()
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(INPUTS), TARGETS).backward()
        optimizer.step()
    watch()
    gradient = torch.func.grad(loss)(loss.parameters())
    moments = {n: optimizer.state[p]["exp_avg_sq"] for n, p in model.named_parameters()}
    moment = torch.cat([(0.999 * moments[n] + 0.001 * gradient[n] ** 2).reshape(-1) for n in gradient]) / (1 - 0.999**5)
    root = ((1 - 0.9**5) * (moment.sqrt() + 1e-8)).rsqrt()
    matrix = root[:, None] * curvature.hessian(loss, loss.parameters()) * root
    last = torch.tensor(watch.dataset().sharpness.values[-1])
    torch.testing.assert_close(last, torch.linalg.eigvalsh(matrix).flip(0)[:2], rtol=0.01, atol=0)


def test_without_an_optimizer_there_is_no_threshold():
    model = network()
    watch = wb.Watch(loss_of(model))
    value = watch()
    assert value == pytest.approx(float(curvature.spectrum(loss_of(model), loss_of(model).parameters())[-1]), rel=0.005)
    assert "sharpness_threshold" not in watch.dataset()


def test_refusals():
    model = network()
    with pytest.raises(ValueError, match="empirical_loss"):
        wb.Watch(lambda parameters: parameters.sum())
    with pytest.raises(ValueError, match="LBFGS is not known"):
        wb.Watch(loss_of(model), torch.optim.LBFGS(model.parameters()))
    with pytest.raises(ValueError, match="nothing was watched"):
        wb.Watch(loss_of(model)).dataset()
    with pytest.raises(ValueError, match="every"):
        wb.Watch(loss_of(model), every=0)
