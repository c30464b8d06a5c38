"""How large may the box be? The sessions of five cached seeds, recomputed at every move (arXiv:2111.01549)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from workbench.explorers.frame import Control, Explorer
from workbench.figures.style import PALETTE
from workbench.papers.f2m.base import Bases, embed, train_bases
from workbench.papers.f2m.embeddings import Dense
from workbench.papers.f2m.episodes import Episodes, deal, images
from workbench.papers.f2m.figures import principal_plane
from workbench.papers.f2m.prototypes import sorted_labels
from workbench.papers.f2m.sessions import RULES, accuracies, stages
from workbench.papers.f2m.settings import FROZEN, BaseTraining, Protocol, Session

SEEDS = range(1000, 1005)
RECIPES = {
    "standard": BaseTraining(b=0.0),
    "noise (FM)": BaseTraining(b=0.02, lam=0.0),
    "noise and PF (F2M)": BaseTraining(b=0.02),
}
_GROUPS = ("all classes", "base", "new")
_STYLES = (("-", "o"), ("--", "s"), (":", "D"))


@functools.cache
def episodes() -> Episodes:
    """Five seeds, one draw of the shots."""
    return deal(images("digits"), SEEDS, Protocol(shot_draws=1))


@functools.cache
def bases(name: str) -> Bases:
    """Five trained bases of a kind."""
    return train_bases(Dense(), RECIPES[name], episodes())


@dataclass(frozen=True)
class Picture:
    """Accuracy in percent by session and group, mean over seeds; the first seed's test embeddings and prototypes in a plane."""

    accuracy: np.ndarray
    points: Tensor
    prototypes: Tensor


@functools.lru_cache(maxsize=64)
def compute(
    base: str = "noise and PF (F2M)",
    clamp_width: float = 0.02,
    clamped: bool = True,
    prototype_norm: bool = True,
    ft_steps: int = 30,
    ft_lr: float = 0.03,
) -> Picture:
    """Both sessions. Raises KeyError for an unknown base, ValueError for what `Session` refuses."""
    trained, everything = bases(base), episodes()
    session = Session(clamp_width if clamped else None, ft_steps, ft_lr)
    rule = RULES.index("normalised" if prototype_norm else "euclidean")
    rows, tested = [], torch.zeros(0)
    for parameters, centres, _ in stages(trained, everything, session):
        tested = embed(trained.network, parameters, everything.images, everything.test[:, : centres.shape[1]])
        rows.append(accuracies(tested, centres, everything.n_base).nanmean(0)[:, rule].numpy())
    centre, directions = principal_plane(centres[0])
    return Picture(np.stack(rows), (tested[0].flatten(0, 1) - centre) @ directions, (centres[0] - centre) @ directions)


@functools.cache
def frozen() -> np.ndarray:
    """Baseline: the standard base, never changed."""
    trained, everything, rows = bases("standard"), episodes(), []
    for parameters, centres, _ in stages(trained, everything, FROZEN):
        tested = embed(trained.network, parameters, everything.images, everything.test[:, : centres.shape[1]])
        rows.append(accuracies(tested, centres, everything.n_base).nanmean(0)[:, 0].numpy())
    return np.stack(rows)


class Panels:
    """Accuracy over the sessions on the left; one seed's embeddings and prototypes at the end on the right."""

    def __init__(self, figure: Figure) -> None:
        # Fixed places: finding them by a layout engine would take longer than everything else.
        figure.set_layout_engine("none")
        left, right = (figure.add_axes(place) for place in ((0.08, 0.16, 0.42, 0.74), (0.58, 0.16, 0.4, 0.74)))
        n = len(frozen())
        self._lines = [
            left.plot([], [], linestyle=dash, marker=marker, color=PALETTE[k], label=name)[0]
            for k, (name, (dash, marker)) in enumerate(zip(_GROUPS, _STYLES, strict=True))
        ]
        for k, (dash, _) in enumerate(_STYLES):
            left.plot(range(n), frozen()[:, k], linestyle=dash, color=PALETTE[7], linewidth=1)
        left.plot([], [], color=PALETTE[7], linewidth=1, label="Baseline (frozen)")
        left.set(xlim=(-0.1, n - 0.9), ylim=(0, 101), xticks=range(n), xlabel="session", ylabel="accuracy [%]")
        left.legend(fontsize=9, loc="lower left")
        labels = sorted_labels(10, 50).numpy()
        self._colours = [PALETTE[label] for label in labels]
        self._dots = right.scatter(np.zeros(500), np.zeros(500), s=9, c=self._colours, alpha=0.5)
        self._crosses = right.scatter(
            np.zeros(10), np.zeros(10), s=90, marker="X", c=list(PALETTE[:10]), edgecolors="black", zorder=4
        )
        right.set(xlabel="first component of the prototypes", ylabel="second", xlim=(-6, 6), ylim=(-6, 6))
        right.set_title("one seed's embeddings, prototypes as crosses", fontsize=11)
        self.moving = (*self._lines, self._dots, self._crosses)

    def update(
        self,
        base: str = "noise and PF (F2M)",
        clamp_width: float = 0.02,
        clamped: bool = True,
        prototype_norm: bool = True,
        ft_steps: int = 30,
        ft_lr: float = 0.03,
    ) -> str:
        picture = compute(base, clamp_width, clamped, prototype_norm, ft_steps, ft_lr)
        for k, line in enumerate(self._lines):
            line.set_data(range(len(picture.accuracy)), picture.accuracy[:, k])
        self._dots.set_offsets(picture.points.numpy())
        self._crosses.set_offsets(picture.prototypes.numpy())
        (everything, old, new), ends = picture.accuracy[-1], frozen()[-1]
        return (
            f"After the last session {everything:.1f} % over all classes, {old:.1f} % on the base, {new:.1f} % on the new ones; "
            f"the frozen standard base has {ends[0]:.1f}, {ends[1]:.1f} and {ends[2]:.1f} %."
        )


def draw(figure: Figure, **parameters: Any) -> str:
    """The panels on a figure of one's own; returns the read-out."""
    return Panels(figure).update(**parameters)


def explorer(**initial: Any) -> Explorer:
    """Sliders for the box, the step size and the steps of a session; toggles for clamp and normalised prototypes; the base."""
    start: dict[str, Any] = {
        "base": "noise and PF (F2M)", "clamp_width": 0.02, "clamped": True, "prototype_norm": True, "ft_steps": 30,
        "ft_lr": 0.03,
    } | initial  # fmt: skip
    controls = [
        Control("base", "base", start["base"], kind="choice", choices=tuple(RECIPES), meaning="trained at b = 0.02"),
        Control("clamp_width", "box", start["clamp_width"], 0.001, 0.1, 0.001, meaning="half-width of the clamp"),
        Control("clamped", "clamp", start["clamped"], kind="choice", choices=(True, False)),
        Control(
            "prototype_norm", "normalised prototypes", start["prototype_norm"], kind="choice", choices=(True, False)
        ),
        Control("ft_steps", "steps", start["ft_steps"], 0, 60, 5, kind="int", meaning="of a session"),
        Control("ft_lr", "step size", start["ft_lr"], 0.001, 0.1, 0.001),
    ]
    return Explorer("How large may the box be?", controls, Panels, (9.5, 4.0), paper="f2m")
