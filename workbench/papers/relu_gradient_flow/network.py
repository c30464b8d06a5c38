"""h(x) = sum_j a_j relu(<w_j, x>) with the square loss, as a problem; its flow is any rule of `optimizers.continuous`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench import draws
from workbench.draws import Seed
from workbench.papers.relu_gradient_flow.points import Points
from workbench.problems.base import Batch, Measure, Problem

ACTIVATIONS = ("relu", "linear")
Neurons = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class ReLUNetwork(Problem[Neurons]):
    """L = (1/2n) sum_k (h(x_k) - y_k)^2; parameters {"w": [neuron, feature], "a": [neuron]}.

    With relu'(0) = 0 the negative gradient is a_j D(w_j) for w_j and <w_j, D(w_j)> for a_j, where
    D(w) = (1/n) sum_k 1{<w, x_k> > 0} (y_k - h(x_k)) x_k. Starts are balanced: w_j ~ N(0, lambda^2/m I), a_j = s_j |w_j|.

    Attributes:
        inputs, labels: the points.
        width: m.
        scale: lambda.
        activation: "relu", or "linear" (a control).
        output_speed: a learns this many times as fast (a control; 1 conserves a_j^2 - |w_j|^2).
        signs: "random" s_j = +-1, or "positive" (a control).
        emptied: neurons of S+ and S- start at 0 (a control).
    """

    inputs: Float[Tensor, "sample feature"]
    labels: Float[Tensor, " sample"]
    width: int = 60
    scale: float | Tensor = 1e-6
    activation: str = "relu"
    output_speed: float = 1.0
    signs: str = "random"
    emptied: bool = False

    @property
    def data(self) -> Batch:
        return self.inputs, self.labels

    def initial(self, seed: Seed) -> Neurons:
        d = self.inputs.shape[1]
        directions = draws.normal(seed, (self.width, d), stream="initial") / math.sqrt(self.width)
        signs = draws.signs(seed, (self.width,), stream="signs")
        if self.signs == "positive":
            signs = torch.ones_like(signs)
        if self.emptied:
            plus, minus = initial_cones({"w": directions, "a": signs}, self.inputs, self.labels)
            directions = directions * ~(plus | minus)[:, None]
        w = self.scale * directions
        return {"w": w, "a": signs * w.square().sum(-1).sqrt()}

    def outputs(self, parameters: Neurons, inputs: Float[Tensor, "sample feature"]) -> Float[Tensor, " sample"]:
        """h at some inputs."""
        before = inputs @ parameters["w"].mT
        return (before.clamp_min(0) if self.activation == "relu" else before) @ parameters["a"]

    def batch_loss(self, parameters: Neurons, batch: Batch) -> Float[Tensor, ""]:
        residual = self.outputs(parameters, batch[0]) - batch[1]
        return 0.5 * (residual * residual).mean()

    def sample_loss(self, parameters: Neurons, *sample: Tensor) -> Float[Tensor, ""]:
        return self.batch_loss(parameters, (sample[0][None], sample[1][None]))

    def gradient(self, parameters: Neurons, batch: Batch | None = None) -> Neurons:
        inputs, labels = self.data if batch is None else batch
        before = inputs @ parameters["w"].mT
        active = (before > 0).to(before.dtype) if self.activation == "relu" else torch.ones_like(before)
        outputs = (before * active) @ parameters["a"]
        pull = active * ((labels - outputs) / len(labels))[:, None]
        drive = pull.mT @ inputs
        along = (pull * before).sum(0)
        return {"w": -parameters["a"][:, None] * drive, "a": -self.output_speed * along}

    @property
    def measures(self) -> Mapping[str, Measure]:
        return {
            **super().measures,
            "half_norm": Measure(half_norm, "$\\frac{1}{2}|\\theta|^2$"),
            "imbalance": Measure(imbalance, "largest $|a_j^2-|w_j|^2|$"),
        }


def half_norm(parameters: Neurons) -> Float[Tensor, ""]:
    """|theta|^2/2; sum_j |a_j| |w_j| where the layers are balanced."""
    return 0.5 * (parameters["w"].square().sum() + parameters["a"].square().sum())


def imbalance(parameters: Neurons) -> Float[Tensor, ""]:
    """max_j |a_j^2 - |w_j|^2|, which the flow conserves."""
    return (parameters["a"].square() - parameters["w"].square().sum(-1)).abs().amax()


def relu_network(points: Points, width: int = 60, scale: float | Tensor = 1e-6, **control: object) -> ReLUNetwork:
    """The network on these points.

    Raises:
        ValueError: for a width outside 2..4096, a scale outside (1e-30, 1], or an unknown activation or sign law.
    """
    if isinstance(width, bool) or not isinstance(width, int) or not 2 <= width <= 4096:
        raise ValueError(f"width must be an int in 2..4096, got {width!r}")
    if not isinstance(scale, Tensor) and not 1e-30 < scale <= 1:
        raise ValueError(f"scale must be in (1e-30, 1], got {scale!r}: at 0 nothing moves, above 1 nothing is small")
    network = ReLUNetwork(points.inputs, points.labels, width, scale, **control)  # type: ignore[arg-type]
    if network.activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {network.activation!r}")
    if network.signs not in ("random", "positive"):
        raise ValueError(f'signs must be "random" or "positive", got {network.signs!r}')
    return network


def largest_step(points: Points) -> float:
    """dt of a Heun step that resolves both the growth at the start and the convergence at the end."""
    stiff = points.minimum_norm * float(points.inputs.square().sum(1).max()) / len(points.labels)
    return 0.5 / max(*points.rates, stiff)


def require_step(dt: float, points: Points) -> None:
    """Raise ValueError unless 0 < dt <= 0.5/max(|D|, N* max|x|^2/n)."""
    limit = largest_step(points)
    if not 0 < dt <= limit:
        raise ValueError(f"dt must be in (0, {limit:.3g}] on these points, got {dt!r}: larger steps overshoot")


def initial_cones(
    parameters: Neurons, inputs: Float[Tensor, "sample feature"], labels: Float[Tensor, " sample"]
) -> tuple[Bool[Tensor, " neuron"], Bool[Tensor, " neuron"]]:
    """S+ and S-: neurons of sign + (-) that are active on every positive (negative) point."""
    active, positive = (parameters["w"] @ inputs.mT) > 0, labels > 0
    plus = (parameters["a"] > 0) & (active | ~positive).all(-1)
    minus = (parameters["a"] < 0) & (active | positive).all(-1)
    return plus, minus


def covers(parameters: Neurons, points: Points) -> bool:
    """Whether every point is active for some neuron of its own sign."""
    active = (parameters["w"] @ points.inputs.mT) > 0
    own = (parameters["a"][:, None] > 0) == points.positive
    return bool((active & own).any(0).all())


def first_crossing_prediction(parameters: Neurons, points: Points, sign: int) -> float:
    """When the part of the loss of one sign is halved, for one point per sign (approximate: see below).

    With u = D/|D| and rho0 = sum over neurons of the sign with <w_j, u> > 0 of ((<w_j, u> + |a_j|)/2)^2 the mass follows
    rho* /(1 + (rho*/rho0 - 1) e^(-2 |D| t)), rho* = |y|/|x|; halved when rho/rho* = 1 - 1/sqrt 2. Neurons that are active on both
    points are counted in full. NaN for a start that has passed this already, or has no such neuron: no crossing is predicted.
    """
    drive = points.drives[0] if sign > 0 else points.drives[1]
    rate = float(drive.norm())
    own = (parameters["a"] > 0) == (sign > 0)
    along = parameters["w"] @ (drive / rate)
    kept = own & (along > 0)
    start = float((((along + parameters["a"].abs()) / 2).square() * kept).sum())
    point = points.positive if sign > 0 else ~points.positive
    end = float((points.labels[point].abs() / points.inputs[point].norm(dim=1)).sum())
    share = 1 - 1 / math.sqrt(2)
    if not 0 < start < share * end:
        return math.nan
    return math.log((end / start - 1) * share / (1 - share)) / (2 * rate)
