"""Linear models on real or random data: least squares (with ridge) and l2-regularised logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import draws, memory
from workbench.checks import require_count, require_nonnegative, require_positive
from workbench.draws import Seed
from workbench.parameters import concrete
from workbench.problems.base import Batch, Problem

PerSample = Float[Tensor, " sample"]
_MOST_STEPS = 2000


class Samples(Protocol):
    """What `workbench.data.load` returns, as far as it is needed here."""

    train_inputs: Tensor
    train_targets: Tensor


@dataclass(frozen=True, eq=False)
class _LinearModel(Problem[Tensor]):
    """mean f(x.w, t) + l2/2 |w|^2, for losses f of a prediction and its target; starts are standard normal."""

    inputs: Float[Tensor, "sample feature"]
    targets: Float[Tensor, " sample"]
    l2: float

    def __post_init__(self) -> None:
        shapes = tuple(self.inputs.shape), tuple(self.targets.shape)
        if len(shapes[0]) != 2 or 0 in shapes[0] or shapes[1] != shapes[0][:1]:
            raise ValueError(
                f"inputs must be [sample, feature] and targets [sample], at least one of each, got {shapes[0]} and {shapes[1]}"
            )
        if not self.inputs.is_floating_point() or self.inputs.dtype != self.targets.dtype:
            raise ValueError(
                f"inputs and targets must be of one floating-point type, got {self.inputs.dtype} and {self.targets.dtype}"
            )

    def _losses(self, predictions: PerSample, targets: PerSample) -> PerSample:
        raise NotImplementedError

    def _slopes(self, predictions: PerSample, targets: PerSample) -> PerSample:
        """Derivatives of `_losses` with respect to the predictions."""
        raise NotImplementedError

    @property
    def data(self) -> Batch:
        return self.inputs, self.targets

    def initial(self, seed: Seed) -> Float[Tensor, " feature"]:
        return draws.normal(seed, (self.inputs.shape[1],), stream="initial", dtype=self.inputs.dtype)

    def sample_loss(self, parameters: Float[Tensor, " feature"], *sample: Tensor) -> Float[Tensor, ""]:
        return self.batch_loss(parameters, (sample[0][None], sample[1][None]))

    def batch_loss(self, parameters: Float[Tensor, " feature"], batch: Batch) -> Float[Tensor, ""]:
        penalty = 0.5 * self.l2 * (parameters * parameters).sum()
        return self._losses(batch[0] @ parameters, batch[1]).mean() + penalty

    def batch_outputs(self, parameters: Float[Tensor, " feature"], batch: Batch) -> PerSample:
        if self.l2:
            raise ValueError(f"l2={self.l2!r} is part of this loss, which is no function of the outputs then; use 0")
        return batch[0] @ parameters

    def output_loss(self, outputs: PerSample, batch: Batch) -> Float[Tensor, ""]:
        return self._losses(outputs, batch[1]).mean()

    def gradient(self, parameters: Float[Tensor, " feature"], batch: Batch | None = None) -> Float[Tensor, " feature"]:
        inputs, targets = self.data if batch is None else batch
        return inputs.mT @ self._slopes(inputs @ parameters, targets) / inputs.shape[0] + self.l2 * parameters

    def weighted_gradient(
        self, parameters: Float[Tensor, " feature"], batch: Batch, weights: PerSample
    ) -> Float[Tensor, " feature"]:
        inputs, targets = batch
        slopes = weights * self._slopes(inputs @ parameters, targets)
        return inputs.mT @ slopes / inputs.shape[0] + self.l2 * weights.mean() * parameters

    @property
    def minimiser(self) -> Float[Tensor, " feature"]:
        raise NotImplementedError

    @property
    def minimum(self) -> Float[Tensor, ""]:
        """The smallest loss."""
        return self.loss(self.minimiser)


@dataclass(frozen=True, eq=False)
class LeastSquares(_LinearModel):
    """1/(2n) |X w - t|^2 + l2/2 |w|^2; starts are standard normal. With n < d and l2 = 0 the minima form a plane."""

    l2: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_nonnegative("l2", self.l2)

    def _losses(self, predictions: PerSample, targets: PerSample) -> PerSample:
        return 0.5 * (predictions - targets) ** 2

    def _slopes(self, predictions: PerSample, targets: PerSample) -> PerSample:
        return predictions - targets

    def hessian(self, parameters: Float[Tensor, " feature"] | None = None) -> Float[Tensor, "feature feature"]:
        """X^T X/n + l2 I, the same everywhere."""
        return _second_moments(self.inputs, self.l2)

    @property
    def spectrum(self) -> Float[Tensor, " eigenvalue"]:
        """All eigenvalues of the Hessian, ascending."""
        return torch.linalg.eigvalsh(self.hessian())

    @property
    def smoothness(self) -> Float[Tensor, ""]:
        """Lipschitz constant of the gradient."""
        return self.spectrum[-1]

    @property
    def sample_smoothness(self) -> PerSample:
        """L_i = |x_i|^2 + l2 of every sample's loss."""
        return (self.inputs**2).sum(1) + self.l2

    @property
    def sample_minima(self) -> PerSample:
        """The least value of every sample's loss, l2 t_i^2/(2 (l2 + |x_i|^2))."""
        squares = (self.inputs**2).sum(1)
        # Without penalty a sample is fitted exactly, unless its input is zero.
        shares = self.l2 / (self.l2 + squares) if self.l2 > 0 else (squares == 0).to(squares.dtype)
        return 0.5 * shares * self.targets**2

    @property
    def pl_constant(self) -> Float[Tensor, ""]:
        """Largest alpha with |grad L|^2 >= 2 alpha (L - min L) everywhere: the smallest eigenvalue that is not zero (for l2 > 0
        the smallest of all), +inf where every input is zero.

        Singular values of X below max(n, d) eps times the largest one count as zero: X is then rank-deficient.
        """
        n, d = self.inputs.shape
        _, singular, _ = _factors(self.inputs)
        curvatures = singular**2 / n + self.l2
        if self.l2 == 0:
            return torch.where(singular > 0, curvatures, torch.inf).amin()
        return curvatures.amin() if n >= d else curvatures.new_tensor(self.l2)

    @property
    def minimiser(self) -> Float[Tensor, " feature"]:
        """The minimiser, the shortest one where there are many."""
        left, singular, right = _factors(self.inputs)
        inverse = singular / (singular**2 + self.n_samples * self.l2)
        weights = torch.where(singular > 0, inverse, 0.0) * (left.mT @ self.targets)
        return right.mT @ weights


