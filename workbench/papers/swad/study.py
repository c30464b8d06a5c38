"""The measurements behind the claims: windows, bounds, and whole leave-one-domain-out experiments as labelled arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import workbench as wb
from workbench.optimizers import UnifiedSAM
from workbench.optimizers.averaging.loss_valley import LossValley
from workbench.papers.swad import left_out_measures as measures
from workbench.papers.swad import weight_averages as averages
from workbench.papers.swad.left_out import DIGITS, left_out, n_domains
from workbench.papers.swad.sharp_and_flat import SharpAndFlat
from workbench.papers.swad.threshold_domains import ThresholdDomains

CURVES: dict[str, tuple[list[float], tuple[int, int]]] = {
    "A": ([5, 4, 3, 2, 1.5, 1.2, 1, 1.05, 1.1, 1.1, 1.2, 1.3, 1.25, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2, 2.1], (6, 12)),
    "B": ([3, 2, 1.5, 1.1, 1.08, 1.05, 1, 1.05, 1.1, 1.1, 1.2, 1.3, 1.5, 1.6, 1.7, 1.8, 1.9, 2, 2.1, 2.2], (6, 11)),
    "C": ([1, 1.1, 1.2, 1.1, 1, 1.2, 1.25, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 2, 2], (0, 8)),
    "D, never closes": ([5, 4, 3, 2, 1.5, 1.2, 1, 1.05, 1.1, 1.1, 1.2, 1.2, 1.25, 1.2, 1.1], (6, 14)),
    "E, never converges": ([5, 4, 3, 2, 1, 0.9, 0.8, 0.7, 0.6], (8, 8)),
    "F, two excursions": ([4, 3, 2, 1, 1.1, 1.2, 1.6, 1.1, 1.2, 1.5, 1.4, 1.7, 1.7, 1.7, 1.7, 1.7, 1.7], (3, 10)),
}
"""Loss curves made by hand, with the window that Algorithm 1 finds (N_s = 3, N_e = 6, r = 1.3)."""
RELEASED = {
    "A": {6: 0.25, **dict.fromkeys(range(7, 13), 0.125)},
    "B": {**dict.fromkeys([4, 5, 7, 8, 9, 10, 11], 1 / 9), 6: 2 / 9},
    "C": {0: 3 / 13, 1: 2 / 13, 2: 2 / 13, **dict.fromkeys(range(3, 9), 1 / 13)},
    "D, never closes": {6: 0.2, **dict.fromkeys(range(7, 15), 0.1)},
    "E, never converges": {8: 1.0},
}
"""The published code's weights on these curves, by evaluation."""
LANDSCAPES = (SharpAndFlat(0.12, 0.7, 0.97), SharpAndFlat(0.3, 0.7, 0.9), SharpAndFlat(0.2, 0.8, 0.95))
GRID: dict[str, list] = {"tolerances": [1.05, 1.1, 1.2, 1.3, 1.5], "n_tolerances": [3, 6, 10]}
RELATIVE_RADII = [0.05, 0.2]


def window_cases(patience: int = 6, released: str = "released") -> dict[str, list[float]]:
    """Differences of start and end from the windows of `CURVES`, and of the weights from `RELEASED`."""
    windows, weights = [], []
    for name, (losses, (start, end)) in CURVES.items():
        curve = torch.tensor(losses, dtype=torch.float64)
        found = _valley(curve, patience)
        windows += [float(found.start) - start, float(found.end) - end]
        if name in RELEASED:
            own = _valley(curve, 6, released).weights
            weights += [abs(float(w) - RELEASED[name].get(i, 0.0)) for i, w in enumerate(own)]
    return {"window": windows, "released": weights}


def _valley(curve: Tensor, patience: int, variant: Any = "paper") -> LossValley:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two of the curves never close or converge on purpose
        return wb.optimizers.loss_valley(curve, 3, patience, 1.3, variant)


def hand_valley(name: str) -> LossValley:
    """The window on one of `CURVES`."""
    return _valley(torch.tensor(CURVES[name][0], dtype=torch.float64), 6)


