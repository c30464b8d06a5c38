"""One run of SGD, gradient descent or the stochastic flow, and what the theorem says of it; for `wb.sweep`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import workbench.optimizers as optimizers
from workbench.checks import require_count
from workbench.draws import Seed
from workbench.dynamics.labelled import Labelled
from workbench.dynamics.records import Recordable
from workbench.dynamics.run import Run, run
from workbench.dynamics.sources import AllSamples, LabelNoise, Minibatches
from workbench.optimizers import Rule, Source
from workbench.papers.sgd_diagonal_nets.data import SparseData
from workbench.papers.sgd_diagonal_nets.effective_initialisation import (
    effective_initialisation,
    flow_loss_integral,
    log_decay,
)
from workbench.papers.sgd_diagonal_nets.stochastic_flow import IsotropicNoise, StochasticGradientFlow
from workbench.problems.factorised.diagonal_network import SquaresNetwork
from workbench.problems.factorised.diagonal_potential import argmin_phi

Method = Literal["sgd", "gd", "isotropic"]
EVERY = 50
"""Steps between the losses that a thinned integral sees."""
_LOSS = "loss for the integral"


def descent(
    network: SquaresNetwork,
    gamma: float | Tensor,
    n_iter: int,
    seed: Seed,
    *,
    method: Method = "sgd",
    delta: float | Tensor = 0.0,
    noise_until: int | None = None,
    thin_after: int | None = None,
    record: Mapping[str, Recordable] | None = None,
) -> Run:
    """n_iter steps of size gamma; `integrals["loss"]` is int L dt, the sum of gamma L before each step.

    method: "sgd" takes one uniform sample a step, with label noise +-2 delta until step `noise_until` (None: to the end); "gd"
        all samples; "isotropic" all samples and Gaussian noise of SGD's size without its structure. Only "sgd" has label noise.
    thin_after: from that step on the integral sees every `EVERY`-th loss (trapezoids); at the start the loss falls too fast.
    record: measured at steps spread evenly over log time, after `thin_after` every `EVERY` steps.
    """
    rule, source = _method(network, gamma, method, delta, noise_until)
    dense = n_iter if thin_after is None else min(n_iter, thin_after)
    record, loss = dict(record or {}), {"loss": network.loss}
    first = run(
        network, rule, seed=seed, steps=dense, source=source, integrate=loss, record=record, at="log", progress=False
    )
    if dense == n_iter:
        return first
    rest = run(
        network, rule, seed=seed, steps=n_iter - dense, source=source, start=first.checkpoint,
        record=record | {_LOSS: network.loss}, every=EVERY, progress=False,
    )  # fmt: skip
    losses = rest.records.pop(_LOSS)
    integral = first.integrals["loss"] + gamma * torch.trapezoid(
        losses.value, torch.as_tensor(np.asarray(losses.coords["step"]), dtype=losses.value.dtype)
    )
    records = {name: _joined(first.records[name], rest.records[name]) for name in record}
    # What diverged in the first part is not alive in the second either: its integral is NaN already.
    return replace(rest, integrals={"loss": integral}, records=records, steps=n_iter)


def _method(
    network: SquaresNetwork, gamma: float | Tensor, method: Method, delta: float | Tensor, noise_until: int | None
) -> tuple[Rule, Source]:
    if method not in ("sgd", "gd", "isotropic"):
        raise ValueError(f"method must be sgd, gd or isotropic, got {method!r}")
    if method != "sgd" and (isinstance(delta, Tensor) or delta):
        raise ValueError(f"delta is label noise of method sgd; leave it out for {method}")
    one = Minibatches(1, "replacement")
    noisy = LabelNoise(2 * delta, one, until=noise_until, law="signs")
    source = {"sgd": noisy if isinstance(delta, Tensor) or delta else one}.get(method, AllSamples())
    if method == "isotropic":
        return optimizers.Descent(IsotropicNoise(network), gamma), source
    return optimizers.gradient_descent(gamma), source


def _joined(first: Labelled, rest: Labelled) -> Labelled:
    """Records of two runs, the second of which starts at the first one's last record."""
    steps = np.concatenate([np.asarray(first.coords["step"])[:-1], np.asarray(rest.coords["step"])])
    value = torch.cat([first.value[:-1], rest.value])
    return Labelled(value, first.dims, {"step": steps})


