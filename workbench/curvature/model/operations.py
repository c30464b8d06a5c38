"""Torch's operations while a derivative is taken: those whose derivatives are wrong or missing, in others."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

WRONG_SECOND = frozenset({"WeightNormInterfaceBackward0", "EmbeddingBagBackward0", "CdistBackward0"})
"""Nodes of autograd's graph whose second derivative torch 2.13 computes wrongly or does not have; `ExactOperations` does."""


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Attention by the mathematical kernel, encoder layers without their fused path, compiled modules as they are written.

    The fused kernels have no second derivative; the choice is made in the forward pass. Costs two microseconds.
    """
    if torch.compiler.is_compiling():
        yield
        return
    flash, memory_efficient = torch._C._get_flash_sdp_enabled(), torch._C._get_mem_efficient_sdp_enabled()
    cudnn, fused = torch._C._get_cudnn_sdp_enabled(), torch.backends.mha.get_fastpath_enabled()
    mathematical = torch._C._get_math_sdp_enabled()
    torch._C._set_sdp_use_math(True)
    torch._C._set_sdp_use_flash(False)
    torch._C._set_sdp_use_mem_efficient(False)
    torch._C._set_sdp_use_cudnn(False)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with _uncompiled():
            yield
    finally:
        torch._C._set_sdp_use_math(mathematical)
        torch._C._set_sdp_use_flash(flash)
        torch._C._set_sdp_use_mem_efficient(memory_efficient)
        torch._C._set_sdp_use_cudnn(cudnn)
        torch.backends.mha.set_fastpath_enabled(fused)


def _uncompiled() -> contextlib.AbstractContextManager:
    # Compiled code has first derivatives only. Nothing is compiled where the compiler was never used.
    if "torch._dynamo.eval_frame" in sys.modules and _dynamo_used():
        return torch.compiler.set_stance("force_eager")
    return contextlib.nullcontext()


def _dynamo_used() -> bool:
    frame = sys.modules["torch._dynamo.eval_frame"]
    return bool(getattr(frame, "dynamo_tls", None) is not None and frame.cached_backends)


# pyrefly: ignore[missing-attribute]
_DETACHING = frozenset({Tensor.detach, Tensor.detach_, Tensor.data.__get__, torch._C._set_grad_enabled})


class ExactOperations(TorchFunctionMode):
    """Within this mode a few operations are computed by others of the same value, whose derivatives are right to any order.

    In torch 2.13, against central differences: the fused weight norm's second derivative is wrong, layer_norm's, training
    batch_norm's and instance_norm's third (pytorch issues 175754, 186256, 196700); mse_loss and huber_loss have no forward
    derivative of their gradient, embedding_bag and cdist no second one, embedding with a padding row a forward derivative
    that is not that of its backward pass. Costs a microsecond for every call of torch within.

    `detached` says whether anything was detached meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self.detached = False

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in _DETACHING and args[0] is not True:
            self.detached = True
        return _EXACT.get(func, func)(*args, **(kwargs or {}))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    return v * (g / torch.norm_except_dim(v, 2, dim))


def _normalised(values: Tensor, dims: list[int], eps: float) -> Tensor:
    centred = values - values.mean(dims, keepdim=True)
    return centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()


def _layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    result = _normalised(input, list(range(-len(normalized_shape), 0)), eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    # Running statistics stay as they are: what is evaluated for its derivative is not a training step.
    return _affine(_normalised(input, [0, *range(2, input.ndim)], eps), weight, bias)


def _instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not use_input_stats:
        return functional.instance_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    return _affine(_normalised(input, list(range(2, input.ndim)), eps), weight, bias)


def _affine(values: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    shape = (1, -1, *(1,) * (values.ndim - 2))
    values = values if weight is None else values * weight.reshape(shape)
    return values if bias is None else values + bias.reshape(shape)


def _reduced(values: Tensor, reduction: str) -> Tensor:
    return values.mean() if reduction == "mean" else values.sum() if reduction == "sum" else values


def _mse_loss(
    input: Tensor, target: Tensor, size_average=None, reduce=None, reduction: str = "mean", **more: Any
) -> Tensor:
    more = {name: value for name, value in more.items() if value is not None}
    if more or size_average is not None or reduce is not None:
        return functional.mse_loss(input, target, size_average, reduce, reduction, **more)
    return _reduced((input - target).square(), reduction)


def _huber_loss(input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, **more: Any) -> Tensor:
    more = {name: value for name, value in more.items() if value is not None}
    if more:
        return functional.huber_loss(input, target, reduction, delta, **more)
    error = input - target
    length = error.abs()
    return _reduced(torch.where(length <= delta, 0.5 * error.square(), delta * (length - 0.5 * delta)), reduction)


def _embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx=None,
    max_norm=None,
    norm_type=2.0,
    scale_grad_by_freq=False,
    sparse=False,
) -> Tensor:
    if max_norm is not None or scale_grad_by_freq:
        return functional.embedding(input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    if padding_idx is None or padding_idx < -len(weight):
        return functional.embedding(input, weight)
    # The padding row counts for the value and not for the derivative, in every mode.
    row = torch.arange(len(weight), device=weight.device)[:, None] == padding_idx % len(weight)
    return functional.embedding(input, torch.where(row, weight.detach(), weight))


def _embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm=None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    unusual = max_norm is not None or scale_grad_by_freq or include_last_offset or padding_idx is not None
    if unusual or mode == "max" or per_sample_weights is not None:
        return functional.embedding_bag(
            *(input, weight, offsets, max_norm, norm_type, scale_grad_by_freq, mode, sparse),
            *(per_sample_weights, include_last_offset, padding_idx),
        )
    rows = functional.embedding(input, weight)
    if offsets is None:
        return rows.sum(1) if mode == "sum" else rows.mean(1)
    bags = torch.bucketize(torch.arange(len(input), device=input.device), offsets, right=True) - 1
    sums = rows.new_zeros(len(offsets), weight.shape[1]).index_add(0, bags, rows)
    sizes = torch.bincount(bags, minlength=len(offsets)).clamp(min=1)
    return sums if mode == "sum" else sums / sizes[:, None].to(rows.dtype)


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    if p != 2.0:
        return torch.cdist(x1, x2, p)
    squares = (x1.unsqueeze(-2) - x2.unsqueeze(-3)).square().sum(-1)
    apart = squares > 0
    return torch.where(apart, torch.where(apart, squares, 1.0).sqrt(), 0.0)


_EXACT: dict[Callable, Callable] = {
    torch._weight_norm: _weight_norm,
    functional.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    functional.batch_norm: _batch_norm,
    functional.instance_norm: _instance_norm,
    functional.mse_loss: _mse_loss,
    functional.huber_loss: _huber_loss,
    functional.embedding: _embedding,
    functional.embedding_bag: _embedding_bag,
    torch.cdist: _cdist,
}
