"""One run of SGD, gradient descent or the stochastic flow, and what the theorem says of it; for `wb.sweep`.

The loss is integrated over every step: an integral of thinned records is 3-9 % too large, because the loss falls fast at first.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

import workbench.optimizers as optimizers
from workbench.checks import require_count
from workbench.draws import Seed
from workbench.dynamics.run import Run, run
from workbench.dynamics.sources import AllSamples, LabelNoise, Minibatches
from workbench.papers.sgd_diagonal_nets.data import SparseData
from workbench.papers.sgd_diagonal_nets.effective_initialisation import effective_initialisation, log_decay
from workbench.papers.sgd_diagonal_nets.stochastic_flow import IsotropicNoise, StochasticGradientFlow
from workbench.problems.factorised.diagonal_network import SquaresNetwork
from workbench.problems.factorised.diagonal_potential import argmin_phi

Method = Literal["sgd", "gd", "isotropic"]


def descent(
    network: SquaresNetwork,
    gamma: float | Tensor,
    n_iter: int,
    seed: Seed,
    *,
    method: Method = "sgd",
    delta: float | Tensor = 0.0,
    noise_until: int | None = None,
) -> Run:
    """n_iter steps of size gamma; `integrals["loss"]` is sum gamma L over all steps.

    method "sgd": one uniform sample a step, with label noise +-2 delta until step `noise_until` (None: to the end); "gd": all
    samples; "isotropic": all samples and Gaussian noise of SGD's size without its structure. Label noise is for "sgd" alone.
    """
    if method not in ("sgd", "gd", "isotropic"):
        raise ValueError(f"method must be sgd, gd or isotropic, got {method!r}")
    if method != "sgd" and (isinstance(delta, Tensor) or delta):
        raise ValueError(f"delta is label noise of method sgd; leave it out for {method}")
    one = Minibatches(1, "replacement")
    noisy = LabelNoise(2 * delta, one, until=noise_until, law="signs")
    source = {"sgd": noisy if isinstance(delta, Tensor) or delta else one}.get(method, AllSamples())
    rule = optimizers.gradient_descent(gamma)
    if method == "isotropic":
        rule = optimizers.Descent(IsotropicNoise(network), gamma)
    return run(network, rule, seed=seed, steps=n_iter, source=source, integrate={"loss": network.loss}, progress=False)


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
) -> Run:
    """n_iter steps of size dt (None: gamma) of SGD's diffusion; `integrals["loss"]` is sum dt L.

    sde_noise scales the diffusion's gamma: 0 is the gradient flow (control). pieces: as in `optimizers.EulerMaruyama`.
    """
    if scheme not in ("log", "em"):
        raise ValueError(f"scheme must be log or em, got {scheme!r}")
    equation = StochasticGradientFlow(network, sde_noise * gamma, delta, noise_until, per_sample)
    rule = (optimizers.LogEulerMaruyama if scheme == "log" else optimizers.EulerMaruyama)(
        equation, gamma if dt is None else dt, pieces=pieces
    )
    return run(network, rule, seed=seed, steps=n_iter, integrate={"loss": network.loss}, progress=False)


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
) -> dict[str, Tensor]:
    """What the claims measure of a run; NaN where it diverged.

    noise: int delta^2 dt. test_* are |beta - beta*|^2 of the run, of the gradient flow's limit ("flow"), and of the limits from
    the theorem's alpha_infinity ("formula"); distance_* are l2 distances of the run to those limits and to that of its own
    sqrt(w+ w-) ("own"). decay and decay_formula are the means over features of log(alpha/alpha_eff).
    """
    beta, loss_integral = network.predictor(ended.parameters), ended.integrals["loss"]
    # A diverged run has no limit; the solver refuses an alpha that is not finite only where it is alone.
    usable = torch.isfinite(beta).all() & torch.isfinite(loss_integral)
    finite_integral = torch.where(usable, loss_integral, 0.0)
    own = torch.where(usable, network.effective_initialisation(ended.parameters), network.scale)
    scales = {
        "flow": network.scale,
        "formula": effective_initialisation(data.inputs, network.scale, gamma, finite_integral, noise),
        "own": own,
    }
    limits = {name: argmin_phi(data.inputs, data.targets, scale) for name, scale in scales.items()}
    found = {
        "test": data.test_loss(beta),
        "loss_integral": loss_integral,
        "decay": network.log_decay(ended.parameters).mean(),
        "decay_formula": log_decay(data.inputs, gamma, finite_integral, noise).mean(),
        "residual": network.residuals(ended.parameters).norm() / data.targets.norm(),
        **{f"test_{name}": data.test_loss(limit) for name, limit in limits.items() if name != "own"},
        **{f"distance_{name}": (beta - limit).norm() for name, limit in limits.items()},
    }
    return {name: torch.where(usable | (name == "test_flow"), value, torch.nan) for name, value in found.items()}
