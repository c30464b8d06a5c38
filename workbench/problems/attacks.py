"""Worst-case perturbations of inputs within a small ball: one step, projected ascent with restarts, hidden layers too.

An *objective* takes inputs and gives one value per sample, which the attack raises: the loss for a classifier
(`lambda x: cross_entropy(net(x), y, reduction="none")`), minus a similarity for an embedding. The values' shape [...] is
the leading part of the inputs' shape [..., *sample]; norms are over what remains, so that many networks, each with its own
inputs, are attacked at once. The radius is a number or a tensor that broadcasts against the values.

Perturbed inputs stay in the ball and in the `box` (None: no box). The gradient is normalised per sample and is exactly zero
where it vanishes, as on points classified beyond rounding.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from workbench import draws
from workbench.checks import require_count, require_nonnegative, require_positive, require_within

Norm = Literal["l2", "linf"]
Box = tuple[float, float] | None
Objective = Callable[[Float[Tensor, "..."]], Float[Tensor, "..."]]
UNIT: Box = (0.0, 1.0)


class Attacked(NamedTuple):
    """Perturbed inputs and the objective there, per sample."""

    inputs: Float[Tensor, "..."]
    values: Float[Tensor, "..."]


def one_step(
    objective: Objective,
    inputs: Num[Tensor, "..."],
    radius: float | Tensor,
    norm: Norm = "l2",
    *,
    step_size: float | Tensor | None = None,
    box: Box = UNIT,
) -> Float[Tensor, "..."]:
    """The inputs after one step from where they are, projected on ball and box; one gradient.

    Without `step_size` the step is as long as it takes: the exact maximiser of the linearised objective in ball and box (the
    fast gradient step, arXiv:1412.6572, for "linf"). With `step_size=radius` it is radius * g/|g| cut at the box, which may
    end inside the ball.

    Raises ValueError for a negative radius or step size, inputs outside the box, an objective without a value per sample.
    """
    _check(inputs, radius, norm, box)
    values, slope = _gradient(objective, inputs)
    ball, dims = _like(radius, values, inputs), _sample_dims(values, inputs)
    direction = slope.sign() if norm == "linf" else unit(slope, dims)
    if step_size is None:
        moved = ball * direction if norm == "linf" else direction
        return _apply(_within(moved, inputs, ball, norm, box, dims, longest=math.inf), inputs, box)
    require_nonnegative("step_size", step_size)
    moved = _like(step_size, values, inputs) * direction
    return _apply(_within(moved, inputs, ball, norm, box, dims), inputs, box)


def pgd(
    objective: Objective,
    inputs: Num[Tensor, "..."],
    radius: float | Tensor,
    norm: Norm = "l2",
    *,
    steps: int = 20,
    step_size: float | Tensor | None = None,
    starts: int = 1,
    seed: int = 0,
    warm: Float[Tensor, "..."] | None = None,
    box: Box = UNIT,
) -> Attacked:
    """Projected gradient ascent (arXiv:1706.06083), the best point of every sample over all steps and starts.

    The first start is the inputs themselves (a zero start is often the strongest one), further ones are random in the ball,
    from `seed`; more starts only add to fewer. `warm` is one more start, projected: given what was found at a smaller radius,
    a larger one never finds less; with `starts=0` it is the only one. `step_size` is 2.5 radius / steps unless given.

    Raises ValueError as `one_step` does, and for steps or starts below 1.
    """
    _check(inputs, radius, norm, box)
    require_count("steps", steps)
    require_count("starts", starts, 1 if warm is None else 0)
    values, _ = _gradient(objective, inputs)
    ball, dims = _like(radius, values, inputs), _sample_dims(values, inputs)
    stride = 2.5 * ball / steps
    if step_size is not None:
        require_positive("step_size", step_size)
        stride = _like(step_size, values, inputs)
    best = Attacked(inputs, values)
    if warm is not None and warm.shape != inputs.shape:
        raise ValueError(
            f"warm has shape {tuple(warm.shape)}: give one start for inputs of shape {tuple(inputs.shape)}"
        )
    begins = [torch.zeros_like(inputs)][:starts]
    begins += [_random(seed, k, inputs, ball, norm, dims) for k in range(1, starts)]
    if warm is not None:
        begins.append(warm - inputs)
    for begin in begins:
        perturbation = _within(begin, inputs, ball, norm, box, dims)
        for _ in range(steps):
            values, slope = _gradient(objective, _apply(perturbation, inputs, box))
            best = _better(best, Attacked(_apply(perturbation, inputs, box), values))
            ascent = slope.sign() if norm == "linf" else unit(slope, dims)
            perturbation = _within(perturbation + stride * ascent, inputs, ball, norm, box, dims)
        with torch.no_grad():
            last = _apply(perturbation, inputs, box)
            best = _better(best, Attacked(last, objective(last)))
    return best


def ladder(
    objective: Objective,
    inputs: Num[Tensor, "..."],
    radius: float | Tensor,
    norm: Norm = "l2",
    *,
    steps: int = 20,
    seed: int = 0,
    box: Box = UNIT,
) -> dict[str, Float[Tensor, ""]]:
    """Mean objective under attacks of growing strength; where a later one finds less, gradients are masked.

    "clean", "random" (a random direction of full length), "one step", "projected" (`steps` from a zero start), "five times
    the steps" and "three starts". The signs of masking are those of arXiv:1802.00420, section 3.1.
    """
    _check(inputs, radius, norm, box)
    with torch.no_grad():
        values = objective(inputs)
        ball, dims = _like(radius, values, inputs), _sample_dims(values, inputs)
        noise = draws.normal(seed, tuple(inputs.shape), stream="ladder").to(inputs)
        shift = ball * (noise.sign() if norm == "linf" else unit(noise, dims))
        random = objective(_apply(_within(shift, inputs, ball, norm, box, dims), inputs, box))
        step = objective(one_step(objective, inputs, radius, norm, box=box))
    found = {"clean": values, "random": random, "one step": step}
    for name, longer, starts in (("projected", 1, 1), ("five times the steps", 5, 1), ("three starts", 1, 3)):
        found[name] = pgd(
            objective, inputs, radius, norm, steps=longer * steps, starts=starts, seed=seed, box=box
        ).values
    return {name: value.mean() for name, value in found.items()}


def layer_step(
    module: nn.Module,
    layers: Sequence[nn.Module],
    objective: Objective,
    inputs: Float[Tensor, "sample ..."],
    radii: Sequence[float],
    *,
    box: Box = UNIT,
) -> tuple[Float[Tensor, "sample ..."], list[Tensor]]:
    """One l2 step from zero at the inputs and the outputs of hidden layers at once (RLAT, arXiv:2103.02325).

    radii: of the input's ball, then one per layer. The objective takes inputs and runs `module`, whose `layers` these are.
    Every perturbation is radius * g/|g| per sample; perturbed inputs are cut at the box, hidden layers have none. Train on
    `objective(perturbed)` within `perturbed_layers(layers, perturbations)`.

    Returns the perturbed inputs and the perturbations of the layers.
    Raises ValueError unless there is a radius for the inputs and for every layer, each of which runs once.
    """
    if len(radii) != len(layers) + 1:
        raise ValueError(f"radii needs 1 + {len(layers)} entries (the inputs', then one per layer), got {len(radii)}")
    for radius in radii:
        _check(inputs, radius, "l2", box)
    seen: dict[int, list[Tensor]] = {index: [] for index in range(len(layers))}
    frozen = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def keep(index: int) -> Callable:
        return lambda _, arguments, output: seen[index].append(output)

    handles = [layer.register_forward_hook(keep(index)) for index, layer in enumerate(layers)]
    try:
        for parameter in frozen:
            parameter.requires_grad_(False)
        with torch.enable_grad():
            point = inputs.detach().requires_grad_()
            values = objective(point)
            _sample_dims(values, inputs)
            for index, outputs in seen.items():
                if len(outputs) != 1:
                    raise ValueError(f"layers[{index}] ran {len(outputs)} times in the objective; it must run once")
            slopes = torch.autograd.grad(values.sum(), [point, *(outputs[0] for outputs in seen.values())])
    finally:
        for handle in handles:
            handle.remove()
        for parameter in frozen:
            parameter.requires_grad_(True)
    steps = [radius * unit(slope, range(1, slope.dim())) for radius, slope in zip(radii, slopes, strict=True)]
    return _apply(steps[0], inputs, box), steps[1:]


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def perturbed_layers(layers: Sequence[nn.Module], perturbations: Sequence[Tensor]) -> Iterator[None]:
    """The layers with these tensors added to their outputs."""

    def add(perturbation: Tensor) -> Callable:
        return lambda _, arguments, output: output + perturbation

    with contextlib.ExitStack() as stack:
        for layer, perturbation in zip(layers, perturbations, strict=True):
            stack.callback(layer.register_forward_hook(add(perturbation)).remove)
        yield


def unit(vectors: Float[Tensor, "..."], dims: Sequence[int]) -> Float[Tensor, "..."]:
    """Each vector (over `dims`) over its Euclidean length; exactly zero where it is zero. No length under- or overflows."""
    dims = tuple(dims)
    size = vectors.abs().amax(dims, keepdim=True)
    scaled = vectors / torch.where(size > 0, size, 1.0)
    return scaled / scaled.square().sum(dims, keepdim=True).clamp(min=0.5).sqrt()


def _check(inputs: Tensor, radius: float | Tensor, norm: str, box: Box) -> None:
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {', '.join(get_args(Norm))}, got {norm!r}")
    require_nonnegative("radius", radius)
    if box is not None:
        require_within("inputs", inputs, *box)
    elif not inputs.is_floating_point():
        raise ValueError(f"inputs must be floating-point numbers, got {inputs.dtype}: convert them")


def _gradient(objective: Objective, inputs: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        point = inputs.detach().requires_grad_()
        values = objective(point)
        _sample_dims(values, inputs)
        (slope,) = torch.autograd.grad(values.sum(), point)
    return values.detach(), slope


def _sample_dims(values: Tensor, inputs: Tensor) -> tuple[int, ...]:
    """The dimensions of one sample. Raises ValueError unless there is one value per sample."""
    lead = values.dim()
    if lead < 1 or lead >= inputs.dim() or values.shape != inputs.shape[:lead]:
        raise ValueError(
            f"objective must give one value per sample, so a leading part of the inputs' shape {tuple(inputs.shape)}, "
            f"and gave {tuple(values.shape)}: a mean hides which sample is attacked"
        )
    return tuple(range(lead, inputs.dim()))


def _like(number: float | Tensor, values: Tensor, inputs: Tensor) -> Tensor:
    """One number per sample, with dimensions of length one in the sample's places."""
    whole = torch.as_tensor(number, dtype=inputs.dtype, device=inputs.device).expand(values.shape)
    return whole.reshape(*values.shape, *[1] * (inputs.dim() - values.dim()))


