import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from workbench.curvature import decomposition, empirical_fisher, empirical_loss, fisher, gauss_newton, hessian
from workbench.parameters import ravel, unravel


def mlp(*widths: int, activation=nn.Tanh, bias=True) -> nn.Sequential:
    parts: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        parts += [nn.Linear(before, after, bias=bias), activation()]
    return nn.Sequential(*parts[:-1]).double()


def data(samples=11, features=4, classes=3):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(classes, (samples,), generator=generator)


def jacobians(loss, parameters):
    """Outputs' and per-sample losses' Jacobians, by an independent route."""
    flat = ravel(parameters)
    outputs = torch.func.jacrev(lambda vector: loss.outputs(unravel(vector, parameters)))(flat)
    samples = torch.func.jacrev(
        lambda vector: torch.stack(
            [
                loss.sample_loss(unravel(vector, parameters), x, y)
                for x, y in zip(loss.inputs, loss.targets, strict=True)
            ]
        )
    )(flat)
    return outputs, samples


MODELS = {
    "deep": lambda: mlp(4, 5, 4, 6, 3),
    "relu": lambda: mlp(4, 6, 3, activation=nn.ReLU, bias=False),
    "linear": lambda: mlp(4, 3),
    "conv": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 2, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3)
    ).double(),
    "shared": lambda: nn.Sequential(*[part := nn.Linear(4, 4), nn.Tanh(), part, nn.Linear(4, 3)]).double(),
}


@pytest.mark.parametrize("name", MODELS)
def test_matrices_equal_their_definitions(name):
    torch.manual_seed(0)
    inputs, targets = data()
    loss = empirical_loss(MODELS[name](), functional.cross_entropy, inputs, targets, weight_decay=0.1)
    parameters = loss.parameters()
    of_outputs, of_samples = jacobians(loss, parameters)
    probabilities = loss.outputs(parameters).softmax(-1)
    curvature = torch.diag_embed(probabilities) - probabilities[:, :, None] * probabilities[:, None, :]
    expected = torch.einsum("ncp,ncd,ndq->pq", of_outputs, curvature, of_outputs) / len(inputs)
    identity = torch.eye(len(expected), dtype=torch.float64)
    torch.testing.assert_close(fisher(loss, parameters), expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(gauss_newton(loss, parameters), expected + 0.1 * identity, rtol=1e-11, atol=1e-13)
    outer = of_samples.mT @ of_samples / len(inputs)
    torch.testing.assert_close(empirical_fisher(loss, parameters), outer, rtol=1e-11, atol=1e-13)


def test_sums_over_samples_scale_with_their_number():
    inputs, targets = data()
    model = mlp(4, 5, 3)
    mean = empirical_loss(model, functional.cross_entropy, inputs, targets)
    total = empirical_loss(model, nn.CrossEntropyLoss(reduction="sum"), inputs, targets)
    assert (mean.reduction, total.reduction) == ("mean", "sum")
    for matrix in (hessian, gauss_newton, fisher, empirical_fisher):
        torch.testing.assert_close(matrix(total, total.parameters()), len(inputs) * matrix(mean, mean.parameters()))


def test_a_model_linear_in_its_parameters_has_no_residual():
    inputs, targets = data()
    loss = empirical_loss(mlp(4, 3), functional.cross_entropy, inputs, targets)
    split = decomposition(loss, loss.parameters())
    torch.testing.assert_close(split.residual, torch.zeros_like(split.residual), rtol=0, atol=1e-15)
    torch.testing.assert_close(split.gauss_newton + split.residual, split.hessian)


def test_the_gauss_newton_matrix_of_a_perfect_fit_is_the_hessian():
    inputs, _ = data()
    model = mlp(4, 5, 2)
    loss = empirical_loss(model, functional.mse_loss, inputs, model(inputs).detach())
    split = decomposition(loss, loss.parameters())
    torch.testing.assert_close(split.hessian, split.gauss_newton, rtol=0, atol=1e-15)
    assert float(empirical_fisher(loss, loss.parameters()).abs().max()) == 0.0


def test_runs_in_a_batch_equal_single_runs():
    inputs, targets = data()
    loss = empirical_loss(mlp(4, 5, 3), functional.cross_entropy, inputs, targets)
    runs = {name: torch.stack([entry, 0.5 * entry, -entry]) for name, entry in loss.parameters().items()}
    for matrix in (gauss_newton, fisher, empirical_fisher):
        together = torch.func.vmap(lambda parameters, matrix=matrix: matrix(loss, parameters))(runs)
        for run in range(3):
            alone = matrix(loss, {name: entry[run] for name, entry in runs.items()})
            torch.testing.assert_close(together[run], alone)


def test_refusals_say_what_to_do():
    inputs, targets = data()
    with pytest.raises(ValueError, match="empirical_loss"):
        gauss_newton(lambda parameters: parameters.square().sum(), torch.ones(2))
    hinge = empirical_loss(mlp(4, 3), functional.multi_margin_loss, inputs, targets)
    with pytest.raises(ValueError, match="multi_margin_loss"):
        fisher(hinge, hinge.parameters())
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    coupled = empirical_loss(mlp(4, 3), weighted, inputs, targets)
    with pytest.raises(ValueError, match="couples"):
        empirical_fisher(coupled, coupled.parameters())


class WithCache(nn.Module):
    """Returns its logits beside something that is no tensor, as language models return their caches."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = torch.tanh(self.a(x))
        return {"logits": self.b(h), "cache": Cache(h)}


class Cache:
    def __init__(self, values):
        self.values = values


def test_what_a_model_returns_beside_tensors_is_no_output():
    inputs, targets = data()
    torch.manual_seed(1)
    model = WithCache().double()
    plain = nn.Sequential(model.a, nn.Tanh(), model.b)
    found = empirical_loss(
        model, lambda outputs, labels: functional.cross_entropy(outputs["logits"], labels), inputs, targets
    )
    right = empirical_loss(plain, functional.cross_entropy, inputs, targets)
    torch.testing.assert_close(
        gauss_newton(found, found.parameters()), gauss_newton(right, right.parameters()), rtol=1e-10, atol=1e-12
    )
    beside = empirical_loss(model, lambda outputs, _: outputs["cache"].values.square().mean(), inputs, targets)
    with pytest.raises(ValueError, match="beside its outputs"):
        gauss_newton(beside, beside.parameters())
