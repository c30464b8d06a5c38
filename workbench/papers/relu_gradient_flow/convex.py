"""The least variation norm of an interpolator as a convex programme, solved with a certificate: orthogonal inputs or not.

min sum_j |c_j| over functions h(x) = sum_j c_j relu(<u_j, x>), |u_j| = 1, with h(x_k) = y_k, is the least |theta|^2/2 of a
network of any width that interpolates (arXiv:2206.00939, section 2). Its dual is max <alpha, y> with
|sum_k alpha_k relu(<u, x_k>)| <= 1 for all unit u; inside one activation pattern the left side is linear in u, so its largest
value is the length of a projection on a cone.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import linprog, nnls

from workbench.papers.relu_gradient_flow.points import Points

LARGEST = 10
"""Points up to which all activation patterns are gone through."""
_TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


@dataclass(frozen=True, eq=False)
class Interpolator:
    """An interpolator of least variation norm.

    Attributes:
        norm: sum_j |c_j|, which bounds the least value from above.
        lower: the dual's value, which bounds it from below.
        directions, weights: u_j and c_j, those that are not 0.
    """

    norm: float
    lower: float
    directions: Float[np.ndarray, "neuron feature"]
    weights: Float[np.ndarray, " neuron"]

    def outputs(self, inputs: Float[np.ndarray, "sample feature"]) -> Float[np.ndarray, " sample"]:
        """h at some inputs."""
        return np.maximum(inputs @ self.directions.T, 0) @ self.weights


def least_variation_norm(points: Points, *, tol: float = 1e-8, rounds: int = 100) -> Interpolator:
    """Linear programmes over finitely many directions, to which the dual's worst ones are added, until norm - lower <= tol norm.

    Raises:
        ValueError: for more than 10 points (2^n activation patterns), or where no network interpolates them (two labels at one
            input).
        RuntimeError: where `rounds` programmes do not reach tol.
    """
    inputs, labels = points.inputs.numpy(), points.labels.numpy()
    if len(labels) > LARGEST:
        raise ValueError(f"points must be at most {LARGEST} (2^n activation patterns), got {len(labels)}")
    norm, lower = np.inf, -np.inf
    patterns = np.array(list(itertools.product((1.0, -1.0), repeat=len(labels))))
    directions = _unit(np.vstack([_interior(inputs, pattern) for pattern in patterns]))
    for _ in range(rounds):
        features = np.maximum(inputs @ directions.T, 0)
        both = np.hstack([features, -features])
        found = linprog(np.ones(both.shape[1]), A_eq=both, b_eq=labels, method="highs-ds", options=_TIGHT)
        if found.status != 0:
            raise ValueError("points must be interpolable: no network takes these labels at these inputs")
        alpha = found.eqlin.marginals
        steepest = np.vstack([_steepest(inputs, sign * alpha, one) for one in patterns for sign in (1, -1)])
        lengths = np.linalg.norm(steepest, axis=1)
        norm, lower = float(found.fun), float(alpha @ labels) / max(1.0, float(lengths.max()))
        if norm - lower <= tol * norm:
            weights = found.x[: len(directions)] - found.x[len(directions) :]
            kept = np.abs(weights) > 1e-9 * np.abs(weights).max()
            return Interpolator(norm, lower, directions[kept], weights[kept])
        directions = np.vstack([directions, _unit(steepest[lengths > 1])])
    raise RuntimeError(f"the duality gap is {norm - lower:.3g} of {norm:.3g} after {rounds} programmes; raise rounds")


def outside(value: float, points: Points) -> float:
    """Distance of a value from the middle of the certified interval of the least variation norm, in its half widths."""
    found = least_variation_norm(points)
    half = (found.norm - found.lower) / 2 + 8 * np.finfo(float).eps * found.norm
    return abs(value - (found.norm + found.lower) / 2) / half


def _steepest(inputs: np.ndarray, alpha: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """The projection of sum of alpha_k x_k over the active points on the cone of a pattern (Moreau: by its polar cone)."""
    sides = pattern[:, None] * inputs
    drive = alpha[pattern > 0] @ inputs[pattern > 0]
    return drive + sides.T @ nnls(sides.T, -drive)[0]


def _interior(inputs: np.ndarray, pattern: np.ndarray) -> np.ndarray:
    """Directions of a pattern's cone, where it has any: projections of its points' own directions."""
    sides = pattern[:, None] * inputs
    return np.vstack([side + sides.T @ nnls(sides.T, -side)[0] for side in [sides.sum(0), *sides]])


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1)
    kept = lengths > 1e-9 * max(1.0, lengths.max())
    return np.unique((vectors[kept] / lengths[kept, None]).round(15), axis=0)
