"""Many runs of the rule among noisy quadratic users, beside the exact recursion: the recursion is the algorithm's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.draws import Seed
from workbench.dynamics.run import run
from workbench.dynamics.sweep import sweep
from workbench.optimizers.collaborative import GradientAveraging, RunningMean
from workbench.optimizers.oracle import Moment, NotProvided, Oracle, Source
from workbench.papers.personalized_collaborative.quadratic_users import (
    collab_moments,
    direction,
    even_start,
    full_weight,
    hard_spectrum,
    hessian_shift,
)
from workbench.parameters import Parameters
from workbench.problems import quadratic


@dataclass(frozen=True, eq=False)
class RecordedUsers(Source):
    """Quadratic users whose noise is given for every step: far cheaper for thousands of runs than a stream for each user.

    User i has the gradient curvatures[i] x + biases[i] + noise[step, i]; user 0 is oneself.
    """

    curvatures: Float[Tensor, "user coordinate"]
    biases: Float[Tensor, "user coordinate"]
    noise: Float[Tensor, "step user coordinate"]

    def oracle(self, moment: Moment) -> Oracle:
        return _Recorded(self, moment, self.noise.index_select(0, moment.step.reshape(1))[0])


class _Recorded(Oracle):
    def __init__(self, source: RecordedUsers, moment: Moment, noise: Float[Tensor, "user coordinate"]) -> None:
        self.source, self.moment, self._users, self._noise = source, moment, source, noise

    @property
    def count(self) -> int:
        return self._noise.shape[0]

    @property
    def users(self) -> _Recorded:
        return self

    def losses(self, x: Parameters) -> Tensor:
        raise NotProvided("losses", "recorded users have gradients only")

    def gradients(self, x: Parameters) -> Parameters:
        return self.gradients_at(cast(Tensor, x)[None])

    def gradients_at(self, xs: Parameters) -> Parameters:
        return self._users.curvatures * cast(Tensor, xs) + self._users.biases + self._noise


def simulated_over_exact(
    eta: float,
    beta: float,
    N: int,
    seeds: range,
    *,
    d: int = 5,
    zeta: float = 0.5,
    delta: float = 0.1,
    T: int = 200,
    exact_delta: float | None = None,
    decades: float = 2.0,
    shift_seed: int = 3,
) -> xr.DataArray:
    """Mean of |grad f_0(x_t)|^2 over t = 0 .. T of simulated runs over its exact expectation: dims (seed,).

    A seed runs with both signs of the bias. The N users differ in curvature and bias around the means that the recursion knows;
    the noise of each has total variance 1. beta_t = max(beta, 1/(t + 1)), c_0 = 0; curvatures from 1 to 10^-decades.
    `exact_delta` gives the recursion another delta.
    """
    h = hard_spectrum(d, decades)
    x0, b, shift = even_start(h), zeta * direction(shift_seed, d), hessian_shift(shift_seed, h, delta)
    weights = np.concatenate([[0.0], 1.0 + 0.5 * np.linspace(-1, 1, N) if N > 1 else np.ones(1)])
    curvatures, biases = (torch.from_numpy(value) for value in (h + np.outer(weights, shift), np.outer(weights, b)))
    problem, start = quadratic(h.tolist()), torch.from_numpy(x0)

    def size(x: Tensor) -> Tensor:
        return (problem.gradient(x) ** 2).sum()

    def mean_gradient(seed: Seed, sign: Tensor) -> dict[str, Tensor]:
        noise = draws.normal(seed, (T, N + 1, d), stream="users") / d**0.5
        rule = GradientAveraging(eta, full_weight(N), RunningMean(beta))
        source = RecordedUsers(curvatures, sign * biases, noise)
        found = run(problem, rule, seed=seed, start=start, source=source, steps=T, integrate={"sum": size})
        return {"mean": (found.integrals["sum"] / eta + size(found.parameters)) / (T + 1)}

    runs = sweep(mean_gradient, seed=seeds, sign=[1.0, -1.0], progress=False)["mean"].mean("sign")
    known = shift if exact_delta is None else hessian_shift(shift_seed, h, exact_delta)
    exact = collab_moments(h, b, known, x0, eta, full_weight(N), beta, 1 / d, 1 / (d * N), T).gradient.mean("step")
    return (runs / float(exact.item())).assign_attrs(long_name="simulated over exact")
