"""Stationary variances and thresholds of SGD, USAM and SAM (arXiv:2301.08203): everything in closed form."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import decades, set_limits
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.sde_for_sam.projected_normal import (
    kappa,
    projected_normal_mean,
    projected_normal_ratio,
    projected_normal_slope,
)
from workbench.papers.sde_for_sam.stationary import (
    KINDS,
    contraction,
    discrete_variance,
    saddle_threshold,
    sde_variance,
)

_STYLES = {"sgd": (PALETTE[7], "SGD"), "usam": (PALETTE[0], "USAM"), "sam": (PALETTE[2], "SAM")}
_RADII = np.linspace(0.0, 2.0, 41)
_R = np.linspace(0.0, 5.0, 101)


@dataclass(frozen=True)
class Picture:
    """Variances along the radii, [kind, (SDE, discrete), radius], NaN where unstable; c, c' and c/r along r; the read-out."""

    variances: Float[np.ndarray, "kind law radius"]
    forms: Float[np.ndarray, "form r"]
    here: dict[str, tuple[float, float]]
    threshold: float


def _discrete(kind: Any, curvature: float, rho: float, sigma: float, eta: float, d: int) -> float:
    stable = eta * contraction(kind, curvature, rho, sigma, d) < 2
    return discrete_variance(kind, curvature, rho, sigma, eta, d) if stable else math.nan


@functools.lru_cache(maxsize=64)
def compute(curvature: float = 3.0, rho: float = 0.5, sigma: float = 0.5, eta: float = 0.01, d: int = 10) -> Picture:
    """Variances of a coordinate of curvature/2 |x|^2 in R^d, and rho_c of the direction -curvature.

    Raises ValueError for values that are not positive (rho: not >= 0).
    """

    def pair(kind: Any, radius: float) -> tuple[float, float]:
        arguments = (kind, curvature, radius, sigma, eta, d)
        return sde_variance(*arguments), _discrete(*arguments)

    variances = np.array([[pair(kind, radius) for radius in _RADII] for kind in KINDS]).transpose(0, 2, 1)
    forms = [form(_R, d) for form in (projected_normal_mean, projected_normal_slope, projected_normal_ratio)]
    here: dict[str, tuple[float, float]] = {kind: pair(kind, rho) for kind in KINDS}
    return Picture(variances, np.array(forms), here, saddle_threshold(-curvature, sigma, d))


class Panels:
    """Variances against the radius on the left, the closed form of SAM's direction on the right."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        left, right = (figure.add_axes(place) for place in ((0.1, 0.16, 0.47, 0.74), (0.67, 0.16, 0.31, 0.74)))
        self._left, self._lines = left, {}
        for kind, (colour, name) in _STYLES.items():
            for law, style in enumerate(("-", ":")):
                label = name if law == 0 else None
                (self._lines[kind, law],) = left.plot([], [], style, color=colour, label=label)
        (self._here,) = left.plot([], [], "o", color=PALETTE[3], markeredgecolor="white", markersize=8)
        left.set(xlim=(0, 2), ylim=(1e-3, 1e-1), yscale="log", xlabel=r"radius $\rho$", ylabel="stationary variance")
        left.set_title("SDE (solid) and algorithm (dotted)", fontsize=11, pad=9)
        left.legend(fontsize=9, loc="upper left")
        left.yaxis.set_minor_formatter(NullFormatter())
        labels = ("$c(r)$: mean", "$c'(r)$: along", "$c(r)/r$: across")
        self._forms = [
            right.plot([], [], style, color=PALETTE[k], label=label)[0]
            for k, (label, style) in enumerate(zip(labels, ("-", "--", "-."), strict=True))
        ]
        right.set(xlim=(0, 5), ylim=(0, 1), xlabel=r"$r=\|\nabla f\|/\sigma$")
        right.set_title("SAM's direction under noise", fontsize=11, pad=9)
        right.legend(fontsize=9, loc="center right")
        right.axhline(1, color=GUIDE, linewidth=0.8)
        self.moving = (*self._lines.values(), self._here, *self._forms)

    def update(
        self, curvature: float = 3.0, rho: float = 0.5, sigma: float = 0.5, eta: float = 0.01, d: int = 10
    ) -> str:
        picture = compute(curvature, rho, sigma, eta, d)
        for row, kind in enumerate(KINDS):
            for law in (0, 1):
                self._lines[kind, law].set_data(_RADII, picture.variances[row, law])
        for line, values in zip(self._forms, picture.forms, strict=True):
            line.set_data(_R, values)
        self._here.set_data([rho] * 3, [value for value, _ in picture.here.values()])
        finite = picture.variances[np.isfinite(picture.variances)]
        set_limits(self._left, y=decades(float(finite.min()) * 0.9, float(finite.max()) * 1.1))
        ratios = {kind: value / picture.here["sgd"][0] for kind, (value, _) in picture.here.items()}
        unstable = [_STYLES[kind][1] for kind, (_, value) in picture.here.items() if math.isnan(value)]
        words = f" Unstable at this step size: {', '.join(unstable)}." if unstable else ""
        return (
            f"Stationary variance over SGD's: USAM {ratios['usam']:.3f}, SAM {ratios['sam']:.3f} (as USAM with rho = "
            f"{kappa(d) * rho / sigma:.3g}). A direction -{curvature:g} traps noisy SAM above rho_c = {picture.threshold:.3g}, "
            f"USAM above {1 / curvature:.3g}.{words}"
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for curvature, radius, noise and step size, a menu for the dimension."""
    start: dict[str, Any] = {"curvature": 3.0, "rho": 0.5, "sigma": 0.5, "eta": 0.01, "d": 10} | initial
    controls = [
        Control("curvature", "curvature", start["curvature"], 0.1, 10.0, 0.1, meaning="eigenvalue l of the Hessian"),
        Control("rho", "radius rho", start["rho"], 0.0, 2.0, 0.02, meaning="SAM's and USAM's radius"),
        Control(
            "sigma", "noise sigma", start["sigma"], 0.02, 2.0, 0.02, meaning="standard deviation of the gradient noise"
        ),
        Control("eta", "step size eta", start["eta"], 1e-3, 0.5, kind="log", meaning="step size of the algorithm"),
        Control("d", "dimension d", start["d"], kind="choice", choices=(1, 2, 4, 10, 30, 100)),
    ]
    return Explorer("Stationary variances and thresholds", controls, Panels, (9.0, 3.8), paper="sde-for-sam")
