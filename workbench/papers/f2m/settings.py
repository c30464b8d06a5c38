"""What a run is made of: how classes arrive, how the base is trained, how a session is learnt (arXiv:2111.01549)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from workbench.checks import require_count, require_nonnegative, require_positive

Noise = Literal["uniform", "beta-grid"]
MOMENTUM, WEIGHT_DECAY, PER_CLASS = 0.9, 5e-4, 16
"""Of base training, as released: 16 samples of a class in a minibatch, or all where there are fewer."""


@dataclass(frozen=True)
class Protocol:
    """n_base classes with many samples first, then sessions of `way` new classes with `shot` samples each.

    shot_draws: disjoint draws of the shots, over which a seed's accuracy is averaged. train, test: samples of a base class,
    test samples of every class. Raises ValueError for counts below 1 (n_base below 2) or more shots than `train` samples.
    """

    n_base: int = 6
    way: int = 2
    shot: int = 5
    shot_draws: int = 4
    train: int = 120
    test: int = 50

    def __post_init__(self) -> None:
        require_count("n_base", self.n_base, 2)
        for name in ("way", "shot", "shot_draws", "test"):
            require_count(name, getattr(self, name))
        require_count("train", self.train)
        if self.shot * self.shot_draws > self.train:
            raise ValueError(
                f"shot * shot_draws must be at most {self.train}, the training samples of a class, "
                f"got {self.shot} * {self.shot_draws}"
            )


@dataclass(frozen=True)
class BaseTraining:
    """Base training: cross entropy averaged over m_draws of noise in the box of half-width b (FM), plus lam times what the noise
    moves the minibatch's class prototypes by (PF).

    b = 0 is standard training. noise: "uniform" on the box, or "beta-grid", the released five-point grid. pf_gradient=False:
    PF is a number without gradient, as released. std_weight: weight of the standard deviation of the m_draws losses. The
    learning rate base_lr falls to a tenth after the share decay_at of base_steps. Raises ValueError outside these ranges: b, lam,
    std_weight >= 0, std_weight only with two draws, base_steps >= 1, base_lr and decay_at > 0.
    """

    b: float = 0.0
    lam: float = 1.0
    m_draws: int = 2
    noise: Noise = "uniform"
    pf_gradient: bool = True
    std_weight: float = 0.0
    base_steps: int = 300
    base_lr: float = 0.1
    decay_at: float = 0.7

    def __post_init__(self) -> None:
        for name in ("b", "lam", "std_weight"):
            require_nonnegative(name, getattr(self, name))
        require_count("m_draws", self.m_draws)
        require_count("base_steps", self.base_steps)
        for name in ("base_lr", "decay_at"):
            require_positive(name, getattr(self, name))
        if self.noise not in get_args(Noise):
            raise ValueError(f"noise must be one of {', '.join(get_args(Noise))}, got {self.noise!r}")
        if self.std_weight > 0 and self.m_draws < 2:
            raise ValueError(
                f"std_weight needs m_draws >= 2: one loss has no standard deviation, got m_draws={self.m_draws}"
            )

    @property
    def passes(self) -> int:
        """Forward and backward passes of a step, in minibatches: one for each draw, one for the prototypes without noise."""
        return 1 if self.b == 0 else self.m_draws + (self.lam > 0)

    def step_size(self, step: int) -> float:
        """base_lr, a tenth of it after the share decay_at of the steps."""
        return self.base_lr * (0.1 if step >= self.decay_at * self.base_steps else 1.0)


@dataclass(frozen=True)
class Session:
    """Fine-tuning on all stored shots: cross entropy of `scale` times the cosine to the prototypes, SGD with momentum.

    clamp: half-width of the box around the base weights (PC), None for no clamp. pull: weight of an l1 penalty on the
    distance to them instead. Raises ValueError outside these ranges: ft_steps >= 0, ft_lr, scale, clamp > 0, pull >= 0.
    """

    clamp: float | None = None
    ft_steps: int = 30
    ft_lr: float = 0.03
    scale: float = 10.0
    pull: float = 0.0

    def __post_init__(self) -> None:
        require_count("ft_steps", self.ft_steps, 0)
        require_positive("ft_lr", self.ft_lr)
        require_positive("scale", self.scale)
        require_nonnegative("pull", self.pull)
        if self.clamp is not None:
            require_positive("clamp", self.clamp)


FROZEN = Session(ft_steps=0)
