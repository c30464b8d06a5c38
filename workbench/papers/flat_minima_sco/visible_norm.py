"""Convex losses that see a point only through the coordinates a sample shows: flat minima may be bad, sharp ones good.

f(w, z) = 1/2 [a(w, z) - rho]_+^2, where a is the norm of what z shows of w. Convex, 1-smooth, zero on a ball of radius rho
(arXiv:2511.03548, Theorems 1 and 3). The gradient [a - rho]_+/a times the shown part is written out: automatic
differentiation of the norm gives NaN where nothing is shown, which is where the constructions start. float64 throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.checks import require_count, require_nonnegative
from workbench.draws import Seed
from workbench.problems.base import Batch, Problem

BlockState = dict[str, Tensor]
"""{"blocks": [block, position], "extra": 0-dim}"""


def shrinkage(shown: Tensor, rho: float | Tensor) -> Tensor:
    """[a - rho]_+/a, and 0 where a = 0: the factor between the shown part and the gradient."""
    outside = shown > rho
    return torch.where(outside, (shown - rho) / torch.where(outside, shown, 1.0), 0.0)


def hinge(shown: Tensor, rho: float | Tensor) -> Tensor:
    """1/2 [a - rho]_+^2."""
    return 0.5 * (shown - rho).clamp(min=0).square()


@dataclass(frozen=True, eq=False)
class FlatButBad(Problem[Tensor]):
    """f(w, z) = 1/2 [sqrt(sum_i z(i) w(i)^2 + w(d)^2) - rho]_+^2 with z in {0, 1}^(d-1) uniform (Theorem 1).

    Parameters are w(1), ..., w(d), the last one shown by every sample. Where a coordinate I is unseen, e_I minimises the
    empirical risk, is flat and has population risk 1/4 (1 - rho)^2; rho e_d minimises it too, is as sharp as a 1-smooth
    loss allows and has population risk 0.
    """

    samples: Float[Tensor, "sample coordinate"]
    rho: float | Tensor = 0.0

    def __post_init__(self) -> None:
        require_nonnegative("rho", self.rho)

    @property
    def data(self) -> Batch:
        return (self.samples,)

    def initial(self, seed: Seed = 0) -> Float[Tensor, " parameter"]:
        """The origin, whatever the seed."""
        return self.samples.new_zeros(self.samples.shape[1] + 1)

    def shown(self, parameters: Float[Tensor, " parameter"], samples: Float[Tensor, "sample coordinate"]) -> Tensor:
        """a(w, z) for every sample."""
        squares = parameters.square()
        return (samples @ squares[:-1] + squares[-1]).sqrt()

    def sample_loss(self, parameters: Float[Tensor, " parameter"], *sample: Tensor) -> Float[Tensor, ""]:
        return self.batch_loss(parameters, (sample[0][None],))

    def batch_loss(self, parameters: Float[Tensor, " parameter"], batch: Batch) -> Float[Tensor, ""]:
        return hinge(self.shown(parameters, batch[0]), self.rho).mean()

    def gradient(
        self, parameters: Float[Tensor, " parameter"], batch: Batch | None = None
    ) -> Float[Tensor, " parameter"]:
        samples = self.samples if batch is None else batch[0]
        factor = shrinkage(self.shown(parameters, samples), self.rho) / samples.shape[0]
        return parameters * torch.cat([factor @ samples, factor.sum()[None]])

    def sharpness_aware_risk(self, parameters: Float[Tensor, " parameter"], radius: float | Tensor) -> Tensor:
        """max_{|v| <= radius} F_S(w + v) = 1/2 [|w(d)| + radius - rho]_+^2, for points that no sample shows but for w(d).

        Certificate: a(w + v, z) <= |w(d)| + |v| by the triangle inequality, with equality for v = +-radius e_d and every
        z. NaN where the samples show more of the point: there is no closed form.
        """
        hidden = (self.samples * parameters[:-1]).abs().amax() == 0
        return torch.where(hidden, hinge(parameters[-1].abs() + radius, self.rho), torch.nan)


@dataclass(frozen=True, eq=False)
class HiddenValley(Problem[BlockState]):
    """f(w, z) = 1/2 [sqrt(sum_ij a_ij^2 [z(i) w_i(j)]_+^2 + a_d^2 w(d)^2) - rho]_+^2 with z in {-1, 1} uniform (Theorem 3).

    Parameters {"blocks": [block, position], "extra": w(d)}. All weights a are 1 in the paper; other weights in (0, 1] keep
    the loss convex, 1-smooth and rho-flat but break ties between the maximisers of F_S(w + v).
    In a block I that is +1 in the whole sample, negative numbers are invisible: a valley of empirical minima.
    """

    signs: Float[Tensor, "sample block"]
    positions: int
    rho: float | Tensor = 0.0
    weights: Float[Tensor, "block position"] | None = None
    extra_weight: float = 1.0

    def __post_init__(self) -> None:
        require_count("positions", self.positions)
        require_nonnegative("rho", self.rho)
        blocks = self.signs.shape[-1]
        memory.require(
            48.0 * blocks * self.positions,
            f"a state of {blocks} blocks with {self.positions} positions",
            "Choose fewer samples n or fewer iterates T.",
        )

    @property
    def data(self) -> Batch:
        return (self.signs,)

    def initial(self, seed: Seed = 0) -> BlockState:
        """The origin, whatever the seed."""
        return {
            "blocks": self.signs.new_zeros(self.signs.shape[1], self.positions),
            "extra": self.signs.new_zeros(()),
        }

    def shown(self, parameters: BlockState, signs: Float[Tensor, "sample block"]) -> Float[Tensor, " sample"]:
        """a(w, z) for every sample."""
        return self._shown(parameters, *self._halves(parameters["blocks"]), signs)

    def _halves(self, blocks: Tensor) -> tuple[Tensor, Tensor]:
        """Positive and negative parts, weighted."""
        weighted = blocks if self.weights is None else self.weights * blocks
        return weighted.clamp(min=0), weighted.clamp(max=0)

    def _shown(self, parameters: BlockState, positive: Tensor, negative: Tensor, signs: Tensor) -> Tensor:
        plus, minus = (signs > 0).to(positive.dtype), (signs < 0).to(positive.dtype)
        extra = (self.extra_weight * parameters["extra"]).square()
        return (plus @ positive.square().sum(-1) + minus @ negative.square().sum(-1) + extra).sqrt()

    def sample_loss(self, parameters: BlockState, *sample: Tensor) -> Float[Tensor, ""]:
        return self.batch_loss(parameters, (sample[0][None],))

    def batch_loss(self, parameters: BlockState, batch: Batch) -> Float[Tensor, ""]:
        return hinge(self.shown(parameters, batch[0]), self.rho).mean()

    def gradient(self, parameters: BlockState, batch: Batch | None = None) -> BlockState:
        signs = self.signs if batch is None else batch[0]
        positive, negative = self._halves(parameters["blocks"])
        factor = shrinkage(self._shown(parameters, positive, negative, signs), self.rho) / signs.shape[0]
        plus, minus = (signs > 0).to(factor.dtype), (signs < 0).to(factor.dtype)
        # Two products rather than one and a difference: what no sample shows must have gradient exactly 0.
        blocks = (factor @ plus)[:, None] * positive + (factor @ minus)[:, None] * negative
        extra = factor.sum() * self.extra_weight**2 * parameters["extra"]
        return {"blocks": blocks if self.weights is None else self.weights * blocks, "extra": extra}

    def sharpness_aware_risk(self, parameters: BlockState, radius: float | Tensor) -> Float[Tensor, ""]:
        """max_{|v| <= radius} F_S(w + v) = 1/2 [a_d (|w(d)| + radius) - rho]_+^2 where no sample shows any block (weights 1).

        Certificate: with z(i) w_i(j) <= 0 everywhere, [z(w + v)]_+ <= [z v]_+, so that a(w + v, z) <= |w(d)| + |v|, with
        equality for v = +-radius e_d. NaN where a sample shows more of the point, or with weights.
        """
        blocks, extra = parameters["blocks"], parameters["extra"].abs()
        always_plus, always_minus = (self.signs.amin(0) > 0)[:, None], (self.signs.amax(0) < 0)[:, None]
        hidden = (blocks == 0) | (always_plus & (blocks < 0)) | (always_minus & (blocks > 0))
        known = hidden.all() if self.weights is None else hidden.all() & False
        return torch.where(known, hinge(extra + radius, self.rho), torch.nan)

    def block_risk(self, block: Float[Tensor, "... position"]) -> Float[Tensor, "..."]:
        """Exact population risk of a point that is zero outside one block (weights 1)."""
        positive, negative = block.clamp(min=0).norm(dim=-1), block.clamp(max=0).norm(dim=-1)
        return 0.5 * (hinge(positive, self.rho) + hinge(negative, self.rho))


def tie_breaking_weights(blocks: int, positions: int, epsilon: float) -> Float[Tensor, "block position"]:
    """a_ij = 1 - epsilon rank/(blocks positions), ranks counted position by position: earlier positions weigh more."""
    if not 0 <= epsilon < 0.5:
        raise ValueError(f"epsilon must lie in [0, 0.5), got {epsilon!r}")
    rank = torch.arange(blocks * positions, dtype=torch.float64).reshape(positions, blocks).T
    return 1.0 - epsilon * rank / (blocks * positions)
