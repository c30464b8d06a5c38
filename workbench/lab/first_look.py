"""The start page's explorer: which of two minima an optimizer can stop at (arXiv:2510.09034), from closed forms alone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import PALETTE, SHADE, VERDICTS
from workbench.optimizers import Rule, filter_ratio, gradient_descent, max_sharpness, usam
from workbench.problems import TwoBasins


class Panels:
    """The loss with its flat and its sharp minimum on the left, what the optimizers' filters let pass on the right."""

    def __init__(self, figure: Figure) -> None:
        figure.set_layout_engine("none")
        left, right = figure.add_axes((0.1, 0.165, 0.365, 0.735)), figure.add_axes((0.55, 0.165, 0.435, 0.735))
        basins, x = TwoBasins(), np.linspace(-2.6, 1.75, 300)
        self._places = np.array([float(place) for place in basins.minimisers])
        self._curvatures = np.array([float(curvature) for curvature in basins.curvatures])
        self._losses = basins.loss(torch.from_numpy(self._places)).numpy()
        self._eigenvalues = np.linspace(0, 4.2, 200)
        left.plot(x, basins.loss(torch.from_numpy(x)), color="0.35")
        left.set(xlabel="parameter x", ylabel="loss", title="● can stop there, ✖ cannot", ylim=(-1.6, 0.6))
        for place, curvature, loss in zip(self._places, self._curvatures, self._losses, strict=True):
            left.annotate(
                rf"$\lambda={curvature:g}$", (place, loss), xytext=(0, -16), textcoords="offset points", ha="center"
            )
        right.axhspan(0, 1, color=SHADE, alpha=0.12, linewidth=0)
        right.set(
            xlabel=r"Hessian eigenvalue $\lambda$", ylabel="share of the stability limit", ylim=(0, 2.4), xlim=(0, 4.2)
        )
        right.set_title("Only eigenvalues in the band pass")
        markers = ("o", VERDICTS["contradicted"][1])
        self._filters, self._marks = [], []
        for name, colour in zip(_RULES, PALETTE, strict=False):
            self._filters += right.plot([], [], color=colour, label=name)
            self._marks.append(
                [[ax.plot([], [], marker, color=colour, markersize=9)[0] for ax in (left, right)] for marker in markers]
            )
        right.legend(loc="upper left", ncols=2, fontsize=9, framealpha=1, fancybox=False)
        self.moving = [*self._filters, *(mark for rule in self._marks for pair in rule for mark in pair)]

    def update(self, step_size: float = 0.6, rho: float = 0.1) -> str:
        words = []
        for index, (name, make) in enumerate(_RULES.items()):
            rule = make(step_size, rho)
            passes = self._curvatures <= max_sharpness(rule)
            self._filters[index].set_data(self._eigenvalues, filter_ratio(rule, self._eigenvalues))
            heights = self._losses + 0.22 * (index + 1), filter_ratio(rule, self._curvatures)
            for shown, (left, right) in zip((passes, ~passes), self._marks[index], strict=True):
                left.set_data(self._places[shown], heights[0][shown])
                right.set_data(self._curvatures[shown], heights[1][shown])
            kept = [which for which, passed in zip(("flat", "sharp"), passes, strict=True) if passed]
            words.append(f"{name}: {' and '.join(kept) or 'neither'}")
        return "Minima at which it can stop. " + "; ".join(words) + "."


_RULES: dict[str, Callable[[float, float], Rule]] = {
    "gradient descent": lambda step_size, rho: gradient_descent(step_size),
    "SAM (unnormalised)": usam,
}


def draw(figure: Figure, **parameters: float) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


class FirstLook(Explorer):
    """An explorer whose saved output is its picture, so that the start page shows one before anything has run."""

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        if "text/html" in bundle:
            words = f"{self.title}. {self.readout}"
            picture = {"text/plain": bundle["text/plain"], "image/png": base64.b64encode(self.picture).decode()}
            return picture, {"image/png": {"alt": words}}
        return bundle


def explorer(**initial: Any) -> Explorer:
    """One slider for the step size (log), one for the radius."""
    start = {"step_size": 0.6, "rho": 0.1} | initial
    controls = [
        Control("step_size", "step size", start["step_size"], 0.1, 2.0, kind="log", meaning="alpha"),
        Control("rho", "radius rho", start["rho"], 0.0, 1.0, 0.01, meaning="SAM's perturbation, one over a curvature"),
    ]
    return FirstLook(
        "Sharp minima cannot hold a large step", controls, Panels, (9.0, 3.6), paper="eigenvalue-filtering"
    )
