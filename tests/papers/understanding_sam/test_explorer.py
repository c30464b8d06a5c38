"""The explorer's runs against the library's, and against what is known in closed form."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import workbench as wb
from workbench.papers.understanding_sam.explorer import compute, draw, explorer
from workbench.problems import diagonal_network, sparse_regression


@pytest.fixture(scope="module")
def picture():
    return compute(alpha=0.05, rho=0.1, m=4, seed=2, gamma_times_d=5.0)


def test_its_runs_are_the_librarys(picture):
    network = diagonal_network(sparse_regression(2), 0.05)
    for name, rho, m in (("GD", 0.0, 20), ("n-SAM", 0.1, 20), ("4-SAM", 0.1, 4)):
        rule = wb.optimizers.m_sam(5 / 30, rho, m, normalize=False)
        run = wb.run(network, rule, steps=40, record=["train_loss", "test_loss"], at=[20, 40])
        path = picture.paths[name]
        for quantity in ("train_loss", "test_loss"):
            np.testing.assert_allclose(getattr(path, quantity)[1:3], run.records[quantity].value, rtol=1e-10)


def test_decay_is_the_theorems_and_the_limit_minimises_phi(picture):
    path = picture.paths["4-SAM"]
    # Both hold for small steps; at 5/d the step itself shrinks the initialisation a little more.
    assert 0 < np.mean(path.decay - path.predicted) < 0.1 * np.mean(path.decay) + 0.05
    distance = np.linalg.norm(path.predictor - picture.minimiser) / np.linalg.norm(picture.minimiser)
    assert distance < 0.1


def test_without_radius_effect_all_methods_agree():
    paths = compute(rho=1e-12).paths
    for path in paths.values():
        np.testing.assert_allclose(path.predictor, paths["GD"].predictor, atol=1e-8)


def test_a_diverged_run_is_nan_and_named():
    figure = Figure()
    words = draw(figure, rho=2.0, gamma_times_d=15.0, alpha=1.0)
    assert "beyond the edge of stability" in words
    assert len(figure.axes) == 3


def test_draws_with_labels(picture):
    figure = Figure()
    words = draw(figure, picture)
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in figure.axes)
    assert "stability number" in words and "predicted" in words


def test_widget_starts_where_asked():
    widget = explorer(rho=0.05, seed=3)
    assert widget.values["rho"] == pytest.approx(0.05) and widget.values["seed"] == 3
    with pytest.raises(ValueError, match="m must be one of"):
        explorer(m=3)


def test_stability_number_is_the_gradient_descents_at_zero_radius():
    data = sparse_regression(0)
    picture = compute(rho=1e-12)
    network = diagonal_network(data, 0.05)
    hessian = torch.func.hessian(network.loss)(torch.as_tensor(picture.paths["GD"].weights)).reshape(60, 60)
    assert picture.stability == pytest.approx(5 / 30 * float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-2)
