"""Per-sample gradients against one-by-one differentiation, and the statistics made of them."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from workbench.curvature import (
    empirical_loss,
    gradient_covariance,
    gradient_covariance_spectrum,
    gradient_signal_to_noise,
    per_sample_gradient_norms,
    per_sample_gradients,
)
from workbench.parameters import ravel

SAMPLES = 23


def linear_loss(w, x, y):
    """Gradient (w.x - y) x, in closed form."""
    return 0.5 * (w @ x - y) ** 2


def linear_problem(features=4, samples=SAMPLES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    y = torch.randn(samples, generator=generator, dtype=torch.float64)
    w = torch.randn(features, generator=generator, dtype=torch.float64)
    return w, x, y, (x @ w - y)[:, None] * x


NETWORKS = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Tanh(), nn.Linear(5, 3)),
    "no bias": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 5, bias=False), nn.ReLU(), nn.Linear(5, 3)),
    "conv": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, stride=2), nn.GELU(), nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(16, 3)
    ),
    "sequence": lambda: nn.Sequential(
        nn.Flatten(2),
        nn.Linear(36, 8),
        nn.Unflatten(2, (4, 2)),
        nn.Linear(2, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(12, 3),
    ),
    "normalised": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)),
}


@pytest.mark.parametrize("chunk", [1, 7, 23, 64])
def test_closed_form_whatever_the_chunks(chunk):
    w, x, y, truth = linear_problem()
    torch.testing.assert_close(per_sample_gradients(linear_loss, w, x, y, chunk=chunk), truth)
    torch.testing.assert_close(per_sample_gradient_norms(linear_loss, w, x, y, chunk=chunk), truth.norm(dim=1))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("loss_function", [cross_entropy, nn.CrossEntropyLoss(reduction="sum")])
def test_networks_against_one_backward_pass_per_sample(name, loss_function):
    torch.manual_seed(0)
    model = NETWORKS[name]().double()
    inputs, targets = torch.randn(SAMPLES, 1, 6, 6, dtype=torch.float64), torch.randint(3, (SAMPLES,))
    loss = empirical_loss(model, loss_function, inputs, targets, weight_decay=0.3)
    truth = []
    for sample, target in zip(inputs, targets, strict=True):
        gradients = torch.autograd.grad(cross_entropy(model(sample[None]), target[None]), list(model.parameters()))
        truth.append(torch.cat([gradient.flatten() for gradient in gradients]))
    gradients = per_sample_gradients(loss, loss.parameters(), chunk=5)
    torch.testing.assert_close(gradients, torch.stack(truth), rtol=1e-10, atol=1e-13)
    norms = per_sample_gradient_norms(loss, loss.parameters(), chunk=5)
    torch.testing.assert_close(norms, gradients.norm(dim=1), rtol=1e-10, atol=1e-13)


def test_frozen_and_reordered_parameters():
    torch.manual_seed(0)
    model = NETWORKS["conv"]().double()
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    inputs, targets = torch.randn(SAMPLES, 1, 6, 6, dtype=torch.float64), torch.randint(3, (SAMPLES,))
    loss = empirical_loss(model, cross_entropy, inputs, targets)
    parameters = dict(reversed(loss.parameters().items()))
    assert list(parameters) == ["4.bias", "4.weight", "2.weight", "0.bias"]
    by_layers = per_sample_gradients(loss, parameters)
    torch.testing.assert_close(by_layers, per_sample_gradients(loss.sample_loss, parameters, inputs, targets))
    torch.testing.assert_close(per_sample_gradient_norms(loss, parameters), by_layers.norm(dim=1))
    modules_own = {name: entry for name, entry in model.named_parameters() if entry.requires_grad}
    rows = per_sample_gradients(loss, modules_own)
    torch.testing.assert_close(rows, per_sample_gradients(loss, loss.parameters()))
    assert not rows.requires_grad


def test_mean_of_the_rows_is_the_gradient():
    torch.manual_seed(1)
    model = NETWORKS["mlp"]().double()
    inputs, targets = torch.randn(9, 36, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    loss = empirical_loss(model, mse_loss, inputs, targets)
    parameters = loss.parameters()
    rows = per_sample_gradients(loss, parameters)
    torch.testing.assert_close(rows.mean(0), ravel(torch.func.grad(loss)(parameters)))


@pytest.mark.parametrize("features", [4, 40])
def test_covariance_and_its_spectrum_from_the_smaller_side(features):
    w, x, y, gradients = linear_problem(features)
    truth = torch.cov(gradients.mT, correction=0)
    torch.testing.assert_close(gradient_covariance(linear_loss, w, x, y), truth)
    spectrum = gradient_covariance_spectrum(linear_loss, w, x, y)
    assert len(spectrum) == min(features, SAMPLES) and (spectrum >= 0).all()
    torch.testing.assert_close(spectrum, torch.linalg.eigvalsh(truth)[-len(spectrum) :], atol=1e-12, rtol=1e-10)


def test_signal_to_noise():
    w, x, y, gradients = linear_problem()
    noise = gradient_signal_to_noise(linear_loss, w, x, y, chunk=6)
    torch.testing.assert_close(noise.mean_square, gradients.mean(0).square().sum())
    torch.testing.assert_close(noise.variance, (gradients - gradients.mean(0)).square().sum(1).mean())
    torch.testing.assert_close(noise.signal_to_noise, noise.mean_square / noise.variance)
    same = torch.ones_like(x)
    alike = gradient_signal_to_noise(linear_loss, w, same, torch.ones_like(y))
    assert alike.signal_to_noise > 1e12


def test_under_vmap_over_parameters_and_data():
    w, x, y, _ = linear_problem()
    points = torch.stack([w, 2 * w, -w])
    data = torch.stack([x, x + 1, x * 0])
    together = torch.func.vmap(lambda p, d: per_sample_gradients(linear_loss, p, d, y, chunk=10))(points, data)
    norms = torch.func.vmap(lambda p, d: per_sample_gradient_norms(linear_loss, p, d, y, chunk=10))(points, data)
    for index in range(3):
        alone = per_sample_gradients(linear_loss, points[index], data[index], y)
        torch.testing.assert_close(together[index], alone)
        torch.testing.assert_close(norms[index], alone.norm(dim=1))


def test_ghost_norms_under_vmap():
    torch.manual_seed(0)
    model = NETWORKS["conv"]().double()
    inputs, targets = torch.randn(8, 1, 6, 6, dtype=torch.float64), torch.randint(3, (8,))
    loss = empirical_loss(model, cross_entropy, inputs, targets)
    runs = {name: torch.stack([entry, 1.5 * entry]) for name, entry in loss.parameters().items()}
    together = torch.func.vmap(lambda p: per_sample_gradient_norms(loss, p))(runs)
    for index in range(2):
        alone = per_sample_gradient_norms(loss, {name: entry[index] for name, entry in runs.items()})
        torch.testing.assert_close(together[index], alone)


def test_bad_input(monkeypatch):
    w, x, y, _ = linear_problem()
    with pytest.raises(ValueError, match="no data"):
        per_sample_gradients(linear_loss, w)
    with pytest.raises(ValueError, match=r"\[23, 22\]"):
        per_sample_gradients(linear_loss, w, x, y[1:])
    with pytest.raises(ValueError, match="chunk=0"):
        per_sample_gradient_norms(linear_loss, w, x, y, chunk=0)
    with pytest.raises(ValueError, match="must return one number"):
        per_sample_gradients(lambda p, a, b: p * a, w, x, y)
    monkeypatch.setenv("WORKBENCH_MEMORY", "1e-7")
    with pytest.raises(ValueError, match="per_sample_gradient_norms"):
        per_sample_gradients(linear_loss, w, x, y)


def test_coupled_samples_have_no_gradients_of_their_own():
    torch.manual_seed(0)
    model = NETWORKS["mlp"]().double()
    inputs, targets = torch.randn(9, 36, dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    loss = empirical_loss(model, lambda outputs, goals: (outputs - goals).square().mean().sqrt(), inputs, targets)
    with pytest.raises(ValueError, match="couples its samples"):
        per_sample_gradients(loss, loss.parameters())


def test_scalar_parameters():
    found = per_sample_gradients(
        lambda p, x: p["a"] * x + p["b"].sum(), {"a": torch.tensor(2.0), "b": torch.ones(2)}, torch.arange(3.0)
    )
    torch.testing.assert_close(found, torch.tensor([[0.0, 1, 1], [1, 1, 1], [2, 1, 1]]))
