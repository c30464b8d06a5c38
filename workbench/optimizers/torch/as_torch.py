"""A rule as a `torch.optim.Optimizer`: what it is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from workbench.draws.host import Seed
from workbench.optimizers.averaging.accumulators import Average
from workbench.optimizers.rule import Rule
from workbench.optimizers.torch.adapter import RuleOptimizer
from workbench.parameters import concrete


def as_torch(
    rule: Rule,
    parameters: torch.nn.Module | Iterable[Any],
    *,
    loss: Callable[..., Tensor] | None = None,
    compile: bool = False,
    seed: Seed | None = None,
    average: Mapping[str, Average] | None = None,
) -> RuleOptimizer:
    """The rule as a `torch.optim.Optimizer`.

    parameters: what torch optimizers take (tensors or parameter groups), or a module together with `loss(outputs, targets)`,
        whose minibatch mean it must be; then call `step(inputs, targets)`. A group may set `lr` (the rule's step size, which
        torch's schedulers change), any other number the rule is made of (`rho`, `beta`, ...), and `weight_decay`, which adds
        weight_decay x to the effective gradient at x.
    compile: compile the step with `torch.compile` (module form only) where torch.func gives this module's gradient, which is
        checked once; without a C++ compiler it is traced alone, which still spares groups of samples most of their overhead.
    seed: of the rule's random numbers, where it asks for any (random ascents).
    average: averages of the iterates by name, such as {"ema": EMA(0.999)}; see `RuleOptimizer.averaged`.

    All passes of a step draw the same random numbers from torch's generators (equal dropout masks), and buffers such as the
    statistics of batch normalisation change in the first one alone. In a module of DistributedDataParallel gradients are those
    averaged over the processes; m_sam ascends in each process by itself.
    Raises ValueError for sparse gradients, for closures that do not return a loss, for losses that no parameter reaches, and
    where a rule needs more than the closure can give.

    >>> import torch
    >>> import workbench as wb
    >>> weight = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> optimizer = wb.optimizers.as_torch(wb.optimizers.sam(0.1, rho=5.0), [weight])
    >>> loss = optimizer.step(lambda: weight.square().sum() / 2)
    >>> weight.detach()
    tensor([2.4000, 3.2000])
    """
    for name in (entry.name for entry in dataclasses.fields(rule)):  # type: ignore[arg-type]
        value = getattr(rule, name)
        if isinstance(value, Tensor) and concrete(value) is None:
            raise ValueError(
                f"{name} has one value per run; an optimizer drives one module, use wb.sweep for many runs"
            )
    return RuleOptimizer(rule, parameters, loss, compile, seed, average)
