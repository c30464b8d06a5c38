"""What loading gives: tensors, what they mean, where they came from and a fingerprint of their content."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import html
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int, Num
from torch import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """Training and test samples as tensors.

    Images have dimensions (sample, channel, row, column) unless flattened, tables (sample, feature). Targets are int64
    labels that index `class_names`, or numbers where `class_names` is empty (regression). A set without an official
    split that was loaded without `train=` has every sample in the training part.

    `train_domains` and `test_domains` index `domain_names`; both are None where a set has no domains.
    `verification` is "embedded", "official" (an official checksum matched), "local, not verified" or "given".
    """

    name: str
    train_inputs: Num[Tensor, " train *sample_shape"]
    train_targets: Num[Tensor, " train"]
    test_inputs: Num[Tensor, " test *sample_shape"]
    test_targets: Num[Tensor, " test"]
    class_names: tuple[str, ...] = ()
    source: str = "given by the caller"
    verification: str = "given"
    train_domains: Int[Tensor, " train"] | None = None
    test_domains: Int[Tensor, " test"] | None = None
    domain_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            inputs, targets = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets")
            if len(inputs) != len(targets):
                raise ValueError(
                    f"{part}_inputs and {part}_targets must have one entry per sample, "
                    f"got {len(inputs)} and {len(targets)}"
                )
        if self.train_inputs.shape[1:] != self.test_inputs.shape[1:]:
            raise ValueError(
                f"training and test samples must have one shape, got {tuple(self.train_inputs.shape[1:])} "
                f"and {tuple(self.test_inputs.shape[1:])}"
            )

    @property
    def inputs(self) -> Num[Tensor, " sample *sample_shape"]:
        """All samples, the training part first."""
        return torch.cat([self.train_inputs, self.test_inputs]) if len(self.test_inputs) else self.train_inputs

    @property
    def targets(self) -> Num[Tensor, " sample"]:
        """The targets of `inputs`."""
        return torch.cat([self.train_targets, self.test_targets]) if len(self.test_targets) else self.train_targets

    @property
    def domains(self) -> Int[Tensor, " sample"] | None:
        """The domains of `inputs`, or None."""
        if self.train_domains is None or self.test_domains is None:
            return self.train_domains
        return torch.cat([self.train_domains, self.test_domains])

    @property
    def n_classes(self) -> int:
        """Number of classes; 0 for regression."""
        return len(self.class_names)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.train_inputs.shape[1:])

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes of the arrays: equal on every machine for equal content."""
        digest = hashlib.sha256()
        for field in dataclasses.fields(self):
            tensor = getattr(self, field.name)
            if isinstance(tensor, Tensor):
                array = tensor.detach().cpu().contiguous().numpy()
                digest.update(f"{field.name} {array.dtype.str.lstrip('<|=')} {array.shape};".encode())
                digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        digest.update("\0".join(self.class_names).encode())
        return digest.hexdigest()

    @property
    def provenance(self) -> dict[str, str | int]:
        """What a run record should keep about its data."""
        return {
            "name": self.name,
            "source": self.source,
            "verification": self.verification,
            "fingerprint": self.fingerprint,
            "n_train": len(self.train_inputs),
            "n_test": len(self.test_inputs),
        }

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Data:
        """The same data on another device; `dtype` converts inputs and regression targets, never labels."""

        def convert(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return value.to(device=device, dtype=dtype if value.is_floating_point() else None)

        return Data(**{field.name: convert(getattr(self, field.name)) for field in dataclasses.fields(self)})

    def _rows(self) -> list[tuple[str, str]]:
        shape = " x ".join(str(length) for length in self.sample_shape)
        kind = str(self.train_inputs.dtype).removeprefix("torch.")
        rows = [
            ("samples", f"{len(self.train_inputs)} training, {len(self.test_inputs)} test; each {shape} {kind}"),
            ("targets", f"{self.n_classes} classes: {_some(self.class_names)}" if self.class_names else "numbers"),
        ]
        if self.domain_names:
            rows.append(("domains", f"{len(self.domain_names)}: {_some(self.domain_names)}"))
        rows += [("source", self.source), ("verification", self.verification)]
        if not torch._C._functorch.is_batchedtensor(self.train_inputs):
            rows.append(("fingerprint", f"{self.fingerprint[:12]} (SHA-256)"))
        return rows

    def __repr__(self) -> str:
        return "\n".join([f"<Data {self.name}>"] + [f"  {key:<13} {value}" for key, value in self._rows()])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{key}</th><td style='text-align:left'>{html.escape(value)}</td></tr>"
            for key, value in self._rows()
        )
        return f"<b>{html.escape(self.name)}</b><table>{cells}</table>"


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 10 else ", ".join(names[:8]) + f", ... {names[-1]}"
