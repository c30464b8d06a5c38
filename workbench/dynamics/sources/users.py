"""Several users, each with an objective of its own."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.dynamics.sources.samples import AllSamples
from workbench.optimizers.oracle import Moment, Oracle, SampleSide, Side, Source
from workbench.parameters import Parameters, tree_map
from workbench.problems.base import Problem


@dataclass(frozen=True, eq=False)
class Users(Source):
    """Users with the problems `members`, one's own first. Gradient, loss and Hessian are one's own; `oracle.users` has all.

    each: the source of every user; user i draws from streams of its own, `user{i}/...`.
    """

    members: tuple[Problem, ...]
    each: Source = field(default_factory=AllSamples)

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("members must hold at least one problem, one's own first")

    def oracle(self, moment: Moment) -> Oracle:
        oracles = [
            self.each.oracle(moment.named(f"user{i}")._replace(problem=member)) for i, member in enumerate(self.members)
        ]
        return _UsersOracle(self, moment, oracles)

    def per_epoch(self, problem: Problem) -> int | None:
        return self.each.per_epoch(self.members[0])


class _UsersOracle(Oracle):
    def __init__(self, source: Users, moment: Moment, oracles: list[Oracle]) -> None:
        self.source, self.moment, self._oracles = source, moment, oracles

    def gradient(self, x: Parameters) -> Parameters:
        return self._oracles[0].gradient(x)

    def loss(self, x: Parameters) -> Float[Tensor, ""]:
        return self._oracles[0].loss(x)

    def hessian_vector_product(self, x: Parameters, v: Parameters) -> Parameters:
        return self._oracles[0].hessian_vector_product(x, v)

    @property
    def full(self) -> Oracle:
        return _UsersOracle(self.source, self.moment, [oracle.full for oracle in self._oracles])  # type: ignore[arg-type]

    @property
    def samples(self) -> int | None:
        return self._oracles[0].samples

    def chosen(self, indices: Tensor) -> Oracle:
        return self._oracles[0].chosen(indices)

    def groups(self, size: int) -> SampleSide:
        return self._oracles[0].groups(size)

    @property
    def users(self) -> Side:
        return _UsersSide(self._oracles)


class _UsersSide:
    def __init__(self, oracles: list[Oracle]) -> None:
        self.count, self._oracles = len(oracles), oracles

    def gradients(self, x: Parameters) -> Parameters:
        return tree_map(lambda *gradients: torch.stack(gradients), *(oracle.gradient(x) for oracle in self._oracles))

    def gradients_at(self, xs: Parameters) -> Parameters:
        own = [tree_map(lambda leaf, i=i: leaf[i], xs) for i in range(self.count)]
        found = [oracle.gradient(x) for oracle, x in zip(self._oracles, own, strict=True)]
        return tree_map(lambda *gradients: torch.stack(gradients), *found)
