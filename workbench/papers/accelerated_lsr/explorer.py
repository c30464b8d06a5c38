"""Exact risk curves of AcSGD and SGD, and where AcSGD is stable (arXiv:2203.01744): everything from moments."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from workbench.explorers.frame import Control, Explorer
from workbench.explorers.scene import set_limits
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.accelerated_lsr.limit import critical_ratio, noise_floor, noise_share
from workbench.papers.accelerated_lsr.recursions import (
    DESIGNS,
    acsgd_moments,
    named_spectrum,
    recommended,
    risks,
    sgd_moments,
)

D = 50
SPECTRA = ("power1", "power2", "power4", "log2", "log7")
HORIZONS = (500, 1000, 2000, 4000)
_BETAS = np.linspace(0.02, 1.0, 40)


@dataclass(frozen=True)
class Picture:
    """What the explorer shows at one point."""

    curves: xr.Dataset
    boundary: np.ndarray
    here: tuple[float, float]
    floor: float
    Q: float


@functools.lru_cache(maxsize=64)
def compute(
    alpha_ratio: float = 0.5,
    beta_R2: float = 1 / 3,
    sigma: float = 0.3,
    spectrum: str = "power1",
    horizon: int = 1000,
    design: str = "gauss",
) -> Picture:
    """Exact risks from x_0 - theta* = (1, ..., 1)/sqrt d up to `horizon` samples, d = 50."""
    one = DESIGNS[design](named_spectrum(spectrum, D), sigma)
    steps = recommended(*one.constants, beta_R2=beta_R2, alpha_ratio=alpha_ratio)
    at = np.unique(np.geomspace(1, horizon, 40).astype(int))
    methods = {"AcSGD": acsgd_moments(one, *steps), "SGD": sgd_moments(one, 1 / (2 * one.constants.R2))}
    start = np.full(D, D**-0.5)
    curves = xr.concat([risks(method, start, at).expand_dims(arm=[arm]) for arm, method in methods.items()], "arm")
    h, R2 = one.spectrum, one.constants.R2
    return Picture(
        curves,
        np.array([critical_ratio(h, value / R2, design) for value in _BETAS]),
        (beta_R2, steps.alpha * D / steps.beta),
        noise_floor(h, sigma**2, *steps, design),
        noise_share(h, *steps, design).Q,
    )


class Panels:
    """Four risk curves on the left, the place among stable step sizes on the right."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        left, right = (figure.add_axes(place) for place in ((0.11, 0.16, 0.41, 0.74), (0.63, 0.16, 0.34, 0.74)))
        self._left = left
        self._lines = {
            (arm, output): left.loglog([], [], style, color=PALETTE[k], label=f"{arm}, {output}")[0]
            for k, arm in enumerate(("AcSGD", "SGD"))
            for output, style in (("last", "--"), ("average", "-"))
        }
        self._floor = left.axhline(1, color=GUIDE, linestyle=":", linewidth=1.4)
        left.set(xlabel="samples $T$", ylabel="expected excess risk")
        left.set_title("exact risk (dotted: noise floor of the last iterate)", fontsize=11, pad=9)
        left.legend(fontsize=9, loc="lower left")
        left.yaxis.set_minor_formatter(NullFormatter())
        (self._boundary,) = right.plot([], [], color=PALETTE[2], label="$Q=1$")
        (self._here,) = right.plot([], [], "o", color=PALETTE[3], markeredgecolor="white", markersize=10)
        right.set(xlim=(0, 1), ylim=(0.01, 60), yscale="log", xlabel=r"$\beta R^2$", ylabel=r"$\alpha d/\beta$")
        right.set_title("mean-square stable below the line", fontsize=11, pad=9)
        right.legend(fontsize=9, loc="upper right")
        self.moving = (*self._lines.values(), self._floor, self._boundary, self._here)

    def update(
        self,
        alpha_ratio: float = 0.5,
        beta_R2: float = 1 / 3,
        sigma: float = 0.3,
        spectrum: str = "power1",
        horizon: int = 1000,
        design: str = "gauss",
    ) -> str:
        picture = compute(alpha_ratio, beta_R2, sigma, spectrum, horizon, design)
        values = []
        for (arm, output), line in self._lines.items():
            curve = picture.curves[output].sel(arm=arm)
            shown = curve.where((curve > 0) & (curve < 1e12))
            line.set_data(shown.step, shown)
            values.append(shown.values)
        finite = np.concatenate(values)
        finite = finite[np.isfinite(finite)]
        set_limits(self._left, (1, horizon), (finite.min() / 4, finite.max() * 2))
        self._floor.set_ydata([picture.floor if np.isfinite(picture.floor) and sigma > 0 else np.nan] * 2)
        self._boundary.set_data(_BETAS, picture.boundary)
        self._here.set_data([picture.here[0]], [picture.here[1]])
        stable = f"stable, noise floor {picture.floor:.4g}" if picture.Q < 1 else "not mean-square stable: no floor"
        inside = "" if alpha_ratio <= 0.5 and beta_R2 <= 0.49 else "; outside the theorem"
        ends = picture.curves.average.isel(step=-1)
        return (
            f"Q = {picture.Q:.4g}: {stable}{inside}. At T = {horizon} the averages' risks are {float(ends[0]):.3g} (AcSGD) and "
            f"{float(ends[1]):.3g} (SGD)."
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the two step sizes and the noise, menus for spectrum, design and horizon."""
    start: dict[str, Any] = {
        "alpha_ratio": 0.5, "beta_R2": 0.33, "sigma": 0.3, "spectrum": "power1", "horizon": 1000, "design": "gauss"
    } | initial  # fmt: skip
    controls = [
        Control("alpha_ratio", "alpha kappa/beta", start["alpha_ratio"], 0.01, 100.0, kind="log",
                meaning="the theorem allows up to 1/2; kappa is plain acceleration"),
        Control("beta_R2", "beta R^2", start["beta_R2"], 0.02, 1.0, 0.01, meaning="step of x in units of 1/R^2"),
        Control("sigma", "noise sigma", start["sigma"], 0.0, 2.0, 0.05, meaning="deviation of the residuals"),
        Control("spectrum", "spectrum", start["spectrum"], kind="choice", choices=SPECTRA, meaning="eigenvalues of H"),
        Control("horizon", "samples T", start["horizon"], kind="choice", choices=HORIZONS),
        Control("design", "features", start["design"], kind="choice", choices=tuple(DESIGNS)),
    ]  # fmt: skip
    return Explorer("Two step sizes", controls, Panels, (9.4, 3.9), paper="accelerated-lsr")
