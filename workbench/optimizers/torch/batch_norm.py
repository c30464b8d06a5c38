"""Statistics of batch normalisations for weights that no training has seen, such as averages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn


def recompute_batch_norm(module: nn.Module, batches: Iterable[Any]) -> None:
    """Set the running statistics of every batch normalisation to their means over `batches`, in place.

    Averaged weights have activations of their own: statistics kept from training belong to other weights. A module
    without running statistics is left as it is, without a forward pass.
    batches: inputs, or what a loader gives: of a tuple or list the first entry is the input; a dict is passed by keywords.
    Raises ValueError when there are statistics to compute and no batch. After any error statistics, momenta and modes are
    what they were.

    >>> import torch
    >>> import workbench as wb
    >>> layer = torch.nn.BatchNorm1d(1)
    >>> wb.optimizers.recompute_batch_norm(layer, [torch.tensor([[1.0], [3.0]])])
    >>> layer.running_mean
    tensor([2.])
    """
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None
    ]
    if not layers:
        return
    modes = {part: part.training for part in module.modules()}
    momenta = {layer: layer.momentum for layer in layers}
    before = {buffer: buffer.clone() for buffer in module.buffers()}
    seen = 0
    try:
        # Only the normalisation in training mode: dropout, say, would change what it sees.
        module.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over the batches
            layer.train()
        for seen, batch in enumerate(batches, start=1):  # noqa: B007
            _forward(module, batch)
        if not seen:
            raise ValueError("batches is empty: give inputs from which the normalisation can take its statistics")
    except BaseException:
        for buffer, value in before.items():
            buffer.copy_(value)
        raise
    finally:
        for layer, momentum in momenta.items():
            layer.momentum = momentum
        for part, training in modes.items():
            part.training = training


@torch.no_grad()
def _forward(module: nn.Module, batch: Any) -> None:
    try:
        if isinstance(batch, Mapping):
            module(**batch)
        else:
            module(batch[0] if isinstance(batch, (tuple, list)) else batch)
    except TypeError as error:
        keys = f" with keys {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else ""
        raise ValueError(
            f"the module's forward does not take a batch of type {type(batch).__name__}{keys} ({error}); "
            "give an iterable of its inputs"
        ) from error
