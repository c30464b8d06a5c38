"""One informative coordinate among many noisy ones, and ReLU units that share a learned bias."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import draws, memory
from workbench.checks import require_count, require_positive
from workbench.draws import Seed
from workbench.problems.base import Batch, Measure, Problem


@dataclass(frozen=True, eq=False)
class SparseCoding(Problem[Tensor]):
    """f(x) = a_- sum_i relu(b - x_i) + a_+ sum_i relu(b + x_i), parameters (a_-, a_+, b), starting at 0.

    The loss is the mean of log(1 + exp(-t f(x))) with targets t = +-1. A bias below zero silences the noise.
    """

    inputs: Float[Tensor, "sample feature"]
    targets: Float[Tensor, " sample"]

    @property
    def data(self) -> Batch:
        return self.inputs, self.targets

    def initial(self, seed: Seed) -> Float[Tensor, " parameter"]:
        """Zero, whatever the seed."""
        return torch.zeros(3, dtype=self.inputs.dtype)

    def sample_loss(self, parameters: Float[Tensor, " parameter"], *sample: Tensor) -> Float[Tensor, ""]:
        return self.batch_loss(parameters, (sample[0][None], sample[1][None]))

    def outputs(
        self, parameters: Float[Tensor, " parameter"], inputs: Float[Tensor, "sample feature"]
    ) -> Float[Tensor, " sample"]:
        """f(x)."""
        minus, plus, bias = parameters.unbind(0)
        return minus * torch.relu(bias - inputs).sum(-1) + plus * torch.relu(bias + inputs).sum(-1)

    def batch_loss(self, parameters: Float[Tensor, " parameter"], batch: Batch) -> Float[Tensor, ""]:
        return functional.softplus(-batch[1] * self.outputs(parameters, batch[0])).mean()

    def gradient(
        self, parameters: Float[Tensor, " parameter"], batch: Batch | None = None
    ) -> Float[Tensor, " parameter"]:
        inputs, targets = self.data if batch is None else batch
        minus, plus, bias = parameters.unbind(0)
        down, up = torch.relu(bias - inputs), torch.relu(bias + inputs)
        falling, rising = down.sum(-1), up.sum(-1)
        pull = -targets * torch.sigmoid(-targets * (minus * falling + plus * rising))
        # The sign counts active units in a third of the time that comparing and summing truth values takes.
        active = minus * torch.sign(down).sum(-1) + plus * torch.sign(up).sum(-1)
        return torch.stack([(pull * falling).mean(), (pull * rising).mean(), (pull * active).mean()])

    @property
    def measures(self) -> Mapping[str, Measure]:
        return {**super().measures, "bias": Measure(lambda parameters: parameters[2], "shared bias $b$")}


def sparse_coding(seed: Seed, n: int = 200, d: int = 60, signal: float = 5.0) -> SparseCoding:
    """x = signal t e_1 + N(0, I_d) with fair signs t; n samples, float64. Raises ValueError for sizes out of range
    and where the numbers exceed the memory budget."""
    require_count("n", n)
    require_count("d", d)
    require_positive("signal", signal)
    memory.require(4 * 8.0 * n * d, f"{n} samples of {d} features", "choose smaller n or d")
    targets = draws.signs(seed, (n,), stream="targets")
    noise = draws.normal(seed, (n, d), stream="noise")
    first = torch.arange(d) == 0
    return SparseCoding(noise + signal * targets[:, None] * first, targets)
