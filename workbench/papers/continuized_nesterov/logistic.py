"""Logistic regression without a penalty: continuized acceleration against gradient descent and Nesterov's method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import draws
from workbench.optimizers.accelerated import ContinuizedConvex
from workbench.papers.continuized_nesterov.simulation import path, waiting_times

N, D = 200, 10


class LogisticData(NamedTuple):
    """Several data sets side by side, their smoothness constants and least losses."""

    inputs: Float[Tensor, "set sample feature"]
    labels: Float[Tensor, "set sample"]
    L: Float[Tensor, " set"]
    minimum: Float[Tensor, " set"]

    def loss(self, w: Float[Tensor, "set run feature"]) -> Float[Tensor, "set run"]:
        """mean log(1 + exp(-y <x, w>))."""
        return functional.softplus(-self.labels[:, None] * (w @ self.inputs.mT)).mean(-1)

    def gradient(self, w: Float[Tensor, "set run feature"]) -> Float[Tensor, "set run feature"]:
        slopes = -self.labels[:, None] * torch.sigmoid(-self.labels[:, None] * (w @ self.inputs.mT))
        return slopes @ self.inputs / self.inputs.shape[1]


def logistic_data(seeds: Sequence[int]) -> LogisticData:
    """Features s_j N(0, 1) with s geometric from 1 to 0.05, labels Bernoulli(sigmoid <x, w*>), w*_j = N(0, 1)/(s_j sqrt 10).

    Raises ValueError for a data set without a minimiser (separable), found by Newton's method not converging.
    """
    scales = torch.logspace(0, np.log10(0.05), D, dtype=torch.float64)
    inputs, labels = [], []
    for seed in seeds:
        x = draws.normal(seed, (N, D), stream="inputs") * scales
        w = draws.normal(seed, (D,), stream="truth") / scales / 10**0.5
        inputs.append(x)
        labels.append(
            torch.where(draws.uniform(seed, (N,), stream="labels") < torch.sigmoid(x @ w), 1.0, -1.0).double()
        )
    X, y = torch.stack(inputs), torch.stack(labels)
    L = torch.linalg.eigvalsh(X.mT @ X / N)[:, -1] / 4
    data = LogisticData(X, y, L, torch.zeros(len(L), dtype=torch.float64))
    point = torch.zeros(len(L), 1, D, dtype=torch.float64)
    for _ in range(60):
        slope = data.gradient(point)
        share = torch.sigmoid(point @ X.mT)[:, 0]
        hessian = X.mT @ ((share * (1 - share))[..., None] * X) / N
        # Of separable data it becomes singular, and the point NaN.
        newton = torch.linalg.solve_ex(hessian, slope[:, 0]).result
        decrement = (slope[:, 0] * newton).sum(-1, keepdim=True).sqrt()
        point = point - (newton / (1 + decrement))[:, None]
    worst = data.gradient(point).abs().amax((1, 2))
    if not (worst < 1e-10).all():
        refused = [seed for seed, value in zip(seeds, worst.tolist(), strict=True) if not value < 1e-10]
        raise ValueError(f"the data sets of seeds {refused} have no minimiser (separable classes); choose other seeds")
    return data._replace(minimum=data.loss(point)[:, 0])


def logistic_comparison(seeds: Sequence[int], runs: int, at: Sequence[int], *, eta_scale: float = 1.0) -> xr.Dataset:
    """Gaps f - f* after `at` gradients: gradient descent, Nesterov (momentum k/(k+3)), continuized (mean over runs).

    All with step 1/L from 0. Dims gradients, set. eta_scale = 0 turns the mixing off (control).
    """
    data = logistic_data(seeds)
    inverse = (1 / data.L)[:, None, None]
    start = torch.zeros(len(seeds), 1, D, dtype=torch.float64)
    gaps = {name: [] for name in ("gradient_descent", "nesterov", "continuized")}

    def gap(w: Tensor) -> Tensor:
        return data.loss(w) - data.minimum[:, None]

    x = previous = descended = start
    for k in range(max(at) + 1):
        if k in at:
            gaps["gradient_descent"].append(gap(descended)[:, 0])
            gaps["nesterov"].append(gap(x)[:, 0])
        descended = descended - inverse * data.gradient(descended)
        y = x + k / (k + 3) * (x - previous)
        previous, x = x, y - inverse * data.gradient(y)
    # In units of the step 1/L every data set is 1-smooth: z moves in the same units.
    scheme = ContinuizedConvex(1.0, 2.0 * eta_scale, 0.5)
    waiting = torch.stack([waiting_times(seed, max(at), runs) for seed in seeds], dim=1)
    events = path(scheme, lambda w: inverse * data.gradient(w), start.expand(-1, runs, -1).clone(), waiting)
    for k, event in enumerate(events):
        if k in at:
            gaps["continuized"].append(gap(event.x).mean(-1))
    found = {name: (("gradients", "set"), torch.stack(values).numpy()) for name, values in gaps.items()}
    return xr.Dataset(found, coords={"gradients": sorted(at), "set": list(seeds)})
