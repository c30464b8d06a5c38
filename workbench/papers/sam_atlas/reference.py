"""The reference trajectories: four steps of every rule on eight samples, a 2x2 matrix of weights, a gain, and scripted noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas
import torch
from jaxtyping import Float
from torch import Tensor

from workbench import optimizers as o
from workbench.draws import Draw
from workbench.dynamics import run
from workbench.dynamics.sources.samples import SampleOracle, gather
from workbench.optimizers import Moment, Oracle, Source
from workbench.optimizers.rule import Rule
from workbench.parameters import ravel, unravel
from workbench.problems.base import Batch, Problem

D = torch.float64
STEP_SIZE, RHO = 0.1, 0.2


class Tiny(Problem[dict[str, Tensor]]):
    """f_i(W, s) = (s.tanh(W x_i) - y_i)^2/2; W is a matrix of weights, s the gain of a normalisation layer."""

    inputs = torch.tensor([[((7 * i % 11) - 5) / 5, ((3 * i % 7) - 3) / 3] for i in range(8)], dtype=D)
    targets = torch.tensor([((5 * i % 9) - 4) / 4 for i in range(8)], dtype=D)

    @property
    def data(self) -> Batch:
        return self.inputs, self.targets

    def initial(self, seed: Any) -> dict[str, Tensor]:
        return {
            "weight": torch.tensor([[0.5, -0.3], [0.8, 0.2]], dtype=D),
            "norm": torch.tensor([1.0, -0.7], dtype=D),
        }

    def batch_outputs(self, parameters: Any, batch: Batch) -> Tensor:
        return torch.tanh(batch[0] @ parameters["weight"].mT) @ parameters["norm"]

    def output_loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return 0.5 * ((outputs - batch[1]) ** 2).mean()

    def batch_loss(self, parameters: Any, batch: Batch) -> Tensor:
        return self.output_loss(self.batch_outputs(parameters, batch), batch)

    def sample_loss(self, parameters: Any, *sample: Tensor) -> Tensor:
        return self.batch_loss(parameters, (sample[0][None], sample[1][None]))


def noise(step: Tensor, draw: int) -> Tensor:
    """z_j = (((13 t + 5 j + 7 k) mod 17) - 8)/8."""
    j = torch.arange(6)
    return (((13 * step + 5 * j + 7 * draw) % 17) - 8).to(D) / 8


@dataclass(frozen=True, eq=False)
class Scripted(Source):
    """Samples 0-3 at even steps, 4-7 at odd ones; written-down noise, and coins for the matrix and the vector."""

    def oracle(self, moment: Moment) -> SampleOracle:
        return ScriptedOracle(self, moment, gather(moment.problem.data, self.indices(moment.step)))

    def indices(self, step: Tensor) -> Tensor:
        return torch.arange(4) + 4 * (step % 2)


@dataclass(frozen=True, eq=False)
class ScriptedOracle(SampleOracle):
    source: Scripted  # type: ignore[bad-override]

    def normal(self, stream: str, like: Any, pieces: int = 1) -> Any:
        digits = "".join(letter for letter in stream if letter.isdigit())
        return unravel(noise(self.step, int(digits or 0)), like)

    def draw(self, draw: Draw) -> Tensor:
        return torch.stack([((3 * self.step + part) % 4 + 0.5) / 4 for part in (1, 2)]).to(D)

    @property
    def previous(self) -> Oracle:
        before = torch.clamp(self.step - 1, min=0)
        return replace(self, batch=gather(self.moment.problem.data, self.source.indices(before)))

    @property
    def previous_or_same(self) -> Oracle:
        return self.previous


def flat(parameters: Any) -> Tensor:
    """(W11, W12, W21, W22, s1, s2)."""
    return ravel(parameters)


RULES: dict[str, Callable[[Any, Any], Rule]] = {
    "gd": lambda a, r: o.gradient_descent(a),
    "sam": o.sam,
    "usam": o.usam,
    "sam+heavy_ball": lambda a, r: o.sam(a, r, beta=0.9),
    "asam": lambda a, r: o.asam(a, r, 0.01),
    "fisher_sam": lambda a, r: o.fisher_sam(a, r, 1.0),
    "gsam": lambda a, r: o.gsam(a, r, 0.4),
    "wsam": lambda a, r: o.wsam(a, r, 0.6),
    "stable_sam": o.stable_sam,
    "le_sam": lambda a, r: o.le_sam(a, r, 0.05),
    "cr_sam": lambda a, r: o.cr_sam(a, r, 0.1, 0.1),
    "gam": lambda a, r: o.gam(a, r, 0.5),
    "xsam": lambda a, r: o.xsam(a, r, 1.5),
    "eigen_sam": lambda a, r: o.eigen_sam(a, r, 0.2, 5),
    "random_sam": o.random_sam,
    "rsam": lambda a, r: o.rsam(a, r, 0.05, 2.0),
    "tilted_sam": lambda a, r: o.tilted_sam(a, r, 0.1, 2.0, 3, 0.2),
    "functional_sam": o.functional_sam,
    "m_sam": lambda a, r: o.m_sam(a, r, 2),
    "n_sam": o.n_sam,
    "previous_sam": o.previous_sam,
    "k_sam": lambda a, r: o.k_sam(a, r, 2),
    "esam": lambda a, r: o.esam(a, r, 0.6, 0.5),
    "ssam": lambda a, r: o.ssam(a, r, 0.5),
    "sam_on": o.sam_on,
    "zsharp": lambda a, r: o.zsharp(a, r, 0.5),
    "multi_step_sam": lambda a, r: o.multi_step_sam(a, r, 3, 0.5),
    "look_sam": lambda a, r: o.look_sam(a, r, 2, 0.7),
    "vasso": lambda a, r: o.vasso(a, r, 0.4),
    "f_sam": lambda a, r: o.f_sam(a, r, 1.0, 0.6),
    "f_sam (code)": lambda a, r: o.f_sam(a, r, 1.0, 0.6, "code"),
    "momentum_sam": lambda a, r: o.momentum_sam(a, r, 0.9),
    "sampa": lambda a, r: o.sampa(a, r, 0.2),
    "s2_sam": o.s2_sam,
    "bsam": lambda a, r: o.bsam(a, r, 100.0, 0.01, 0.1, 0.9, 0.99, 1.0),
    "lookbehind_sam": lambda a, r: o.lookbehind_sam(a, r, 2, 0.5),
    "ae_sam": lambda a, r: o.ae_sam(a, r, 4, 0.5, -1.0, 1.0),
    "sam+adam": lambda a, r: o.adam(0.01, gradient=o.UnifiedSAM(r)),
    "sam+muon": lambda a, r: o.muon(0.02, 0.9, gradient=o.UnifiedSAM(r)),
}
"""By the row of the table, with its own parameters: rules of a step size and a radius."""


def walked(
    name: str, step_size: float = STEP_SIZE, rho: float = RHO, steps: int = 4
) -> Float[np.ndarray, "step parameter"]:
    """The parameters after 0, 1, ..., steps steps."""
    rule = RULES[name](step_size, rho)
    path = run(Tiny(), rule, source=Scripted(), steps=steps, record={"path": flat}, every=1, progress=False)
    return path.records["path"].array().values


def farthest(table: pandas.DataFrame, rho: float = RHO) -> dict[str, float]:
    """By rule, the largest distance of an entry from the reference's, over all its steps."""
    found = {}
    for name, rows in table.groupby("rule", sort=False):
        expected = rows.sort_values("step").iloc[:, 2:].to_numpy(float)
        found[str(name)] = float(np.abs(walked(str(name), rho=rho, steps=len(rows) - 1) - expected).max())
    return found
