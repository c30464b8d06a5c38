"""What is measured of a leave-one-domain-out run and its averages, labelled for `wb.sweep`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.curvature import flatness
from workbench.curvature.measures.sharpness import Scaling
from workbench.draws import Seed
from workbench.dynamics.labelled import Labelled
from workbench.papers.swad.weight_averages import (
    Trajectory,
    as_parameters,
    combined,
    mean_over,
    metrics_of,
    valley,
)

QUANTITIES = ("validation loss", "validation accuracy", "target loss", "target accuracy")
FLATNESS_SAMPLES = 300


def curves(path: Trajectory) -> Labelled:
    """[step, quantity] of the checkpoints."""
    return Labelled(path.metrics, ("step", "quantity"), {"step": list(path.steps), "quantity": list(QUANTITIES)})


def compared(problem: Any, path: Trajectory, vectors: Mapping[str, Tensor]) -> Labelled:
    """[solution, quantity] of weights by name."""
    values = torch.stack([metrics_of(problem, path, vector) for vector in vectors.values()])
    return Labelled(values, ("solution", "quantity"), {"solution": list(vectors), "quantity": list(QUANTITIES)})


def surface(
    problem: Any, path: Trajectory, tolerances: Sequence[float], n_tolerances: Sequence[int], n_converge: int
) -> Labelled:
    """[n_tolerance, tolerance] target accuracy of SWAD over its hyper-parameters, from one run."""

    def accuracy(n: int, r: float) -> Tensor:
        vector = combined(valley(path, n_converge, n, r).weights, path.segments)
        return problem.evaluate(as_parameters(path, vector), "target")[1].cpu()

    values = torch.stack([torch.stack([accuracy(n, r) for r in tolerances]) for n in n_tolerances])
    coords = {"n_tolerance": list(n_tolerances), "tolerance": list(tolerances)}
    return Labelled(values, ("n_tolerance", "tolerance"), coords, "fraction", "target accuracy of SWAD")


def held_out(problem: Any, path: Trajectory, vectors: Mapping[str, Tensor]) -> Labelled:
    """[held, half] accuracy on every second held-out sample of the sources, even and odd ones.

    Beside the solutions "ERM even": the checkpoint of best accuracy on the even ones.
    """

    def reached(vector: Tensor) -> Tensor:
        at = as_parameters(path, vector)
        return torch.stack([problem.evaluate(at, f"validation {half}")[1].cpu() for half in ("even", "odd")])

    scores = torch.stack([reached(vector) for vector in path.checkpoints])
    chosen = scores[:, 0].nan_to_num(-1.0).argmax().reshape(1)
    values = torch.cat([scores.index_select(0, chosen), torch.stack([reached(vector) for vector in vectors.values()])])
    coords = {"held": ["ERM even", *vectors], "half": ["even", "odd"]}
    return Labelled(values, ("held", "half"), coords, "fraction", "accuracy on half of the held-out samples")


def fluctuation(problem: Any, path: Trajectory) -> Labelled:
    """[path] scatter of target accuracy over the last half of the evaluations: of checkpoints, of the running average."""
    last = slice(-(len(path.steps) // 2), None)
    smooth = [problem.evaluate(as_parameters(path, vector), "target")[1].cpu() for vector in path.ema[last]]
    values = torch.stack([path.metrics[last, 3].std(), torch.stack(smooth).std()])
    return Labelled(values, ("path",), {"path": ["checkpoint", "EMA"]}, "fraction", "scatter of target accuracy")


def any_place(problem: Any, path: Trajectory, window: Any) -> Labelled:
    """Target accuracy of an average as long as the window, mean over all its places in the run (enumerated)."""
    total = len(path.steps)
    number, length = torch.arange(total), window.end - window.start + 1
    accuracy = torch.zeros((), dtype=torch.float64)
    places = torch.zeros((), dtype=torch.float64)
    for start in range(total):
        weights = mean_over((number >= start) & (number < start + length))
        fits = (start + length <= total).double()
        reached = problem.evaluate(as_parameters(path, combined(weights, path.segments)), "target")[1].cpu()
        accuracy, places = accuracy + fits * reached, places + fits
    return Labelled(accuracy / places, long_name="target accuracy, window placed anywhere")


def three_places(path: Trajectory) -> list[int]:
    """Three evaluations of the middle of training: a fifth, three tenths and two fifths of the way."""
    return [tenths * (len(path.steps) - 1) // 10 for tenths in (2, 3, 4)]


def centre(problem: Any, path: Trajectory) -> Labelled:
    """[place, quantity]: three checkpoints of one run, and the mean of their weights."""
    three = path.checkpoints[three_places(path)]
    values = torch.stack([metrics_of(problem, path, vector) for vector in (*three, three.mean(0))])
    names = ["first", "second", "third", "mean"]
    return Labelled(values, ("place", "quantity"), {"place": names, "quantity": list(QUANTITIES)})


def flatness_of(
    problem: Any,
    path: Trajectory,
    vectors: Mapping[str, Tensor],
    radii: Sequence[float],
    *,
    scaling: Scaling = "absolute",
    directions: int,
    seed: Seed,
    samples: int = FLATNESS_SAMPLES,
) -> Labelled:
    """[part, point, radius] F_gamma on the sources and on the target, in `directions` directions and their opposites.

    The directions are the same for all solutions, parts and radii.
    """
    values = [
        [
            flatness(
                problem.part_loss(part, samples), as_parameters(path, vector), radii,
                directions=directions, scaling=scaling, seed=seed, chunk=1 if vector.numel() > 100_000 else directions,
            ).value.cpu()
            for vector in vectors.values()
        ]
        for part in ("source", "target")
    ]  # fmt: skip
    coords: dict[str, list] = {"part": ["source", "target"], "point": list(vectors)}
    if scaling == "absolute":
        coords["radius"] = list(radii)
        return Labelled(torch.stack([torch.stack(row) for row in values]), ("part", "point", "radius"), coords)
    coords["relative_radius"] = list(radii)
    return Labelled(torch.stack([torch.stack(row) for row in values]), ("part", "point", "relative_radius"), coords)
