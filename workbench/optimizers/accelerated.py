"""Accelerated rules that bear noisy gradients: AcSGD, and Nesterov's method in continuous time with random gradient steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.draws import Exponential
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import Rule, refuse_outside
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, leaves, subtract, tree_map

_WAITING = Exponential("waiting", ())


class AcSGDState(NamedTuple):
    """The two other sequences."""

    z: Parameters
    x: Parameters


@dataclass(frozen=True, eq=False, repr=False)
class AcSGD(Rule):
    """x+ = y - step_size g(y), z+ = z - alpha (t+1) g(y), y+ = ((t+1) x+ + z+)/(t+2) (arXiv:2203.01744, 1).

    The parameters are y, at which gradients are taken; `points` names x (the paper's last iterate) and z. alpha = step_size is
    Nesterov's method for convex functions; for least squares with one sample a step the paper asks for alpha <=
    step_size/(2 kappa), (alpha + 2 step_size) R2 <= 1 (`workbench.problems.linear.designs`).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.AcSGD(0.1, alpha=0.3), start=start, steps=1).parameters  # (x+ + z+)/2
    tensor([2.4000], dtype=torch.float64)
    """

    step_size: HyperParameter
    alpha: HyperParameter

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        refuse_outside("alpha", self.alpha, lower=0.0)

    def init(self, parameters: Parameters) -> AcSGDState:
        return AcSGDState(parameters, parameters)

    def step(self, oracle: Oracle, parameters: Parameters, state: AcSGDState) -> tuple[Parameters, AcSGDState]:
        t, gradient = oracle.step.to(torch.float64), oracle.gradient(parameters)
        x = add_scaled(parameters, -at(self.step_size, oracle.step), gradient)
        z = add_scaled(state.z, -at(self.alpha, oracle.step) * (t + 1), gradient)
        return tree_map(lambda a, b: ((t + 1) * a + b) / (t + 2), x, z), AcSGDState(z, x)

    def points(self, parameters: Parameters, state: AcSGDState) -> dict[str, Parameters]:
        return {"x": state.x, "z": state.z}


class ContinuizedState(NamedTuple):
    """The sequence z and the time of the last gradient step."""

    z: Parameters
    time: Float[Tensor, ""]


@dataclass(frozen=True, eq=False, repr=False)
class _Continuized(Rule):
    """dx = eta_t (z - x) dt - step_size g(x) dN, dz = eta'_t (x - z) dt - z_step_t g(x) dN, N a Poisson process of rate 1.

    One step is the exact flow over an Exp(1) waiting time, then a gradient step (arXiv:2106.07644, Theorem 3).
    """

    step_size: float | Tensor

    def mixing(self, time: Scalar, waiting: Tensor) -> tuple[Scalar, Scalar]:
        """p, q of the flow x -> x + p (z - x), z -> z + q (x - z) from `time` over `waiting`."""
        raise NotImplementedError

    def z_step_at(self, time: Tensor) -> Scalar:
        """The step of z at a jump."""
        raise NotImplementedError

    def init(self, parameters: Parameters) -> ContinuizedState:
        return ContinuizedState(parameters, torch.zeros((), dtype=torch.float64, device=leaves(parameters)[0].device))

    def step(
        self, oracle: Oracle, parameters: Parameters, state: ContinuizedState
    ) -> tuple[Parameters, ContinuizedState]:
        waiting = oracle.draw(_WAITING)
        p, q = self.mixing(state.time, waiting)
        apart = subtract(state.z, parameters)
        point, time = add_scaled(parameters, p, apart), state.time + waiting
        gradient = oracle.gradient(point)
        z = add_scaled(add_scaled(state.z, -q, apart), -self.z_step_at(time), gradient)
        return add_scaled(point, -self.step_size, gradient), ContinuizedState(z, time)

    def duration(self, oracle: Oracle) -> Tensor:
        return oracle.draw(_WAITING)

    def points(self, parameters: Parameters, state: ContinuizedState) -> dict[str, Parameters]:
        return {"z": state.z}


@dataclass(frozen=True, eq=False, repr=False)
class Continuized(_Continuized):
    """Constant rates eta, eta_z and steps step_size, z_step: for strongly convex losses.

    >>> import torch
    >>> import workbench as wb
    >>> rule = wb.optimizers.Continuized(0.25, eta=0.5, eta_z=0.5, z_step=0.5)
    >>> rule.mixing(0.0, waiting=torch.tensor(torch.inf))  # x and z meet half way
    (tensor(0.5000), tensor(0.5000))
    """

    eta: float | Tensor
    eta_z: float | Tensor
    z_step: float | Tensor

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        for name in ("eta", "eta_z", "z_step"):
            refuse_outside(name, getattr(self, name), lower=0.0)

    def mixing(self, time: Scalar, waiting: Tensor) -> tuple[Scalar, Scalar]:
        total = torch.as_tensor(self.eta + self.eta_z, dtype=waiting.dtype)
        length = torch.where(total > 0, -torch.expm1(-total * waiting) / torch.where(total > 0, total, 1.0), waiting)
        return self.eta * length, self.eta_z * length

    def z_step_at(self, time: Tensor) -> Scalar:
        return self.z_step


@dataclass(frozen=True, eq=False, repr=False)
class ContinuizedConvex(_Continuized):
    """eta_t = power/t, eta'_t = 0, z_step_t = z_slope t: for convex losses.

    >>> import torch
    >>> import workbench as wb
    >>> rule = wb.optimizers.ContinuizedConvex(0.25, power=2.0, z_slope=0.125)
    >>> rule.mixing(torch.tensor(1.0), waiting=torch.tensor(1.0))[0]  # 1 - (t/(t + w))^2
    tensor(0.7500)
    """

    power: float | Tensor
    z_slope: float | Tensor

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        for name in ("power", "z_slope"):
            refuse_outside(name, getattr(self, name), lower=0.0)

    def mixing(self, time: Scalar, waiting: Tensor) -> tuple[Scalar, Scalar]:
        return 1.0 - (time / (time + waiting)) ** self.power, 0.0

    def z_step_at(self, time: Tensor) -> Scalar:
        return self.z_slope * time


def acsgd(step_size: HyperParameter, alpha: HyperParameter) -> AcSGD:
    """Accelerated SGD with two step sizes, for least squares and other streams of samples.

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> run = wb.run(valley, wb.optimizers.acsgd(0.1, alpha=0.3), start=start, steps=1)
    >>> run.points['x'], run.points['z']
    (tensor([2.7000], dtype=torch.float64), tensor([2.1000], dtype=torch.float64))
    """
    return AcSGD(step_size, alpha)


def continuized(step_size: float, mu: float = 0.0) -> Continuized | ContinuizedConvex:
    """Continuized Nesterov acceleration for a loss of smoothness L = 1/step_size and strong convexity mu (arXiv:2106.07644).

    mu = 0: eta = 2/t, z_step = t step_size/2. mu > 0: eta = eta_z = sqrt(mu/L), z_step = 1/sqrt(mu L).

    >>> import workbench as wb
    >>> wb.optimizers.continuized(0.25, mu=1.0)
    continuized(step_size=0.25, eta=0.5, eta_z=0.5, z_step=0.5)
    """
    refuse_outside("step_size", step_size, lower=0.0, open_lower=True)
    refuse_outside("mu", mu, lower=0.0, upper=1 / step_size)
    if mu == 0:
        return ContinuizedConvex(step_size, 2.0, step_size / 2)
    rate = math.sqrt(mu * step_size)
    return Continuized(step_size, rate, rate, math.sqrt(step_size / mu))