def stochastic_flow(
    network: SquaresNetwork,
    gamma: float | Tensor,
    n_iter: int,
    seed: Seed,
    *,
    scheme: Literal["log", "em"] = "log",
    dt: float | Tensor | None = None,
    delta: float | Tensor = 0.0,
    noise_until: int | None = None,
    sde_noise: float = 1.0,
    per_sample: bool = False,
    pieces: int = 1,
    record: Mapping[str, Recordable] | None = None,
) -> Run:
    """n_iter steps of size dt (None: gamma) of SGD's diffusion; `integrals["loss"]` is sum dt L.

    sde_noise scales the diffusion's gamma: 0 is the gradient flow (control). pieces: as in `optimizers.EulerMaruyama`.
    record: as in `descent`.
    """
    if scheme not in ("log", "em"):
        raise ValueError(f"scheme must be log or em, got {scheme!r}")
    equation = StochasticGradientFlow(network, sde_noise * gamma, delta, noise_until, per_sample)
    rule = (optimizers.LogEulerMaruyama if scheme == "log" else optimizers.EulerMaruyama)(
        equation, gamma if dt is None else dt, pieces=pieces
    )
    return run(
        network, rule, seed=seed, steps=n_iter, integrate={"loss": network.loss}, record=record or (), at="log",
        progress=False,
    )  # fmt: skip


def noise_integral(
    gamma: float | Tensor, n_iter: int, delta: float | Tensor, noise_until: int | None = None
) -> float | Tensor:
    """int delta^2 dt over n_iter steps of length gamma, of which the first `noise_until` are noisy."""
    require_count("n_iter", n_iter)
    return gamma * delta**2 * (n_iter if noise_until is None else min(noise_until, n_iter))


def outcome(
    data: SparseData,
    network: SquaresNetwork,
    ended: Run,
    gamma: float | Tensor,
    noise: float | Tensor = 0.0,
    next_feature: bool = False,
) -> dict[str, Tensor]:
    """What the claims measure of a run; NaN where it diverged.

    noise: int delta^2 dt. flow_integral: int L dt of the gradient flow from the same start. test_* are |beta - beta*|^2 of the
    run, of the gradient flow's limit ("flow"), and of the limits from the theorem's alpha_infinity ("formula"); distance_* are
    l2 distances of the run to those limits and to that of its own sqrt(w+ w-) ("own"). decay and decay_formula are the means
    over features of log(alpha/alpha_eff).
    next_feature: "own" gives each feature the sqrt(w+ w-) of the next one (a control).
    """
    beta, loss_integral = network.predictor(ended.parameters), ended.integrals["loss"]
    # A diverged run has no limit; the solver refuses an alpha that is not finite only where it is alone.
    usable = torch.isfinite(beta).all() & torch.isfinite(loss_integral)
    finite_integral = torch.where(usable, loss_integral, 0.0)
    own = torch.where(usable, network.effective_initialisation(ended.parameters), network.scale)
    own = own.roll(1) if next_feature else own
    scales = {
        "flow": network.scale,
        "formula": effective_initialisation(data.inputs, network.scale, gamma, finite_integral, noise),
        "own": own,
    }
    limits = {name: argmin_phi(data.inputs, data.targets, scale) for name, scale in scales.items()}
    found = {
        "test": data.test_loss(beta),
        "loss_integral": loss_integral,
        "flow_integral": flow_loss_integral(limits["flow"], network.scale),
        "decay": network.log_decay(ended.parameters).mean(),
        "decay_formula": log_decay(data.inputs, gamma, finite_integral, noise).mean(),
        "residual": network.residuals(ended.parameters).norm() / data.targets.norm(),
        **{f"test_{name}": data.test_loss(limit) for name, limit in limits.items() if name != "own"},
        **{f"distance_{name}": (beta - limit).norm() for name, limit in limits.items()},
    }
    return {
        name: torch.where(usable | (name in ("test_flow", "flow_integral")), value, torch.nan)
        for name, value in found.items()
    }
