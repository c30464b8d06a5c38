"""A rule's state, kept as torch keeps it: a dict per parameter, so that parameters may come, freeze and thaw."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from workbench.optimizers.torch.packing import Packing

COUNT = "count"


class States:
    """Translates between the tree that a rule carries for the packed vector and the dicts of single parameters.

    Leaves with one entry per parameter are cut; others (a scalar, say) are held by every parameter. The dicts are made when
    somebody looks at them, and read again only if somebody has put other tensors into them.
    """

    def __init__(self) -> None:
        self._dicts: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._packing: Packing | None = None
        self._tree: Any = None
        self._ages: list[int] = []
        self._step = torch.zeros(())
        self._made: list[tuple[Tensor, dict[str, Any], list[Any]]] | None = None
        """What the dicts were made of; None where they are older than the tree."""

    @property
    def dicts(self) -> defaultdict[Tensor, dict[str, Any]]:
        """By parameter: the number of its steps and its share of the tree."""
        if self._packing is not None and self._made is None:
            self._make(self._packing)
        return self._dicts

    @dicts.setter
    def dicts(self, dicts: defaultdict[Tensor, dict[str, Any]]) -> None:
        self._dicts, self._packing, self._made = dicts, None, None

    def read(self, packing: Packing, fresh: Callable[[], Any]) -> tuple[Any, int, Tensor]:
        """The tree (`fresh()` where nothing is known), the number of steps, and the steps as a rule sees them: 0-dim, or one
        entry per parameter where some of them joined later.
        """
        if packing is not self._packing or not (self._made is None or self._unchanged(self._made)):
            dicts, start = self.dicts, fresh()
            listed, spec = pytree.tree_flatten(start)
            taken = []
            for name, leaf in zip(_names(start), listed, strict=True):
                if _is_cut(leaf, packing):
                    pieces = zip(packing.tensors, _cut(leaf, packing), strict=True)
                    own = [dicts.get(tensor, {}).get(name, piece) for tensor, piece in pieces]
                    flat = [piece.to(packing.device, leaf.dtype).reshape((*leaf.shape[:-1], -1)) for piece in own]
                    taken.append(torch.cat(flat, -1))
                else:
                    known = (dicts[tensor][name] for tensor in packing.tensors if name in dicts.get(tensor, {}))
                    taken.append(next(known, leaf))
            self._ages = [int(dicts.get(tensor, {}).get(COUNT, 0)) for tensor in packing.tensors]
            if len(set(self._ages)) == 1:
                self._step = torch.tensor(self._ages[0], device=packing.device)
            else:
                ages = torch.tensor(self._ages).repeat_interleave(torch.tensor(packing.sizes))
                self._step = ages.to(packing.device)
            self._tree = pytree.tree_unflatten(taken, spec)
        return self._tree, max(self._ages), self._step

    def write(self, packing: Packing, tree: Any) -> None:
        """Keep the tree after one step more than was read."""
        self._packing, self._tree, self._made = packing, tree, None
        self._step, self._ages = self._step + 1, [age + 1 for age in self._ages]

    def _make(self, packing: Packing) -> None:
        columns = [
            _cut(leaf, packing) if _is_cut(leaf, packing) else [leaf] * len(packing.tensors)
            for leaf in pytree.tree_leaves(self._tree)
        ]
        names, self._made = _names(self._tree), []
        for index, (tensor, age) in enumerate(zip(packing.tensors, self._ages, strict=True)):
            entries = {COUNT: torch.tensor(age), **{n: column[index] for n, column in zip(names, columns, strict=True)}}
            self._dicts[tensor] = entries
            self._made.append((tensor, entries, list(entries.values())))

    def _unchanged(self, made: list[tuple[Tensor, dict[str, Any], list[Any]]]) -> bool:
        return all(
            self._dicts.get(tensor) is entries
            and len(entries) == len(values)
            and all(map(operator.is_, entries.values(), values))
            for tensor, entries, values in made
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
