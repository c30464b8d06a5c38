"""The start page's explorer: which of two minima an optimizer can stop at (arXiv:2510.09034), from closed forms alone."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import PALETTE, SHADE, VERDICTS
from workbench.optimizers import filter_ratio, gradient_descent, max_sharpness, usam
from workbench.problems import TwoBasins


def draw(figure: Figure, step_size: float = 0.6, rho: float = 0.1) -> str:
    """The loss with its flat and its sharp minimum on the left, what the optimizers' filters let pass on the right."""
    rules = {"gradient descent": gradient_descent(step_size), "SAM (unnormalised)": usam(step_size, rho)}
    basins = TwoBasins()
    places = [float(place) for place in basins.minimisers]
    curvatures = [float(curvature) for curvature in basins.curvatures]
    x = np.linspace(-2.6, 1.75, 300)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    left.plot(x, basins.loss(torch.from_numpy(x)), color="0.35")
    right.axhspan(0, 1, color=SHADE, alpha=0.12, linewidth=0)
    eigenvalues = np.linspace(0, 4.2, 200)
    words = []
    for index, (name, rule) in enumerate(rules.items()):
        right.plot(eigenvalues, filter_ratio(rule, eigenvalues), color=PALETTE[index], label=name)
        passes = [curvature <= max_sharpness(rule) for curvature in curvatures]
        for place, curvature, passed in zip(places, curvatures, passes, strict=True):
            marker = "o" if passed else VERDICTS["contradicted"][1]
            height = float(basins.loss(torch.tensor(place))) + 0.22 * (index + 1)
            left.plot(place, height, marker, color=PALETTE[index], markersize=9)
            right.plot(
                curvature, min(float(filter_ratio(rule, curvature)), 1.95), marker, color=PALETTE[index], markersize=9
            )
        kept = [which for which, passed in zip(("flat", "sharp"), passes, strict=True) if passed]
        words.append(f"{name}: {' and '.join(kept) or 'neither'}")
    left.set(xlabel="parameter x", ylabel="loss", title="● can stop there, ✖ cannot", ylim=(-1.6, 0.6))
    for place, curvature in zip(places, curvatures, strict=True):
        left.annotate(
            rf"$\lambda={curvature:g}$", (place, float(basins.loss(torch.tensor(place)))), xytext=(0, -16),
            textcoords="offset points", ha="center",
        )  # fmt: skip
    right.set(xlabel=r"Hessian eigenvalue $\lambda$", ylabel=r"$\alpha\,p(\lambda)/c$", ylim=(0, 2), xlim=(0, 4.2))
    right.set_title("Only eigenvalues in the band pass")
    right.legend(loc="upper left", fontsize=9)
    return "Minima at which it can stop. " + "; ".join(words) + "."


class FirstLook(Explorer):
    """An explorer whose saved output is its picture, so that the start page shows one before anything has run."""

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        if "text/html" in bundle:
            return {"text/plain": bundle["text/plain"], "image/png": base64.b64encode(self.picture).decode()}
        return bundle


def explorer(**initial: Any) -> Explorer:
    """One slider for the step size (log), one for the radius."""
    start = {"step_size": 0.6, "rho": 0.1} | initial
    controls = [
        Control("step_size", "step size", start["step_size"], 0.1, 2.0, kind="log", meaning="alpha"),
        Control("rho", "radius rho", start["rho"], 0.0, 1.0, 0.01, meaning="SAM's perturbation, one over a curvature"),
    ]
    return FirstLook("Sharp minima cannot hold a large step", controls, draw, (9.0, 3.6))
