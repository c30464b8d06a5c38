"""Pass band of an optimizer, and where it ends on the scalar factorisation (arXiv:2510.09034)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from torch import Tensor

from workbench import draws
from workbench.dynamics.update_map import resting, update_map
from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import GUIDE, PALETTE, SHADE
from workbench.optimizers import admissible_set, by_name, filter_ratio
from workbench.parameters import largest, norm
from workbench.problems import ScalarFactorisation

KINDS = ("gd", "usam", "usam_two_step", "usam_nested", "hessian_usam", "grad_penalty")
MOMENTA = ("none", "heavy_ball", "nesterov")
_STARTS, _STEPS = 200, 400


@dataclass(frozen=True)
class Picture:
    """What the explorer shows for one optimizer."""

    name: str
    band: list[tuple[float, float]]
    eigenvalues: Float[np.ndarray, " eigenvalue"]
    ratios: Float[np.ndarray, " eigenvalue"]
    starts: Float[np.ndarray, "2 run"]
    ends: Float[np.ndarray, "2 run"]
    settled: Bool[np.ndarray, " run"]
    limit_sharpness: Float[np.ndarray, " run"]


def compute(
    kind: str = "usam", momentum: str = "none", step_size: float = 0.2, rho: float = 0.1, beta: float = 0.5
) -> Picture:
    """The filter alpha p(lambda)/c, and 400 steps from 200 starts on f(u, v) = 1/2 (u v - 1)^2."""
    rule = by_name(kind if momentum == "none" else f"{kind}+{momentum}", step_size, rho=rho, beta=beta)
    band, problem = admissible_set(rule), ScalarFactorisation()
    top = band[-1][1]
    reach = max(1.3 * top, 2.5)
    eigenvalues = np.linspace(max(1.2 * band[0][0], -1.5 * reach) if band[0][0] < 0 else -0.5 * reach, reach, 400)
    starts = 6 * draws.uniform(0, (2, _STARTS), stream="initial").T - 3
    step = update_map(problem, rule)

    def one(start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = resting(rule, start)
        for _ in range(_STEPS):
            state = step(*state)
        end = state[0]
        assert isinstance(end, Tensor)
        settled = (norm(problem.gradient(end)) < 1e-3) & (largest(end) < 1e3)
        return end, settled, torch.where(settled, problem.sharpness(end), math.nan)

    ends, settled, sharpness = torch.func.vmap(one)(starts)
    return Picture(
        rule.name, band, eigenvalues, filter_ratio(rule, eigenvalues), starts.T.numpy(), ends.T.numpy(),
        settled.numpy(), sharpness.numpy(),
    )  # fmt: skip


def draw(figure: Figure, **parameters: object) -> str:
    """Filter on the left, starts coloured by the sharpness of their limit on the right."""
    picture = compute(**parameters)  # type: ignore[arg-type]
    left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    left.axhspan(0, 1, color=SHADE, alpha=0.10, linewidth=0)
    left.plot(picture.eigenvalues, picture.ratios, color=PALETTE[0], label=r"$\alpha\, p(\lambda)/c$")
    for low, high in picture.band:
        left.plot([low, high], [-0.28, -0.28], color=SHADE, linewidth=7, solid_capstyle="butt", clip_on=True)
    found = picture.limit_sharpness[np.isfinite(picture.limit_sharpness)]
    left.plot(found, np.full(found.shape, -0.14), "|", color=PALETTE[3], markersize=9, label="sharpness of limits")
    left.set(ylim=(-0.4, 1.5), xlim=(picture.eigenvalues[0], picture.eigenvalues[-1]))
    left.set(xlabel=r"Hessian eigenvalue $\lambda$", ylabel=r"$\alpha\, p(\lambda)/c$", title=picture.name)
    left.legend(loc="upper left")
    lost = ~picture.settled
    right.plot(*picture.starts[:, lost], "x", color=GUIDE, markersize=4, label=f"{lost.sum()} without limit")
    points = right.scatter(
        *picture.starts[:, ~lost],
        c=picture.limit_sharpness[~lost],
        s=16,
        cmap="viridis",
        vmin=0,
        vmax=picture.band[-1][1],
    )
    right.figure.colorbar(points, ax=right, label=r"sharpness of the limit (top of scale: $\lambda_+$)")
    right.set(xlabel="u at the start", ylabel="v at the start", title="Scalar factorisation", aspect="equal")
    if lost.any():
        right.legend(loc="upper right")
    words = " and ".join(f"[{low:.3g}, {high:.3g}]" for low, high in picture.band)
    at_saddle = int((picture.settled & (np.abs(picture.ends).max(0) < 1e-2)).sum())
    largest = f"; largest found at a limit: {found.max():.3g}" if found.size else ""
    return f"Pass band {words}{largest}; {at_saddle} of {_STARTS} runs at the saddle, {lost.sum()} without limit."


def explorer(**initial: object) -> Explorer:
    """Sliders for the step size (log), radius and momentum, menus for the kind of gradient and the momentum scheme."""
    start: dict[str, Any] = {"kind": "usam", "momentum": "none", "step_size": 0.2, "rho": 0.1, "beta": 0.5} | initial
    controls = [
        Control("kind", "gradient", start["kind"], kind="choice", choices=KINDS, meaning="effective gradient"),
        Control("momentum", "momentum scheme", start["momentum"], kind="choice", choices=MOMENTA),
        Control("step_size", "step size", start["step_size"], 0.01, 2.0, kind="log"),
        Control("rho", "radius rho", start["rho"], 0.0, 2.0, 0.01, meaning="one over a curvature"),
        Control("beta", "momentum beta", start["beta"], 0.0, 0.95, 0.05),
    ]
    return Explorer("Which eigenvalues can an optimizer end at?", controls, draw, (9.5, 4.0))