@dataclass(frozen=True, eq=False)
class LogisticRegression(_LinearModel):
    """mean log(1 + exp(-t x.w)) + l2/2 |w|^2 with targets t = +-1; starts are standard normal."""

    l2: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("l2", self.l2)
        if concrete((self.targets.abs() == 1).all()) is False:
            raise ValueError("targets must be +1 and -1; classes 0 and 1 are 2 * classes - 1")

    def _losses(self, predictions: PerSample, targets: PerSample) -> PerSample:
        # torch's softplus is off by 2e-9 beyond 20.
        return -functional.logsigmoid(targets * predictions)

    def _slopes(self, predictions: PerSample, targets: PerSample) -> PerSample:
        return -targets * torch.sigmoid(-targets * predictions)

    def hessian(self, parameters: Float[Tensor, " feature"]) -> Float[Tensor, "feature feature"]:
        """X^T diag(p(1-p)) X/n + l2 I."""
        margins = self.inputs @ parameters
        # 1 - sigmoid(m) would lose all digits of what remains at large margins.
        return _second_moments(self.inputs, self.l2, torch.sigmoid(margins) * torch.sigmoid(-margins))

    @property
    def smoothness(self) -> Float[Tensor, ""]:
        """beta = lam_max(X^T X/n)/4 + l2, an upper bound on every Hessian (a loose one away from w = 0)."""
        return torch.linalg.eigvalsh(_second_moments(self.inputs, 0.0))[-1] / 4 + self.l2

    @property
    def strong_convexity(self) -> float:
        """alpha = l2."""
        return self.l2

    @property
    def sample_smoothness(self) -> PerSample:
        """L_i = |x_i|^2/4 + l2 of every sample's loss."""
        return (self.inputs**2).sum(1) / 4 + self.l2

    @property
    def sample_minima(self) -> PerSample:
        """The least value of every sample's loss: of log(1 + exp(-m)) + l2 m^2/(2 |x_i|^2) over the margin m, to rounding."""
        squares = (self.inputs**2).sum(1).double()
        # The derivative l2 m/|x|^2 - sigmoid(-m) rises through zero between 0 and |x|^2/(2 l2); a zero input has margin 0.
        curvature = torch.where(squares > 0, self.l2 / squares, torch.inf)
        low, high = torch.zeros_like(squares), 0.5 / curvature
        for _ in range(64):
            middle = (low + high) / 2
            below = torch.nan_to_num(curvature * middle) < torch.sigmoid(-middle)
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        penalty = torch.where(squares > 0, 0.5 * curvature * low**2, 0.0)
        return (penalty - functional.logsigmoid(low)).to(self.inputs.dtype)

    @property
    def minimiser(self) -> Float[Tensor, " feature"]:
        """By damped Newton steps in float64, to rounding, also for separable data and little regularisation.

        Raises ValueError where they do not end, and inside a sweep, where every run would need its own number of steps.
        """
        left, singular, right = _factors(self.inputs.double())
        if concrete(singular.amax()) is None:
            raise ValueError(
                "minimiser takes a number of steps that differs from run to run: ask for it outside the sweep"
            )
        # Along the rows of X alone: across them the solution is zero, and rounding over a small l2 would not be.
        kept = singular > 0
        signed = self.targets.double()[:, None] * (left[:, kept] * singular[kept])
        n, ridge = len(signed), self.l2 * torch.eye(signed.shape[1], dtype=signed.dtype)
        point = signed.new_zeros(signed.shape[1])
        for _ in range(_MOST_STEPS):
            margins = signed @ point
            wrong, curvature = torch.sigmoid(-margins), torch.sigmoid(margins) * torch.sigmoid(-margins)
            gradient = self.l2 * point - signed.mT @ wrong / n
            newton, failed = torch.linalg.solve_ex(signed.mT @ (curvature[:, None] * signed) / n + ridge, gradient)
            # The loss is self-concordant in the margins: a step that changes them by d is safe at log(1 + d)/d of its length.
            change, size = (signed @ newton).abs().amax(), margins.abs().amax()
            if failed or not torch.isfinite(change):
                break
            point = point - (torch.log1p(change) / change if change > 0 else 1.0) * newton
            if change <= 1e-9 * size or change <= 1e-14:
                return (right[kept].mT @ point).to(self.inputs.dtype)
        raise ValueError(f"Newton's method does not end at l2={self.l2:g}: regularise more, or scale the inputs")