def identity_gap(seed: int = 0, shift: int = 0) -> float:
    """Largest difference between the mean of 150 iterates and of their six segments, over 150 eps times the largest weight.

    `shift` moves the segments by so many places (a control).
    """
    problem = left_out(DIGITS, seed, 0, label_noise=0.1)

    def vector(parameters: dict[str, Tensor]) -> wb.Labelled:
        return wb.Labelled(torch.cat([value.flatten() for value in parameters.values()]), ("parameter",))

    kept = wb.run(
        problem,
        wb.optimizers.adam(0.02),
        seed=seed,
        steps=301,
        batch_size=40,
        sampling="replacement",
        at=range(1, 302),
        average={"segment": wb.optimizers.SegmentMean(25, first=1)},
        record={"iterate": vector, "segment": ("segment", vector)},
        progress=False,
    ).records
    iterates, segments = kept["iterate"].value, kept["segment"].value[::25]
    gap = (iterates[76:226].mean(0) - segments[4 + shift : 10 + shift].mean(0)).abs().max()
    return float(gap / (150 * torch.finfo(iterates.dtype).eps * iterates.abs().max()))


def bounds(
    seeds: Sequence[int], sizes: Sequence[int], gammas: Sequence[float], *, divergence: bool = True
) -> xr.Dataset:
    """Room in theorems 1 and 2 (seed, n, gamma), delta = 0.1; without theorem 1's divergence term as a control."""
    domains = ThresholdDomains()

    def room(seed: Tensor, n: int, gamma: float) -> dict[str, Tensor]:
        risk, minimiser = domains.bounds(seed, n, gamma, delta=0.1)
        return {"theorem 1": risk - (0.0 if divergence else domains.divergence / 2), "theorem 2": minimiser}

    return wb.sweep(room, static=["n", "gamma"], seed=list(seeds), n=list(sizes), gamma=list(gammas), progress=False)


def risk_gap(to: str = "target") -> float:
    """max over theta of |source risk - target risk| minus half the mean divergence to the target (or to the sources' mixture)."""
    domains = ThresholdDomains()
    divergence = domains.divergence if to == "target" else domains.divergence_to_mixture
    return float(np.abs(domains.source_risk - domains.target_risk).max()) - divergence / 2


def switches(one_width: bool = False) -> list[float]:
    """How far the measured switch lies outside [gamma_c, its value with the other well's tail], relative, by landscape.

    As a control with the flat well taken for a plain: gamma_c = sharp sqrt(-ln h).
    """
    outside = []
    for scene in LANDSCAPES:
        first, last, measured = scene.switch_radius, scene.latest_switch, scene.measured_switch()
        if one_width:
            alone = float(scene.sharp) * (-np.log(float(scene.depth))) ** 0.5
            first, last = alone, last * alone / first
        outside.append(max(first - measured, measured - last) / first)
    return outside


def shifted_risks(factor: float = 2.0) -> list[float]:
    """Worst risk under shifts up to gamma = factor gamma_c of the landscape: that of ERM's point minus that of RRM's."""
    x = torch.linspace(-2.2, 2.6, 4801, dtype=torch.float64)
    found = []
    for scene in LANDSCAPES:
        robust = scene.robust_loss(x, factor * scene.switch_radius)
        found.append(float(robust[scene.loss(x).argmin()] - robust.min()))
    return found


