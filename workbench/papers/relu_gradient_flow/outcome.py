"""Which starts reach zero loss, and which the least norm, at every width: outcome against the cones of the start."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench import draws
from workbench.dynamics import run, sweep
from workbench.optimizers.continuous.flows import Heun
from workbench.papers.relu_gradient_flow.network import Neurons, covers, initial_cones, relu_network, require_step
from workbench.papers.relu_gradient_flow.points import width_study


def widths(
    sizes: Sequence[int],
    n: int,
    *,
    n_pos: int = 3,
    n_neg: int = 3,
    d: int = 8,
    scale: float = 1e-12,
    dt: float = 0.2,
    seed0: int = 0,
) -> xr.Dataset:
    """Outcome and initial cones at every width, one data set and start for each of n seeds a width.

    Every width has seeds of its own, seed0 + n k + (0 ... n - 1) for the width at place k: pooled over widths the starts are
    independent. Neurons beyond a width start at 0 and stay there, so one sweep serves all widths.

    Returns (seed, width), the seed counted from seed0 at every width: final loss; ratio of |theta|^2/2 to N*; fits
    (final < 1e-6); least (fits, with a ratio below 1.01); covered (every point active for a neuron of its sign); cones (S+ and
    S- not empty).
    """
    largest, seeds = max(sizes), range(seed0, seed0 + n)
    data = [width_study(n_pos, n_neg, d, seed) for seed in range(seed0, seed0 + n * len(sizes))]
    require_step(dt, data[0])
    inputs = torch.stack([one.inputs for one in data])
    labels, least = data[0].labels, data[0].minimum_norm
    steps = math.ceil(2.5 * math.log(1 / scale) / min(data[0].rates) / dt)
    template = relu_network(data[0], largest, scale)
    known = torch.tensor(list(sizes))

    def own(seed: Tensor, width: Tensor) -> Tensor:
        return seed + n * (known == width).double().argmax()

    def start_of(seed: Tensor | int, width: Tensor | int) -> Neurons:
        alive = (torch.arange(largest) < width).double()[:, None]
        w = scale * alive * draws.normal(seed, (largest, d), stream="initial") / (1.0 * width) ** 0.5
        return {"w": w, "a": draws.signs(seed, (largest,), stream="signs") * w.square().sum(-1).sqrt()}

    def follow(seed: Tensor, width: Tensor) -> dict[str, object]:
        draw = own(seed, width)
        network = type(template)(inputs[draw - seed0], labels, largest, scale)
        done = run(network, Heun(dt), start=start_of(draw, width), steps=steps, every=steps, progress=False)
        return {"final": network.loss(done.parameters), "ratio": network.measures["half_norm"](done.parameters) / least}

    result = sweep(follow, seed=seeds, width=list(sizes), progress=False)
    shape = (n, len(sizes))
    covered, cones = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    for i, j in np.ndindex(*shape):
        place = i + n * j
        start = start_of(seed0 + place, sizes[j])
        covered[i, j] = covers(start, data[place])
        cones[i, j] = all(bool(one.any()) for one in initial_cones(start, data[place].inputs, labels))
    dims = ("seed", "width")
    result["fits"] = result.final < 1e-6
    result["least"] = result.fits & (result.ratio < 1.01)
    return result.assign(covered=(dims, covered), cones=(dims, cones))
