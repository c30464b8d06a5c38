"""Exact second moments of a linear method on finite data sampled with replacement: every sample is an affine map."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from workbench import memory
from workbench.dynamics.moments.lift import expected_lift, packed, spectral_radius, unpacked
from workbench.dynamics.moments.linear_step import LinearStep, Output, Steps, squared, wanted_outputs, wanted_steps
from workbench.problems.linear.designs import FiniteData

State = Float[np.ndarray, "row column"]


@dataclass(frozen=True, eq=False)
class SampleMoments:
    """The second-moment operator M -> E A M A^T on moments of (state, 1), A the affine map of a randomly drawn sample.

    The state is the k numbers of a `LinearStep` for each of the d features. Constant coefficients cost (k d)^4 numbers once
    and (k d)^4/4 operations a step. Changing ones cost d^4/4 operations a step where a step asks for one gradient, whose
    second moments are known from fourth moments of the data, and n (k d)^3 where it asks for several.
    """

    steps: Steps
    data: FiniteData
    start: Float[np.ndarray, " k"]
    outputs: Mapping[str, Output]

    @property
    def size(self) -> int:
        """k, the numbers that each feature carries."""
        return len(self.start)

    def maps(self, step: int = 0) -> Float[np.ndarray, "sample row column"]:
        """The affine map of every sample, on (state, 1): state-major, errors x - x* in place of x."""
        linear = self.steps if isinstance(self.steps, LinearStep) else self.steps(step, 1)
        terms, kicks = linear.terms()
        carry = linear.carry.reshape(self.size, self.size)
        inputs = self.data.inputs.numpy()
        residuals = (self.data.targets - self.data.inputs @ self.data.minimiser).numpy()
        n, d = inputs.shape
        size = self.size * d
        memory.require(8.0 * 4 * n * (size + 1) ** 2, f"{n:,} affine maps of {size + 1} numbers", "take fewer samples")
        maps = np.zeros((n, size + 1, size + 1))
        maps[:, :size, :size] = np.kron(carry, np.eye(d))
        length = np.square(inputs).sum(1)
        outer = inputs[:, :, None] * inputs[:, None, :]
        for power, (term, kick) in enumerate(zip(terms, kicks, strict=True)):
            scale = length**power
            weights = term.reshape(self.size, self.size)
            maps[:, :size, :size] += np.einsum("n,ab,nij->naibj", scale, weights, outer).reshape(n, size, size)
            kicked = np.einsum("n,a,ni->nai", scale * residuals, kick.reshape(self.size), inputs)
            maps[:, :size, size] += kicked.reshape(n, size)
        maps[:, size, size] = 1.0
        return maps

    @functools.cached_property
    def matrix(self) -> Float[np.ndarray, "entry entry"]:
        """The operator of constant coefficients on packed moments of (state, 1)."""
        if not isinstance(self.steps, LinearStep):
            raise ValueError("the coefficients change from step to step: there is no one operator; use risk")
        return expected_lift(self.maps(), self._shares)

    def spectral_radius(self) -> float:
        """Largest absolute eigenvalue of the operator on the state alone: < 1 means mean-square stable."""
        size = self.matrix.shape[0]
        state = unpacked(np.arange(float(size))).astype(int)[:-1, :-1]
        inner = np.unique(state)
        return spectral_radius(self.matrix[np.ix_(inner, inner)])

    def risk(
        self,
        start: Float[np.ndarray, " feature"],
        steps: int,
        *,
        at: Iterable[int] | None = None,
        output: str = "parameters",
    ) -> xr.DataArray:
        """Exact expected excess risk 1/2 E (x - x*)^T H (x - x*) of an output over `step`, from x_0 - x* = start."""
        return self.risks(start, steps, at=at, outputs=[output])[output].rename(None)

    def risks(
        self,
        start: Float[np.ndarray, " feature"],
        steps: int,
        *,
        at: Iterable[int] | None = None,
        outputs: Iterable[str] | None = None,
    ) -> xr.Dataset:
        """`risk` of several outputs (all by default) from one recursion."""
        names = wanted_outputs(self.outputs, outputs)
        wanted, found = wanted_steps(steps, at), {name: [] for name in names}
        first = np.asarray(start, dtype=np.float64)
        if first.shape != (self.data.inputs.shape[1],):
            raise ValueError(f"start must have {self.data.inputs.shape[1]} entries, got shape {first.shape}")
        state = np.append(np.multiply.outer(self.start, first).ravel(), 1.0)
        moments = packed(np.outer(state, state))
        with np.errstate(over="ignore", invalid="ignore"):
            for step in range(max(wanted, default=0) + 1):
                if step in wanted:
                    for name in names:
                        found[name].append(self._risk(moments, name, step))
                moments = self._advance(moments, step)
        told = {"long_name": "expected excess risk"}
        return xr.Dataset({name: ("step", values, told) for name, values in found.items()}, coords={"step": wanted})

    def _advance(self, moments: np.ndarray, step: int) -> np.ndarray:
        if isinstance(self.steps, LinearStep):
            return self.matrix @ moments
        linear = self.steps(step, 1)
        if linear.point.shape[-2] == 1 and linear.noisy is None:
            return self._one_gradient(moments, linear)
        maps = self.maps(step)
        following = np.einsum("n,nij->ij", self._shares, maps @ unpacked(moments) @ maps.transpose(0, 2, 1))
        return packed(following)

    def _one_gradient(self, moments: np.ndarray, linear: LinearStep) -> np.ndarray:
        """M+ for s+ = L s + K g, g = a (<a, p> - residual) at the errors p = P s of one point.

        E g g^T is linear in E p p^T and E p, E s g^T = E s p^T H: at x* the residuals are orthogonal to the features.
        """
        k, d = self.size, self.data.inputs.shape[1]
        carry, move, point = linear.carry.reshape(k, k), linear.move.reshape(k), linear.point.reshape(k)
        whole = unpacked(moments)
        blocks, means = whole[:-1, :-1].reshape(k, d, k, d), whole[:-1, -1].reshape(k, d)
        with_point = np.tensordot(blocks, point, (2, 0))
        at_point, mean = np.tensordot(point, with_point, 1), point @ means
        fourth, third, second = self._data_moments
        gradient = unpacked(fourth @ packed(at_point) - 2 * third @ mean + second)
        crossed = np.einsum("ij,jab->iab", carry, with_point @ self._hessian)
        following = np.einsum("ik,kalb,jl->iajb", carry, blocks, carry, optimize=True)
        half = np.einsum("iab,j->iajb", crossed, move)
        following += half + half.transpose(2, 3, 0, 1) + np.einsum("i,j,ab->iajb", move, move, gradient)
        flow = carry @ means + np.multiply.outer(move, self._hessian @ mean)
        size = k * d
        after = np.empty((size + 1, size + 1))
        after[:size, :size], after[size, size] = following.reshape(size, size), 1.0
        after[:size, size] = after[size, :size] = flow.ravel()
        return packed(after)

    @functools.cached_property
    def _hessian(self) -> Float[np.ndarray, "feature feature"]:
        return self.data.hessian.numpy()

    @functools.cached_property
    def _data_moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E a a^T <a, p>^2, E r a a^T <a, p> and E r^2 a a^T, r the residuals at x*: on packed p p^T, on p, and by itself."""
        inputs = self.data.inputs.numpy()
        residuals = (self.data.targets - self.data.inputs @ self.data.minimiser).numpy()
        d = inputs.shape[1]
        memory.require(8.0 * (len(inputs) * d**2 + d**4 / 4), f"fourth moments of {d} features", "take fewer features")
        outer = packed(inputs[:, :, None] * inputs[:, None, :])
        weighted = outer.T * self._shares
        doubled = packed(2 * np.ones((d, d)) - np.eye(d))
        return weighted @ outer * doubled, weighted @ (residuals[:, None] * inputs), weighted @ residuals**2

    def _risk(self, moments: np.ndarray, output: str, step: int) -> float:
        d = self.data.inputs.shape[1]
        state = unpacked(moments)[:-1, :-1].reshape(self.size, d, self.size, d)
        blocks = packed(np.einsum("aibj,ij->ab", state, self._hessian))
        return float(0.5 * squared(self.outputs[output], step) @ blocks)

    @property
    def _shares(self) -> Float[np.ndarray, " sample"]:
        assert self.data.probabilities is not None
        return self.data.probabilities.numpy()
