"""What the claims measure on matrix sensing, sparse coding and the network sweep."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from workbench import problems
from workbench.dynamics.run import run
from workbench.dynamics.sweep import sweep
from workbench.optimizers import gradient_descent
from workbench.papers.normalization_in_sam.quadratics import seeds
from workbench.papers.normalization_in_sam.rules import ARMS, RANDOM, rule
from workbench.papers.normalization_in_sam.sparse_coding import sparse_coding
from workbench.problems.base import Problem

MINIMUM = 600
"""Steps of gradient descent before the drift in matrix sensing."""


def _sensing(p: Any, seed: Any) -> Problem:
    return problems.matrix_sensing(seed, p.ms_d, p.ms_r, p.ms_m, p.ms_init)


def stability(p: Any) -> xr.DataArray:
    """Whether an entry passed 1000 within 300 steps, by seed, radius and arm."""

    def one(seed, rho, arm):
        run(_sensing(p, seed), rule(arm, p.ms_eta, rho, p.arms), seed=seed, steps=300, blowup=1e3)
        return {}

    return sweep(one, seed=seeds(p, p.stability_seeds), rho=p.ms_rhos, arm=["USAM", "SAM"]).diverged


def _arms(p: Any) -> list[str]:
    """The three rules and, unless a control runs, the random direction beside them."""
    return [*ARMS, RANDOM] if p.arms == "as stated" else list(ARMS)


def sensing_drift(p: Any) -> xr.Dataset:
    """Training loss and test error along 600 steps of gradient descent and `ms_steps` of every arm from there."""
    late = np.linspace(MINIMUM, MINIMUM + p.ms_steps, min(p.ms_steps, 60) + 1).astype(int)
    recorded = [*range(0, MINIMUM, 50), *late.tolist()]

    def one(seed, arm):
        stages = [(gradient_descent(p.ms_eta), MINIMUM), (rule(arm, p.ms_eta, p.ms_rho, p.arms), p.ms_steps)]
        kept = ["train_loss", "test_error"]
        return run(_sensing(p, seed), stages, seed=seed, record=kept, at=recorded).records

    return sweep(one, seed=seeds(p, p.sensing_seeds), arm=_arms(p))


def coding(p: Any) -> xr.Dataset:
    """Shared bias of the sparse-coding network along `sc_steps` steps, by seed and arm."""

    def one(seed, arm):
        problem = sparse_coding(seed)
        return run(problem, rule(arm, p.sc_eta, p.sc_rho, p.arms), seed=seed, steps=p.sc_steps, record=["bias"]).records

    return sweep(one, seed=seeds(p, p.coding_seeds), arm=_arms(p))


def robustness(p: Any, images: Any) -> xr.Dataset:
    """Test accuracy and divergence by seed, step size, radius and arm; radius 0 is SGD, under both names.

    The library's squared loss carries a factor 1/2 and the paper's does not; for USAM and SAM together it cannot be absorbed
    in step size and radius, hence the factor 2. Runs that diverge have the accuracy of guessing.
    """
    problem = problems.Scaled(problems.classifier(images, loss="squared", **_network(p, images)), 2.0)

    def train(seed, eta, rho, arm):
        # pyrefly: ignore[missing-attribute]
        start = {name: p.mlp_gain * value for name, value in problem.initial(seed).items()}
        made = rule(arm, eta, rho, p.arms)
        last = run(problem, made, start=start, seed=seed, epochs=p.mlp_epochs, batch_size=p.mlp_batch)
        return {"accuracy": 1 - problem.measures["test_error"](last.parameters)}

    common = {"seed": seeds(p, p.network_seeds), "eta": p.mlp_etas}
    sgd = sweep(train, rho=[0.0], arm=["GD"], **common)
    swept = sweep(train, rho=p.mlp_rhos, arm=["USAM", "SAM"], **common)
    both = [sgd.isel(arm=0, drop=True).expand_dims(arm=["USAM", "SAM"]), swept]
    found = xr.concat([one[["accuracy", "diverged"]] for one in both], "rho")
    found["accuracy"] = found.accuracy.where(~found.diverged, 1 / images.n_classes)
    return found.transpose("seed", "eta", "rho", "arm")


def relative_accuracy(found: xr.Dataset) -> xr.DataArray:
    """Grid mean of the accuracy over SGD's at the same step size, by seed and arm."""
    return (found.accuracy / found.accuracy.sel(rho=0.0)).sel(rho=found.rho > 0).mean(["eta", "rho"])


def _network(p: Any, images: Any) -> dict[str, Any]:
    if p.network == "mlp":
        return {"hidden": [p.mlp_hidden] * p.mlp_depth, "activation": "relu"}
    channels = images.sample_shape[0]
    made = problems.networks.preactivation_resnet18(images.n_classes, width=p.mlp_hidden, channels=channels)
    return {"model": made}