def _apply(perturbation: Tensor, inputs: Tensor, box: Box) -> Tensor:
    moved = inputs + perturbation
    return moved if box is None else moved.clamp(*box)


def _better(best: Attacked, new: Attacked) -> Attacked:
    more = new.values.detach() > best.values
    grown = more.reshape(*more.shape, *[1] * (best.inputs.dim() - more.dim()))
    return Attacked(torch.where(grown, new.inputs, best.inputs), torch.where(more, new.values, best.values))


def _random(seed: int, start: int, inputs: Tensor, ball: Tensor, norm: Norm, dims: tuple[int, ...]) -> Tensor:
    """Uniform in the ball."""
    if norm == "linf":
        drawn = draws.uniform(seed, tuple(inputs.shape), low=-1.0, stream="attack start", counter=start)
        return ball * drawn.to(inputs)
    direction = unit(draws.normal(seed, tuple(inputs.shape), stream="attack start", counter=start).to(inputs), dims)
    depth = draws.uniform(seed, tuple(ball.shape), stream="attack depth", counter=start).to(inputs)
    return ball * direction * depth ** (1 / math.prod(inputs.shape[dim] for dim in dims))


def _within(
    moved: Tensor,
    inputs: Tensor,
    ball: Tensor,
    norm: Norm,
    box: Box,
    dims: tuple[int, ...],
    longest: float = 1.0,
) -> Tensor:
    """The Euclidean projection of a perturbation on ball and box.

    For the l2 ball it is t * moved cut at the box, with the t <= longest = 1 that brings its length to the radius or below
    (the multiplier of the ball's constraint); with longest = inf the same family gives the maximiser of a linear function
    with gradient `moved`.
    """
    if norm == "linf":
        cut = torch.minimum(torch.maximum(moved, -ball), ball)
        return cut if box is None else torch.minimum(torch.maximum(cut, box[0] - inputs), box[1] - inputs)
    if box is None:
        length = moved.square().sum(dims, keepdim=True).sqrt()
        scale = torch.where(length > 0, ball / torch.where(length > 0, length, 1.0), 0.0)
        return moved * scale.clamp(max=longest)
    cut = torch.minimum(torch.maximum(moved, box[0] - inputs), box[1] - inputs)
    length = cut.square().sum(dims, keepdim=True).sqrt()
    if longest == 1 and bool((length <= ball).all()):
        return cut
    # Where the perturbation is cut: at the upper end for entries that rise, at the lower one for those that fall.
    end = torch.where(moved > 0, box[1] - inputs, inputs - box[0])
    squares, ends, goal = moved.square(), end.square(), ball.square()
    share = _share_of_ball(squares, ends, goal, dims, longest)
    cut = torch.minimum(share.sqrt() * moved.abs(), end) * moved.sign()
    length = cut.square().sum(dims, keepdim=True).sqrt()
    return cut * torch.where(length > ball, ball / torch.where(length > 0, length, 1.0), 1.0)


def _share_of_ball(squares: Tensor, ends: Tensor, goal: Tensor, dims: tuple[int, ...], longest: float) -> Tensor:
    """The s <= longest with sum min(s squares, ends) = goal, or longest where the sum stays below the goal.

    The sum is concave and piecewise linear in s: Newton's method from the left never overshoots and ends after finitely many
    steps, most often four or five.
    """
    total = squares.sum(dims, keepdim=True)
    share = torch.where(total > 0, goal / torch.where(total > 0, total, 1.0), 0.0).clamp(max=longest)
    for _ in range(math.prod(squares.shape[dim] for dim in dims)):
        free = squares * share < ends
        reached = torch.where(free, squares * share, ends).sum(dims, keepdim=True)
        rise = torch.where(free, squares, 0.0).sum(dims, keepdim=True)
        missing = (goal - reached).clamp(min=0)
        # Nothing left to move: everything is at its end, and the rest of the way adds nothing.
        step = torch.where(rise > 0, missing / torch.where(rise > 0, rise, 1.0), 0.0)
        new = (share + step).clamp(max=longest)
        if not bool((new > share * (1 + 4 * torch.finfo(share.dtype).eps)).any()):
            break
        share = new
    return share
