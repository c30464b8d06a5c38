"""Where the gradients of single samples come from: a network's taps where it has them, a vmapped sample loss, or a loop."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from workbench.curvature import batches
from workbench.curvature.flat import scalar
from workbench.curvature.layers.sample_taps import chunk_gradients, chunk_square_norms
from workbench.curvature.layers.structured import recognised
from workbench.curvature.model import Door, agree, in_words, transformed
from workbench.curvature.scales import power_of_two
from workbench.parameters import Parameters, leaves

SampleLoss = Callable[..., Tensor]

_CHUNK, _CHUNK_BY_LAYERS = 128, 512


class Source:
    """Where the gradients of one call come from."""

    def __init__(self, loss: SampleLoss, parameters: Parameters, data: tuple[Any, ...], chunk: int | None) -> None:
        network, self.chunk = recognised(loss), chunk_size(loss, parameters, chunk)
        self.network = network if _structured(loss, parameters) else None
        self.sample_loss, self.data = sample_problem(loss, data)
        self.offset, self.samples = 0, batches.count("data", self.data)
        # Under a torch.func transform nothing may be written into a plain buffer.
        wrapped = (*leaves(parameters), *batches.tensors(self.data))
        self.transformed = any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in wrapped)
        self.door = Door(self.sample_loss, parameters)
        self.flat, self.unflatten = self.door.flat, self.door.unflatten
        if network is not None:
            network.check(parameters)
        point = self.unflatten(self.flat)
        self._entries = point if isinstance(point, dict) else {}
        few = [self._of_sample(index) for index in range(min(8, self.samples))]
        self.door.require_deterministic(lambda vector: _sum(few, self.unflatten(vector)))

    @property
    def starts(self) -> range:
        """Where the chunks begin."""
        return range(0, self.samples, self.chunk)

    def over(self, data: tuple[Any, ...], offset: int) -> Source:
        """The same of other samples, before which there are `offset`, with what is known about the loss."""
        other = copy.copy(self)
        other.data, other.offset = _checked(data), offset
        other.samples = batches.count("data", other.data)
        return other

    def gradients(self, start: int, buffer: Tensor | None = None) -> Tensor:
        with self.door.open():
            if self._by_layers and not self.transformed and not self.flat.requires_grad:
                found = self._layer_gradients(start, buffer)
                if found is not None:
                    return found
            rows = self._rows(start)
        if buffer is None:
            return rows
        buffer.copy_(rows)
        return buffer

    def square_norms(self, start: int) -> tuple[Tensor, Tensor]:
        """Squared norms of the gradients divided by a scale, and the scale."""
        if self._by_layers:
            with self.door.open():
                found = self._layer_norms(start)
                if found is not None:
                    return found
        rows = self.gradients(start)
        scale = power_of_two(rows)
        return (rows / scale).square().sum(1), scale

    @property
    def _by_layers(self) -> bool:
        return self.network is not None and self.network.proofs.get("per_sample") is not False

    def _layer_gradients(self, start: int, buffer: Tensor | None) -> Tensor | None:
        assert self.network is not None
        inputs, targets = self._batch(start)
        if buffer is None:
            buffer = self.flat.new_empty(batches.count("inputs", inputs), self.flat.numel())
        try:
            chunk_gradients(self.network, self._entries, inputs, targets, buffer)
        # pyrefly: ignore[unreachable-except-clause]
        except (RuntimeError, NotImplementedError):
            self.network.proofs["per_sample"] = False
            return None
        if "per_sample" not in self.network.proofs:
            self.network.proofs["per_sample"] = agree(buffer[:2], self._loop(start, 2))
        return buffer if self._by_layers else None

    def _layer_norms(self, start: int) -> tuple[Tensor, Tensor] | None:
        assert self.network is not None
        try:
            squares, scale = chunk_square_norms(self.network, self._entries, *self._batch(start))
        # pyrefly: ignore[unreachable-except-clause]
        except (RuntimeError, NotImplementedError):
            if transformed():
                raise
            self.network.proofs["norms"] = self.network.proofs["per_sample"] = False
            return None
        if "norms" not in self.network.proofs and not self.transformed and self.door.plain:
            rows = self._loop(start, 2) / scale
            self.network.proofs["norms"] = agree(squares[:2], rows.square().sum(1))
        return (squares, scale) if self.network.proofs.get("norms", True) else None

    def _rows(self, start: int) -> Tensor:
        if not self.door.plain or self.transformed or self.door.facts.get("per_sample") is not False:
            rows = self._vmapped(start)
            trusted = not self.door.plain or self.transformed or self.door.facts.get("per_sample")
            if rows is not None and trusted:
                return rows
            if rows is not None and agree(rows[:1], self._loop(start, 1)):
                self.door.facts["per_sample"] = True
                return rows
            self.door.facts["per_sample"] = False
        return self._loop(start, self.chunk)

    def _vmapped(self, start: int) -> Tensor | None:
        point = self.unflatten(self.flat)

        def one_gradient(*sample: Any) -> Parameters:
            return torch.func.grad(lambda here: scalar(self.sample_loss(here, *sample)))(point)  # pyrefly: ignore[bad-argument-type]

        with in_words("per-sample gradients", self.door.models) if transformed() else contextlib.nullcontext():
            try:
                with self.door.open():
                    found = leaves(torch.func.vmap(one_gradient)(*self._batch(start)))
            except torch.OutOfMemoryError:
                raise
            except Exception:
                if not self.door.plain or self.transformed:
                    raise
                return None
        return torch.cat([piece.reshape(piece.shape[0], -1) for piece in found], dim=1)

    def _loop(self, start: int, number: int) -> Tensor:
        stop = min(self.samples, start + min(number, self.chunk))
        with in_words("per-sample gradients", self.door.models):
            return torch.stack([self.door.derivative(self._of_sample(i), self.flat)[0] for i in range(start, stop)])

    def _of_sample(self, index: int) -> Callable[[Parameters], Tensor]:
        sample = batches.take(self.data, index)
        return lambda point: self.sample_loss(point, *sample)

    def _batch(self, start: int) -> tuple[Any, ...]:
        return batches.take(self.data, slice(start, start + self.chunk))


def _sum(losses: list[Callable[[Parameters], Tensor]], point: Parameters) -> Tensor:
    return torch.stack([scalar(loss(point)) for loss in losses]).sum()


def sample_problem(loss: SampleLoss, data: tuple[Any, ...]) -> tuple[SampleLoss, tuple[Any, ...]]:
    """The sample loss and its data, taken from an empirical loss where no data are given; checked."""
    network = recognised(loss)
    if network is not None:
        if network.reduction is None:
            raise ValueError(f"{network.coupling}; pass a sample_loss(parameters, *sample) and the data instead")
        loss = network.sample_loss
        data = data or (network.inputs, network.targets)
    if len(data) == 1 and batches.is_loader(data[0]):
        gathered = batches.gather(data[0])
        data = tuple(gathered) if isinstance(gathered, (tuple, list)) else (gathered,)
    if not data:
        raise ValueError("no data: pass the tensors of samples after the parameters, e.g. *problem.data")
    return loss, _checked(data)


def _checked(data: tuple[Any, ...]) -> tuple[Any, ...]:
    data = tuple(batches.plain(entry) for entry in data)
    sizes = [len(leaf) for leaf in batches.tensors(data)]
    if len(set(sizes)) > 1 or not sizes or sizes[0] == 0:
        raise ValueError(f"every data tensor needs the same leading number of samples >= 1, got {sizes}")
    return data


def chunk_size(loss: SampleLoss, parameters: Parameters, chunk: int | None) -> int:
    """How many samples are treated at once.

    Raises ValueError below 1.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk}; choose how many samples to treat at once, at least 1")
    return chunk or (_CHUNK_BY_LAYERS if _structured(loss, parameters) else _CHUNK)


def _structured(loss: SampleLoss, parameters: Parameters) -> bool:
    network = recognised(loss)
    return network is not None and network.structure is not None and isinstance(parameters, dict)
