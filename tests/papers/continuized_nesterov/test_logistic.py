"""The logistic comparison: its minimisers, its null, its refusal of separable data."""

import numpy as np
import pytest
import torch

from workbench.papers.continuized_nesterov import logistic


def test_minima_are_critical_points_below_every_gap():
    data = logistic.logistic_data(range(3))
    point = torch.zeros(3, 2, logistic.D, dtype=torch.float64)
    rows = [torch.func.grad(lambda w, i=i: data.loss(w)[i].sum())(point)[i] for i in range(3)]
    torch.testing.assert_close(data.gradient(point), torch.stack(rows))
    assert (data.loss(point)[:, 0] > data.minimum).all()


def test_without_mixing_it_is_gradient_descent_and_with_it_faster():
    null = logistic.logistic_comparison(range(2), 3, [20, 40], eta_scale=0.0)
    np.testing.assert_allclose(null.continuized, null.gradient_descent, rtol=1e-9)
    found = logistic.logistic_comparison(range(2), 20, [40])
    assert (found.continuized < found.gradient_descent).all()


def test_separable_data_are_refused(monkeypatch):
    monkeypatch.setattr(logistic, "N", 8)
    with pytest.raises(ValueError, match=r"no minimiser \(separable classes\)"):
        logistic.logistic_data(range(3))
