"""Two-layer diagonal linear networks, the model in which the implicit bias of training is known in closed form.

The predictor is <beta, x>, written as beta = u v (entrywise) or as beta = w+^2 - w-^2. With u = w+ + w-, v = w+ - w- and
the loss scalings below the two have identical dynamics, for every rule that follows gradients (arXiv:2206.06232).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_positive
from workbench.draws import Seed
from workbench.problems.base import Batch, Measure, Problem
from workbench.problems.linear.sparse_regression import SparseRegression

Parametrisation = Literal["squares", "product"]


@dataclass(frozen=True, eq=False)
class DiagonalNetwork(Problem[Tensor]):
    """What the two parametrisations share. Parameters are one [2, feature] tensor; residuals are r_i = <beta, x_i> - y_i.

    `alpha` > 0 (a number or one per feature) is the initialisation's scale: w+ = w- = alpha, that is u = 2 alpha, v = 0.
    """

    inputs: Float[Tensor, "sample feature"]
    targets: Float[Tensor, " sample"]
    alpha: float | Float[Tensor, ""] | Float[Tensor, " feature"]
    test_inputs: Float[Tensor, "row feature"] | None = None
    test_targets: Float[Tensor, " row"] | None = None

    @property
    def data(self) -> Batch:
        return self.inputs, self.targets

    @property
    def scale(self) -> Float[Tensor, " feature"]:
        """alpha, one entry per feature."""
        return torch.zeros_like(self.inputs[0]) + self.alpha

    def predictor(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        """beta."""
        raise NotImplementedError

    def effective_initialisation(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        """alpha_eff = sqrt(|w+ w-|): conserved by the gradient flow, and the alpha of the potential phi that the limit
        minimises under every rule whose updates of log(w+/w-) lie in the row space of the inputs.
        """
        raise NotImplementedError

    def squared_scale(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        """w+^2 + w-^2 = (u^2 + v^2)/2, the diagonal preconditioner of the predictor's dynamics."""
        raise NotImplementedError

    def start_from(self, alpha: float | Tensor) -> Float[Tensor, "2 feature"]:
        """The parameters with beta = 0 and effective initialisation alpha."""
        raise NotImplementedError

    def pulled_back(
        self, parameters: Float[Tensor, "2 feature"], direction: Float[Tensor, " feature"]
    ) -> Float[Tensor, "2 feature"]:
        """The gradient at these parameters, were `residual_correlation` this direction g: (g w+, -g w-) or (g v, g u)."""
        raise NotImplementedError

    def initial(self, seed: Seed = 0) -> Float[Tensor, "2 feature"]:
        """beta = 0 at scale alpha; nothing is random."""
        return self.start_from(self.alpha)

    def residuals(self, parameters: Float[Tensor, "2 feature"], batch: Batch | None = None) -> Float[Tensor, " sample"]:
        """<beta, x_i> - y_i over the batch, or over all samples."""
        inputs, targets = self.data if batch is None else batch
        return _apply(inputs, self.predictor(parameters)) - targets

    def gradient(
        self, parameters: Float[Tensor, "2 feature"], batch: Batch | None = None
    ) -> Float[Tensor, "2 feature"]:
        """Of the loss over the batch, or over all samples."""
        return self.pulled_back(parameters, self.residual_correlation(parameters, batch))

    def residual_correlation(
        self, parameters: Float[Tensor, "2 feature"], batch: Batch | None = None
    ) -> Float[Tensor, " feature"]:
        """g = (1/n) X^T r over the batch: the gradient with respect to beta of (1/2n) |r|^2."""
        inputs = self.inputs if batch is None else batch[0]
        return _combine(self.residuals(parameters, batch), inputs)

    def sample_loss(self, parameters: Float[Tensor, "2 feature"], *sample: Tensor) -> Float[Tensor, ""]:
        inputs, target = sample
        return self.batch_loss(parameters, (inputs[None], target[None]))

    def train_loss(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, ""]:
        """(1/2n) sum r_i^2, in both parametrisations."""
        return 0.5 * (self.residuals(parameters) ** 2).mean()

    def test_loss(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, ""]:
        """(1/2 n_test) sum r^2 over the test samples."""
        if self.test_inputs is None or self.test_targets is None:
            raise ValueError(
                "this diagonal network has no test set; build it from data with test_inputs and test_targets"
            )
        return 0.5 * (self.residuals(parameters, (self.test_inputs, self.test_targets)) ** 2).mean()

    def log_decay(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        """log(alpha / alpha_eff): how far training has shrunk the effective initialisation."""
        return torch.log(self.alpha / self.effective_initialisation(parameters))

    @property
    def measures(self) -> Mapping[str, Measure]:
        own = {
            "train_loss": Measure(self.train_loss, "training loss (1/2n) sum r^2"),
            "effective_initialisation": Measure(self.effective_initialisation, "effective initialisation sqrt(w+ w-)"),
            "log_decay": Measure(self.log_decay, "log(alpha / effective initialisation)"),
            "predictor": Measure(self.predictor, "predictor beta"),
        }
        if self.test_inputs is not None:
            own["test_loss"] = Measure(self.test_loss, "test loss (1/2n) sum r^2")
        return {**super().measures, **own}


@dataclass(frozen=True, eq=False)
class SquaresNetwork(DiagonalNetwork):
    """beta = w+^2 - w-^2, parameters (w+, w-), loss (1/4n) sum r_i^2."""

    def predictor(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        squares = parameters * parameters
        return squares[0] - squares[1]

    def effective_initialisation(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        return (parameters[0] * parameters[1]).abs().sqrt()

    def squared_scale(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        return (parameters * parameters).sum(0)

    def start_from(self, alpha: float | Tensor) -> Float[Tensor, "2 feature"]:
        return torch.stack([torch.zeros_like(self.inputs[0]) + alpha] * 2)

    def batch_loss(self, parameters: Float[Tensor, "2 feature"], batch: Batch) -> Float[Tensor, ""]:
        return 0.25 * (self.residuals(parameters, batch) ** 2).mean()

    def pulled_back(
        self, parameters: Float[Tensor, "2 feature"], direction: Float[Tensor, " feature"]
    ) -> Float[Tensor, "2 feature"]:
        return torch.stack([direction, -direction]) * parameters


@dataclass(frozen=True, eq=False)
class ProductNetwork(DiagonalNetwork):
    """beta = u v, parameters (u, v), loss (1/2n) sum r_i^2."""

    def predictor(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        return parameters[0] * parameters[1]

    def effective_initialisation(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        u, v = parameters.unbind(0)
        return 0.5 * ((u + v) * (u - v)).abs().sqrt()

    def squared_scale(self, parameters: Float[Tensor, "2 feature"]) -> Float[Tensor, " feature"]:
        return 0.5 * (parameters * parameters).sum(0)

    def start_from(self, alpha: float | Tensor) -> Float[Tensor, "2 feature"]:
        zero = torch.zeros_like(self.inputs[0])
        return torch.stack([zero + 2 * alpha, zero])

    def batch_loss(self, parameters: Float[Tensor, "2 feature"], batch: Batch) -> Float[Tensor, ""]:
        return 0.5 * (self.residuals(parameters, batch) ** 2).mean()

    def pulled_back(
        self, parameters: Float[Tensor, "2 feature"], direction: Float[Tensor, " feature"]
    ) -> Float[Tensor, "2 feature"]:
        return direction * parameters.flip(0)


def diagonal_network(
    data: SparseRegression | Batch, alpha: float | Tensor = 0.05, parametrisation: Parametrisation = "squares"
) -> DiagonalNetwork:
    """A diagonal linear network on a regression problem.

    data: a `sparse_regression`, or (inputs [sample, feature], targets [sample]).
    alpha: scale of the initialisation, > 0; one number or one per feature.
    parametrisation: "squares" (w+, w-; loss (1/4n) sum r^2) or "product" (u, v; loss (1/2n) sum r^2).
    Raises ValueError when alpha is not positive or its length or the parametrisation's name is wrong.
    """
    require_positive("alpha", alpha)
    sparse = isinstance(data, SparseRegression)
    inputs, targets = (data.inputs, data.targets) if sparse else data
    test_inputs, test_targets = (data.test_inputs, data.test_targets) if sparse else (None, None)
    if inputs.dim() != 2 or targets.shape != inputs.shape[:1]:
        raise ValueError(
            f"data must be inputs [sample, feature] and targets [sample], got shapes {tuple(inputs.shape)} "
            f"and {tuple(targets.shape)}"
        )
    if isinstance(alpha, Tensor) and alpha.dim() and alpha.shape != inputs.shape[1:]:
        raise ValueError(
            f"alpha must be one number or one per feature ({inputs.shape[1]}), got shape {tuple(alpha.shape)}"
        )
    if parametrisation not in get_args(Parametrisation):
        raise ValueError(
            f"parametrisation must be one of {', '.join(get_args(Parametrisation))}, got {parametrisation!r}"
        )
    network = SquaresNetwork if parametrisation == "squares" else ProductNetwork
    return network(inputs, targets, alpha, test_inputs, test_targets)


# One sample a group (1-SAM) would make a batch of 1 x d matrices, on which matrix products are slower than sums.
def _apply(inputs: Tensor, predictor: Tensor) -> Tensor:
    return (inputs * predictor).sum(-1) if inputs.shape[0] == 1 else inputs @ predictor


def _combine(residuals: Tensor, inputs: Tensor) -> Tensor:
    samples = inputs.shape[0]
    return residuals * inputs[0] if samples == 1 else inputs.T @ (residuals / samples)
