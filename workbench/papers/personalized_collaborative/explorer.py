"""Should user 0 collaborate? Exact curves of local descent, averaging and bias correction (arXiv:2111.05968)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import GUIDE, PALETTE
from workbench.papers.personalized_collaborative.quadratic_users import (
    collab_moments,
    direction,
    even_start,
    hard_spectrum,
    hessian_shift,
)

METHODS = ("local", "averaging", "averaging, best weight", "bias correction")
_STYLES = ("-", "--", ":", "-.")
_T, _K0, _D, _SEED = 500, 32, 20, 0
_WEIGHTS = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class Picture:
    """M(t) of the four methods, and where averaging and correction end: mean squared bias and the rest, at step T."""

    curves: Float[np.ndarray, "method step"]
    bias: Float[np.ndarray, " method"]
    best_weight: float


@functools.lru_cache(maxsize=64)
def compute(
    N: int = 15, zeta: float = 0.3, delta: float = 0.0, alpha: float = 0.95, beta: float = 0.0, eta: float = 0.3
) -> Picture:
    """Exact M(t), t = 0 .. 500, on 20 coordinates with curvatures 1 .. 1e-4 and variances 1.

    alpha: weight of the others (best weight: of eleven); beta = 0: a running mean of the bias; K0 = 32 gradients at the start.
    Raises ValueError for values outside N >= 1, zeta >= 0, delta >= 0, alpha, beta in [0, 1], 0 < eta <= 1.
    """
    if not (N >= 1 and zeta >= 0 and 0 <= alpha <= 1 and 0 < eta <= 1):
        raise ValueError(f"needs N >= 1, zeta >= 0, alpha in [0, 1], 0 < eta <= 1; got {N=}, {zeta=}, {alpha=}, {eta=}")
    h = hard_spectrum(_D)
    b, shift, x0 = zeta * direction(_SEED, _D), hessian_shift(_SEED, h, delta), even_start(h)
    weights = np.concatenate([[0.0, alpha], _WEIGHTS])
    averaged = collab_moments(h, b, shift, x0, eta, weights, 0.0, 1 / _D, 1 / (_D * N), _T, mode="wga", bias_error=True)
    corrected = collab_moments(h, b, shift, x0, eta, weights[1], beta, 1 / _D, 1 / (_D * N), _T, _K0, bias_error=True)
    steps = np.arange(1, _T + 2)
    means = averaged.gradient.values.cumsum(1) / steps
    best = 2 + int(means[2:, -1].argmin())
    curves = np.stack([means[0], means[1], means[best], corrected.gradient.values[0].cumsum() / steps])
    errors = [averaged.bias_error.values[row, -1] * weights[row] ** 2 for row in (0, 1, best)]
    return Picture(
        curves, np.array([*errors, corrected.bias_error.values[0, -1] * weights[1] ** 2]), float(weights[best])
    )


class Panels:
    """M(t) on the left; what is left of the bias in the step of each method on the right."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        left, right = (figure.add_axes(place) for place in ((0.09, 0.16, 0.5, 0.72), (0.73, 0.16, 0.25, 0.72)))
        self._lines = [
            left.plot([], [], linestyle=_STYLES[k], color=PALETTE[k], label=name)[0] for k, name in enumerate(METHODS)
        ]
        left.set(xlim=(1, _T), ylim=(1e-3, 2), xscale="log", yscale="log", xlabel="steps $t$", ylabel="$M(t)$")
        left.set_title("mean squared gradient norm of user 0", fontsize=11, pad=9)
        left.legend(fontsize=9, loc="lower left")
        self._bars = right.barh(range(4), [1e-9] * 4, color=PALETTE[:4])
        right.set_yticks(range(4), ["local", "averaging", "best weight", "correction"])
        right.set(xscale="log", xlim=(1e-5, 30), xlabel=r"$\alpha^2\,E|b(x)-c|^2$ at the end")
        right.set_title("bias left in the step", fontsize=11, pad=9)
        right.axvline(1, color=GUIDE, linewidth=1)
        self.moving = (*self._lines, *self._bars)

    def update(
        self,
        N: int = 15,
        zeta: float = 0.3,
        delta: float = 0.0,
        alpha: float = 0.95,
        beta: float = 0.0,
        eta: float = 0.3,
    ) -> str:
        picture = compute(N, zeta, delta, alpha, beta, eta)
        for line, curve in zip(self._lines, picture.curves, strict=True):
            line.set_data(np.arange(_T + 1), curve)
        for bar, value in zip(self._bars, picture.bias, strict=True):
            bar.set_width(max(float(value), 1e-9))
        ends = picture.curves[:, -1]
        best = METHODS[int(ends.argmin())]
        return (
            f"M after {_T} steps: local {ends[0]:.4f}, averaging {ends[1]:.4f}, best weight {picture.best_weight:.2f} gives "
            f"{ends[2]:.4f}, bias correction {ends[3]:.4f}. Least: {best}."
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the others' number, bias and curvature, the weight, the memory of the bias and the step size."""
    start: dict[str, Any] = {"N": 15, "zeta": 0.3, "delta": 0.0, "alpha": 0.95, "beta": 0.0, "eta": 0.3} | initial
    controls = [
        Control("N", "others N", start["N"], kind="choice", choices=(1, 3, 7, 15, 31, 63)),
        Control("zeta", "bias zeta", start["zeta"], 0.0, 2.0, 0.05, meaning="norm of the others' gradient bias"),
        Control("delta", "curvature delta", start["delta"], 0.0, 0.3, 0.01, meaning="how far their curvature differs"),
        Control(
            "alpha", "weight", start["alpha"], 0.0, 1.0, 0.05, meaning="weight of the others; N/(N + 1) for equal ones"
        ),
        Control("beta", "memory beta", start["beta"], 0.0, 0.3, 0.01, meaning="0: running mean of all differences"),
        Control("eta", "step size", start["eta"], 0.02, 0.9, 0.02, meaning="step size, at most 1/L = 1"),
    ]
    return Explorer(
        "Is collaboration worth its bias?", controls, Panels, (9.0, 3.8), paper="personalized-collaborative"
    )
