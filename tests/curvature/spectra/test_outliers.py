import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from workbench.curvature import empirical_loss, fisher, hessian, outlier_structure


def classifier(decay=0.0, samples=30):
    torch.manual_seed(0)
    inputs = torch.randn(samples, 5, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    return empirical_loss(model, functional.cross_entropy, inputs, torch.arange(samples) % 3, decay)


def sample_gradients(loss, parameters):
    """Gradients for every target and the weights of arXiv:1901.08244, [sample, target, parameter] and [sample, target]."""
    gradients = torch.stack(
        [
            torch.stack(
                [
                    torch.cat(
                        [g.reshape(-1) for g in torch.func.grad(loss.sample_loss)(parameters, x, target).values()]
                    )
                    for target in torch.arange(3)
                ]
            )
            for x in loss.inputs
        ]
    )
    return gradients, loss.outputs(parameters).softmax(-1) / len(loss.inputs)


def test_components_are_the_definitions_and_add_up():
    loss = classifier()
    parameters = loss.parameters()
    result = outlier_structure(loss, parameters)
    gradients, weights = sample_gradients(loss, parameters)
    matrix = torch.einsum("nd,ndp,ndq->pq", weights, gradients, gradients)
    torch.testing.assert_close(matrix, fisher(loss, parameters))
    assert float(result.trace.sum()) == pytest.approx(float(matrix.trace()))
    assert (result.trace >= 0).all()

    class_part = torch.zeros_like(matrix)
    within = 0.0
    for index in range(3):
        rows = loss.targets == index
        g, w = gradients[rows], weights[rows]
        targets = [target for target in range(3) if target != index]
        mean = torch.einsum("nd,ndp->p", w[:, targets], g[:, targets]) / w[:, targets].sum()
        class_part += w[:, targets].sum() * torch.outer(mean, mean)
        for target in range(3):
            centre = (w[:, target, None] * g[:, target]).sum(0) / w[:, target].sum()
            within += float((w[:, target] * (g[:, target] - centre).square().sum(-1)).sum())
            assert float(result.mean_norm.sel({"class": index, "target": target})) == pytest.approx(
                float(centre.norm())
            )
    assert float(result.trace.sel(component="within class")) == pytest.approx(within)
    expected = torch.linalg.eigvalsh(class_part).flip(0)[:3].numpy()
    np.testing.assert_allclose(result.class_eigenvalue, expected, rtol=1e-9, atol=1e-14)
    assert len(result.cross_class_eigenvalue) == 6


def test_eigenvalues_are_those_of_the_matrices_without_weight_decay():
    loss = classifier(decay=0.5)
    result = outlier_structure(loss, loss.parameters(), count=4)
    bare = classifier()
    for name, matrix in (("gauss_newton_eigenvalue", fisher), ("hessian_eigenvalue", hessian)):
        expected = torch.linalg.eigvalsh(matrix(bare, bare.parameters())).flip(0)[:4].numpy()
        np.testing.assert_allclose(result[name], expected, rtol=1e-10, atol=1e-13)
    assert result.sizes["eigenvalue"] == 4
    assert ((result.overlap >= 0) & (result.overlap <= 1 + 1e-12)).all()


def test_an_absent_class_has_no_weight():
    loss = classifier()
    two = empirical_loss(loss.model, functional.cross_entropy, loss.inputs, loss.targets % 2)
    result = outlier_structure(two, two.parameters())
    assert float(result.weight.sel({"class": 2}).sum()) == 0.0
    assert np.isfinite(result.trace).all()
    assert float(result.trace.sum()) == pytest.approx(float(fisher(two, two.parameters()).trace()))


def test_other_losses_are_refused():
    inputs = torch.randn(4, 2)
    squared = empirical_loss(nn.Linear(2, 3), functional.mse_loss, inputs, torch.zeros(4, 3))
    with pytest.raises(ValueError, match="cross_entropy"):
        outlier_structure(squared, squared.parameters())
    soft = empirical_loss(nn.Linear(2, 3), functional.cross_entropy, inputs, torch.full((4, 3), 1 / 3))
    with pytest.raises(ValueError, match="integer targets"):
        outlier_structure(soft, soft.parameters())
