"""One noise level alone, exactly, beside a corrupted digit under three ways to train (arXiv:2103.02325)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from workbench.data.preparing import corruptions
from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import GUIDE, PALETTE, SHADE
from workbench.papers.adversarial_training_corruptions import detector, digits
from workbench.papers.adversarial_training_corruptions.rules import STANDARD, Rule

_FARTHEST = 6.0
_NOISE = np.linspace(0, _FARTHEST, 241)
_HIGHEST = 4.0


def probabilities(rule: Rule, image: torch.Tensor) -> np.ndarray:
    """The belief in each of the ten digits of the rule's network with seed 0, after ten epochs."""
    return torch.softmax(
        digits.train(rule, range(1), digits.Setting(epochs=10)).logits(image.reshape(1, 1, -1))[0, 0], -1
    ).numpy()


class Panels:
    """Class means and threshold against the test noise; a digit; what three networks take it for."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        left, middle, right = (
            figure.add_axes(place)
            for place in ((0.07, 0.17, 0.4, 0.7), (0.495, 0.25, 0.16, 0.5), (0.74, 0.17, 0.25, 0.7))
        )
        self._window = left.axvspan(0, 1, color=SHADE, alpha=0.15, linewidth=0, label="both recognised")
        (self._above,) = left.plot([], [], color=PALETTE[0], label="$m_+$")
        (self._below,) = left.plot([], [], "--", color=PALETTE[1], label="$m_-$")
        (self._threshold,) = left.plot([], [], "-.", color=PALETTE[3], label="threshold")
        (self._test,) = left.plot([], [], ":", color=GUIDE, label="test noise")
        left.set(xlim=(0, _FARTHEST), ylim=(0, _HIGHEST), xlabel="test noise", ylabel="mean feature")
        left.set_title("detector with ReLU and pooling", fontsize=11, pad=9)
        left.legend(fontsize=9, loc="upper left")
        self._image = middle.imshow(np.zeros((8, 8)), cmap="gray", vmin=0, vmax=1)
        middle.set_axis_off()
        names = ("standard", "Gaussian", "adversarial")
        places = np.arange(10)
        self._bars = [
            right.bar(places + 0.27 * (k - 1), [0.0] * 10, 0.27, color=PALETTE[k], label=name)
            for k, name in enumerate(names)
        ]
        right.set(ylim=(0, 1.02), xticks=range(10), xlabel="digit", ylabel="probability")
        right.set_title("what the networks see", fontsize=11, pad=9)
        right.legend(fontsize=8, loc="upper right")
        bars = [bar for container in self._bars for bar in container]
        self.moving = (self._window, self._above, self._below, self._threshold, self._test, self._image, *bars)

    def update(
        self,
        mu: float = 1.0,
        sigma_train: float = 3.0,
        clean_share: float = 0.0,
        sigma_test: float = 0.0,
        digit: int = 8,
        corruption: str = "zoom_blur",
        severity: int = 3,
        l2_selected: float = 0.6,
        noise_sigma: float = 0.3,
    ) -> str:
        kappa = float(detector.threshold(mu, sigma_train, clean_share))
        low, high = detector.working_window(mu, sigma_train, clean_share)
        self._window.set_x(low)
        self._window.set_width(max(high - low, 0.0))
        self._above.set_data(_NOISE, detector.class_mean(1, mu, _NOISE))
        self._below.set_data(_NOISE, detector.class_mean(-1, mu, _NOISE))
        self._threshold.set_data([0, _FARTHEST], [kappa, kappa])
        self._test.set_data([sigma_test, sigma_test], [0, _HIGHEST])
        image = digits.digits()[0][digit].reshape(1, 1, 8, 8)
        image = corruptions.apply(image, corruption, severity, profile="digits") if severity else image
        self._image.set_data(image[0, 0].numpy())
        rules = (STANDARD, Rule("gaussian", noise_sigma), Rule("l2", l2_selected))
        seen = [probabilities(rule, image) for rule in rules]
        for container, values in zip(self._bars, seen, strict=True):
            for bar, value in zip(container, values, strict=True):
                bar.set_height(float(value))
        label = int(digits.digits()[1][digit].argmax())
        share = float(detector.accuracy(mu, kappa, sigma_test))
        guesses = ", ".join(str(int(values.argmax())) for values in seen)
        return (
            f"Threshold {kappa:.3f}: both classes are recognised for test noise {low:.3g} to {high:.3g}; at {sigma_test:g} "
            f"the accuracy is {100 * share:.0f} %. The digit is a {label}; standard, Gaussian, adversarial say {guesses}."
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the detector's signal, noises and share of clean images, and for a digit and what is done to it.

    The judged radius and the noise of augmentation are the card's parameters.
    """
    start: dict[str, Any] = {
        "mu": 1.0, "sigma_train": 3.0, "clean_share": 0.0, "sigma_test": 0.0, "digit": 8, "corruption": "zoom_blur",
        "severity": 3, "l2_selected": 0.6, "noise_sigma": 0.3,
    } | initial  # fmt: skip
    controls = [
        Control("mu", "signal mu", start["mu"], 0.2, 2.0, 0.1, meaning="every pixel of an image is +mu or -mu"),
        Control(
            "sigma_train",
            "training noise",
            start["sigma_train"],
            0.1,
            4.0,
            0.05,
            meaning="beyond 2.29 mu clean images are lost",
        ),
        Control("clean_share", "share of clean images", start["clean_share"], 0.0, 1.0, 0.05, meaning="in training"),
        Control("sigma_test", "test noise", start["sigma_test"], 0.0, _FARTHEST, 0.05),
        Control("digit", "image", start["digit"], 0, 200, 1, kind="int", meaning="number of the digit"),
        Control("corruption", "corruption", start["corruption"], kind="choice", choices=corruptions.names()),
        Control("severity", "severity", start["severity"], 0, 5, 1, kind="int", meaning="0: clean"),
        Control("l2_selected", "adversarial radius", start["l2_selected"], kind="choice", choices=(0.2, 0.6)),
        Control("noise_sigma", "Gaussian augmentation", start["noise_sigma"], kind="choice", choices=(0.1, 0.3, 0.6)),
    ]
    return Explorer(
        "One noise level alone, and three ways to train",
        controls,
        Panels,
        (10.5, 3.8),
        paper="adversarial-training-corruptions",
    )
