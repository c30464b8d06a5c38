"""Z-Sharp: an ascent along the outstanding entries of each tensor."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.checks import refuse_outside
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, leaves, normalised


@dataclass(frozen=True)
class ZSharp(EffectiveGradient):
    """g~(x) = g(x + rho e): in every matrix e = u(g where z is above its q-quantile), z = |g - mean|/std; in vectors e = g/|g|,
    |g| over all tensors (arXiv:2505.02369). Each matrix gets length rho, so this is not SAM's ball.

    >>> import torch
    >>> import workbench as wb
    >>> problem = wb.problems.DeepLinear(torch.zeros(2, 2), widths=())  # |W1|^2, gradient 2 W1
    >>> start = {'W1': torch.tensor([[1.0, 1.0], [1.0, 5.0]])}
    >>> wb.run(problem, wb.optimizers.around(wb.optimizers.ZSharp(rho=1.0), 0.1), start=start, steps=1).parameters['W1']
    tensor([[0.8000, 0.8000],
            [0.8000, 3.8000]])
    """

    rho: HyperParameter
    q: HyperParameter = 0.95
    name = "zsharp"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("q", self.q, lower=0.0, upper=1.0)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient = oracle.gradient(parameters)
        whole, q = oracle.tensors(normalised(gradient)), at(self.q, oracle.step)
        parts = {
            name: leaves(normalised(_outstanding(part, q)))[0] if part.dim() > 1 and part.numel() > 1 else whole[name]
            for name, part in oracle.tensors(gradient).items()
        }
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), oracle.joined(parts)))


def _outstanding(part: Tensor, q: float | Tensor) -> Tensor:
    """The entries strictly above the quantile of their deviation from the mean; 0 elsewhere."""
    # The standard deviation, a common factor of all entries, decides nothing.
    deviation = (part - part.mean()).abs()
    # torch.quantile, which loops under vmap: linear between the two entries around place q (n - 1).
    ordered = deviation.flatten().sort().values
    place = torch.as_tensor(q, dtype=deviation.dtype, device=deviation.device) * (ordered.shape[0] - 1)
    low = place.floor().long()
    below, above = ordered[low], ordered[(low + 1).clamp(max=ordered.shape[0] - 1)]
    level = below + (place - low) * (above - below)
    return torch.where(deviation > level, part, torch.zeros_like(part))


@listed(
    Row(
        paper="2505.02369",
        equation="per matrix: z = |g − mean|/std, keep z > q-quantile, ε = ρu(kept); vectors: ρg/|g|",
        cost="2",
        asks="shapes of tensors",
        code=(
            "YUNBLAK/Sharpness-Aware-Minimization-with-Z-Score-Gradient-Filtering: this, so |ε| grows as the "
            "root of the number of matrices"
        ),
        quadratics="the mask jumps",
        invariance="L",
    )
)
def zsharp(
    step_size: HyperParameter,
    rho: HyperParameter,
    q: HyperParameter = 0.95,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """Z-Sharp (see `ZSharp`).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.zsharp(0.1, rho=5.0), start=start, steps=1).parameters
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """
    return around(ZSharp(rho, q), step_size, beta, momentum)
