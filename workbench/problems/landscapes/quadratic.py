"""Quadratics with a given spectrum: the problem on which every rule can be solved by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws, memory
from workbench.draws import Seed
from workbench.problems.base import Batch, Measure, Problem


@dataclass(frozen=True, eq=False)
class Quadratic(Problem[Tensor]):
    """f(x) = 1/2 (x - x*)^T H (x - x*), with H = Q diag(spectrum) Q^T; saddles (negative eigenvalues) are allowed."""

    matrix: Float[Tensor, "parameter parameter"]
    spectrum: Float[Tensor, " eigenvalue"]
    eigenvectors: Float[Tensor, "parameter eigenvalue"]
    minimiser: Float[Tensor, " parameter"]
    minimum = 0.0

    def initial(self, seed: Seed) -> Float[Tensor, " parameter"]:
        """x* plus a standard normal vector."""
        shape = tuple(self.minimiser.shape)
        return self.minimiser + draws.normal(seed, shape, stream="initial", dtype=self.minimiser.dtype)

    def loss(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, ""]:
        displacement = parameters - self.minimiser
        return 0.5 * (displacement * (self.matrix @ displacement)).sum()

    def gradient(
        self, parameters: Float[Tensor, " parameter"], batch: Batch | None = None
    ) -> Float[Tensor, " parameter"]:
        return self.matrix @ (parameters - self.minimiser)

    def hessian(self, parameters: Float[Tensor, " parameter"]) -> Float[Tensor, "parameter parameter"]:
        """H, the same everywhere."""
        return self.matrix

    @property
    def smoothness(self) -> Float[Tensor, ""]:
        """Lipschitz constant of the gradient: the largest absolute eigenvalue."""
        return self.spectrum.abs().amax()

    @property
    def strong_convexity(self) -> Float[Tensor, ""]:
        """The smallest eigenvalue (negative at a saddle, where f is not convex)."""
        return self.spectrum.amin()

    @property
    def measures(self) -> Mapping[str, Measure]:
        distance = Measure(
            lambda parameters: ((parameters - self.minimiser) ** 2).sum().sqrt(), "distance to the minimiser"
        )
        return {**super().measures, "distance": distance}


def quadratic(
    spectrum: Sequence[float] | Float[Tensor, " eigenvalue"],
    *,
    rotation: Seed | None = None,
    minimiser: Float[Tensor, " parameter"] | None = None,
    dtype: torch.dtype = torch.float64,
) -> Quadratic:
    """A quadratic whose Hessian has the given eigenvalues.

    rotation: seed of a uniformly random orthogonal basis of eigenvectors; None leaves them on the axes.
    minimiser: zero by default.
    Raises ValueError when the spectrum is empty, not a vector or not finite, or the minimiser's length differs,
    and where the Hessian exceeds the memory budget.

    >>> quadratic([1.0, 4.0]).loss(torch.tensor([1.0, 1.0], dtype=torch.float64)).item()
    2.5
    """
    values = torch.as_tensor(spectrum, dtype=dtype)
    if values.dim() != 1 or values.numel() == 0:
        raise ValueError(f"spectrum must be a vector of at least one eigenvalue, got shape {tuple(values.shape)}")
    if not isinstance(spectrum, Tensor) and not torch.isfinite(values).all():
        raise ValueError(f"spectrum must be finite, got {list(spectrum)}")
    size = values.shape[0]
    memory.require(
        4 * 8.0 * size * size, f"a Hessian of {size:,} x {size:,} with its eigenvectors", "choose fewer eigenvalues"
    )
    basis = torch.eye(size, dtype=dtype) if rotation is None else random_rotation(rotation, size, dtype=dtype)
    matrix = (basis * values) @ basis.mT
    centre = torch.zeros(size, dtype=dtype) if minimiser is None else minimiser.to(dtype)
    if centre.shape != (size,):
        raise ValueError(f"minimiser must have {size} entries, one per eigenvalue, got shape {tuple(centre.shape)}")
    # Symmetric to the last bit, so that eigvalsh and autograd see the same matrix.
    return Quadratic(0.5 * (matrix + matrix.mT), values, basis, centre)


def random_rotation(seed: Seed, size: int, *, dtype: torch.dtype = torch.float64) -> Float[Tensor, "row column"]:
    """A uniformly distributed (Haar) orthogonal matrix."""
    q, r = torch.linalg.qr(draws.normal(seed, (size, size), stream="rotation"))
    # QR alone is not uniform: the signs of R's diagonal must be made positive.
    return (q * torch.sign(torch.diagonal(r))).to(dtype)
