"""Worst cases over a ball around the parameters: ascent on the loss, and the exact answer for its quadratic model."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as tree

from workbench import draws, memory
from workbench.checks import require_count
from workbench.curvature import batches
from workbench.curvature.flat import Loss, flatten, require_full_precision, size_of
from workbench.curvature.hessian import hessian_rows, require_dense, symmetrised
from workbench.curvature.layers.structured import recognised
from workbench.curvature.model import Door, each, transformed
from workbench.curvature.products import hvp_operator
from workbench.curvature.samples.source import SampleLoss, sample_problem
from workbench.curvature.scales import norm
from workbench.parameters import Parameters, on_device

from .sharpness import Scaling, rescaled


def worst_case(
    loss: Loss,
    parameters: Parameters,
    rho: float | Tensor,
    *,
    scaling: Scaling = "absolute",
    steps: int = 20,
    step_fraction: float = 0.1,
    restarts: int = 4,
    seed: int | Tensor = 0,
) -> Float[Tensor, ""]:
    """Largest `loss(w + d) - loss(w)` over |d| <= rho found by projected ascent: a lower bound of the maximum, >= 0.

    `restarts` ascents run at once: one from w itself, the others from random points of the sphere of radius rho. Each
    makes `steps` steps of length `step_fraction * rho` along the normalised gradient, projected onto the ball; the best
    point visited counts. Where the gradient is exactly zero (an exact minimum) the step goes in a seeded random
    direction. Runs under `torch.func.vmap`; `rho` may be a 0-dim tensor.

    >>> import torch
    >>> import workbench as wb
    >>> bowl = wb.problems.quadratic([1.0, 1.0])
    >>> wb.curvature.worst_case(bowl.loss, torch.zeros(2).double(), rho=2.0)  # rho^2 lambda/2
    tensor(2., dtype=torch.float64)
    """
    _check_ascent(rho, steps, step_fraction)
    if restarts < 1:
        raise ValueError(f"restarts={restarts}; at least 1 ascent is needed")
    size, dtype = size_of(parameters)
    require_full_precision(dtype)
    memory.require(
        6 * restarts * size * dtype.itemsize, f"{restarts} ascents in {size:,} parameters", "Lower restarts."
    )
    loss, origin = rescaled(loss, parameters, scaling)
    door = Door(loss, origin)
    door.require_deterministic()
    rho = on_device(rho, door.flat.device)
    starts = _directions(seed, restarts, door.flat)
    inner = torch.cat([torch.zeros_like(starts[:1]), starts[1:]])

    def climb(start: Tensor, escape: Tensor) -> Tensor:
        return _ascend(door, rho * start, escape, rho, steps, step_fraction)

    with door.open(), torch.no_grad() if door.plain else contextlib.nullcontext():
        base = door.evaluate(door.flat)
        tops = each(climb, inner, starts, purpose="the worst case", models=door.models)
        return torch.clamp(tops.amax(0) - base, min=0.0)


def m_sharpness(
    sample_loss: SampleLoss,
    parameters: Parameters,
    *data: Any,
    m: int,
    rho: float | Tensor,
    scaling: Scaling = "absolute",
    steps: int = 20,
    step_fraction: float = 0.1,
    chunk: int | None = None,
    seed: int | Tensor = 0,
) -> Float[Tensor, ""]:
    """Mean over consecutive groups S of m samples of `max_{|d| <= rho} l_S(w + d) - l_S(w)` (arXiv 2206.06232).

    Each group climbs from w by `steps` normalised ascent steps of length `step_fraction * rho`, projected onto the
    ball; the best point visited counts, so the value is a lower bound of each maximum and never negative. m = n is
    the ordinary sharpness of the training loss, m = 1 the mean over single samples. A group whose gradient is exactly
    zero starts in a seeded random direction. Runs under `torch.func.vmap`.

    Args:
        sample_loss: `sample_loss(parameters, *sample) -> scalar`, or an `empirical_loss`, which brings its data.
        data: tensors with a leading sample dimension n; m must divide n.
        chunk: groups treated at once (all by default).

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.tensor([1.0, 3.0]), torch.zeros(2)
    >>> def sample_loss(w, x, t):
    ...     return (w[0] * x - t) ** 2 / 2  # gradient x (x w - t)
    >>> wb.curvature.m_sharpness(sample_loss, torch.zeros(1), inputs, targets, m=1, rho=1.0)  # mean of x^2 rho^2/2
    tensor(2.5000)
    """
    network = recognised(sample_loss)
    sample_loss, data = sample_problem(sample_loss, data)
    samples = batches.count("data", data)
    require_count("m", m)
    if m < 1 or samples % m:
        raise ValueError(f"m={m} must be at least 1 and divide the number of samples, n={samples}; drop some samples")
    _check_ascent(rho, steps, step_fraction)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk}; choose how many groups to treat at once, at least 1")
    size, dtype = size_of(parameters)
    require_full_precision(dtype)
    at_once = min(samples // m, chunk or samples)
    memory.require(
        4 * at_once * size * dtype.itemsize, f"{at_once} ascents in {size:,} parameters", "Give a smaller chunk."
    )
    groups = tree.tree_map(lambda leaf: leaf.reshape(samples // m, m, *leaf.shape[1:]), data)
    origin_flat, unflatten = flatten(parameters)
    rho = on_device(rho, origin_flat.device)
    escape = _directions(seed, 1, origin_flat)[0]
    whole = Door(sample_loss, parameters)
    few = [batches.take(data, index) for index in range(min(8, samples))]
    whole.require_deterministic(
        lambda vector: torch.stack([sample_loss(unflatten(vector), *sample) for sample in few]).sum()
    )

    def of_group(*group: Any) -> Tensor:
        def group_loss(point: Parameters) -> Tensor:
            if network is not None:
                return network.data_loss(point, *group) / (m if network.reduction == "sum" else 1)
            if transformed():
                return torch.func.vmap(lambda *sample: sample_loss(point, *sample))(*group).mean()
            # Layers that run again in the backward pass cannot do so outside vmap.
            return torch.stack([sample_loss(point, *batches.take(group, i)) for i in range(m)]).mean()

        loss, origin = rescaled(group_loss, parameters, scaling)
        door = Door(loss, origin)
        top = _ascend(door, door.flat, escape, rho, steps, step_fraction)
        return torch.clamp(top - door.evaluate(door.flat), min=0.0)

    with whole.open(), torch.no_grad() if whole.plain else contextlib.nullcontext():
        return each(of_group, *groups, chunk=chunk, purpose="m-sharpness", models=whole.models).mean()


def quadratic_worst_case(
    loss: Loss, parameters: Parameters, rho: float | Tensor, *, scaling: Scaling = "absolute"
) -> Float[Tensor, ""]:
    """Exact maximum of `g.d + d.H d / 2` over |d| <= rho, the second-order model of `worst_case`; for small P.

    The trust-region problem has no duality gap: the maximum is the minimum over mu >= max(largest eigenvalue, 0) of
    `(sum_i g_i^2 / (mu - lambda_i) + mu rho^2) / 2`, convex in mu, which bisection solves to rounding, the hard case
    included (Conn, Gould and Toint 2000, section 7.2). At a minimum it is `rho^2 * sharpness / 2`.

    Raises:
        workbench.memory.OutOfBudget: the dense Hessian does not fit; use `worst_case`.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.zeros(2).double()
    >>> wb.curvature.quadratic_worst_case(bowl.loss, x, rho=0.5)  # rho^2 lambda/2
    tensor(0.5000, dtype=torch.float64)
    """
    _check_ascent(rho, 1, 1.0)
    size, dtype = size_of(parameters)
    require_full_precision(dtype)
    require_dense(size, torch.float64, copies=4)
    if scaling != "absolute":
        loss, parameters = rescaled(loss, parameters, scaling)
    operator = hvp_operator(loss, parameters)
    # In double precision, whose range holds the squares of single precision's smallest and largest numbers.
    matrix = symmetrised(hessian_rows(operator)).double()
    finite = torch.isfinite(matrix).all() & torch.isfinite(operator.gradient).all()
    values, vectors = torch.linalg.eigh(torch.where(finite, matrix, 0.0))
    squares = (torch.where(finite, operator.gradient, 0.0).double() @ vectors).square()
    radius = torch.as_tensor(rho, dtype=values.dtype, device=values.device)

    def parts(mu: Tensor, power: int) -> Tensor:
        gaps = mu - values
        return torch.where(squares > 0, squares / gaps**power, 0.0).sum()

    low = values[-1].clamp(min=0.0)
    high = low + squares.sum().sqrt() / torch.where(radius > 0, radius, 1.0)
    for _ in range(2 * -int(torch.log2(torch.tensor(torch.finfo(values.dtype).eps)))):
        middle = (low + high) / 2
        too_long = parts(middle, 2) > radius.square()
        low, high = torch.where(too_long, middle, low), torch.where(too_long, high, middle)
    value = (parts(high, 1) + high * radius.square()) / 2
    return torch.where(finite, torch.where(radius > 0, value, 0.0), torch.nan).to(dtype)


def _ascend(door: Door, start: Tensor, escape: Tensor, rho: float | Tensor, steps: int, step_fraction: float) -> Tensor:
    """The largest loss met on the way."""
    point, best = start, None
    for _ in range(steps):
        gradient, value = door.gradient_and_value(point)
        best = value if best is None else torch.maximum(best, value)
        length = norm(gradient)
        unit = torch.where(length > 0, gradient / torch.where(length > 0, length, 1.0), escape)
        point = point + step_fraction * rho * unit
        distance = point.norm()
        point = point * torch.where(distance > rho, rho / torch.where(distance > 0, distance, 1.0), 1.0)
    value = door.evaluate(point)
    return value if best is None else torch.maximum(best, value)


def _directions(seed: int | Tensor, number: int, like: Tensor) -> Tensor:
    """Unit vectors [number, P], uniform on the sphere."""
    normal = draws.normal(seed, (number, like.numel()), stream="ball", dtype=like.dtype).to(like.device)
    return normal / normal.norm(dim=1, keepdim=True)


def _check_ascent(rho: float | Tensor, steps: int, step_fraction: float) -> None:
    if not isinstance(rho, Tensor) and not 0 <= rho < float("inf"):
        raise ValueError(f"rho={rho}; the radius must be a finite number >= 0")
    if steps < 1:
        raise ValueError(f"steps={steps}; at least one ascent step is needed")
    if not 0 < step_fraction <= 2:
        raise ValueError(f"step_fraction={step_fraction}; choose the step as a fraction of rho in (0, 2]")
