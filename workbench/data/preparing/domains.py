"""Domains: rotated images, and leaving one domain out."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Num
from scipy import special
from torch import Tensor

from workbench import draws
from workbench.data.names import position
from workbench.data.readers import embedded
from workbench.data.record import Data
from workbench.parameters import concrete

ANGLES = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0)
"""The rotations, in degrees, of RotatedMNIST's six domains."""


class _CosineSine(torch.autograd.Function):
    """Cosine and sine of degrees by SciPy, which is exact at multiples of 90; torch knows radians only."""

    generate_vmap_rule = False

    @staticmethod
    def forward(degrees: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        angle = degrees.cpu().numpy()
        return torch.as_tensor(special.cosdg(angle)), torch.as_tensor(special.sindg(angle))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *degrees: Tensor) -> Any:
        return _CosineSine.apply(*degrees), (in_dims[0], in_dims[0])


def rotate(
    images: Float[Tensor, "*sample row column"], degrees: float | int | Tensor
) -> Float[Tensor, "*sample row column"]:
    """Rotate about the centre with bilinear interpolation, zero outside: scipy.ndimage.rotate(order=1, reshape=False).

    Multiples of 90 degrees are exact: `torch.rot90`, as far as the image is square. The angle may be a (vmapped) number in a
    tensor, and gradients flow to the images, not to the angle.

    Raises ValueError for several angles at once, and for one that is not finite.
    """
    rows, columns = images.shape[-2:]
    angle = torch.as_tensor(degrees, dtype=torch.float64)
    if angle.dim():
        raise ValueError(f"degrees must be one number, got shape {tuple(angle.shape)}; use torch.func.vmap for several")
    known = concrete(angle)
    if known is not None and not math.isfinite(known):
        raise ValueError(f"degrees must be finite, got {known}")
    cosine, sine = (part.to(images.device) for part in _CosineSine.apply(angle))
    row = torch.arange(rows, dtype=torch.float64, device=images.device)[:, None]
    column = torch.arange(columns, dtype=torch.float64, device=images.device)[None, :]
    middle_row, middle_column = (rows - 1) / 2, (columns - 1) / 2
    # SciPy's order of operations, so that points on the border fall on the same side.
    from_row = cosine * row + sine * column + (middle_row - (cosine * middle_row + sine * middle_column))
    from_column = -sine * row + cosine * column + (middle_column - (-sine * middle_row + cosine * middle_column))
    inside = (from_row >= 0) & (from_row <= rows - 1) & (from_column >= 0) & (from_column <= columns - 1)
    low_row, low_column = from_row.floor().clamp(0, rows - 1), from_column.floor().clamp(0, columns - 1)
    high_row, high_column = (low_row + 1).clamp(max=rows - 1), (low_column + 1).clamp(max=columns - 1)
    across, along = (from_row - low_row).to(images.dtype), (from_column - low_column).to(images.dtype)
    flat = images.flatten(-2)

    def at(index_row: Tensor, index_column: Tensor) -> Tensor:
        return flat[..., (index_row * columns + index_column).long().flatten()].unflatten(-1, (rows, columns))

    upper = at(low_row, low_column) * (1 - along) + at(low_row, high_column) * along
    lower = at(high_row, low_column) * (1 - along) + at(high_row, high_column) * along
    return torch.where(inside, upper * (1 - across) + lower * across, 0.0)


@functools.cache
def _all_rotations(angles: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    raw = embedded.digits()
    images = torch.from_numpy(raw.inputs).to(torch.float64) / raw.scale
    turned = torch.stack([rotate(images, angle) for angle in angles]).clamp(0, 1)
    return turned, torch.from_numpy(raw.targets)


@draws.seeded
def _domain_members(seed: int, n: int, n_domains: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(n)
    return np.stack([order[domain::n_domains][: n // n_domains] for domain in range(n_domains)])


def domain_members(seed: int | Tensor, n: int, n_domains: int) -> Int[Tensor, "domain member"]:
    """Deal n samples out to domains: p = numpy's default_rng(seed).permutation(n), domain e gets p[e::n_domains].

    Every domain keeps floor(n / n_domains), so that the result is a rectangle; no sample is in two domains.
    """
    return _domain_members(seed, n, n_domains)


def rotated_digits(
    seed: int | Tensor,
    *,
    angles: tuple[float, ...] = ANGLES,
    flatten: bool = False,
    dtype: torch.dtype = torch.float32,
) -> tuple[Float[Tensor, "domain member ..."], Int[Tensor, "domain member"]]:
    """Digits dealt out to domains and rotated by one angle (degrees) each, pixels in [0, 1]: 6 x 299 images.

    The experiment of arXiv 2102.08604 made small: disjoint images per domain, as in RotatedMNIST. `seed` may be
    vmapped. Images are (domain, member, 1, 8, 8), or (domain, member, 64) with `flatten`.
    """
    turned, targets = _all_rotations(tuple(float(angle) for angle in angles))
    members = domain_members(seed, len(targets), len(angles))
    device = members.device
    domain = torch.arange(len(angles), device=device)[:, None]
    images = turned.to(device=device, dtype=dtype)[domain, members]
    return (images.flatten(2) if flatten else images), targets.to(device)[members]


class LeftOut(NamedTuple):
    """Samples of a leave-one-domain-out evaluation."""

    train_inputs: Num[Tensor, " train *sample_shape"]
    train_targets: Num[Tensor, " train"]
    train_domains: Int[Tensor, " train"]
    validation_inputs: Num[Tensor, " validation *sample_shape"]
    validation_targets: Num[Tensor, " validation"]
    validation_domains: Int[Tensor, " validation"]
    target_inputs: Num[Tensor, " target *sample_shape"]
    target_targets: Num[Tensor, " target"]


def leave_one_domain_out(data: Data, target: int | str, seed: int | Tensor, *, holdout: float = 0.2) -> LeftOut:
    """Sources and target of domain generalisation; floor(holdout * n) of every source are kept for validation.

    `target` is a domain's name or number; `seed` may be vmapped. The training-domain validation of DomainBed.
    """
    domains = data.domains
    if domains is None or not data.domain_names:
        raise ValueError(f"{data.name} has no domains; load a set that has, e.g. 'rotated-digits'")
    target = position(target, data.domain_names, "target")
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout must be in [0, 1), got {holdout}")
    training, validation = [], []
    for domain in range(len(data.domain_names)):
        members = torch.nonzero(domains == domain).flatten()
        if domain == target:
            continue
        order = members[
            draws.permutation(seed, len(members), stream="domain holdout", counter=domain).to(members.device)
        ]
        kept = int(holdout * len(members) + 1e-9)
        validation.append(order[:kept])
        training.append(order[kept:])
    inputs, targets = data.inputs, data.targets
    learn, check, goal = torch.cat(training), torch.cat(validation), torch.nonzero(domains == target).flatten()
    return LeftOut(
        inputs[learn], targets[learn], domains[learn],
        inputs[check], targets[check], domains[check],
        inputs[goal], targets[goal],
    )  # fmt: skip
