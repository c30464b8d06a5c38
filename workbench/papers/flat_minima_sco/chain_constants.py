"""Constants and closed forms of the chain on which SAM overfits (arXiv:2511.03548, Theorem 7; see `sam_chain`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import memory
from workbench.checks import require_count, require_positive

GammaRule = Literal["paper", "corrected"]
_FIXED_POINT_ITERATIONS = 60


@dataclass(frozen=True)
class ChainConstants:
    """lam, gamma, delta_1 and the deltas of a chain, solved for n samples, T positions, step size eta and radius r.

    gamma_rule "paper" takes gamma = lam/(max(1, eta)(r + delta_1)) as printed; its proof replaces the inner product v_z.v_S
    by an elementwise product, and on samples with (eta/max(1, eta)) M(S) >= 1 (`sam_chain.first_step_factor`) the first step
    overshoots lam. "corrected" solves gamma max(1, eta)(r sqrt d + delta_1) = lam, delta_1 = eta gamma r/(4 sqrt d (1 + eta
    gamma/2)).
    delta_j = delta for all j but the third, which is small enough for the proof's lemma to hold literally.
    """

    n: int
    T: int
    step_size: float
    rho: float
    delta: float = 0.03
    gamma_rule: GammaRule = "corrected"

    def __post_init__(self) -> None:
        require_count("n", self.n)
        require_count("T", self.T, 4)
        for name in ("step_size", "rho", "delta"):
            require_positive(name, getattr(self, name))
        if self.delta > 1:
            raise ValueError(f"delta must lie in (0, 1], got {self.delta!r}")
        if self.gamma_rule not in get_args(GammaRule):
            raise ValueError(f"gamma_rule must be one of {', '.join(get_args(GammaRule))}, got {self.gamma_rule!r}")

    @property
    def d(self) -> int:
        """Number of parameters."""
        return self.T * 2**self.n + 1

    @property
    def hidden_entry(self) -> float:
        """1/(2(d - 1)): minus the entry of v_z where z(i) = 0."""
        return 1.0 / (2.0 * (self.d - 1))

    @property
    def lam(self) -> float:
        """lambda = r/(4 d (d - 1))."""
        return self.rho / (4.0 * self.d * (self.d - 1))

    @property
    def trigger(self) -> tuple[float, float]:
        """(gamma, delta_1)."""
        root, kappa = math.sqrt(self.d), self.lam / max(1.0, self.step_size)
        if self.gamma_rule == "paper":
            delta_1 = self.step_size * kappa / (2 * root)
            return kappa / (self.rho + delta_1), delta_1
        delta_1 = 0.0
        for _ in range(_FIXED_POINT_ITERATIONS):
            gamma = kappa / (self.rho * root + delta_1)
            delta_1 = self.step_size * gamma * self.rho / (4 * root * (1 + self.step_size * gamma / 2))
        return kappa / (self.rho * root + delta_1), delta_1

    def trigger_bound(self, norm: float) -> float:
        """Upper bound on the trigger's part of the population risk of a point of this norm: gamma/2 (|v| |w| + delta_1)^2."""
        gamma, delta_1 = self.trigger
        return 0.5 * gamma * (math.sqrt(2**self.n + 1) * norm + delta_1) ** 2

    @property
    def delta_3(self) -> float:
        """min(delta, sigma_min/(4 eta r)), sigma_min = eta delta (r/(2(d-1) sqrt d) - lam)."""
        trace = self.step_size * self.delta * (self.rho * self.hidden_entry / math.sqrt(self.d) - self.lam)
        return min(self.delta, trace / (4 * self.step_size * self.rho))

    @property
    def deltas(self) -> Float[Tensor, " link"]:
        """delta_2, ..., delta_T: entry k links position k + 2 to position k + 1."""
        values = torch.full((self.T - 1,), self.delta, dtype=torch.float64)
        values[1] = self.delta_3
        return values

    @property
    def advances(self) -> bool:
        """Whether the links are small enough for every position to stay beyond -eta r/2: delta sqrt(1 + delta^2) + eta
        delta^2 <= 1/2. (Position 3 moves back the most, by delta times the landing point of position 4.)"""
        return self.delta * math.sqrt(1 + self.delta**2) + self.step_size * self.delta**2 <= 0.5

    @property
    def guaranteed_risk(self) -> float:
        """eta^2 r^2 T/128, what the proof guarantees."""
        return self.step_size**2 * self.rho**2 * self.T / 128

    def advance(self, trace: float | Tensor = 0.0) -> Float[Tensor, "2 position"]:
        """(a_j, m_j), j = 3..T: -a_j is where position j lands when SAM reaches it, -m_j where it stays from then on.

        a_j = eta (r sqrt(1 + delta_j^2) + delta_j a_(j-1)) with a_2 = `trace` (see `ReducedSamChain.trace`; below 1e-4 and
        hardly felt), m_j = a_j - delta_(j+1) a_(j+1).
        """
        landed, deltas = [0.0], self.deltas.tolist()[1:]
        for delta in deltas:
            landed.append(self.step_size * (self.rho * math.sqrt(1 + delta**2) + delta * landed[-1]))
        links = self.deltas[1:]
        a = torch.tensor(landed[1:], dtype=torch.float64) + trace * (self.step_size * links).cumprod(0)
        return torch.stack([a, a - torch.cat([links[1:] * a[1:], a.new_zeros(1)])])

    def suffix_average(self, trace: float | Tensor = 0.0) -> Float[Tensor, "tau position"]:
        """Positions 3..T of the one unseen block in the suffix averages tau = 1..T, in closed form."""
        memory.require(32.0 * self.T**2, f"suffix averages of T={self.T} iterates", "Choose a smaller T.")
        landed, stays = self.advance(trace)
        tau = torch.arange(1, self.T + 1, dtype=torch.float64)[:, None]
        j = torch.arange(3, self.T + 1, dtype=torch.float64)
        averaged = (landed + (self.T - j) * stays) / (self.T - tau + 1)
        return -torch.where(j >= tau, averaged, stays)

    def suffix_risk(self, trace: float | Tensor = 0.0) -> Float[Tensor, " tau"]:
        """Population risk of the suffix averages, 1/4 |w_tau|^2 over positions 2..T, in closed form."""
        left = torch.as_tensor(trace, dtype=torch.float64)
        settled = self.delta_3 * self.advance(left)[0, 0] - left
        second = torch.cat([torch.zeros_like(left)[None], -left[None], settled.expand(self.T - 2)])
        averaged = second.flip(0).cumsum(0).flip(0) / torch.arange(self.T, 0, -1)
        return 0.25 * (self.suffix_average(trace).square().sum(-1) + averaged.square())
