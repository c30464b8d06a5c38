"""Estimates with intervals, and the quantiles that make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import gammainccinv, gammaincinv, ndtr, ndtri, stdtrit
from torch import Tensor


class Estimate(NamedTuple):
    """An estimate with its standard error and a 95 % interval; 0 and of no width where the Hessian was computed whole.

    The spread of few terms is itself uncertain. The standard error is widened for that: 1.96 of them hold the value as often as
    the interval promises. Where the interval is not symmetric, they reach its farther end.

    `value` is a number, or one a parameter; `standard_error` has its shape, `interval` [..., 2] holds the ends.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> estimate = wb.curvature.trace(bowl.loss, x)
    >>> float(estimate.value), float(estimate.standard_error), estimate.interval.tolist()  # exact for so few parameters
    (5.0, 0.0, [5.0, 5.0])
    """

    value: Float[Tensor, "*shape"]
    standard_error: Float[Tensor, "*shape"]
    interval: Float[Tensor, "*shape 2"]


def exact(value: Tensor) -> Estimate:
    """An estimate without error. Of runs in a sweep some may have diverged: their error is not known to be 0."""
    return symmetric(value, torch.where(torch.isfinite(value), 0.0, torch.nan).to(value))


def symmetric(value: Tensor, half: Tensor) -> Estimate:
    """The interval of this half width around the value."""
    return Estimate(value, half / float(ndtri(0.975)), torch.stack([value - half, value + half], dim=-1))


def between(value: Tensor, low: Tensor, high: Tensor) -> Estimate:
    """The interval with these ends."""
    farther = torch.maximum(high - value, value - low)
    return Estimate(value, farther / float(ndtri(0.975)), torch.stack([low, high], dim=-1))


def rounding(size: Tensor) -> Tensor:
    """What sums of terms of this joint size (root of the sum of their squares times how many) may be off by rounding."""
    return 4 * torch.finfo(size.dtype).eps * size


def student_quantile(degrees: Tensor) -> Tensor:
    """Student's 97.5 % quantile, for any number of degrees of freedom each."""
    return _OnHost.apply(degrees, _student)


def mean_square_interval(mean: Tensor, degrees: Tensor, terms: int) -> tuple[Tensor, Tensor]:
    """The ends of a 95 % interval for a sum of squares whose estimate is `mean` and has this many degrees of freedom.

    They were themselves estimated from `terms` terms: the level is Student's for that many instead of the normal one.
    """
    tail = float(ndtr(-stdtrit(terms - 1, 0.975)))
    low = mean * degrees / (2 * _OnHost.apply(degrees, lambda nu: gammainccinv(nu / 2, tail)))
    return low, mean * degrees / (2 * _OnHost.apply(degrees, lambda nu: gammaincinv(nu / 2, tail)))


def plug_in(images: Float[Tensor, "probe parameter"], dimension: int) -> tuple[Tensor, Tensor]:
    """The mean square of the probes' images A z, and the degrees of freedom of that mean as a chi-squared variable.

    It is a sum of squares weighted by A's squared singular values s. With Gaussian z the degrees are
    probes (sum s)^2 / sum s^2 (Satterthwaite 1946), and products of different images estimate the lower sum; on the sphere of
    this dimension 1 / dimension is taken from its share, since a multiple of the identity varies no more.
    """
    number = images.shape[0]
    mean = images.square().sum(1).mean()
    unit = images / torch.where(mean > 0, mean, 1.0).sqrt()
    gram = unit @ unit.mT
    share = (gram.square().sum() - gram.diagonal().square().sum()) / (number * (number - 1))
    # One direction alone has one degree of freedom a probe, the fewest there can be; the share is itself estimated.
    share = share.clamp(min=torch.finfo(share.dtype).eps, max=1.0)
    return mean, number / torch.maximum(share - 1 / dimension, share / 2)


def _student(degrees: np.ndarray) -> np.ndarray:
    return stdtrit(degrees, 0.975)


class _OnHost(torch.autograd.Function):
    """An elementwise NumPy function of a tensor, also under vmap."""

    generate_vmap_rule = False

    @staticmethod
    def forward(entries: Tensor, function: Callable[[np.ndarray], np.ndarray]) -> Tensor:  # type: ignore[override]
        return torch.as_tensor(function(entries.detach().cpu().double().numpy())).to(entries)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        return _OnHost.apply(*arguments), in_dims[0]
