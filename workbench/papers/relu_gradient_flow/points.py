"""Data sets of pairwise orthogonal inputs, and what theory says of them in closed form (arXiv:2206.00939)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count, require_nonnegative

GENERIC_NORMS = (1.0, 1.2, 0.8, 1.1, 0.7)
GENERIC_LABELS = (1.2, 0.9, 1.0, -0.8, -1.0)


@dataclass(frozen=True, eq=False, repr=False)
class Points:
    """Inputs x_k and labels y_k, in float64.

    Raises:
        ValueError: for labels that do not go with the inputs, entries that are not finite and, unless `orthogonal=False` (data
            outside the theorem), a zero label or inputs whose scalar products are not 0 to 1e-12 of their lengths.
    """

    inputs: Float[Tensor, "sample feature"]
    labels: Float[Tensor, " sample"]
    orthogonal: bool = True

    def __post_init__(self) -> None:
        n = len(self.labels)
        if self.inputs.ndim != 2 or len(self.inputs) != n:
            raise ValueError(f"inputs must be [{n}, feature] for {n} labels, got {tuple(self.inputs.shape)}")
        if not bool(self.labels.isfinite().all() and self.inputs.isfinite().all()):
            raise ValueError("inputs and labels must be finite, got a NaN or an infinity")
        if self.orthogonal and bool((self.labels == 0).any()):
            raise ValueError("labels must not be 0: a point without a sign belongs to neither group")
        if self.orthogonal:
            unit = self.inputs / self.inputs.norm(dim=1, keepdim=True)
            off = float((unit @ unit.mT - torch.eye(n, dtype=unit.dtype)).abs().max())
            if not off <= 1e-12:
                raise ValueError(
                    f"inputs must be pairwise orthogonal, got a cosine of {off:.3g}: orthogonal=False for other data"
                )

    def __repr__(self) -> str:
        n, d = self.inputs.shape
        return f"Points(n={n}, d={d}, positive={int(self.positive.sum())})"

    @property
    def positive(self) -> Bool[Tensor, " sample"]:
        return self.labels > 0

    @property
    def drives(self) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
        """D+ = (1/n) sum_P y_k x_k and D- = -(1/n) sum_M y_k x_k: towards them neurons align at the start."""
        weighted = self.labels[:, None] * self.inputs / len(self.labels)
        return weighted[self.positive].sum(0), -weighted[~self.positive].sum(0)

    @property
    def rates(self) -> tuple[float, float]:
        """|D+|, |D-|."""
        plus, minus = self.drives
        return float(plus.norm()), float(minus.norm())

    @property
    def minimum_norm(self) -> float:
        """N* = sqrt(sum_P y^2/|x|^2) + sqrt(sum_M y^2/|x|^2): the least |theta|^2/2 of an interpolator (orthogonal inputs)."""
        squares = (self.labels / self.inputs.norm(dim=1)).square()
        return float(squares[self.positive].sum().sqrt() + squares[~self.positive].sum().sqrt())

    @property
    def directions(self) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
        """sum_j a_j w_j over each sign's neurons at the limit: sum_k (y_k/|x_k|^2) x_k over the points of that sign."""
        weighted = (self.labels / self.inputs.square().sum(1))[:, None] * self.inputs
        return weighted[self.positive].sum(0), weighted[~self.positive].sum(0)

    @property
    def excess_exponent(self) -> float:
        """2 (1 - r), r = max over signs of sqrt(1 - min_k c_k/sum c_k), c_k = y_k^2 |x_k|^2: of |theta|^2/2 - N* in lambda.

        Neurons that see all but one point of a sign grow more slowly by the factor r and are left at lambda^(1 - r).
        """
        masses = (self.labels * self.inputs.norm(dim=1)).square()
        groups = [masses[self.positive], masses[~self.positive]]
        ratios = [float((1 - group.min() / group.sum()).clamp_min(0).sqrt()) for group in groups if len(group)]
        return 2 * (1 - max(ratios))

    @property
    def saddle_exponent(self) -> float:
        """p of the smallest gradient between the crossings, |grad L| ~ lambda^p: 2 (D1 - D2)/(2 D1 + D2), D1 the larger rate."""
        fast, slow = max(self.rates), min(self.rates)
        return 2 * (fast - slow) / (2 * fast + slow)

    @property
    def plateaus(self) -> tuple[float, float, float]:
        """Losses (1/2n) sum of squares at the start, when the faster sign is fitted, and at the end."""
        fast = self.positive if self.rates[0] > self.rates[1] else ~self.positive
        squares = self.labels.square() / (2 * len(self.labels))
        return float(squares.sum()), float(squares[~fast].sum()), 0.0

    def require_two_phases(self) -> None:
        """Raise ValueError unless both signs occur and |D+| differs from |D-|: else there is one plateau, not two."""
        fast, slow = max(self.rates), min(self.rates)
        if slow == 0:
            raise ValueError("labels must have both signs for two crossings: with one sign there is one phase")
        if math.isclose(fast, slow, rel_tol=1e-9):
            raise ValueError(
                f"|D+| and |D-| must differ, got {fast:.6g} twice: both signs are fitted at once; scale some labels"
            )


