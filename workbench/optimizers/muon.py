"""Muon around any effective gradient: matrices move along the orthogonal factor of their momentum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workbench.checks import refuse_outside
from workbench.optimizers.oracle import Oracle
from workbench.optimizers.rule import EffectiveGradient, Plain, Remembered, Rule, advanced, remembered
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, Scalar, add_scaled, zeros_like


@dataclass(frozen=True, repr=False)
class Muon(Rule):
    """b <- mu b + g~(x); matrices x <- x - step_size U V^T, b = U S V^T by an exact singular value decomposition (no
    Newton-Schulz iteration); other tensors x <- x - step_size b. Tensors of more dimensions count as matrices of their rows.

    >>> import torch
    >>> import workbench as wb
    >>> problem = wb.problems.DeepLinear(torch.zeros(2, 2), widths=())  # |W1|^2
    >>> start = {'W1': torch.tensor([[3.0, 0.0], [0.0, 1.0]])}
    >>> wb.run(problem, wb.optimizers.Muon(0.1), start=start, steps=1).parameters['W1'].diagonal()
    tensor([2.9000, 0.9000])
    """

    step_size: HyperParameter
    mu: HyperParameter = 0.95
    gradient: EffectiveGradient = field(default_factory=Plain)

    def __post_init__(self) -> None:
        refuse_outside("step_size", self.step_size, lower=0.0, open_lower=True)
        refuse_outside("mu", self.mu, lower=0.0, upper=1.0, open_upper=True)

    @property
    def name(self) -> str:
        """The effective gradient's name with "muon"."""
        return f"{self.gradient.name}+muon"

    @property
    def cost(self) -> float | None:
        return getattr(self.gradient, "cost", None)

    def init(self, parameters: Parameters) -> Any:
        return Remembered.of(zeros_like(parameters), remembered(self.gradient, parameters))

    def step(self, oracle: Oracle, parameters: Parameters, state: Any) -> tuple[Parameters, Any]:
        buffer, memory = Remembered.parts(state)
        gradient, memory = advanced(self.gradient, oracle, parameters, memory)
        buffer = add_scaled(gradient, at(self.mu, oracle.step), buffer)
        tensors = oracle.tensors(buffer)
        direction = oracle.joined(
            {name: _orthogonal(part) if part.dim() > 1 else part for name, part in tensors.items()}
        )
        return add_scaled(parameters, -at(self.step_size, oracle.step), direction), Remembered.of(buffer, memory)

    def duration(self, oracle: Oracle) -> Scalar:
        return at(self.step_size, oracle.step)


def _orthogonal(tensor: Tensor) -> Tensor:
    """U V^T of the tensor's rows; 0 of a zero tensor."""
    rows = tensor.flatten(1)
    left, singular, right = torch.linalg.svd(rows, full_matrices=False)
    # Directions whose singular value is rounding alone are nobody's.
    kept = singular > singular.amax() * torch.finfo(singular.dtype).eps * max(rows.shape)
    return ((left * kept.to(left.dtype)) @ right).reshape(tensor.shape)


def muon(step_size: HyperParameter, mu: HyperParameter = 0.95, *, gradient: EffectiveGradient | None = None) -> Muon:
    """Muon around any effective gradient: `muon(0.02, gradient=UnifiedSAM(0.05))` is SAM with Muon.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, start = wb.problems.quadratic([1.0, 1.0]), torch.tensor([3.0, 4.0])
    >>> wb.run(bowl, wb.optimizers.muon(0.1), start=start, steps=1).parameters  # vectors: heavy ball
    tensor([2.7000, 3.6000], dtype=torch.float64)
    """
    return Muon(step_size, mu, gradient or Plain())
