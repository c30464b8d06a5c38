"""What happens between solutions: along the line through two, and in the plane of three."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.curvature.flat import Loss, flatten
from workbench.curvature.model import Door, each, modules_of, plain_kernels, untouched
from workbench.parameters import Parameters, tree_map


def interpolate(
    p: Parameters,
    q: Parameters,
    ts: Sequence[float] | Tensor,
    evaluate: Callable[[Parameters], Tensor | dict[str, Tensor]],
    *,
    chunk: int | None = None,
) -> Tensor | dict[str, Tensor]:
    """`evaluate` at `(1 - t) p + t q` for every t, stacked along a leading dimension; t = 0 is p, t = 1 is q.

    `evaluate(parameters)` returns a tensor or a dict of tensors; it is vmapped over `chunk` values of t at a time (all
    by default). t outside [0, 1] extrapolates. Runs under `torch.func.vmap`.

    >>> import torch
    >>> import workbench as wb
    >>> wb.curvature.interpolate(torch.tensor([0.0]), torch.tensor([2.0]), [0.0, 0.5, 1.0], lambda x: x[0] ** 2)
    tensor([0., 1., 4.])
    """
    first, _ = flatten(p)
    second, _ = flatten(q)
    if isinstance(p, dict) != isinstance(q, dict) or (isinstance(p, dict) and list(p) != list(q)):
        raise ValueError("p and q are parameters of different structure; they need the same names in the same order")
    if first.shape != second.shape or first.dtype != second.dtype:
        raise ValueError(f"p has {first.numel()} {first.dtype} entries, q {second.numel()} {second.dtype}; must agree")
    positions = torch.as_tensor(ts, dtype=first.dtype, device=first.device)
    if positions.ndim != 1:
        raise ValueError(f"ts must be a list or a tensor [point], got shape {tuple(positions.shape)}")

    def at(t: Tensor) -> Tensor | dict[str, Tensor]:
        return evaluate(tree_map(lambda a, b: (1 - t) * a + t * b, p, q))

    with untouched(*modules_of(evaluate)), plain_kernels():
        return each(at, positions, chunk=chunk, purpose="the interpolation", models=modules_of(evaluate))


@dataclass(frozen=True)
class LossPlane:
    """A loss on a grid in the plane through three solutions.

    Attributes:
        x, y: [column], [row] distances from the first solution along two orthonormal directions: x towards the second,
            y the rest of the way to the third; in units of parameter distance.
        values: [row, column].
        corners: [3, 2] coordinates of the three solutions.
        mean: [2] coordinates of their mean, which weight averaging would take.

    >>> import torch
    >>> import workbench as wb
    >>> corners = [torch.tensor(place).double() for place in ([0.0, 0.0], [3.0, 0.0], [0.0, 3.0])]
    >>> plane = wb.curvature.loss_plane(wb.problems.quadratic([1.0, 1.0]).loss, *corners, points=2)
    >>> plane.mean  # where weight averaging would go
    tensor([1., 1.], dtype=torch.float64)
    """

    x: Float[Tensor, " column"]
    y: Float[Tensor, " row"]
    values: Float[Tensor, "row column"]
    corners: Float[Tensor, "3 2"]
    mean: Float[Tensor, " 2"]


def loss_plane(
    loss: Loss,
    first: Parameters,
    second: Parameters,
    third: Parameters,
    *,
    points: int = 31,
    margin: float = 0.3,
    chunk: int | None = 64,
) -> LossPlane:
    """Evaluate `loss` on a `points` x `points` grid that covers three solutions and a `margin` (fraction) around them.

    With u = second - first and v = third - first, the axes are u / |u| and the normalised part of v orthogonal to u
    (arXiv 1802.10026, section 3; used by arXiv 2102.08604, figure 4).

    Raises:
        ValueError: the three solutions lie on one line, or differ in structure; fewer than 2 points.

    >>> import torch
    >>> import workbench as wb
    >>> corners = [torch.tensor(place).double() for place in ([0.0, 0.0], [2.0, 0.0], [0.0, 2.0])]
    >>> plane = wb.curvature.loss_plane(wb.problems.quadratic([1.0, 1.0]).loss, *corners, points=3, margin=0.0)
    >>> plane.values  # (x^2 + y^2)/2 at 0, 1, 2
    tensor([[0.0000, 0.5000, 2.0000],
            [0.5000, 1.0000, 2.5000],
            [2.0000, 2.5000, 4.0000]], dtype=torch.float64)
    """
    if points < 2 or margin < 0:
        raise ValueError(f"points={points}, margin={margin}; at least 2 points and a margin >= 0 are needed")
    origin, unflatten = flatten(first)
    u, v = (flatten(other)[0] for other in (second, third))
    if not origin.shape == u.shape == v.shape:
        raise ValueError(f"the three solutions have {origin.numel()}, {u.numel()} and {v.numel()} entries; must agree")
    u, v = u - origin, v - origin
    length = u.norm()
    along = u / length if float(length) > 0 else u
    shift = along @ v
    across = v - shift * along
    height = across.norm()
    rounding = torch.finfo(origin.dtype).eps ** 0.5
    if not float(height) > rounding * float(v.norm()) or not float(length) > 0:
        raise ValueError("the three solutions lie on one line (or two coincide); use interpolate instead")
    across = across / height
    zero = torch.zeros_like(length)
    corners = torch.stack([torch.stack(pair) for pair in ((zero, zero), (length, zero), (shift, height))])
    axes = []
    for axis in (0, 1):
        low, high = corners[:, axis].min(), corners[:, axis].max()
        pad = margin * (high - low)
        fraction = torch.linspace(0, 1, points, dtype=origin.dtype, device=origin.device)
        axes.append(low - pad + (high - low + 2 * pad) * fraction)
    x, y = axes
    places = torch.cartesian_prod(y, x)

    def at(place: Tensor) -> Tensor:
        return loss(unflatten(origin + place[1] * along + place[0] * across))

    door = Door(loss, first)
    door.require_deterministic()
    with door.open(), torch.no_grad() if door.plain else contextlib.nullcontext():
        values = each(at, places, chunk=chunk, purpose="the loss plane", models=door.models).reshape(points, points)
    return LossPlane(x, y, values, corners, corners.mean(0))