def toy(angle: float = 90.0, labels: tuple[float, float] = (1.0, -1.0)) -> Points:
    """The paper's one-dimensional example with a bias coordinate: (2, 1) -> 1 and (-1/2, 1) -> -1, orthogonal.

    `angle` in degrees turns the second point towards the first (a control); its length stays.
    """
    first = torch.tensor([2.0, 1.0], dtype=torch.float64)
    length, start, turn = math.sqrt(1.25), math.atan2(1.0, 2.0), math.radians(angle)
    second = torch.tensor([math.cos(start + turn), math.sin(start + turn)], dtype=torch.float64) * length
    if angle == 90:
        second = torch.tensor([-0.5, 1.0], dtype=torch.float64)
    return Points(torch.stack([first, second]), torch.tensor(labels, dtype=torch.float64), orthogonal=angle == 90)


def generic(d: int = 8) -> Points:
    """Five axis-aligned points of different lengths and labels, three positive."""
    require_count("d", d, 5)
    inputs = torch.zeros(5, d, dtype=torch.float64)
    inputs[range(5), range(5)] = torch.tensor(GENERIC_NORMS, dtype=torch.float64)
    return Points(inputs, torch.tensor(GENERIC_LABELS, dtype=torch.float64))


def random_orthogonal(n_pos: int, n_neg: int, d: int, seed: int = 0) -> Points:
    """Orthonormal rows scaled by U[0.5, 1.5], |y| ~ U[0.5, 1.5].

    Raises:
        ValueError: for n_pos + n_neg > d (that many points cannot be orthogonal), or a sign without points.
    """
    _refuse_too_many(n_pos, n_neg, d)
    n = n_pos + n_neg
    frame = torch.linalg.qr(draws.normal(seed, (d, n), stream="frame"))[0].mT
    lengths = draws.uniform(seed, (n,), low=0.5, high=1.5, stream="lengths")
    sizes = draws.uniform(seed, (n,), low=0.5, high=1.5, stream="labels")
    signs = torch.tensor([1.0] * n_pos + [-1.0] * n_neg, dtype=torch.float64)
    return Points(lengths[:, None] * frame, signs * sizes)


def width_study(n_pos: int, n_neg: int, d: int, seed: int = 0, shrink: float = 0.7) -> Points:
    """Orthonormal rows with labels +-1; negative rows are shrunk, which breaks the tie of the two rates."""
    _refuse_too_many(n_pos, n_neg, d)
    frame = torch.linalg.qr(draws.normal(seed, (d, n_pos + n_neg), stream="frame"))[0].mT.clone()
    frame[n_pos:] *= shrink
    return Points(frame, torch.tensor([1.0] * n_pos + [-1.0] * n_neg, dtype=torch.float64))


def nonorthogonal_toy() -> Points:
    """The paper's five points on the line with a bias coordinate, which are not orthogonal."""
    x = torch.tensor([-1.5, -1.0, 0.0, 0.25, 2.0], dtype=torch.float64)
    labels = torch.tensor([0.7, -0.3, -0.3, 0.4, 0.2], dtype=torch.float64)
    return Points(torch.stack([x, torch.ones_like(x)], dim=1), labels, orthogonal=False)


def high_dimension(n: int = 75, d: int = 150, teachers: int = 6, seed: int = 4) -> Points:
    """Standard Gaussian inputs, nearly orthogonal, labelled by a teacher of unbiased ReLU neurons (normal weights and signs)."""
    for name, value in (("n", n), ("d", d), ("teachers", teachers)):
        require_count(name, value, 1)
    inputs = draws.normal(seed, (n, d), stream="inputs")
    hidden = draws.normal(seed, (teachers, d), stream="teacher") / math.sqrt(d)
    labels = (inputs @ hidden.mT).clamp_min(0) @ draws.signs(seed, (teachers,), stream="teacher signs")
    return Points(inputs, labels, orthogonal=False)


def aligned_cosine(rate: Tensor | float, time: Tensor | float, start: Tensor) -> Tensor:
    """cos theta(t) = tanh(|D| t + artanh cos theta(0)): alignment of a neuron of S+ while the network is about 0 (broadcast)."""
    require_nonnegative("rate", rate)
    return torch.tanh(rate * torch.as_tensor(time, dtype=start.dtype) + torch.atanh(start))


def probability_of_zero_loss(width: int, n_pos: int, n_neg: int) -> float:
    """P(every point is active for a neuron of its sign) = E_{K ~ Bin(m, 1/2)} (1 - 2^-K)^n+ (1 - 2^-(m - K))^n-."""
    return sum(
        math.comb(width, k) * 0.5**width * (1 - 0.5**k) ** n_pos * (1 - 0.5 ** (width - k)) ** n_neg
        for k in range(width + 1)
    )


def probability_of_minimum_norm(width: int, n_pos: int, n_neg: int) -> float:
    """P(S+ and S- are not empty) = 1 - (1 - p)^m - (1 - q)^m + (1 - p - q)^m, p = 2^-(n+ + 1), q = 2^-(n- + 1)."""
    p, q = 0.5 ** (n_pos + 1), 0.5 ** (n_neg + 1)
    return 1 - (1 - p) ** width - (1 - q) ** width + (1 - p - q) ** width


def _refuse_too_many(n_pos: int, n_neg: int, d: int) -> None:
    require_count("n_pos", n_pos, 1)
    require_count("n_neg", n_neg, 1)
    if n_pos + n_neg > d:
        raise ValueError(f"orthogonal inputs need n_pos + n_neg <= d, got {n_pos} + {n_neg} > {d}")
