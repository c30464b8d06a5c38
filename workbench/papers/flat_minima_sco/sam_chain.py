"""The chain on which SAM overfits although its empirical risk is zero (arXiv:2511.03548, Theorem 7).

Blocks w_i(1..T), i = 1..2^n, and a scalar w(d), d = T 2^n + 1; z in {0, 1}^(2^n) uniform:
  f(w, z) = 1/2 sum_{i, j>=2} z(i) w_i(j)^2 + 1/2 sum_{i, j>=2} [w_i(j) - delta_j (w_i(j-1) + lam 1{j=2})]_+^2
            + gamma/2 [v_z.w + delta_1]_+^2,
v_z: 1 or -1/(2(d-1)) at the first position of block i where z(i) is 1 or 0, 1 at d, 0 elsewhere. A first tiny step leaves a
trace in every block that no sample shows; from then on SAM's ascent takes a full radius to the next position at each step.
All numbers below 1e-9 in here matter: float64, and gradients are normalised without adding anything to their norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.draws import Seed
from workbench.papers.flat_minima_sco.chain_constants import ChainConstants
from workbench.papers.flat_minima_sco.unseen_coordinates import never_shown
from workbench.problems.base import Batch, Problem

Chain = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class _ChainProblem(Problem[Chain]):
    """What the full and the reduced state share: the constants and the trigger."""

    samples: Float[Tensor, "sample block"]
    constants: ChainConstants

    def __post_init__(self) -> None:
        shape, constants = tuple(self.samples.shape[-2:]), self.constants
        if shape != (constants.n, 2**constants.n):
            raise ValueError(
                f"samples must have shape [n, 2^n] = {(constants.n, 2**constants.n)} for n={constants.n}, got {shape}"
            )

    @property
    def data(self) -> Batch:
        return (self.samples,)

    def excess(self, first: Tensor, extra: Tensor, samples: Tensor) -> Float[Tensor, " sample"]:
        """v_z.w + delta_1 for every sample."""
        entry = self.constants.hidden_entry
        return (1 + entry) * (samples @ first) - entry * first.sum() + extra + self.constants.trigger[1]

    def _trigger(self, first: Tensor, extra: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient of the third term with respect to the first positions and w(d)."""
        (gamma, _), entry = self.constants.trigger, self.constants.hidden_entry
        active = gamma * self.excess(first, extra, samples).clamp(min=0) / samples.shape[0]
        return (1 + entry) * (active @ samples) - entry * active.sum(), active.sum()

    def _trigger_loss(self, first: Tensor, extra: Tensor, samples: Tensor) -> Tensor:
        return 0.5 * self.constants.trigger[0] * self.excess(first, extra, samples).clamp(min=0).square().mean()


@dataclass(frozen=True, eq=False)
class SamChain(_ChainProblem):
    """The chain in its full state {"blocks": [block, position], "extra": w(d)}; runs start at the origin."""

    def __post_init__(self) -> None:
        super().__post_init__()
        blocks, T = 2**self.constants.n, self.constants.T
        memory.require(
            64.0 * blocks * T,
            f"the full state of the chain with 2^{self.constants.n} blocks of {T} positions",
            "Use ReducedSamChain.",
        )

    def initial(self, seed: Seed = 0) -> Chain:
        return {
            "blocks": self.samples.new_zeros(self.samples.shape[1], self.constants.T),
            "extra": self.samples.new_zeros(()),
        }

    def _links(self, blocks: Tensor) -> Tensor:
        """[w_i(j) - delta_j (w_i(j-1) + lam 1{j=2})]_+, j >= 2."""
        before = torch.cat([blocks[:, :1] + self.constants.lam, blocks[:, 1:-1]], 1)
        return (blocks[:, 1:] - self.constants.deltas * before).clamp(min=0)

    def sample_loss(self, parameters: Chain, *sample: Tensor) -> Float[Tensor, ""]:
        return self.batch_loss(parameters, (sample[0][None],))

    def batch_loss(self, parameters: Chain, batch: Batch) -> Float[Tensor, ""]:
        blocks = parameters["blocks"]
        shown = 0.5 * batch[0].mean(0) @ blocks[:, 1:].square().sum(1)
        links = 0.5 * self._links(blocks).square().sum()
        return shown + links + self._trigger_loss(blocks[:, 0], parameters["extra"], batch[0])

    def gradient(self, parameters: Chain, batch: Batch | None = None) -> Chain:
        samples = self.samples if batch is None else batch[0]
        blocks = parameters["blocks"]
        links = self._links(blocks)
        trigger, extra = self._trigger(blocks[:, 0], parameters["extra"], samples)
        pulled = self.constants.deltas * links
        own = samples.mean(0)[:, None] * blocks[:, 1:] + links
        first = (trigger - pulled[:, 0])[:, None]
        return {"blocks": torch.cat([first, own[:, :-1] - pulled[:, 1:], own[:, -1:]], 1), "extra": extra}

    def population_risk(self, parameters: Chain) -> Float[Tensor, ""]:
        """Exact but for the trigger's part, which is at least 0 and at most `constants.trigger_bound(norm)`."""
        blocks = parameters["blocks"]
        return 0.25 * blocks[:, 1:].square().sum() + 0.5 * self._links(blocks).square().sum()


