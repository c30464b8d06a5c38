"""The losses on which algorithms and diffusions are compared: two-layer networks, and matrix sensing (arXiv:2301.08203)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import data, draws
from workbench.checks import require_count
from workbench.draws import Seed
from workbench.problems import matrix_sensing
from workbench.problems.base import Batch, Problem
from workbench.problems.networks.multilayer import ACTIVATIONS, DERIVATIVES

PROBLEMS = ("teacher_student", "deep_linear", "deep_nonlinear", "matrix_sensing")
TUMOURS, FEATURES = 569, 30


@dataclass(frozen=True, eq=False)
class TwoLayer(Problem[Tensor]):
    """Sample loss of the output v^T s(W x), plus ridge/2 |parameters|^2; parameters are W [hidden, feature], then v, as a vector.

    loss "logistic": log(1 + exp(-y out)), y = +-1; "squared": (out - y)^2. Starts are spread N(0, I).
    """

    inputs: Float[Tensor, "sample feature"]
    targets: Float[Tensor, " sample"]
    hidden: int
    activation: str
    loss_name: Literal["logistic", "squared"]
    ridge: float
    spread: float

    @property
    def data(self) -> Batch:
        return self.inputs, self.targets

    def initial(self, seed: Seed) -> Float[Tensor, " parameter"]:
        size = self.hidden * (self.inputs.shape[1] + 1)
        return self.spread * draws.normal(seed, (size,), stream="initial")

    def outputs(
        self, parameters: Float[Tensor, " parameter"], inputs: Float[Tensor, "... feature"]
    ) -> Float[Tensor, "..."]:
        """v^T s(W x)."""
        first, second = self._layers(parameters)
        if self.activation == "identity":
            return inputs @ (second @ first)
        return ACTIVATIONS[self.activation](inputs @ first.mT) @ second

    def _layers(
        self, parameters: Float[Tensor, " parameter"]
    ) -> tuple[Float[Tensor, "hidden feature"], Float[Tensor, " hidden"]]:
        return parameters[: -self.hidden].reshape(self.hidden, -1), parameters[-self.hidden :]

    def sample_loss(self, parameters: Float[Tensor, " parameter"], *sample: Tensor) -> Float[Tensor, ""]:
        return self.batch_loss(parameters, sample)

    def batch_loss(self, parameters: Float[Tensor, " parameter"], batch: Batch) -> Float[Tensor, ""]:
        inputs, targets = batch
        out = self.outputs(parameters, inputs)
        losses = functional.softplus(-targets * out) if self.loss_name == "logistic" else (out - targets) ** 2
        return losses.mean() + 0.5 * self.ridge * (parameters * parameters).sum()

    def gradient(self, parameters: Float[Tensor, " parameter"], batch: Batch | None = None) -> Tensor:
        inputs, targets = self.data if batch is None else batch
        first, second = self._layers(parameters)
        if self.activation == "identity":
            back = self._slopes(inputs @ (second @ first), targets) @ inputs
            parts = torch.outer(second, back), first @ back
        else:
            before = inputs @ first.mT
            after = ACTIVATIONS[self.activation](before)
            slopes = self._slopes(after @ second, targets)
            bent = DERIVATIVES[self.activation](before, after) * slopes[:, None]
            parts = (bent * second).mT @ inputs, after.mT @ slopes
        return torch.cat([part.reshape(-1) for part in parts]) + self.ridge * parameters

    def _slopes(self, out: Float[Tensor, " sample"], targets: Float[Tensor, " sample"]) -> Float[Tensor, " sample"]:
        """Derivatives of the mean loss by the outputs."""
        if self.loss_name == "logistic":
            return -targets * torch.sigmoid(-targets * out) / len(targets)
        return 2 * (out - targets) / len(targets)


@functools.cache
def _tumours() -> tuple[Tensor, Tensor]:
    loaded = data.load("breast_cancer")
    inputs = loaded.train_inputs.double()
    return (inputs - inputs.mean(0)) / inputs.std(0, correction=0), 2 * loaded.train_targets.double() - 1


def tumours(seed: Seed, n_samples: int = TUMOURS, hidden: int = 10, activation: str = "identity") -> TwoLayer:
    """Breast cancer: standardised features, labels +-1, logistic loss, ridge .1, weights N(0, 1)/sqrt(hidden).

    Fewer than all 569 samples are drawn by the seed. Raises ValueError for other numbers.
    """
    require_count("n_samples", n_samples, high=TUMOURS)
    require_count("hidden", hidden)
    inputs, labels = _tumours()
    if n_samples < TUMOURS:
        rows = draws.permutation(seed, TUMOURS, stream="samples")[:n_samples]
        inputs, labels = torch.index_select(inputs, 0, rows), torch.index_select(labels, 0, rows)
    return TwoLayer(inputs, labels, hidden, activation, "logistic", 0.1, hidden**-0.5)


def teacher_student(seed: Seed, p: int = 10, hidden: int = 5) -> TwoLayer:
    """Regression on the outputs of a sigmoid network with weights N(0, 1): 2p inputs with entries N(0, 1/p), ridge .01."""
    require_count("p", p)
    require_count("hidden", hidden)
    inputs = draws.normal(seed, (2 * p, p), stream="inputs") / p**0.5
    student = TwoLayer(inputs, inputs[:, 0], hidden, "sigmoid", "squared", 0.01, 1.0)
    teacher = draws.normal(seed, (hidden * (p + 1),), stream="teacher")
    return TwoLayer(inputs, student.outputs(teacher, inputs), hidden, "sigmoid", "squared", 0.01, 1.0)


def problem(name: str, seed: Seed) -> Problem[Tensor]:
    """One of `PROBLEMS` at the sizes of the notebook; data and teacher are drawn by the seed."""
    if name == "teacher_student":
        return teacher_student(seed)
    if name == "matrix_sensing":
        return matrix_sensing(seed, d=5, r=2, m=30)
    if name in ("deep_linear", "deep_nonlinear"):
        return tumours(seed, 200, 5, "identity" if name == "deep_linear" else "sigmoid")
    raise ValueError(f"problem must be one of {', '.join(PROBLEMS)}, got {name!r}")
