"""SWAD's window (arXiv:2102.08604, algorithm 1): average from where the validation loss first stops improving to where it
overfits.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch._C._functorch import is_batchedtensor

from workbench.checks import refuse_outside

Variant = Literal["paper", "released"]


class LossValley(NamedTuple):
    """The window over the evaluations 0..T-1 and the weights of their segments.

    `start` and `end` are the first and last evaluation of the window of algorithm 1. Without convergence both are T - 1,
    and the threshold is infinite. `closed` says that the loss left the valley before training ended.

    >>> import workbench as wb
    >>> window = wb.optimizers.loss_valley([3.0, 1.0, 1.1, 1.2, 2.0, 2.0, 2.0], n_converge=3, n_tolerance=2)
    >>> int(window.start), int(window.end), bool(window.closed)
    (1, 3, True)
    """

    weights: Float[Tensor, " evaluation"]
    start: Int[Tensor, ""]
    end: Int[Tensor, ""]
    threshold: Float[Tensor, ""]
    converged: Bool[Tensor, ""]
    closed: Bool[Tensor, ""]


def loss_valley(
    losses: Float[Tensor, " evaluation"] | Sequence[float] | np.ndarray,
    n_converge: int = 3,
    n_tolerance: int = 6,
    tolerance: float | Tensor = 1.3,
    variant: Variant = "paper",
) -> LossValley:
    """The evaluations whose segments SWAD averages, from the validation losses. Runs under `torch.func.vmap`.

    The window starts at the first evaluation that is no larger than the next `n_converge - 1` ones. The threshold is
    `tolerance` times the mean of these `n_converge` losses. After them, the first time that `n_tolerance` losses in a row
    lie above it, the window ends just before the row; otherwise it goes on to the end of training, with a warning. A loss that
    never converges gets weight 1 on its last segment, with a warning too: then nothing has been averaged over evaluations.
    A loss that is not finite starts no window and counts as above the threshold.

    losses: a tensor, a list or an array; whole numbers are taken as float64.
    variant: "released" weights the segments as the published code does: it reaches back before the start while the loss
        is below the threshold, may count the first segments more than once, and drops the tail above the threshold.
    Raises ValueError for losses that are no list of numbers, fewer than `n_converge`, or an argument out of range.

    >>> loss_valley(torch.tensor([3.0, 1.0, 1.1, 1.2, 2.0, 2.0, 2.0]), 3, 2, 1.3).weights
    tensor([0.0000, 0.3333, 0.3333, 0.3333, 0.0000, 0.0000, 0.0000])
    """
    losses = _numbers(losses)
    total = losses.shape[-1]
    for name, value in (("n_converge", n_converge), ("n_tolerance", n_tolerance)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be an int >= 1, got {value!r}")
    if total < n_converge:
        raise ValueError(f"losses holds {total} evaluations, fewer than n_converge={n_converge}; evaluate more often")
    refuse_outside("tolerance", tolerance, lower=1.0, open_lower=True)
    if variant not in get_args(Variant):
        raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}")

    windows = losses.unfold(-1, n_converge, 1)
    settles = (windows[:, 0] <= windows.amin(-1)) & windows.isfinite().all(-1)
    converged, first = settles.any(), settles.to(torch.int64).argmax()
    chosen = (torch.arange(len(settles), device=losses.device) == first)[:, None]
    threshold = torch.where(converged, tolerance * torch.where(chosen, windows, 0.0).sum() / n_converge, torch.inf)
    losses = torch.where(losses.isfinite(), losses, torch.inf)

    number = torch.arange(total, device=losses.device)
    # A row of n_tolerance losses needs as many evaluations: the padding lies below every threshold.
    padded = torch.cat([losses.new_full((n_tolerance - 1,), -torch.inf), losses])
    overfit = (padded.unfold(-1, n_tolerance, 1).amin(-1) > threshold) & (number >= first + n_converge)
    closed = converged & overfit.any()
    last = torch.where(closed, overfit.to(torch.int64).argmax() - n_tolerance, total - 1)
    start = torch.where(converged, first, total - 1)
    if variant == "paper":
        counts = ((number >= start) & (number <= last)).to(losses.dtype)
    else:
        counts, closed = _released(losses, n_converge, n_tolerance, first, threshold)
        counts = torch.where(converged, counts, (number == total - 1).to(losses.dtype))
        closed = converged & closed
    warn_unless(converged, closed)
    return LossValley(counts / counts.sum(), start, last, threshold, converged, closed)


def _numbers(losses: Any) -> Tensor:
    try:
        found = losses if isinstance(losses, Tensor) else torch.as_tensor(np.asarray(losses, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise ValueError(f"losses must be a list, an array or a tensor of numbers, got {losses!r:.80}") from error
    if found.dim() != 1 or found.is_complex():
        raise ValueError(
            f"losses must have one dimension, the evaluations, got shape {tuple(found.shape)} of {found.dtype}"
        )
    return found if found.is_floating_point() else found.double()


def warn_unless(converged: Tensor, closed: Tensor, average: str = "the window") -> None:
    """Runs of a sweep are not looked at: their `converged` and `closed` tell it."""
    if is_batchedtensor(converged) or is_batchedtensor(closed) or closed:
        return
    if converged:
        text = f"the validation loss never left its valley, so that {average} goes on to the end of training"
    else:
        text = f"the validation loss has not converged, so that {average} is the last segment alone"
    warnings.warn(f"{text}: train longer or evaluate more often", stacklevel=3)


def _released(
    losses: Tensor, n_converge: int, n_tolerance: int, start: Tensor, threshold: Tensor
) -> tuple[Tensor, Tensor]:
    """How often the published code adds each segment, and whether its valley closed.

    It keeps a queue of the last n_tolerance segments. At convergence it adds some of the queue; from then on, at each
    evaluation, the oldest of the queue once that is not older than the start, until all of the queue lie above the
    threshold.
    """
    total = len(losses)
    number = torch.arange(total, device=losses.device)
    settled = start + n_converge - 1
    counts = torch.zeros_like(losses)
    if n_tolerance > n_converge:
        oldest = torch.clamp(settled - n_tolerance + 1, min=0)
        newest = torch.minimum(oldest + n_tolerance - n_converge, settled)
        queued = (number >= oldest) & (number <= newest)
        above = torch.where(queued & (losses > threshold), number, -1).amax()
        kept = torch.maximum(above + 1, oldest)
        counts = counts + (queued & (number > kept))
    elif n_tolerance < n_converge:
        counts = counts + ((number > start) & (number <= start + n_converge - n_tolerance))
    oldest = torch.clamp(number - n_tolerance + 1, min=0)
    in_queue = (number[None, :] >= oldest[:, None]) & (number[None, :] <= number[:, None])
    lowest = torch.where(in_queue, losses[None, :], torch.inf).amin(-1)
    running = (number > settled) & (oldest >= start)
    dead = torch.cumsum((running & (lowest > threshold)).to(torch.int64), 0) > 0
    added = (running & ~dead).to(losses.dtype)
    counts = counts + (added[:, None] * (oldest[:, None] == number[None, :])).sum(0)
    # At the end the rest of the queue follows, as long as some loss at or after it is below the threshold.
    later = torch.flip(torch.cummin(torch.flip(losses, (0,)), 0).values, (0,))
    rest = (number > oldest[-1]) & (later <= threshold) & ~dead[-1]
    counts = counts + rest
    # Its first average is the start itself, which the first segment added replaces.
    return torch.where(counts.sum() > 0, counts, (number == start).to(losses.dtype)), dead[-1]
