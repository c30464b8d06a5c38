"""Two layers of two neurons with product 1: gauge, misalignment and step size decide whether gradient descent stays."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures import PALETTE
from workbench.figures.style import GUIDE
from workbench.papers.deep_matrix_factorization.sharpness import exact_sharpness
from workbench.problems.factorised.deep_linear import layer_gradients

STEPS = 300


def orbit(g: float, k: float, c: float, eps: float = 1e-3) -> tuple[list[float], list[float]]:
    """Distance to the minimiser W_2 = [g, k g], W_1 = [1/g, 0]^T and lambda_max eta/2 along gradient descent from eps away."""
    centre = [torch.tensor([[[1 / g], [0.0]]], dtype=torch.float64), torch.tensor([[[g, k * g]]], dtype=torch.float64)]
    target = torch.ones(1, 1, 1, dtype=torch.float64)
    sharpness, top = exact_sharpness(centre)
    step_size = 2 * c / float(sharpness)
    layers = [layer + eps * part for layer, part in zip(centre, top, strict=True)]
    distance, stability = [], []
    for _ in range(STEPS + 1):
        gap = sum(float((a - b).square().sum()) for a, b in zip(layers, centre, strict=True)) ** 0.5
        distance.append(gap)
        # Two layers with one output and one input: the sharpness is 2 (|W_1|^2 + |W_2|^2).
        stability.append(step_size * sum(float(layer.square().sum()) for layer in layers))
        layers = [
            layer - step_size * slope for layer, slope in zip(layers, layer_gradients(layers, target), strict=True)
        ]
    return distance, stability


def draw(figure: Figure, g: float, misalignment: float, mirror_c: float) -> str:
    """Distance and lambda_max eta/2 against the step; returns the read-out."""
    k, c = misalignment, mirror_c
    distance, stability = orbit(g, k, c)
    left, right = figure.subplots(1, 2)
    left.semilogy([max(value, 1e-12) for value in distance], color=PALETTE[0])
    left.set(xlabel="step", ylabel=r"distance $|\theta-\theta^*|$", ylim=(1e-8, 10))
    right.plot(stability, color=PALETTE[0])
    for height, words, side in ((1.0, r"edge $2/\eta$", c > 1), (2 - c, "mirror $2-c$", c <= 1)):
        right.axhline(height, color=GUIDE, linestyle="--" if height != 1 else "-")
        place = (-4, 4) if side else (-4, -12)
        right.annotate(words, (STEPS, height), xytext=place, textcoords="offset points", ha="right")
    right.set(xlabel="step", ylabel=r"$\lambda_{\max}\,\eta/2$ on the way", ylim=(0.6, 1.4))
    sharpness = 2 * (1 / g**2 + g**2 * (1 + k**2))
    stays = "stays" if c < 1 else "leaves"
    step_size = 2 * c / sharpness
    return f"Sharpness {sharpness:.3g} (flattest 4); step {step_size:.3g}: {stays}; ends at {stability[-1]:.3g} of the edge."


def explorer(**initial: Any) -> Explorer:
    """Sliders for the gauge, the misalignment and the step size over the edge; the last two are parameters of the card."""
    start = {"g": 1.5, "misalignment": 0.5, "mirror_c": 1.05} | initial
    controls = [
        Control("g", "gauge g", start["g"], 0.4, 2.5, kind="log", meaning="W_2 times g, W_1 over g"),
        Control(
            "misalignment",
            "misalignment",
            start["misalignment"],
            0.0,
            2.0,
            0.05,
            meaning="part of W_2 that W_1 does not meet",
        ),
        Control(
            "mirror_c",
            "step over edge c",
            start["mirror_c"],
            0.8,
            1.3,
            0.01,
            meaning="eta lambda_max / 2 at the minimiser",
        ),
    ]
    return Explorer("Stay or leave", controls, draw, (9.0, 3.4), paper="deep-matrix-factorization")
