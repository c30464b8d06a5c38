"""One query under attack: what two fingerprints take it for (arXiv:2202.12860)."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import PALETTE
from workbench.papers.robust_image_attribution import digits
from workbench.papers.robust_image_attribution.contrastive import Arm
from workbench.papers.robust_image_attribution.evasion import margin
from workbench.problems import attacks

_SEED, _EPOCHS, _SHOWN = 1000, 15, 5
_EDIT = 2
NAMES = ("standard", "robust")


@functools.lru_cache(maxsize=4)
def _fingerprints(radius: float) -> tuple[digits.Fingerprints, torch.Tensor]:
    """The network of one seed after 15 epochs, and the embeddings of its database."""
    setting = digits.Setting(epochs=_EPOCHS)
    found = digits.fingerprints(Arm(radius), range(_SEED, _SEED + 1), setting)
    trial = digits.trial(range(_SEED, _SEED + 1), setting)
    return found, found.embed(trial.originals[:, : digits.IMAGES - setting.n_train])


def edited(digit: int, row: int, column: int, donor: int) -> torch.Tensor:
    """An original of the database with a 2 x 2 square of another picture at (row, column), [1, 1, 1, 8, 8]."""
    originals = digits.trial(range(_SEED, _SEED + 1), digits.Setting(epochs=_EPOCHS)).originals
    query = originals[:, digit : digit + 1].clone()
    query[..., row : row + _EDIT, column : column + _EDIT] = originals[
        0, donor, :, row : row + _EDIT, column : column + _EDIT
    ]
    return query


def attacked(
    name: str, query: torch.Tensor, digit: int, radius: float, steps: int, training: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The query after the margin attack on one fingerprint, the five nearest originals and their similarities."""
    found, database = _fingerprints(training if name == "robust" else 0.0)
    own = torch.tensor([digit])
    objective = margin(found.embed, database[:, own], database, own)
    moved = attacks.pgd(objective, query, radius, "linf", steps=steps).inputs if radius else query
    with torch.no_grad():
        best = (found.embed(moved) @ database.mT)[0, 0].topk(_SHOWN)
    return moved, best.indices, best.values


class Panels:
    """Per fingerprint: the attacked query, the perturbation, the five nearest originals with their similarities."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        self._pictures, self._bars, self._labels = [], [], []
        for line, name in enumerate(NAMES):
            base = 0.56 - 0.45 * line
            images = []
            for k in range(2 + _SHOWN):
                left = 0.09 + 0.095 * k + (0.02 if k > 1 else 0.0)
                ax = figure.add_axes((left, base, 0.085, 0.34))
                ax.set_axis_off()
                signed = k == 1
                images.append(
                    ax.imshow(np.zeros((8, 8)), cmap="RdBu_r" if signed else "gray", vmin=-1 if signed else 0, vmax=1)
                )
                if line == 0:
                    titles = ("query", "change", "nearest", *map(str, range(2, _SHOWN + 1)))
                    ax.set_title(titles[k], fontsize=10)
            figure.text(0.005, base + 0.16, name, fontsize=11)
            self._pictures.append(images)
            ax = figure.add_axes((0.83, base + 0.03, 0.15, 0.3))
            bars = ax.barh(range(_SHOWN), [0.0] * _SHOWN, color=PALETTE[7])
            ax.set(xlim=(0, 1.0), ylim=(_SHOWN - 0.5, -0.5), yticks=[])
            ax.tick_params(labelsize=8)
            if line:
                ax.set_xlabel("similarity", fontsize=9)
            self._bars.append(bars)
        moving = [image for images in self._pictures for image in images]
        self.moving = (*moving, *(bar for bars in self._bars for bar in bars))

    def update(
        self,
        digit: int = 6,
        donor: int = 40,
        edit_row: int = 3,
        edit_column: int = 3,
        attack_radius: float = 0.05,
        attack_steps: int = 20,
        training_radius: float = 0.1,
    ) -> str:
        query = edited(digit, edit_row, edit_column, donor)
        words = []
        for line, name in enumerate(NAMES):
            moved, rows, similar = attacked(name, query, digit, attack_radius, attack_steps, training_radius)
            images = self._pictures[line]
            images[0].set_data(moved[0, 0, 0].numpy())
            images[1].set_data((moved - query)[0, 0, 0].numpy() / max(attack_radius, 1e-9))
            originals = digits.trial(range(_SEED, _SEED + 1), digits.Setting(epochs=_EPOCHS)).originals[0]
            for place, row in enumerate(rows.tolist()):
                images[2 + place].set_data(originals[row, 0].numpy())
                own = row == digit
                self._bars[line][place].set_width(max(0.0, float(similar[place])))
                self._bars[line][place].set_color(PALETTE[0] if own else PALETTE[7])
            right = int(rows[0]) == digit
            where = "its own original" if right else "a wrong original"
            words.append(f"{name}: {where} at similarity {float(similar[0]):.3f}")
        return f"Radius {attack_radius:g}, {attack_steps} steps. {'; '.join(words)}. The own original's bar is blue."


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the digit, the edit's donor and place, the attack's radius and steps, and the radius of training."""
    start: dict[str, Any] = {
        "digit": 6, "donor": 40, "edit_row": 3, "edit_column": 3, "attack_radius": 0.05, "attack_steps": 20,
        "training_radius": 0.1,
    } | initial  # fmt: skip
    last = 8 - _EDIT
    controls = [
        Control("digit", "original", start["digit"], 0, 299, 1, kind="int", meaning="number of the queried original"),
        Control("donor", "donor", start["donor"], 0, 299, 1, kind="int", meaning="number of the picture pasted from"),
        Control("edit_row", "edit, row", start["edit_row"], 0, last, 1, kind="int", meaning="upper end of the square"),
        Control("edit_column", "edit, column", start["edit_column"], 0, last, 1, kind="int", meaning="its left end"),
        Control("attack_radius", "attack radius", start["attack_radius"], 0.005, 0.2, 0.005, meaning="l-infinity"),
        Control("attack_steps", "attack steps", start["attack_steps"], 1, 50, 1, kind="int"),
        Control(
            "training_radius", "training radius", start["training_radius"], kind="choice", choices=(0.05, 0.1, 0.2)
        ),
    ]
    return Explorer("One query under attack", controls, Panels, (10.0, 3.8), paper="robust-image-attribution")
