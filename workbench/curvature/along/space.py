"""A growing subspace with its images: the largest eigenvalues inside it, and how far they may be off.

Everything works under `torch.func.vmap` too: a run that has what it wants adds zero vectors while others go on, which leaves
its values as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.curvature.scales import power_of_two


def anywhere(condition: Bool[Tensor, ""]) -> bool:
    """Whether it holds; in a sweep, whether it does for any run of the chunk."""
    while torch._C._functorch.is_functorch_wrapped_tensor(condition):
        condition = torch._C._functorch.get_unwrapped(condition)
    return bool(condition.any())


class Ritz(NamedTuple):
    """The largest eigenvalues inside a subspace, largest first, over the space's unit, with residual vectors H v - value v, their
    norms, and the vectors.
    """

    values: Float[Tensor, " i"]
    residuals: Float[Tensor, "i parameter"]
    norms: Float[Tensor, " i"]
    vectors: Float[Tensor, "i parameter"]


class Space:
    """An orthonormal basis, its images under a symmetric operator, and the operator projected on it.

    `unit` is the power of two by which all images are divided; `products` counts those of vectors that are used; `following` is
    the newest image outside of the space, where Lanczos goes on.
    """

    def __init__(self, product: Callable[[Tensor], Tensor], like: Float[Tensor, " parameter"]) -> None:
        self._product = product
        self.basis, self.images = like.new_zeros(0, like.numel()), like.new_zeros(0, like.numel())
        self.projected = like.new_zeros(0, 0)
        self.used: list[Tensor] = []
        self.products = torch.zeros((), dtype=torch.int64, device=like.device)
        self.unit: Tensor = like.new_ones(())
        self.following = torch.zeros_like(like)

    @property
    def rows(self) -> int:
        return len(self.used)

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The largest entry of the projection: rounding errors are of this size times the dtype's epsilon."""
        return self.projected.abs().amax() if self.rows else self.basis.new_zeros(())

    def image(self, vector: Tensor, active: Bool[Tensor, ""]) -> Tensor:
        """One product."""
        found = self._product(vector)
        if not self.rows:
            # Squares then stay in the range of the dtype.
            self.unit = power_of_two(found)
        self.products = self.products + active.long()
        return found / self.unit

    def orthogonal(self, vector: Tensor) -> Tensor:
        """What of it lies outside of the space."""
        for _ in range(2):
            vector = vector - (self.basis @ vector) @ self.basis
        return vector

    def outside(self, vector: Tensor, image: Tensor) -> Tensor:
        """The operator from outside of the space to outside, applied to a vector of which the image is known."""
        return self.orthogonal(image - (self.basis @ vector) @ self.images)

    def add(self, direction: Tensor, active: Bool[Tensor, ""], scale: Tensor | float) -> None:
        """One more basis vector, where `active` and where the direction is more than rounding errors of vectors of length
        `scale`.
        """
        direction = self.orthogonal(direction)
        length = direction.norm()
        used = active & (length > 100 * torch.finfo(direction.dtype).eps * scale)
        vector = torch.where(used, direction / torch.where(used, length, 1.0), 0.0)
        self.take(vector, self.image(vector, used), used)

    def take(self, vector: Tensor, image: Tensor, used: Bool[Tensor, ""]) -> None:
        """A unit vector outside of the space (zero where not `used`) of which the image is known."""
        column, corner = self.basis @ image, (vector @ image)[None]
        wider = torch.cat([self.projected, column[:, None]], 1)
        self.projected = torch.cat([wider, torch.cat([column, corner])[None]])
        self.basis, self.images = torch.cat([self.basis, vector[None]]), torch.cat([self.images, image[None]])
        self.used.append(used)
        self.following = torch.where(used, self.orthogonal(image), self.following)

    def values(self) -> tuple[Float[Tensor, " row"], Float[Tensor, "row row"]]:
        """All eigenvalues of the projection, largest first, and their coordinates as rows. Those of unused rows come last."""
        used = torch.stack(self.used)
        finite = torch.isfinite(self.projected).all()
        kept = torch.where(finite, self.projected, 0.0)
        below = torch.where(used, 0.0, -(1 + 4 * self.rows * kept.abs().amax()))
        values, columns = torch.linalg.eigh(kept + torch.diag(below))
        return torch.where(finite, values.flip(0), torch.nan), columns.mT.flip(0)

    def ritz(self, count: int) -> Ritz:
        """The `count` largest, or all."""
        values, coordinates = (part[:count] for part in self.values())
        vectors = coordinates @ self.basis
        residuals = coordinates @ self.images - values[:, None] * vectors
        return Ritz(values, residuals, residuals.norm(dim=1), vectors)

    def chance_of_missing(self, first: int, level: Tensor) -> Float[Tensor, ""]:
        """Chance that the random start at row `first` hides from the Lanczos steps since an eigenvalue above the level, which no
        Ritz value of them exceeds: Christoffel's bound, as in `top_eigenpairs`.
        """
        chain = self.projected[first:, first:]
        last = self.rows - first - 1
        total, before, current = torch.ones_like(level), torch.zeros_like(level), torch.ones_like(level)
        for i in range(last + 1):
            beside = chain[i, i + 1] if i < last else self.following.norm()
            step = (level - chain[i, i]) * current - (chain[i - 1, i] * before if i else 0.0)
            alive = beside.abs() > 0
            ahead = torch.where(alive, step / torch.where(alive, beside, 1.0), 1e9).clamp(-1e9, 1e9)
            before, current = current, ahead
            total = total + current.square()
        return torch.sqrt(2 * self.basis.shape[1] / (torch.pi * total))
