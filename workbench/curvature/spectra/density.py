"""The density of all Hessian eigenvalues: exact where affordable, else stochastic Lanczos quadrature."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws, memory
from workbench.curvature.flat import Loss, require_finite, require_full_precision, size_of
from workbench.curvature.products import HVPOperator, hvp_operator
from workbench.curvature.scales import power_of_two
from workbench.parameters import Parameters

from .band import deviation, simultaneous
from .spectrum import spectrum

_EXACT = 512
"""Up to this many parameters the exact spectrum is cheaper than the default quadrature ..."""
_EXACT_STRUCTURED = 2048
"""... and up to this many for a loss whose Hessian is assembled from a network's layers."""
_FEWEST = 4
"""Probes of which a band still holds in 93 % of cases, where 95 % are promised; of 2 it does in 91 % (measured)."""
_CONVERGED = 0.3
"""The quadrature error that a band bears, in units of its half width: beyond, the estimated error is itself far too small."""


@dataclass(frozen=True)
class SpectralDensity:
    """A density of eigenvalues, smoothed by Gaussians of one width, integrating to 1 over the whole line.

    Attributes:
        grid: [point] eigenvalue axis.
        density: [point]; times P it counts eigenvalues per unit.
        standard_error: [point] of the mean over the probes, from the estimated density itself; 0 where exact.
        band: [point, 2] holds the density of all eigenvalues at every point at once, in 95 % of cases; the quadrature error is
            added to it. Of no width where exact, infinite (with a warning) where the quadrature has not converged or fewer than 4
            probes were asked for.
        quadrature_error: [point] half the gap between the Gauss rule with one step less and its anti-Gauss partner
            (Laurie 1996); 0 where exact.
        nodes, weights: [probe, step] the quadrature rules; one "probe" with all eigenvalues where exact.
        width: standard deviation of the smoothing.
        exact: whether every eigenvalue was computed.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> density = wb.curvature.spectral_density(bowl.loss, x)
    >>> density.exact, density.nodes
    (True, tensor([[1., 4.]], dtype=torch.float64))
    """

    grid: Float[Tensor, " point"]
    density: Float[Tensor, " point"]
    standard_error: Float[Tensor, " point"]
    band: Float[Tensor, "point 2"]
    quadrature_error: Float[Tensor, " point"]
    nodes: Float[Tensor, "probe step"]
    weights: Float[Tensor, "probe step"]
    width: Float[Tensor, ""]
    exact: bool

    def __repr__(self) -> str:
        how = "exact" if self.exact else f"{self.nodes.shape[0]} probes x {self.nodes.shape[1]} Lanczos steps"
        return (
            f"SpectralDensity({how}, {self.grid.numel()} points on [{self.grid[0]:.4g}, {self.grid[-1]:.4g}], "
            f"width {self.width:.3g}, 95 % band within {(self.band - self.density[:, None]).abs().max():.2g} of it, "
            f"largest quadrature error {self.quadrature_error.max():.2g})"
        )


def spectral_density(
    loss: Loss,
    parameters: Parameters,
    *,
    probes: int = 8,
    steps: int = 80,
    grid: int | Tensor = 512,
    width: float | None = None,
    seed: int = 0,
) -> SpectralDensity:
    """How the Hessian's eigenvalues are distributed, with the errors of the estimate.

    Up to 512 parameters (2,048 for an `empirical_loss` with affine layers) every eigenvalue is computed and `.exact`
    says so. Beyond, each random probe is a Gauss quadrature rule of its own spectral measure after `steps` Lanczos
    steps; the probes share one batched product per step. The mean over probes estimates the density, unbiased up to
    the quadrature error.

    Args:
        grid: number of points (evenly spaced over the nodes' range plus three widths), or the points themselves.
        width: of the Gaussian smoothing; by default 1 % of the range of eigenvalues found (their rounding, where they are equal).

    Raises:
        ValueError: fewer than 2 probes or 4 steps, a width that is not positive, or parameters that are not finite.
        workbench.memory.OutOfBudget: the Lanczos vectors do not fit; ask for fewer probes or steps.

    Source: Ubaru, Chen and Saad 2017; arXiv 1901.10159.

    >>> import torch
    >>> import workbench as wb
    >>> bowl, x = wb.problems.quadratic([1.0, 4.0]), torch.tensor([1.0, 1.0]).double()
    >>> density = wb.curvature.spectral_density(bowl.loss, x, grid=2001)
    >>> round(torch.trapezoid(density.density, density.grid).item(), 2)  # the mass within three widths of the ends
    1.0
    """
    if probes < 2 or steps < 4:
        raise ValueError(f"probes={probes}, steps={steps}; at least 2 probes and 4 steps are needed for errors")
    if width is not None and not 0 < width < float("inf"):
        raise ValueError(f"width={width}; the smoothing needs a positive finite width")
    size, dtype = size_of(parameters)
    require_full_precision(dtype)
    limit = _EXACT_STRUCTURED if getattr(loss, "structure", None) is not None else _EXACT
    if size > limit:
        steps = min(steps, size)
        memory.require(
            probes * (steps + 1) * size * dtype.itemsize,
            f"{probes} x {steps} Lanczos vectors of {size:,} parameters",
            "Ask for fewer probes or steps.",
        )
    require_finite(parameters)
    if size <= limit:
        values = spectrum(loss, parameters)[None]
        weights = torch.full_like(values, 1.0 / values.numel())
        lower, anti = (values, weights), (values, weights)
    else:
        operator = hvp_operator(loss, parameters)
        diagonal, off = _tridiagonals(operator, probes, steps, seed)
        values, weights = _gauss(diagonal, off)
        lower = _gauss(diagonal[:, :-1], off[:, :-1])
        doubled = torch.cat([off[:, :-1], 2**0.5 * off[:, -1:]], dim=1)
        anti = _gauss(diagonal, doubled)
    # All eigenvalues may be equal: then the width resolves their rounding on the grid.
    resolved = torch.finfo(values.dtype).eps ** 0.5 * values.abs().max()
    least = torch.finfo(values.dtype).tiny ** 0.5 if float(resolved) == 0 else 0.0
    spread = torch.maximum((values.max() - values.min()) / 100, resolved).clamp(min=least)
    scale = values.new_tensor(width) if width is not None else spread
    if isinstance(grid, int):
        ends = values.min() - 3 * scale, values.max() + 3 * scale
        grid = ends[0] + (ends[1] - ends[0]) * torch.linspace(0, 1, grid, dtype=values.dtype, device=values.device)
    density = _smooth(grid, values, weights, scale).mean(0)
    gap = (_smooth(grid, *anti, scale) - _smooth(grid, *lower, scale)).mean(0).abs() / 2
    if size <= limit:
        error, band = torch.zeros_like(density), density[:, None].expand(-1, 2)
    else:
        error, half = _errors(grid, density, values, weights, scale, size, seed)
        band = _band(density, half, gap, probes)
    return SpectralDensity(grid, density, error, band, gap, values, weights, scale, size <= limit)


