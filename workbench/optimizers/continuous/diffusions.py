"""Diffusions dX = drift dt + diffusion dW with a fixed time step dt, as rules.

The Brownian path is a named stream of the run's seed: two runs of the same seed, stream and noise shape see the same one. A
run of steps dt = r dt' sees that of the finer run with `pieces=r`; so do stochastic gradient steps of size eta = r dt' whose
noise is `AdditiveNoise(..., pieces=r)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from workbench.checks import refuse_outside, require_count
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import Rule
from workbench.parameters import Parameters, Scalar, add_scaled, leaves, scale, tree_map


class SDE(Protocol):
    """A stochastic differential equation; a frozen dataclass (`eq=False`) of its coefficients.

    It may also have `increment(oracle, x, dt, dw)`, drift dt + diffusion dw at once, where the two share gradients and products.

    >>> import torch
    >>> import workbench as wb
    >>> class Decay:  # dX = -X dt, without noise
    ...     def noise(self, x):
    ...         return x
    ...     def drift(self, oracle, x):
    ...         return -x
    ...     def diffusion(self, oracle, x, dw):
    ...         return 0 * dw
    >>> valley, start = wb.problems.quadratic([1.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.EulerMaruyama(Decay(), dt=0.1), start=start, steps=1).parameters
    tensor([2.7000], dtype=torch.float64)
    """

    def noise(self, x: Parameters) -> Parameters:
        """Anything of the shape of dW: usually x."""
        ...

    def drift(self, oracle: Oracle, x: Parameters) -> Parameters:
        """The drift at x."""
        ...

    def diffusion(self, oracle: Oracle, x: Parameters, dw: Parameters) -> Parameters:
        """The diffusion matrix at x times dw: linear in dw."""
        ...


@dataclass(frozen=True, repr=False)
class EulerMaruyama(Rule):
    """X+ = X + drift dt + diffusion dW, dW = sqrt(dt) Z: strong order 1/2 in dt (1 for noise that does not depend on X).

    >>> import torch
    >>> import workbench as wb
    >>> class Path:  # dX = dW
    ...     def noise(self, x):
    ...         return x
    ...     def drift(self, oracle, x):
    ...         return 0 * x
    ...     def diffusion(self, oracle, x, dw):
    ...         return dw
    >>> valley, start = wb.problems.quadratic([1.0]), torch.zeros(1)
    >>> def end(steps, **path):
    ...     return wb.run(valley, wb.optimizers.EulerMaruyama(Path(), **path), start=start, steps=steps).parameters
    >>> torch.allclose(end(1, dt=0.2, pieces=2), end(2, dt=0.1))  # one path
    True
    """

    sde: SDE
    dt: Scalar
    stream: str = "noise"
    pieces: int = 1

    def __post_init__(self) -> None:
        refuse_outside("dt", self.dt, lower=0.0, open_lower=True)
        require_count("pieces", self.pieces)

    def duration(self, oracle: Oracle) -> Scalar:
        return self.dt

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        dw = self._dw(oracle, parameters)
        increment = getattr(self.sde, "increment", None)
        if increment is not None:
            return add_scaled(parameters, 1.0, increment(oracle, parameters, self.dt, dw)), state
        moved = add_scaled(parameters, self.dt, self.sde.drift(oracle, parameters))
        return add_scaled(moved, 1.0, self.sde.diffusion(oracle, parameters, dw)), state

    def _dw(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        return scale(self.dt**0.5, oracle.normal(self.stream, self.sde.noise(parameters), self.pieces))


@dataclass(frozen=True, repr=False)
class Milstein(EulerMaruyama):
    """Euler-Maruyama with 1/2 b b' (dW^2 - dt) added, for diagonal noise b_i(x_i) dW_i: strong order 1.

    For other noise, of which b_i depends on other coordinates too, it is not Milstein's method, which needs Levy areas.

    >>> import torch
    >>> import workbench as wb
    >>> class Growth:  # dX = X dW
    ...     def noise(self, x):
    ...         return x
    ...     def drift(self, oracle, x):
    ...         return 0 * x
    ...     def diffusion(self, oracle, x, dw):
    ...         return x * dw
    >>> def moved(rule):
    ...     return wb.run(wb.problems.quadratic([1.0]), rule, start=torch.ones(1), steps=1).parameters.item() - 1
    >>> dw = moved(wb.optimizers.EulerMaruyama(Growth(), dt=0.1))
    >>> abs(moved(wb.optimizers.Milstein(Growth(), dt=0.1)) - dw - (dw**2 - 0.1) / 2) < 1e-6
    True
    """

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        moved, state = super().step(oracle, parameters, state)
        ones = tree_map(torch.ones_like, self.sde.noise(parameters))

        def entries(x: Parameters) -> Parameters:
            return self.sde.diffusion(oracle, x, ones)

        slope = torch.func.jvp(entries, (parameters,), (entries(parameters),))[1]
        dw = self._dw(oracle, parameters)
        return tree_map(lambda x, b, w: x + b * (w * w - self.dt) / 2, moved, slope, dw), state


@dataclass(frozen=True, repr=False)
class LogEulerMaruyama(EulerMaruyama):
    """Euler-Maruyama on log X, for parameters that stay positive, dX_i = X_i (a_i dt + sum_k b_ik dW_k):

        X+ = X exp((a - q/2) dt + b dW), a = drift/X, b dW = diffusion(dW)/X, q_i = sum_k b_ik^2.

    The noise is diagonal, or else the equation has `variance(oracle, x)`: X^2 q, of the shape of x. Exact where a and b are
    constant (geometric Brownian motion). Raises ValueError for noise of another shape than x without `variance`.

    >>> import math
    >>> import torch
    >>> import workbench as wb
    >>> class Growth:  # dX = X dW
    ...     def noise(self, x):
    ...         return x
    ...     def drift(self, oracle, x):
    ...         return 0 * x
    ...     def diffusion(self, oracle, x, dw):
    ...         return x * dw
    >>> def moved(rule):
    ...     return wb.run(wb.problems.quadratic([1.0]), rule, start=torch.ones(1).double(), steps=1).parameters.item()
    >>> dw = moved(wb.optimizers.EulerMaruyama(Growth(), dt=1.0)) - 1
    >>> log = math.log(moved(wb.optimizers.LogEulerMaruyama(Growth(), dt=1.0)))
    >>> abs(log - (dw - 0.5)) < 1e-12  # the solution exp(W - t/2)
    True
    """

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        dw = self._dw(oracle, parameters)
        drift = self.sde.drift(oracle, parameters)
        moved = self.sde.diffusion(oracle, parameters, dw)

        def move(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, square: torch.Tensor) -> torch.Tensor:
            return x * torch.exp((a / x - square / (2 * x * x)) * self.dt + b / x)

        return tree_map(move, parameters, drift, moved, self._variance(oracle, parameters, dw)), state

    def _variance(self, oracle: Oracle, parameters: Parameters, dw: Parameters) -> Parameters:
        variance = getattr(self.sde, "variance", None)
        if variance is not None:
            return variance(oracle, parameters)
        if [leaf.shape for leaf in leaves(dw)] != [leaf.shape for leaf in leaves(parameters)]:
            raise ValueError(
                f"{type(self.sde).__name__}: its noise has another shape than the parameters, so it is not diagonal; give the "
                "equation a method variance(oracle, x), the diagonal of its diffusion matrix times the transpose, or use "
                "EulerMaruyama"
            )
        entries = self.sde.diffusion(oracle, parameters, tree_map(torch.ones_like, dw))
        return tree_map(torch.square, entries)
