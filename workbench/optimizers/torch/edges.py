"""The edge of stability of a `torch.optim` optimizer as it stands before its next step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.optimizers.edges import edge
from workbench.optimizers.torch.adapter import RuleOptimizer

_KNOWN = "SGD, Adam, AdamW, RMSprop and the optimizers of as_torch"


class TorchEdge(NamedTuple):
    """As `workbench.optimizers.edges.Edge`, with one entry per parameter in the order of the names. `shift` is one number
    where all parameters have the same.
    """

    threshold: Float[Tensor, ""]
    root: Float[Tensor, " parameter"] | None
    shift: Tensor


class _Part(NamedTuple):
    """One tensor's share: the optimizer multiplies its gradient by step_size/denominator, and is stable up to bound/step_size."""

    step_size: float
    bound: float
    denominator: Tensor | None
    decay: float


def torch_edge(
    optimizer: torch.optim.Optimizer, own: Mapping[str, Tensor], gradient: Mapping[str, Tensor]
) -> TorchEdge:
    """The edge of the optimizer of these tensors (`own`, the module's parameters by name) with this gradient of the whole loss.

    Step sizes that differ from group to group count as a preconditioner. Weight decay shifts the eigenvalues, and that of AdamW
    lowers the threshold to (2 + 2 beta)(1 - lr weight_decay/2)/((1 - beta) lr).

    Raises ValueError for other optimizers, for parameters that the optimizer does not hold, and for groups that differ in
    more than step size, weight decay and second moments.
    """
    groups = {id(tensor): group for group in optimizer.param_groups for tensor in group["params"]}
    missing = [name for name, tensor in own.items() if id(tensor) not in groups]
    if missing:
        raise ValueError(f"the optimizer does not hold the parameters {missing[:6]}; freeze them or give it all")
    if isinstance(optimizer, RuleOptimizer):
        return _of_rule(optimizer, own, gradient)
    parts = [_part(optimizer, groups[id(own[name])], own[name], gradient[name]) for name in own]
    bounds = {part.bound for part in parts}
    if len(bounds) > 1:
        raise ValueError(
            "the optimizer's groups differ in momentum (betas) or decoupled weight decay, so that no single threshold decides"
        )
    like, first = next(iter(gradient.values())), parts[0].step_size
    alike = all(part.step_size == first and part.denominator is None for part in parts)
    root = (
        None
        if alike
        else torch.cat([_root(part, first, gradient[name]) for name, part in zip(own, parts, strict=True)])
    )
    decays = {part.decay for part in parts}
    shift = like.new_tensor(decays.pop()) if len(decays) == 1 else torch.cat(
        [gradient[name].new_full((gradient[name].numel(),), part.decay) for name, part in zip(own, parts, strict=True)]
    )  # fmt: skip
    return TorchEdge(like.new_tensor(parts[0].bound / first, dtype=torch.float64), root, shift)


def _root(part: _Part, first: float, gradient: Tensor) -> Tensor:
    ratio = part.step_size / first
    if part.denominator is None:
        return gradient.new_full((gradient.numel(),), ratio**0.5)
    return (ratio / part.denominator).sqrt().reshape(-1)


def _part(optimizer: torch.optim.Optimizer, group: dict[str, Any], tensor: Tensor, gradient: Tensor) -> _Part:
    if group.get("maximize"):
        raise ValueError("the optimizer maximises: minimise the negative loss instead")
    step_size, decay, state = float(group["lr"]), float(group.get("weight_decay", 0.0)), optimizer.state.get(tensor, {})
    # pyrefly: ignore[unnecessary-type-conversion]
    gradient = gradient + decay * tensor.detach()
    if isinstance(optimizer, torch.optim.SGD):
        beta = float(group["momentum"])
        scheme = 2 * (1 + beta) / (1 + 2 * beta) if group["nesterov"] else 2 * (1 + beta)
        damped = 1 - float(group["dampening"]) if beta else 1.0
        return _Part(step_size * damped, scheme, None, decay)
    if isinstance(optimizer, torch.optim.RMSprop):
        alpha, beta = float(group["alpha"]), float(group["momentum"])
        moment = alpha * state.get("square_avg", 0.0) + (1 - alpha) * gradient.square()
        if group["centered"]:
            moment = moment - (alpha * state.get("grad_avg", 0.0) + (1 - alpha) * gradient).square()
        return _Part(step_size, 2 * (1 + beta), moment.sqrt() + group["eps"], decay)
    if isinstance(optimizer, torch.optim.Adam):
        return _of_adam(group, state, gradient, decay * tensor.detach())
    raise ValueError(f"the edge of stability of {type(optimizer).__name__} is not known; known are {_KNOWN}")


def _of_adam(group: dict[str, Any], state: Mapping[str, Any], gradient: Tensor, decayed: Tensor) -> _Part:
    step_size, decay, eps = float(group["lr"]), float(group["weight_decay"]), group["eps"]
    beta, beta_square = (float(value) for value in group["betas"])
    decoupled = bool(group.get("decoupled_weight_decay"))
    gradient = gradient - decayed if decoupled else gradient
    steps = float(state.get("step", 0.0)) + 1
    moment = beta_square * state.get("exp_avg_sq", 0.0) + (1 - beta_square) * gradient.square()
    if group["amsgrad"]:
        moment = torch.maximum(moment, torch.as_tensor(state.get("max_exp_avg_sq", 0.0)).to(moment))
    denominator = (1 - beta**steps) * ((moment / (1 - beta_square**steps)).sqrt() + eps)
    bound = 2 * (1 + beta) / (1 - beta)
    if decoupled:
        return _Part(step_size, bound * (1 - step_size * decay / 2), denominator, 0.0)
    return _Part(step_size, bound, denominator, decay)


def _of_rule(optimizer: RuleOptimizer, own: Mapping[str, Tensor], gradient: Mapping[str, Tensor]) -> TorchEdge:
    rule, state, step, packing = optimizer.standing()
    names = {id(tensor): name for name, tensor in own.items()}
    packed = packing.pack([gradient[names[id(tensor)]] for tensor in packing.tensors])
    found = edge(rule, state, packed, step)
    root = None
    if isinstance(found.root, Tensor):
        pieces = dict(zip(map(id, packing.tensors), packing.unpack(found.root), strict=True))
        root = torch.cat([pieces[id(tensor)].reshape(-1) for tensor in own.values()])
    threshold = torch.as_tensor(found.threshold, dtype=torch.float64)
    if threshold.dim():
        raise ValueError(
            "the groups of this optimizer differ in their hyper-parameters, so that no single threshold decides"
        )
    return TorchEdge(threshold.to(packed.device), root, packed.new_tensor(0.0))
