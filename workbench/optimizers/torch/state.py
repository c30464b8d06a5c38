"""A rule's state, kept as torch keeps it: a dict per parameter, so that parameters may come, freeze and thaw."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from workbench.optimizers.torch.packing import Packing

COUNT = "count"


class States:
    """Translates between the tree that a rule carries for the packed vector and the dicts of single parameters.

    Leaves with one entry per parameter are cut; others (a scalar, say) are held by every parameter. The tree that was written
    last is handed out again as long as nobody has put other tensors into the dicts.
    """

    def __init__(self) -> None:
        self._written: list[tuple[Tensor, dict[str, Any], list[Any]]] = []
        self._tree: Any = None
        self._ages: list[int] = []
        self._step = torch.zeros(())

    def read(self, state: dict[Tensor, dict[str, Any]], packing: Packing, fresh: Any) -> tuple[Any, int, Tensor]:
        """The tree (`fresh()` where nothing is known), the number of steps, and the steps as a rule sees them: 0-dim, or one
        entry per parameter where some of them joined later.
        """
        if self._known(state, packing):
            return self._tree, max(self._ages), self._step
        start = fresh()
        listed, spec = pytree.tree_flatten(start)
        names = _names(start)
        taken = []
        for name, leaf in zip(names, listed, strict=True):
            if not _is_cut(leaf, packing):
                taken.append(next((state[p][name] for p in packing.tensors if name in state.get(p, {})), leaf))
                continue
            pieces = _cut(leaf, packing)
            own = [state.get(p, {}).get(name, piece) for p, piece in zip(packing.tensors, pieces, strict=True)]
            lead = leaf.shape[:-1]
            flat = [piece.to(packing.device, leaf.dtype).reshape(*lead, -1) for piece in own]
            taken.append(torch.cat(flat, -1))
        self._ages = [int(state.get(p, {}).get(COUNT, 0)) for p in packing.tensors]
        if len(set(self._ages)) == 1:
            self._step = torch.tensor(self._ages[0], device=packing.device)
        else:
            ages = torch.tensor(self._ages).repeat_interleave(torch.tensor(packing.sizes))
            self._step = ages.to(packing.device)
        return pytree.tree_unflatten(taken, spec), max(self._ages), self._step

    def write(self, state: dict[Tensor, dict[str, Any]], packing: Packing, tree: Any) -> None:
        """Put the tree and the next number of steps, one more than was read, into the parameters' dicts."""
        listed, names = pytree.tree_leaves(tree), _names(tree)
        columns = [_cut(leaf, packing) if _is_cut(leaf, packing) else [leaf] * len(packing.tensors) for leaf in listed]
        self._step, self._ages = self._step + 1, [age + 1 for age in self._ages]
        counts = {age: torch.tensor(age) for age in set(self._ages)}
        self._written = []
        for index, (tensor, age) in enumerate(zip(packing.tensors, self._ages, strict=True)):
            entries = {COUNT: counts[age], **{name: column[index] for name, column in zip(names, columns, strict=True)}}
            state[tensor] = entries
            self._written.append((tensor, entries, list(entries.values())))
        self._tree = tree

    def forget(self) -> None:
        """Read everything anew."""
        self._written = []

    def _known(self, state: dict[Tensor, dict[str, Any]], packing: Packing) -> bool:
        if len(self._written) != len(packing.tensors):
            return False
        return all(
            known is tensor
            and state.get(tensor) is entries
            and all(a is b for a, b in zip(entries.values(), values, strict=False))
            for tensor, (known, entries, values) in zip(packing.tensors, self._written, strict=True)
        )


def _names(tree: Any) -> list[str]:
    """A name for each leaf: the fields on the way to it."""
    found = []
    for path, _ in pytree.tree_flatten_with_path(tree)[0]:
        parts = [str(getattr(step, "key", getattr(step, "name", getattr(step, "idx", "")))) for step in path]
        found.append(".".join(parts) or "state")
    return found


def _is_cut(leaf: Any, packing: Packing) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0 and leaf.shape[-1] == packing.count


def _cut(leaf: Tensor, packing: Packing) -> list[Tensor]:
    lead = leaf.shape[:-1]
    return [
        piece if tensor.is_complex() else piece.reshape((*lead, *tensor.shape))
        for piece, tensor in zip(leaf.split(packing.sizes, -1), packing.tensors, strict=True)
    ]