def least_squares(data: Samples, *, l2: float = 0.0) -> LeastSquares:
    """Least squares on a data set's training part in float64: centred numbers, or +1 for the first class and -1 for the rest.

    Raises ValueError where l2 < 0 or not finite.
    """
    inputs, targets = _design(data)
    return LeastSquares(inputs, targets, l2)


def random_least_squares(seed: Seed, n: int, d: int) -> LeastSquares:
    """Least squares with standard normal inputs [n, d] and targets, over-parameterised for n < d."""
    require_count("n", n)
    require_count("d", d)
    memory.require(8.0 * (n * d + d * d), f"{n} samples of {d} features and their Hessian", "choose smaller n and d")
    return LeastSquares(draws.normal(seed, (n, d), stream="inputs"), draws.normal(seed, (n,), stream="targets"))


def logistic_regression(data: Samples, *, l2: float = 0.01) -> LogisticRegression:
    """Logistic regression in float64 of the first class against the rest.

    Raises ValueError for data without classes, and where l2 is not > 0.
    """
    inputs, targets = _design(data)
    if data.train_targets.is_floating_point():
        raise ValueError("logistic_regression needs a data set with classes; use least_squares for numbers")
    return LogisticRegression(inputs, targets, l2)


def _design(data: Samples) -> tuple[Tensor, Tensor]:
    if not hasattr(data, "train_inputs"):
        raise ValueError(
            f"data must be a data set of workbench.data, got {type(data).__name__}; for your own tensors build "
            "LeastSquares(inputs, targets) or LogisticRegression(inputs, targets) of workbench.problems"
        )
    inputs, targets = data.train_inputs.flatten(1).double(), data.train_targets
    if targets.is_floating_point():
        return inputs, targets.double() - targets.double().mean()
    return inputs, torch.where(targets == 0, 1.0, -1.0).double()


def _factors(inputs: Tensor) -> tuple[Tensor, Float[Tensor, " rank"], Tensor]:
    """X = U diag(s) V^T with singular values that are rounding's set to zero."""
    left, singular, right = torch.linalg.svd(inputs, full_matrices=False)
    small = max(inputs.shape) * torch.finfo(inputs.dtype).eps * singular.amax()
    return left, torch.where(singular > small, singular, 0.0), right


def _second_moments(inputs: Tensor, l2: float, weights: Tensor | None = None) -> Float[Tensor, "feature feature"]:
    weighted = inputs if weights is None else weights[:, None] * inputs
    return inputs.mT @ weighted / inputs.shape[0] + l2 * torch.eye(inputs.shape[1], dtype=inputs.dtype)