@dataclass(frozen=True, eq=False)
class ReducedSamChain(_ChainProblem):
    """The chain on {"first": [block], "second": [block], "tail": [unseen, position 3..T], "extra": w(d)}.

    Exact as long as the second positions of all seen blocks stay 0, since their later positions then do (the gate
    "others" of `chain_gates`). `select` has one row per unseen block, 1 at that block.
    """

    select: Float[Tensor, "unseen block"]

    def initial(self, seed: Seed = 0) -> Chain:
        blocks = self.samples.shape[1]
        return {
            "first": self.samples.new_zeros(blocks),
            "second": self.samples.new_zeros(blocks),
            "tail": self.samples.new_zeros(self.select.shape[0], self.constants.T - 2),
            "extra": self.samples.new_zeros(()),
        }

    def _links(self, w: Chain) -> tuple[Tensor, Tensor]:
        """The links to the second positions, and those to the tails."""
        deltas = self.constants.deltas
        second = (w["second"] - deltas[0] * (w["first"] + self.constants.lam)).clamp(min=0)
        before = torch.cat([(self.select @ w["second"])[:, None], w["tail"][:, :-1]], 1)
        return second, (w["tail"] - deltas[1:] * before).clamp(min=0)

    def batch_loss(self, parameters: Chain, batch: Batch) -> Float[Tensor, ""]:
        second, tail = self._links(parameters)
        shown = 0.5 * batch[0].mean(0) @ parameters["second"].square()
        shown = shown + 0.5 * (self.select @ batch[0].mean(0)) @ parameters["tail"].square().sum(1)
        links = 0.5 * (second.square().sum() + tail.square().sum())
        return shown + links + self._trigger_loss(parameters["first"], parameters["extra"], batch[0])

    def gradient(self, parameters: Chain, batch: Batch | None = None) -> Chain:
        samples = self.samples if batch is None else batch[0]
        shown = samples.mean(0)
        second, tail = self._links(parameters)
        trigger, extra = self._trigger(parameters["first"], parameters["extra"], samples)
        pulled = self.constants.deltas[1:] * tail
        own = tail + (self.select @ shown)[:, None] * parameters["tail"]
        return {
            "first": trigger - self.constants.deltas[0] * second,
            "second": shown * parameters["second"] + second - self.select.T @ pulled[:, 0],
            "tail": own - torch.cat([pulled[:, 1:], torch.zeros_like(pulled[:, :1])], 1),
            "extra": extra,
        }

    def population_risk(self, parameters: Chain) -> Float[Tensor, ""]:
        """Exact but for the trigger's part, which is at least 0 and at most `constants.trigger_bound(norm)`."""
        second, tail = self._links(parameters)
        squares = parameters["second"].square().sum() + parameters["tail"].square().sum()
        return 0.25 * squares + 0.5 * (second.square().sum() + tail.square().sum())

    @property
    def trace(self) -> Float[Tensor, ""]:
        """|w_2(I)(2)| = eta delta (r/(2(d - 1) |v|) - lam), v the mean of v_z over the sample: what the first step leaves."""
        constants, entry = self.constants, self.constants.hidden_entry
        mean = (1 + entry) * self.samples.mean(0) - entry
        reach = constants.rho * entry / (1 + mean.square().sum()).sqrt()
        return constants.step_size * constants.delta * (reach - constants.lam)

    def expand(self, parameters: Chain) -> Chain:
        """The same point in the full state."""
        later = self.select.T @ parameters["tail"]
        blocks = torch.cat([parameters["first"][:, None], parameters["second"][:, None], later], 1)
        return {"blocks": blocks, "extra": parameters["extra"]}


