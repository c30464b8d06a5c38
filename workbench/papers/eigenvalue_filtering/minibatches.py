"""The paper's own experiment at laptop scale: minibatch training, top Hessian eigenvalue and test accuracy."""

from __future__ import annotations

import numpy as np
import xarray as xr
from torch import Tensor

from workbench import data
from workbench.curvature import sharpness
from workbench.dynamics import run, sweep
from workbench.papers.eigenvalue_filtering.networks import ORDER
from workbench.papers.eigenvalue_filtering.optimizers import running
from workbench.problems import classifier


def digits(
    dataset: str, n: int, *, epochs: int, rho: float, seed0: int, run_as: str = "itself", step_size: float = 0.5
) -> xr.Dataset:
    """SGD, USAM, USAM2 and HUSAM with minibatches of 100 on 1,000 digits (or all of another data set), one hidden layer of 32.

    Returns:
        (optimizer, seed): sharpness, the top eigenvalue of the training loss; accuracy on the test images in per cent. NaN for
        runs that diverged.
    """
    name = "digits" if dataset == "circle" else dataset
    images = data.load(name, train=1000 if name == "digits" else None, flatten=True, centre=True)
    problem = classifier(images, hidden=[32])  # type: ignore[arg-type]

    def train(optimizer: str, seed: Tensor) -> dict[str, Tensor]:
        rule = running(optimizer, step_size, rho=rho, run_as=run_as)
        done = run(problem, rule, seed=seed, epochs=epochs, batch_size=100, progress=False)
        wrong = problem.error(done.parameters, problem.test_inputs, problem.test_targets)
        top = sharpness(problem.loss, done.parameters)  # type: ignore[arg-type]
        return {"sharpness": top, "accuracy": 100 * (1 - wrong)}

    return sweep(train, optimizer=ORDER, seed=range(seed0, seed0 + n), progress=False)


def falls(found: xr.Dataset) -> np.ndarray:
    """Ratios of top eigenvalues SGD/USAM, USAM/USAM2, USAM/HUSAM, [comparison, seed]; 0 where the flatter one diverged."""
    top = found.sharpness
    pairs = [("gd", "usam"), ("usam", "two_step_usam"), ("usam", "hessian_usam")]
    ratios = [top.sel(optimizer=one, drop=True) / top.sel(optimizer=other, drop=True) for one, other in pairs]
    return np.nan_to_num(np.stack([ratio.values for ratio in ratios]), nan=0.0)


def accuracy_gaps(found: xr.Dataset) -> np.ndarray:
    """Accuracy minus SGD's in percentage points, [comparison, seed]."""
    accuracy = found.accuracy
    return np.stack([(accuracy.sel(optimizer=name) - accuracy.sel(optimizer="gd")).values for name in ORDER[1:]])
