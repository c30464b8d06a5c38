"""Does a classifier know how sure it may be: calibration error, over-confidence, loss against the noise on its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor

from workbench.checks import require_count, require_nonnegative, require_within


def expected_calibration_error(
    confidence: Float[Tensor, "*lead sample"],
    correct: Num[Tensor, "*lead sample"] | Bool[Tensor, "*lead sample"],
    bins: int = 15,
) -> Float[Tensor, "*lead"]:
    """ECE with bins of equal width (arXiv:1706.04599, equation 3): sum_b (n_b/N) |accuracy_b - confidence_b|.

    A bin includes its upper end. Raises ValueError for confidences outside [0, 1], other shapes, no samples.
    """
    require_count("bins", bins)
    _check(confidence, correct)
    place = (torch.ceil(confidence * bins).long() - 1).clamp(0, bins - 1)
    gap = correct.to(confidence.dtype) - confidence
    sums = gap.new_zeros(*gap.shape[:-1], bins).scatter_add_(-1, place, gap)
    return sums.abs().sum(-1) / gap.shape[-1]


def overconfidence(
    confidence: Float[Tensor, "*lead sample"], correct: Num[Tensor, "*lead sample"] | Bool[Tensor, "*lead sample"]
) -> Float[Tensor, "*lead"]:
    """Mean confidence minus accuracy: below 0 for a classifier that is better than it believes."""
    _check(confidence, correct)
    return (confidence - correct.to(confidence.dtype)).mean(-1)


def noise_curve(
    loss: Callable[[Float[Tensor, "sample ..."]], Float[Tensor, "..."]],
    inputs: Float[Tensor, "sample ..."],
    noise: Float[Tensor, "draw sample ..."],
    sigmas: Sequence[float],
    *,
    box: tuple[float, float] | None = (0.0, 1.0),
    antithetic: bool = False,
) -> Float[Tensor, " sigma"]:
    """Mean loss on inputs + sigma z, cut at the box, for each sigma and the same draws z.

    With antithetic pairs, z and -z, and no box, the curve of a loss that is convex in the inputs is itself convex and even in
    sigma, so it never falls, whatever the draws.
    """
    if noise.shape[1:] != inputs.shape or not len(noise):
        raise ValueError(f"noise must be [draw, *{tuple(inputs.shape)}], got {tuple(noise.shape)}")
    for sigma in sigmas:
        require_nonnegative("every entry of sigmas", sigma)
    if box is not None:
        require_within("inputs", inputs, *box)
    signs = (1, -1) if antithetic else (1,)

    def mean_loss(sigma: float) -> Tensor:
        noisy = [inputs + sign * sigma * draw for draw in noise for sign in signs]
        return torch.stack([loss(one if box is None else one.clamp(*box)).mean() for one in noisy]).mean()

    return torch.stack([mean_loss(float(sigma)) for sigma in sigmas])


def _check(confidence: Tensor, correct: Tensor) -> None:
    if confidence.shape != correct.shape or not confidence.dim() or not confidence.shape[-1]:
        raise ValueError(
            f"confidence and correct must have one entry per sample, got {tuple(confidence.shape)} and {tuple(correct.shape)}"
        )
    require_within("confidence", confidence)
    require_within("correct", correct.to(torch.float64))