def reduced_sam_chain(
    samples: Float[Tensor, "sample block"], constants: ChainConstants, unseen: int
) -> ReducedSamChain:
    """The reduced chain for samples that leave exactly `unseen` blocks unseen (`coins(seed, n, unseen)`).

    With unseen = 0 one seen block is carried along as a tail, which stays 0.
    """
    order = never_shown(samples).argsort(descending=True, stable=True)[: max(1, unseen)]
    select = (torch.arange(samples.shape[1]) == order[:, None]).to(samples.dtype)
    return ReducedSamChain(samples, constants, select)


def chain_gates(problem: ReducedSamChain, trajectory: Chain) -> dict[str, Tensor]:
    """What must hold in a SAM run on the chain for the theorem's mechanism to be at work, each a 0-dim boolean.

    trajectory: iterates w_1..w_T with leading dimension T (see `dynamics.iterates.iterates`).
      trigger    v_z.w_2 + delta_1 <= 0 for every sample: the trigger is off after one step
      first      -lam < w_2(i)(1) < 0 for every seen block
      others     the second positions of seen blocks are exactly 0 throughout
      second     -sigma <= w_t(I)(2) < 0 for t >= 2, sigma = |w_2(I)(2)|, in every unseen block
      progress   w_t(I)(j) <= -1/2 eta r/sqrt(k) for 3 <= j <= t, k unseen blocks
      ball       |w_t| <= 1 throughout
    """
    constants, unseen = problem.constants, problem.select.sum(0) > 0
    first, second, tail = trajectory["first"], trajectory["second"], trajectory["tail"]
    after = problem.excess(first[1], trajectory["extra"][1], problem.samples)
    inside = (first[1] > -constants.lam) & (first[1] < 0)
    traces = second @ problem.select.T
    sigma = traces[1].abs()
    t = torch.arange(1, first.shape[0] + 1)[:, None]
    reached = torch.arange(3, constants.T + 1) <= t
    least = -0.5 * constants.step_size * constants.rho / math.sqrt(problem.select.shape[0])
    squares = first.square().sum(-1) + second.square().sum(-1) + tail.square().sum((-1, -2))
    return {
        "trigger": (after <= 0).all(),
        "first": (inside | unseen).all(),
        "others": ((second == 0) | unseen).all(),
        "second": ((traces[1:] < 0) & (traces[1:] >= -sigma)).all(),
        "progress": ((tail <= least) | ~reached[:, None]).all(),
        "ball": (squares + trajectory["extra"].square() <= 1).all(),
    }


def first_step_factor(
    samples: Float[Tensor, "sample block"], constants: ChainConstants, *, elementwise: bool = False
) -> Float[Tensor, ""]:
    """(eta/max(1, eta)) M(S): with the printed weight all seen blocks stay above -lambda in the first step iff it is < 1.

    M(S) is the largest mean over k of (r s_k + delta_1) v_k(i)/(r + delta_1) among seen blocks i, s_k = v_k.v_S/|v_S| and v_S
    the mean of the v_k. At w = 0 the gradient is gamma delta_1 v_S, SAM's ascent r v_S/|v_S|, so that block i moves by
    -eta gamma mean_k (r s_k + delta_1) v_k(i), and gamma (r + delta_1) = lambda/max(1, eta).
    elementwise: the proof's estimate, with v_k(i) v_S(i)/|v_S| in place of s_k.
    """
    entry, delta_1 = constants.hidden_entry, constants.trigger[1]
    v = samples * (1 + entry) - entry
    mean = v.mean(0)
    norm = (1 + mean.square().sum()).sqrt()  # the coordinate w(d) is 1 in every v
    s = v * mean / norm if elementwise else ((v @ mean + 1) / norm)[:, None]
    moves = ((constants.rho * s + delta_1) * v).mean(0) / (constants.rho + delta_1)
    seen = never_shown(samples) == 0
    return constants.step_size / max(1.0, constants.step_size) * torch.where(seen, moves, -torch.inf).amax()
