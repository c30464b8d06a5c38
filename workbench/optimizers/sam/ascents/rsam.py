"""R-SAM: an ascent along noise and the gradient there."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from workbench.checks import refuse_outside
from workbench.optimizers.momentum import Descent, Momentum, around
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient
from workbench.optimizers.sam.atlas import Row, listed
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, normalised


@dataclass(frozen=True)
class RSAM(EffectiveGradient):
    """g~(x) = g(x + rho u(z + kappa g(x + z))), z = sigma rownorm(x) normal: noise of the size of each row of a tensor, an output
    unit's weights; of vectors as a whole (NeurIPS 2022, R-SAM).

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> rule = wb.optimizers.around(wb.optimizers.RSAM(rho=5.0, sigma=0.0), 0.1)
    >>> wb.run(bowl, rule, start=start, steps=1).parameters  # SAM without the noise
    tensor([2.4000, 3.2000], dtype=torch.float64)
    """

    rho: HyperParameter
    sigma: HyperParameter = 0.05
    kappa: HyperParameter = 2.0
    name = "rsam"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_outside("sigma", self.sigma, lower=0.0)
        refuse_outside("kappa", self.kappa, lower=0.0)

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        sigma, sizes = at(self.sigma, oracle.step), oracle.tensors(parameters)
        normal = oracle.tensors(oracle.normal("rows", parameters))
        noise = oracle.joined({name: sigma * _row_norms(sizes[name]) * z for name, z in normal.items()})
        slope = oracle.gradient(add_scaled(parameters, 1.0, noise))
        ascent = normalised(add_scaled(noise, at(self.kappa, oracle.step), slope))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.step), ascent))


def _row_norms(tensor: Tensor) -> Tensor:
    squares = (tensor * tensor).sum(
        tuple(range(1, tensor.dim())) if tensor.dim() > 1 else None, keepdim=tensor.dim() > 1
    )
    return squares.sqrt()


@listed(
    Row(
        paper="NeurIPS 2022 (R-SAM)",
        equation="z = σ rownorm(x) normal; g(x + ρu(z + κg(x+z)))",
        cost="2",
        asks="normal, shapes of tensors",
        code=(
            "RSAM-Optimizer/R-SAM: κ = 2, σ cosine .0005 to .0025; one key for all tensors (equal shapes get "
            "equal noise), clipping at 1"
        ),
        quadratics="random",
        invariance="",
    )
)
def rsam(
    step_size: HyperParameter,
    rho: HyperParameter,
    sigma: HyperParameter = 0.05,
    kappa: HyperParameter = 2.0,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Descent:
    """R-SAM (see `RSAM`).

    >>> import torch
    >>> import workbench as wb
    >>> valley, start = wb.problems.quadratic([2.0]), torch.tensor([3.0])
    >>> wb.run(valley, wb.optimizers.rsam(0.1, rho=1.0), start=start, steps=1).parameters
    tensor([2.2000], dtype=torch.float64)
    """
    return around(RSAM(rho, sigma, kappa), step_size, beta, momentum)
