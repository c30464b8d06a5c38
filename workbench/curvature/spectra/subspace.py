"""A growing orthonormal basis with a symmetric operator's exact action on it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.curvature.products import HVPOperator
from workbench.curvature.scales import power_of_two

_CRUDE = 1e-3
"""Asymmetry relative to the operator's norm that cannot be rounding, not even of single precision inside a double loss."""


class Subspace:
    """Basis V with `A V = V T + F C`: T the projected operator, F outstanding directions, C their couplings.

    Plain Lanczos has one outstanding direction, the last residual. Keeping a list makes restarts and extra random
    starts exact: nothing is ever dropped, so the residual of a Ritz pair (theta, V s) is |C s| to rounding. Every
    product is orthogonalised twice against the whole basis; how far its coefficients are from those known in advance
    (zero, or the coupling already stored) measures the products' rounding error at no cost.
    """

    def __init__(self, operator: HVPOperator, capacity: int) -> None:
        self.operator = operator
        self.size, self.dtype, self.device = operator.size, operator.dtype, operator.device
        self.capacity = capacity
        self.products = 0
        self.directions: list[Tensor] = []
        self.last_coupling = 0.0
        self.scale: Tensor | None = None
        """Power of two by which the operator is divided, so that no square leaves the range; found at the first product."""
        self._basis = torch.empty(capacity, self.size, dtype=self.dtype, device=self.device)
        self._projected = np.zeros((0, 0))
        self._couplings: list[np.ndarray] = []
        self._surprise, self._surprises, self._scale = 0.0, 0, 0.0

    @property
    def count(self) -> int:
        """Basis vectors so far."""
        return self._projected.shape[0]

    @property
    def projected(self) -> np.ndarray:
        """T = V A V^T, [count, count]."""
        return self._projected

    @property
    def rounding(self) -> float:
        """Norm of the error of one product: measured, and at least the dtype's epsilon times the operator's norm."""
        measured = self._surprise / max(1, self._surprises) * self.size
        least = 4 * torch.finfo(self.dtype).eps * self._scale
        return float(np.sqrt(measured + least**2 * max(1, self.count)))

    def residual_norms(self, rotation: np.ndarray) -> np.ndarray:
        """|A V s - V T s| for each column s of `rotation`."""
        if not self._couplings:
            return np.zeros(rotation.shape[1])
        return np.linalg.norm(np.stack(self._couplings) @ rotation, axis=0)

    def strongest(self, column: np.ndarray) -> int:
        """The outstanding direction to which the Ritz vector with these coefficients leaks most."""
        padded = np.zeros(self.count)
        padded[: len(column)] = column
        return int(np.argmax([abs(coupling @ padded) for coupling in self._couplings]))

    def combine(self, rotation: np.ndarray) -> Float[Tensor, "vector parameter"]:
        """The vectors V s, as rows, for the columns s of `rotation`."""
        columns = torch.as_tensor(rotation, dtype=self.dtype, device=self.device)
        return columns.mT @ self._basis[: self.count]

    def rotate(self, rotation: np.ndarray) -> None:
        """Keep only the Ritz vectors V s (thick restart); T becomes their Ritz values."""
        kept = rotation.shape[1]
        self._basis[:kept] = self.combine(rotation)
        self._projected = rotation.T @ self._projected @ rotation
        self._projected = (self._projected + self._projected.T) / 2
        self._couplings = [coupling @ rotation for coupling in self._couplings]

    def add_direction(self, vector: Tensor) -> None:
        """Make `vector`, orthogonalised against the basis, outstanding."""
        for _ in range(3):
            vector = vector / vector.norm()
            vector, _ = self._project_out(vector, self.count)
        self._push(vector / vector.norm(), np.zeros(self.count))

    def grow(self, index: int) -> None:
        """Move one outstanding direction into the basis: one product with the operator."""
        vector, known = self.directions.pop(index), self._couplings.pop(index)
        old = self.count
        self._basis[old] = vector
        image = self.operator(vector)
        if self.scale is None:
            self.scale = power_of_two(image)
        remainder, coefficients = self._project_out(image / self.scale, old + 1)
        remainder, correction = self._project_out(remainder, old + 1)
        coefficients = coefficients + correction
        self.products += 1
        length = float(remainder.norm())
        if not np.isfinite(length):
            raise ValueError("a Hessian-vector product is not finite; the loss has no second derivative here")
        self._scale = max(self._scale, float(np.hypot(np.linalg.norm(coefficients), length)))
        self._check_symmetry(coefficients[:old] - known)
        projected = np.empty((old + 1, old + 1))
        projected[:old, :old], projected[old, old] = self._projected, coefficients[old]
        projected[:old, old] = projected[old, :old] = known
        self._projected = projected
        self._couplings = [np.append(coupling, 0.0) for coupling in self._couplings]
        self.last_coupling = 0.0
        if length > 8 * torch.finfo(self.dtype).eps * self._scale and self.count < self.size:
            self.last_coupling = length
            unit, _ = self._project_out(remainder / length, self.count)
            self._push(unit / unit.norm(), np.append(np.zeros(old), length))

    def _project_out(self, vector: Tensor, rows: int) -> tuple[Tensor, np.ndarray]:
        basis = self._basis[:rows]
        coefficients = basis @ vector
        return vector - coefficients @ basis, coefficients.cpu().double().numpy()

    def _check_symmetry(self, surprise: np.ndarray) -> None:
        self._surprise += float(surprise @ surprise)
        self._surprises += len(surprise)
        gap = np.abs(surprise).max() / self._scale if len(surprise) and self._scale else 0.0
        if gap > _CRUDE:
            raise ValueError(
                f"Hessian-vector products at one point are not those of one symmetric matrix (asymmetric by {gap:.2g}): some "
                "operation's second derivative is wrong, or computed in lower precision than the parameters'"
            )

    def _push(self, unit: Tensor, coupling: np.ndarray) -> None:
        """Append an outstanding direction; the older ones hand over what they share with it and stay orthonormal."""
        directions, couplings = [unit], [coupling]
        for direction, held in zip(reversed(self.directions), reversed(self._couplings), strict=True):
            for index, other in enumerate(directions):
                overlap = float(other @ direction)
                direction = direction - overlap * other
                couplings[index] = couplings[index] + overlap * held
            length = float(direction.norm())
            if length * np.linalg.norm(held) > torch.finfo(self.dtype).eps * self._scale:
                directions.append(self._cleaned(direction / length, directions) if length < 0.1 else direction / length)
                couplings.append(length * held)
        self.directions, self._couplings = directions[::-1], couplings[::-1]

    def _cleaned(self, direction: Tensor, directions: list[Tensor]) -> Tensor:
        """What little is left of a direction is mostly rounding, which points anywhere: orthogonal to all others again."""
        for _ in range(2):
            direction, _ = self._project_out(direction, self.count)
            for other in directions:
                direction = direction - (other @ direction) * other
            direction = direction / direction.norm()
        return direction