def _band(density: Tensor, half: Tensor, gap: Tensor, probes: int) -> Tensor:
    rounding = 0.1 * torch.finfo(density.dtype).eps ** 0.5 * density.max()
    unknown = ""
    if probes < _FEWEST:
        unknown = f"{probes} probes are too few for a band (at least {_FEWEST} are needed); ask for more probes"
    if (gap > _CONVERGED * half + rounding).any():
        unknown = (
            f"the quadrature has not converged (its error is {float(gap.max() / density.max()):.1g} of the largest density), so "
            "that nothing is known about the density's error; ask for more steps or a larger width"
        )
    if unknown:
        warnings.warn(f"{unknown}. The band is infinite.", stacklevel=3)
        return torch.stack([torch.zeros_like(density), torch.full_like(density, torch.inf)], dim=1)
    return torch.stack([(density - half - gap).clamp(min=0), density + half + gap], dim=1)


def _errors(
    grid: Tensor, density: Tensor, nodes: Tensor, weights: Tensor, width: Tensor, size: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Standard error and half width of the band, both [point]."""
    probes = len(nodes)
    # A bell's square is a narrower bell.
    squares = _smooth(grid, nodes, weights, width / 2**0.5).mean(0) / (2 * width * torch.pi**0.5)
    on_host = [entry.detach().cpu().double().numpy() for entry in (grid, density, squares, nodes, weights)]
    points, mean, square, all_nodes, all_weights = on_host
    error = deviation(mean, square, size, probes)
    half = simultaneous(
        points, error, all_nodes.ravel(), all_weights.ravel() / probes, float(width), size, probes, seed
    )
    return torch.from_numpy(error).to(density), torch.from_numpy(half).to(density)


def _tridiagonals(operator: HVPOperator, probes: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Lanczos coefficients [probe, step] and [probe, step - 1], with full reorthogonalisation."""
    start = draws.normal(seed, (probes, operator.size), stream="density", dtype=operator.dtype).to(operator.device)
    vectors = start / start.norm(dim=1, keepdim=True)
    basis = start.new_empty(probes, steps, operator.size)
    diagonal, off, unit = [], [], None
    for step in range(steps):
        basis[:, step] = vectors
        images = operator(vectors)
        # The first images bring the operator near 1, so that no square leaves the range of the dtype.
        unit = power_of_two(images) if unit is None else unit
        images = images / unit
        diagonal.append((vectors * images).sum(1))
        if step == steps - 1:
            break
        # The recurrence takes away what is large, so that one pass over the basis takes away the rest to rounding.
        images = images - diagonal[-1][:, None] * vectors
        if step:
            images = images - off[-1][:, None] * basis[:, step - 1]
        # One probe at a time: matrix-vector products run at memory speed, batched ones six times slower (measured).
        images = torch.stack([_orthogonal(image, basis[i, : step + 1]) for i, image in enumerate(images)])
        lengths = images.norm(dim=1)
        # An exhausted Krylov space is cut off: what follows has weight zero in the quadrature.
        scale = torch.stack(diagonal).abs().amax(0)
        alive = lengths > 100 * torch.finfo(lengths.dtype).eps * scale
        off.append(torch.where(alive, lengths, 0.0))
        vectors = torch.where(alive[:, None], images / torch.where(alive, lengths, 1.0)[:, None], 0.0)
    diagonals = torch.stack(diagonal, 1)
    if not torch.isfinite(diagonals).all():
        raise ValueError("a Hessian-vector product is not finite; the loss has no second derivative here")
    assert unit is not None
    return diagonals * unit, torch.stack(off, 1) * unit


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """The vector less its parts along the basis rows."""
    return torch.addmv(vector, basis.mT, basis @ vector, alpha=-1)


def _gauss(diagonal: Tensor, off: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights [probe, step] of the Gauss rules with these Lanczos coefficients (Golub and Welsch 1969)."""
    matrices = torch.diag_embed(diagonal) + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    nodes, vectors = torch.linalg.eigh(matrices)
    return nodes, vectors[:, 0].square()


def _smooth(grid: Tensor, nodes: Tensor, weights: Tensor, width: Tensor) -> Tensor:
    """Density [probe, point]."""
    bells = torch.exp(-0.5 * ((grid[:, None] - nodes[:, None]) / width).square())
    return (bells * weights[:, None]).sum(-1) / (width * (2 * torch.pi) ** 0.5)
