"""A module's parameters as one vector of real numbers, in which a rule's arithmetic costs a few operations instead of a few per
tensor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class Packing:
    """Tensors of any shapes, types and devices, and the vector of all their entries.

    The vector has the widest of their types and lies on the first one's device. A complex entry is two real ones, so that the
    vector's inner product is the real part of theirs, and its norm theirs.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)
        self.device = self.tensors[0].device
        others = {tensor.device for tensor in self.tensors if tensor.device.type not in ("cpu", "meta")}
        self.generators = [torch, *map(DeviceGenerator, others)]
        """What has the states of torch's random numbers on the CPU and on the tensors' devices."""
        self._looks = [(tensor.shape, tensor.dtype, tensor.device) for tensor in self.tensors]
        kinds = {(tensor.dtype, tensor.device) for tensor in self.tensors}
        dtype = self.tensors[0].dtype
        for tensor in self.tensors[1:]:
            dtype = torch.promote_types(dtype, tensor.dtype)
        self._complex = any(tensor.is_complex() for tensor in self.tensors)
        self.dtype = torch.empty((), dtype=dtype).real.dtype if self._complex else dtype
        self._alike = len(kinds) == 1 and not self._complex
        self.sizes = [tensor.numel() * (2 if tensor.is_complex() else 1) for tensor in self.tensors]
        self.count = sum(self.sizes)

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether this is the packing of these tensors as they are now."""
        if len(tensors) != len(self.tensors):
            return False
        return all(
            tensor is own and look == (tensor.shape, tensor.dtype, tensor.device)
            for tensor, own, look in zip(tensors, self.tensors, self._looks, strict=True)
        )

    def pack(self, values: Sequence[Tensor], leading: int = 0) -> Float[Tensor, "*leading parameter"]:
        """Values of the tensors' shapes, after that many leading dimensions, as one vector."""
        if not self._alike:
            values = [self._real(value) for value in values]
        if leading:
            return torch.cat([value.reshape(*value.shape[:leading], -1) for value in values], -1)
        return torch.cat([value.reshape(-1) for value in values])

    def unpack(self, vector: Float[Tensor, "*leading parameter"], exact: bool = False) -> list[Tensor]:
        """The vector's entries in the tensors' shapes; with `exact` in their types and on their devices too."""
        leading = vector.shape[:-1]
        pieces = zip(vector.split(self.sizes, -1), self.tensors, strict=True)
        if self._alike:
            return [piece.view((*leading, *tensor.shape)) for piece, tensor in pieces]
        shaped = []
        for piece, tensor in pieces:
            if tensor.is_complex():
                # Copied: a view would have to begin at an even place.
                piece = torch.view_as_complex(piece.reshape((*leading, *tensor.shape, 2)).clone())
            else:
                piece = piece.view((*leading, *tensor.shape))
            shaped.append(piece.to(tensor.device, tensor.dtype) if exact else piece)
        return shaped

    def home(self) -> Float[Tensor, " parameter"]:
        """The tensors' own values, copied."""
        with torch.no_grad():
            packed = self.pack([tensor.detach() for tensor in self.tensors])
        return packed.clone() if len(self.tensors) == 1 else packed

    def put(self, vector: Float[Tensor, " parameter"]) -> None:
        """Write the vector's entries into the tensors, in place."""
        with torch.no_grad():
            torch._foreach_copy_(self.tensors, self.unpack(vector))

    def _real(self, value: Tensor) -> Tensor:
        real = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
        return real.to(self.device, self.dtype)


class DeviceGenerator:
    """The state of one device's random numbers."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._module = device, torch.get_device_module(device)

    def get_rng_state(self) -> Tensor:
        return self._module.get_rng_state(self._device)

    def set_rng_state(self, state: Tensor) -> None:
        self._module.set_rng_state(state, self._device)