@dataclass(frozen=True)
class Experiment:
    """How the runs are made; everything that a run of one seed and one target needs."""

    dataset: str
    label_noise: float
    step_size: float
    steps: int
    every: int
    batch_per_domain: int
    n_converge: int
    n_tolerance: int
    tolerance: float
    variant: Any = "paper"
    ema_decay: float = 0.99
    lawa_k: int = 5
    width: int = 64
    weights: str | None = None
    files: dict[str, Any] = field(default_factory=dict)

    @property
    def swad(self) -> str:
        """The name of the solution that counts as SWAD."""
        return "SWAD" if self.variant == "paper" else "SWAD released"

    @property
    def window(self) -> dict[str, Any]:
        return {"n_converge": self.n_converge, "n_tolerance": self.n_tolerance, "tolerance": self.tolerance}

    @property
    def static(self) -> tuple[str, ...]:
        return () if self.dataset == DIGITS else ("seed", "target")

    def trained(self, seed: Any, target: Any, rho: float = 0.0) -> tuple[Any, averages.Trajectory]:
        """The problem and one run of Adam on it (on SAM's gradient where rho > 0), with all that averages need."""
        problem = left_out(
            self.dataset,
            seed,
            target,
            label_noise=self.label_noise,
            width=self.width,
            weights=self.weights,
            **self.files,
        )
        rule = wb.optimizers.adam(self.step_size, gradient=UnifiedSAM(rho) if rho else None)
        batch = self.batch_per_domain * (n_domains(self.dataset, **self.files) - 1)
        path = averages.trajectory(
            problem, rule, seed=seed, steps=self.steps, every=self.every, batch_size=batch, ema_decay=self.ema_decay
        )
        return problem, path


def experiment(p: Any, **changed: Any) -> Experiment:
    """The experiment that the card's parameters `p` describe; `changed` names fields that differ, e.g. label_noise=0.0."""
    files = {"root": p.data_root, "image_size": p.image_size}
    described = Experiment(
        p.dataset, p.label_noise, p.lr, p.steps, p.eval_every, p.batch_per_domain, p.n_converge, p.n_tolerance, p.tolerance,
        p.variant, p.ema_decay, p.lawa_k, p.network_width, p.weights, files,
    )  # fmt: skip
    return replace(described, **changed)


def study(
    experiment: Experiment,
    seeds: Sequence[int],
    targets: Sequence[int],
    *,
    radii: Sequence[float],
    directions: int,
    rho: float = 0.0,
) -> xr.Dataset:
    """Every average of one run per (seed, target): accuracies, windows, flatness of ERM, SWAD and SWA, the valley's centre."""
    flat_names = ["ERM", experiment.swad, "SWA"]

    def one(seed: Any, target: Any) -> dict[str, Any]:
        problem, path = experiment.trained(seed, target, rho)
        made = averages.solutions(problem, path, lawa_k=experiment.lawa_k, **experiment.window)
        valley = averages.valley(path, variant=experiment.variant, **experiment.window)
        flat = {name: made[name] for name in flat_names}
        probes = {"directions": directions // 2, "seed": seed}
        return {
            "curves": measures.curves(path),
            "accuracy": measures.compared(problem, path, made),
            "any_place": measures.any_place(problem, path, valley),
            "fluctuation": measures.fluctuation(problem, path),
            "start": valley.start,
            "end": valley.end,
            "converged": valley.converged,
            "closed": valley.closed,
            "threshold": valley.threshold,
            "centre": measures.centre(problem, path),
            "surface": measures.surface(problem, path, **GRID, n_converge=experiment.n_converge),
            "flatness": measures.flatness_of(problem, path, flat, radii, **probes),
            "relative": measures.flatness_of(problem, path, flat, RELATIVE_RADII, scaling="relative", **probes),
            "norm": wb.Labelled(torch.stack([v.norm() for v in flat.values()]), ("point",)),
        }

    return wb.sweep(one, static=experiment.static, seed=list(seeds), target=list(targets))


def compared(
    experiment: Experiment, seeds: Sequence[int], targets: Sequence[int], *, rho: float = 0.0, methods: Sequence[str]
) -> xr.Dataset:
    """Accuracies of some averages and the checkpoints' curves with the window, one run per (seed, target)."""

    def one(seed: Any, target: Any) -> dict[str, Any]:
        problem, path = experiment.trained(seed, target, rho)
        made = averages.solutions(problem, path, methods=methods, **experiment.window)
        valley = averages.valley(path, variant=experiment.variant, **experiment.window)
        return {
            "accuracy": measures.compared(problem, path, made),
            "held_out": measures.held_out(problem, path, made),
            "curves": measures.curves(path),
            "start": valley.start,
            "end": valley.end,
            "converged": valley.converged,
            "closed": valley.closed,
        }

    return wb.sweep(one, static=experiment.static, seed=list(seeds), target=list(targets))
