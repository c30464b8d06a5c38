"""What small radii do, to leading order: adversarial training penalises the gradient, Gaussian noise the curvature.

l(x + eps g/|g|) = l + eps |g| + O(eps^2), and for every draw z of a smooth network
(l(x + sigma z) + l(x - sigma z))/2 = l + sigma^2/2 z'Hz + O(sigma^4). The remainders are measured image by image and draw by
draw, no expectation taken; their size is the root of their mean square, in which none cancels another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from workbench import draws
from workbench.dynamics.times import halving_limit
from workbench.papers.adversarial_training_corruptions.digits import digits
from workbench.problems.networks.multilayer import Multilayer

ROUNDING = 1e3
"""A remainder counts while it is this many times larger than its rounding."""
Images = Float[Tensor, "sample pixel"]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A small network trained on the first 500 digits, and the next 100 to look at, in float64."""

    network: Multilayer
    parameters: dict[str, Tensor]
    images: Images
    targets: Float[Tensor, "sample label"]

    def loss(self, images: Images) -> Float[Tensor, " sample"]:
        """Cross entropy of every image."""
        outputs = self.network.forward(self.parameters, images)
        return -(self.targets * functional.log_softmax(outputs, -1)).sum(-1)

    def gradient(self) -> Images:
        """Of every image's loss."""
        return torch.func.grad(lambda images: self.loss(images).sum())(self.images)

    def curvature(self, z: Images) -> Float[Tensor, " sample"]:
        """z'Hz of every image."""
        slope = torch.func.grad(lambda images: self.loss(images).sum())
        return (torch.func.jvp(slope, (self.images,), (z,))[1] * z).sum(-1)


def fitted(seed: int, activation: Literal["tanh", "relu"] = "tanh", steps: int = 200) -> Fitted:
    """64-32-10, weights from the seed, Adam with step size 0.01 on all 500 images at once."""
    images, targets = (part.double() for part in digits())
    network = Multilayer((images.shape[1], 32, targets.shape[1]), activation)
    parameters = network.initial(seed, "lecun", torch.float64)
    leaves = [value.requires_grad_() for value in parameters.values()]
    optimizer = torch.optim.Adam(leaves, lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = network.forward(parameters, images[:500])
        (-(targets[:500] * functional.log_softmax(outputs, -1)).sum(-1).mean()).backward()
        optimizer.step()
    frozen = {name: value.detach() for name, value in parameters.items()}
    return Fitted(network, frozen, images[500:600], targets[500:600])


def adversarial_remainders(
    net: Fitted, radii: Sequence[float], direction: Literal["gradient", "random"] = "gradient", seed: int = 0
) -> xr.Dataset:
    """Size over images of l(x + eps d) - l - eps |g| per radius, d the unit gradient or, for the control, a random direction;
    and its rounding.
    """
    slope = net.gradient()
    length = slope.norm(dim=1, keepdim=True).clamp(min=1e-300)
    way = slope / length
    if direction == "random":
        z = draws.normal(seed, tuple(slope.shape), stream="random direction")
        way = z / z.norm(dim=1, keepdim=True)
    start = net.loss(net.images)
    found = [net.loss(net.images + eps * way) - start - eps * length[:, 0] for eps in radii]
    return _remainders(found, start, "radius", radii)


def gaussian_remainders(net: Fitted, sigmas: Sequence[float], seed: int, n_draws: int = 20) -> xr.Dataset:
    """Size over images and draws of the even part of the loss less l + sigma^2/2 z'Hz, per sigma; and its rounding."""
    z = draws.normal(seed, (n_draws, *net.images.shape), stream="even part")
    bent = [net.curvature(one) for one in z]
    start = net.loss(net.images)
    found = []
    for sigma in sigmas:
        even = [(net.loss(net.images + sigma * one) + net.loss(net.images - sigma * one)) / 2 for one in z]
        parts = [part - start - 0.5 * sigma**2 * curve for part, curve in zip(even, bent, strict=True)]
        found.append(torch.stack(parts))
    return _remainders(found, start, "sigma", sigmas)


def order(remainders: xr.Dataset, along: str, step_order: float) -> xr.Dataset:
    """The exponent of the remainder: local slopes under halving, extrapolated (their error is of `step_order`).

    Returns `slope` at each halving, `limit`, its computed `error` (the larger of the last two changes) and `resolved`, false
    where a remainder is not well above its rounding, or the error reaches half the way to the next order: then nothing is said.
    """
    values = remainders.remainder
    ratio = values.values[:-1] / values.values[1:]
    halvings = values[along].values[:-1] / values[along].values[1:]
    slopes = xr.DataArray(np.log(ratio) / np.log(halvings), {along: values[along].values[:-1]}, along)
    limit = halving_limit(slopes, along, order=step_order)
    resolved = bool((values > ROUNDING * remainders.rounding).all()) and float(limit.error) < 0.5
    return xr.Dataset({"slope": slopes, "limit": limit.limit, "error": limit.error, "resolved": resolved})


def off_by(found: xr.Dataset, exact: float) -> float:
    """|limit - exact| in units of the computed error; NaN where nothing was resolved."""
    return abs(float(found.limit) - exact) / float(found.error) if bool(found.resolved) else math.nan


def _remainders(found: Sequence[Tensor], start: Tensor, along: str, places: Sequence[float]) -> xr.Dataset:
    sizes = [float(one.square().mean().sqrt()) for one in found]
    rounding = 8 * np.finfo(float).eps * float(start.abs().mean() + 1)
    return xr.Dataset(
        {"remainder": (along, sizes), "rounding": (along, [rounding] * len(sizes))}, {along: list(places)}
    )
