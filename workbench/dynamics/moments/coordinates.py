"""Exact second moments of a linear method on a quadratic, coordinate by coordinate along the eigenvectors of H.

The state of coordinate i is k numbers s_i (parameters, velocity, ...). With a sample's features a and residual e a step is

    s+ = L s + sum_m |a|^{2m} (W_m a a^T s + e a v_m)

with k x k matrices L, W_m that all coordinates share. Where the law is symmetric in the sign of every coordinate, the moments
C_i = E s_i s_i^T are a linear recursion of their own, coupled only by sums over coordinates.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.optimize import brentq

from workbench import memory
from workbench.dynamics.moments.lift import lift, packed
from workbench.dynamics.moments.linear_step import LinearStep, Output, Steps, squared, wanted_outputs, wanted_steps
from workbench.problems.linear.designs import NoiseLaw

_BLOCK = 256
"""Steps whose coefficients are computed at once."""


@dataclass(frozen=True, eq=False)
class CoordinateMoments:
    """The second-moment operator of a linear method under a noise law: C -> E s+ s+^T for every coordinate.

    steps: `steps(first, count)` gives the coefficients of the steps first, ..., first + count - 1; a `LinearStep` without
        leading dimensions where all steps are alike.
    law: a design with its residuals, or additive noise.
    start: coefficients of the state at the first step, s = start * (x_0 - x*).
    outputs: coefficients of what can be asked for ("parameters" at least), functions of the step where they change with it.
    """

    steps: Steps
    law: NoiseLaw
    start: Float[np.ndarray, " k"]
    outputs: Mapping[str, Output]

    @property
    def size(self) -> int:
        """k, the numbers that each coordinate carries."""
        return len(self.start)

    def initial(self, start: Float[np.ndarray, "... coordinate"]) -> Float[np.ndarray, "entry ... coordinate"]:
        """Packed moments of the first step for starts x_0 - x* (along the eigenvectors of H)."""
        outer = packed(np.multiply.outer(self.start, self.start))
        return np.multiply.outer(outer, self._starts(start) ** 2)

    def apply(self, moments: Float[np.ndarray, "entry ... coordinate"], step: int = 0) -> np.ndarray:
        """Packed moments after one step (that of number `step`)."""
        return self._advance(self._operators(step, 1), 0, moments)

    def moments(
        self, start: Float[np.ndarray, "... coordinate"], steps: int, at: Iterable[int] | None = None
    ) -> dict[int, Float[np.ndarray, "entry ... coordinate"]]:
        """Packed moments after the numbers of steps in `at` (the last by default)."""
        wanted = wanted_steps(steps, at)
        current = self.initial(start)
        memory.require(
            8.0 * current.size * (len(wanted) + 8), "exact moments of so many starts", "ask for fewer at once"
        )
        kept = {0: current} if 0 in wanted else {}
        operators = self._operators(0, 1) if isinstance(self.steps, LinearStep) else None
        # A run that explodes is data: infinities and NaN say when.
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(0, max(wanted, default=0), _BLOCK):
                count = min(_BLOCK, wanted[-1] - first)
                block = operators or self._operators(first, count)
                for offset in range(count):
                    current = self._advance(block, 0 if operators else offset, current)
                    if first + offset + 1 in wanted:
                        kept[first + offset + 1] = current
        return kept

    def risk(
        self,
        start: Float[np.ndarray, "... coordinate"],
        steps: int,
        *,
        at: Iterable[int] | None = None,
        output: str = "parameters",
    ) -> xr.DataArray:
        """Exact expected excess risk 1/2 E (x - x*)^T H (x - x*) of an output, over `step` (and `start`, where given many).

        start: x_0 - x* along the eigenvectors of H, one start or several as rows.
        """
        return self.risks(start, steps, at=at, outputs=(output,))[output]

    def risks(
        self,
        start: Float[np.ndarray, "... coordinate"],
        steps: int,
        *,
        at: Iterable[int] | None = None,
        outputs: Iterable[str] | None = None,
    ) -> xr.Dataset:
        """`risk` of several outputs (all by default) from one recursion."""
        names = wanted_outputs(self.outputs, outputs)
        kept = self.moments(start, steps, at)
        dims = ("step", *(("start",) if np.ndim(start) > 1 else ()))
        curves = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for name in names:
                weights = (squared(self.outputs[name], step) for step in kept)
                values = [
                    0.5 * np.tensordot(w, moments, 1) @ self.law.spectrum
                    for w, moments in zip(weights, kept.values(), strict=True)
                ]
                curves[name] = (dims, np.stack(values), {"long_name": "expected excess risk"})
        return xr.Dataset(curves, coords={"step": list(kept)})

    def stationary(self) -> Float[np.ndarray, "entry coordinate"]:
        """The packed moments that one step leaves as they are. ValueError where the method is not mean-square stable."""
        radius = self.spectral_radius()
        if not radius < 1:
            raise ValueError(
                f"the method is not mean-square stable (spectral radius {radius:.6g}): it has no stationary law"
            )
        blocks, couplings, noise = self.parts
        free = np.linalg.solve(np.eye(blocks.shape[-1]) - blocks, np.moveaxis(noise, 0, -1)[..., None])[..., 0]
        if not couplings:
            return free.T
        gain, spread = self._feedback(1.0)
        received = np.concatenate([v @ free for _, _, v in couplings])
        sums = np.linalg.solve(np.eye(len(gain)) - gain, received)
        return (free + spread @ sums).T

    def stationary_risk(self, output: str = "parameters") -> float:
        """Expected excess risk of the stationary law: where a run with constant coefficients and noise ends."""
        return float(0.5 * squared(self.outputs[output], 0) @ self.stationary() @ self.law.spectrum)

    def spectral_radius(self) -> float:
        """Largest absolute eigenvalue of the operator (constant coefficients): < 1 means mean-square stable.

        The operator maps covariances to covariances, so its largest eigenvalue is real; it is the root of a decreasing
        function of as many rows as the coupling has, whatever the number of coordinates. Exact to rounding where the
        eigenvalues of a coordinate are distinct; as three of them meet, rounding grows to its cubic root (about 1e-6).
        """
        blocks, couplings, _ = self.parts
        alone = float(np.abs(np.linalg.eigvals(blocks)).max())
        if not couplings:
            return alone

        def above(radius: float) -> float:
            return float(np.abs(np.linalg.eigvals(self._feedback(radius)[0])).max()) - 1.0

        low, high = alone * (1 + 1e-13) + 1e-300, max(alone, 1e-8) * 2
        if above(low) <= 0:
            return alone
        while above(high) > 0:
            high *= 2
        return cast(float, brentq(above, low, high, xtol=1e-15, rtol=9e-16))

    def matrix(self) -> Float[np.ndarray, "row column"]:
        """The operator as one dense matrix over (coordinate, entry): for small sizes and checks."""
        blocks, couplings, _ = self.parts
        d, m, _ = blocks.shape
        memory.require(3 * 8.0 * (d * m) ** 2, f"an operator of {d * m:,} x {d * m:,}", "use spectral_radius")
        dense = np.zeros((d, m, d, m))
        dense[np.arange(d), :, np.arange(d), :] = blocks
        for matrix, u, v in couplings:
            dense += np.einsum("i,ab,j->iajb", u, matrix, v)
        return dense.reshape(d * m, d * m)

    def _feedback(self, radius: float) -> tuple[np.ndarray, np.ndarray]:
        """How sums over coordinates answer to sums one step before, for moments that grow by `radius` a step."""
        blocks, couplings, _ = self.parts
        m = blocks.shape[-1]
        inputs = np.concatenate([u[:, None, None] * matrix for matrix, u, _ in couplings], axis=2)
        spread = np.linalg.solve(radius * np.eye(m) - blocks, inputs)
        return np.concatenate([np.tensordot(v, spread, 1) for _, _, v in couplings]), spread

    def _starts(self, start: Float[np.ndarray, "... coordinate"]) -> np.ndarray:
        values = np.asarray(start, dtype=np.float64)
        if values.ndim < 1 or values.shape[-1] != self.law.spectrum.size:
            raise ValueError(
                f"start must have {self.law.spectrum.size} entries, one per eigenvalue, got shape {values.shape}"
            )
        return values

    @functools.cached_property
    def _profile_cache(self) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, tuple]]:
        return {}

    def _profiles(self, terms: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple]:
        """Profiles over coordinates: of the mean [terms], of products and noise [2 terms - 1], and factors by power."""
        if terms not in self._profile_cache:
            powers = range(2 * terms - 1)
            fourth = [self.law.fourth(power) for power in powers]
            factors = tuple((power, u, v) for power in powers for u, v in fourth[power].factors)
            self._profile_cache[terms] = (
                np.stack([self.law.second(power) for power in range(terms)]),
                np.stack([one.diagonal for one in fourth]),
                np.stack([self.law.noise(power) for power in powers]),
                factors,
            )
        return self._profile_cache[terms]

    def _operators(self, first: int, count: int) -> _Operators:
        step = self.steps if isinstance(self.steps, LinearStep) else self.steps(first, count)
        maps, noises = step.terms()
        _, _, noise, factors = self._profiles(len(maps))
        products = _by_power(
            [[lift(a) if i == j else lift(a, b) for j, b in _rest(maps, i)] for i, a in enumerate(maps)]
        )
        shaken = _by_power(
            [
                [packed(_outer(a, a) if i == j else _outer(a, b) + _outer(b, a)) for j, b in _rest(noises, i)]
                for i, a in enumerate(noises)
            ]
        )
        stacked = np.concatenate([lift(step.carry), *(lift(step.carry, w) for w in maps), *products], axis=-1)
        noises = np.stack(shaken, axis=-1)
        if not step.carry.shape[:-2]:
            stacked, noises, products = stacked[None], noises[None], [product[None] for product in products]
        couplings = [(products[power], u, v) for power, u, v in factors]
        return _Operators(stacked, couplings, noises if noise.any() else None, len(maps))

    def _advance(self, operators: _Operators, index: int, moments: np.ndarray) -> np.ndarray:
        mean, product, noise, _ = self._profiles(operators.terms)
        entries, profiles = moments.shape[0], (*mean, *product)
        wide = np.empty((1 + len(profiles), *moments.shape))
        wide[0] = moments
        for row, profile in zip(wide[1:], profiles, strict=True):
            np.multiply(moments, profile, out=row)
        following = (operators.stacked[index] @ wide.reshape(len(wide) * entries, -1)).reshape(moments.shape)
        # What does not differ from coordinate to coordinate but by a profile is one product of small rank.
        weights = [matrices[index] @ (moments @ v).reshape(entries, -1) for matrices, _, v in operators.couplings]
        rows = [u for _, u, _ in operators.couplings]
        starts = moments[0].size // moments.shape[-1]
        if operators.noise is not None:
            weights += [np.broadcast_to(column[:, None], (entries, starts)) for column in operators.noise[index].T]
            rows += list(noise)
        if rows:
            following += (np.stack(weights, axis=-1) @ np.stack(rows)).reshape(moments.shape)
        return following

    @functools.cached_property
    def parts(self) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]:
        """Blocks [coordinate, entry, entry], couplings (matrix, u, v) and noise [entry, coordinate] of a constant step."""
        if not isinstance(self.steps, LinearStep):
            raise ValueError("the coefficients change from step to step: there is no one operator; use moments or risk")
        operators = self._operators(0, 1)
        mean, product, noise, _ = self._profiles(operators.terms)
        entries = self.size * (self.size + 1) // 2
        pieces = operators.stacked[0].reshape(entries, -1, entries)
        profiles = np.concatenate([np.ones((1, mean.shape[1])), mean, product])
        blocks = np.einsum("apb,pi->iab", pieces, profiles)
        couplings = [(matrices[0], u, v) for matrices, u, v in operators.couplings]
        shaken = np.zeros((entries, noise.shape[0])) if operators.noise is None else operators.noise[0]
        return blocks, couplings, shaken @ noise


@dataclass(frozen=True, eq=False)
class _Operators:
    """Coefficients of a stretch of steps, ready to multiply packed moments."""

    stacked: Float[np.ndarray, "step entry column"]
    couplings: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
    noise: Float[np.ndarray, "step entry profile"] | None
    terms: int


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., :, None] * b[..., None, :]


def _rest(terms: Sequence[np.ndarray], first: int) -> Iterable[tuple[int, np.ndarray]]:
    return zip(range(first, len(terms)), terms[first:], strict=True)


def _by_power(triangle: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Sums along i + j = power of a triangle of terms (row i holds j = i, i + 1, ...)."""
    terms: list[np.ndarray | None] = [None] * (2 * len(triangle) - 1)
    for i, row in enumerate(triangle):
        for offset, term in enumerate(row):
            power = 2 * i + offset
            terms[power] = term if terms[power] is None else terms[power] + term
    return [term for term in terms if term is not None]
