"""The measurements behind the claims, as labelled arrays: whole sweeps of flows over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.dynamics import Labelled, run, sweep
from workbench.optimizers import gradient_descent
from workbench.optimizers.continuous.flows import RK4, Heun
from workbench.papers.relu_gradient_flow.network import (
    Neurons,
    first_crossing_prediction,
    initial_cones,
    relu_network,
    require_step,
)
from workbench.papers.relu_gradient_flow.points import Points, aligned_cosine

INTEGRATORS = {"heun": Heun, "rk4": RK4}
PRECISION = 0.01
"""Stated precision of the laws that hold as lambda goes to 0."""
ALIGNED = 0.99
"""Cosine from which a neuron counts as aligned."""
ITERATION = 2e-3
"""Flow time of one iteration of the authors' descent: 1e-3 on the mean squared error without 1/2."""


def horizon(points: Points, scale: float, factor: float = 1.3, settle: float = 15.0) -> float:
    """T = factor ln(1/lambda)/min|D| + settle/min|D|: past the last crossing and the convergence after it."""
    slow = min(rate for rate in points.rates if rate > 0)
    return (factor * math.log(1 / scale) + settle) / slow


def flows(
    points: Points,
    scales: Sequence[float],
    n: int,
    *,
    width: int,
    dt: float,
    factor: float = 1.3,
    settle: float = 15.0,
    kept: int = 400,
    seed0: int = 0,
    levels: tuple[float, float, float] | None = None,
    integrator: str = "heun",
    **control: object,
) -> xr.Dataset:
    """The flow from n starts at every scale lambda; the same draws, scaled.

    Args:
        points: the data.
        scales: lambda.
        n: seeds seed0, seed0 + 1, ...
        width, dt, factor, settle: the network, the step and `horizon`'s settings.
        kept: records of each run.
        levels: plateaus of the loss between which crossings are halfway; those of the points by default (a control whose data
            differ still looks for the crossings of the statement).
        integrator: "heun" (second order) or "rk4" (fourth).
        control: further fields of `ReLUNetwork`.

    Returns:
        loss, gradient_norm, time (seed, scale, record); first, second crossing times, NaN where the loss never gets there;
        final loss, before (the loss at nine tenths of the time), half_norm and imbalance at the end; saddle and saddle_loss, the
        smallest gradient between the crossings and the loss there; plus, minus: whether S+ and S- have neurons.
    """
    require_step(dt, points)
    if integrator not in INTEGRATORS:
        raise ValueError(f"integrator must be one of {', '.join(INTEGRATORS)}, got {integrator!r}")
    top, middle, bottom = points.plateaus if levels is None else levels
    parts = []
    for scale in scales:
        steps = math.ceil(horizon(points, scale, factor, settle) / dt)
        every = max(1, steps // kept)

        def follow(seed: Tensor, scale: float = scale, steps: int = steps, every: int = every) -> dict[str, object]:
            network = relu_network(points, width, scale, **control)
            start = network.initial(seed)
            plus, minus = initial_cones(start, points.inputs, points.labels)
            done = run(
                network,
                INTEGRATORS[integrator](dt),
                start=start,
                steps=steps,
                every=every,
                record={"loss": "train_loss", "gradient_norm": "gradient_norm", "time": "time"},
                events={
                    "first": lambda x, time: network.loss(x) - (top + middle) / 2,
                    "second": lambda x, time: network.loss(x) - (middle + bottom) / 2,
                },
                progress=False,
            )
            return {
                **{name: Labelled(one.value, ("record",)) for name, one in done.records.items()},
                **done.events,
                "half_norm": network.measures["half_norm"](done.parameters),
                "imbalance": network.measures["imbalance"](done.parameters),
                "plus": plus.any(),
                "minus": minus.any(),
            }

        one = sweep(follow, seed=range(seed0, seed0 + n), progress=False)
        short = one.isel(record=_thinned(one.sizes["record"], kept)).drop_vars("record", errors="ignore")
        parts.append(short.expand_dims(scale=[scale]))
    result = xr.concat(parts, "scale").transpose("seed", "scale", ...)
    result["final"], result["before"] = result.loss.isel(record=-1), _at_time(result, 0.9)
    between = (result.time > result["first"]) & (result.time < result["second"])
    inside = result.gradient_norm.where(between, np.inf)
    result["saddle"] = inside.min("record").where(between.any("record"))
    result["saddle_loss"] = result.loss.isel(record=inside.argmin("record")).where(between.any("record"))
    return result


def _thinned(size: int, kept: int) -> np.ndarray:
    return np.unique(np.linspace(0, size - 1, kept).round().astype(int))


def _at_time(result: xr.Dataset, share: float) -> xr.DataArray:
    place = abs(result.time - share * result.time.isel(record=-1)).argmin("record")
    return result.loss.isel(record=place)


def time_tolerance(points: Points, time: xr.DataArray, dt: float) -> xr.DataArray:
    """Computed error of a recorded time: halving dt changes it by less.

    Heun's growth is off by the share (D dt)^2/6, D = max |D|, hence so is a time at which something that grows reaches a level;
    times are interpolated linearly between steps, which adds at most D dt^2/4.
    """
    fast = max(points.rates)
    return time * (fast * dt) ** 2 / 6 + fast * dt**2 / 4


def crossing_rates(result: xr.Dataset, points: Points, dt: float) -> dict[str, xr.DataArray]:
    """Slope of the first and second crossing in ln(1/lambda), last pair of scales, times the predicted rate, minus 1 (seed).

    Guard: NaN where the computed error is above the precision of 1 %: what the slope still changed from the pair of scales
    before (where there are three), plus Heun's (|D| dt)^2/6.

    Raises:
        ValueError: for labels of one sign or a tie of the rates, where there is one crossing, not two.
    """
    points.require_two_phases()
    logs = -np.log(result.scale)
    found = {}
    for which, rate in zip(("first", "second"), sorted(points.rates, reverse=True), strict=True):
        times = result[which]
        slopes = (times.diff("scale") / logs.diff("scale")) * rate
        error = abs(slopes.isel(scale=-1) - slopes.isel(scale=-2)) if slopes.sizes["scale"] > 1 else 0.0
        error = error + (rate * dt) ** 2 / 6
        found[which] = (slopes.isel(scale=-1, drop=True) - 1).where(error < PRECISION)
    return found


def settled(result: xr.Dataset, points: Points) -> xr.DataArray:
    """Guard: the loss is below the lowest other stationary value min y^2/2n and still halving (or below 1e-25)."""
    lowest = float(points.labels.square().min()) / (2 * len(points.labels))
    halving = (result.final < 0.5 * result.before) | (result.final < 1e-25)
    return (result.final < lowest) & halving


def excess(result: xr.Dataset, points: Points) -> xr.DataArray:
    """|theta|^2/2 - N* at the end."""
    return result.half_norm - points.minimum_norm


def alignment(
    points: Points,
    scales: Sequence[float],
    n: int,
    *,
    width: int,
    dt: float,
    until: float,
    kept: int = 40,
    seed0: int = 0,
    **control: object,
) -> xr.Dataset:
    """cos(theta) to D+ (D-) of the neurons of S+ (S-) that are inactive on the other sign, against the tanh law.

    Returns:
        cosine and law (seed, scale, record, neuron), NaN for neurons outside these cones; deviation(seed, scale), the largest
        |cosine - law|; fall(seed, scale, record), the relative fall of the loss; time(record); aligned(seed, scale), the time of
        the event that the last of these neurons reaches a cosine of 0.99, and aligned_law, when the law has it (NaN: not yet, or
        no such neuron).
    """
    require_step(dt, points)
    steps = round(until / dt)
    every = max(1, steps // kept)
    plus_drive, minus_drive = points.drives
    plus_rate, minus_rate = points.rates

    def follow(seed: Tensor, scale: Tensor) -> dict[str, object]:
        network = relu_network(points, width, scale, **control)
        start = network.initial(seed)
        plus, minus = initial_cones(start, points.inputs, points.labels)
        active = (start["w"] @ points.inputs.mT) > 0
        alone_plus = plus & ~(active & ~points.positive).any(-1)
        alone_minus = minus & ~(active & points.positive).any(-1)
        towards = torch.where(alone_plus[:, None], plus_drive / plus_rate, minus_drive / minus_rate)
        rate = torch.where(alone_plus, plus_rate, minus_rate)

        def cosine(parameters: Neurons) -> Labelled:
            lengths = parameters["w"].square().sum(-1).sqrt()
            along = (parameters["w"] * towards).sum(-1) / torch.where(lengths > 0, lengths, torch.ones_like(lengths))
            return Labelled(torch.where(alone_plus | alone_minus, along, torch.nan), ("neuron",))

        first = cosine(start).value
        done = run(
            network,
            Heun(dt),
            start=start,
            steps=steps,
            every=every,
            record={"cosine": cosine, "loss": "train_loss", "time": "time"},
            events={"aligned": lambda x, time: ALIGNED - cosine(x).value.nan_to_num(math.inf).amin()},
            progress=False,
        )
        law = aligned_cosine(rate, done.records["time"].value[:, None], first)
        wait = (math.atanh(ALIGNED) - torch.atanh(first)) / rate
        loss = done.records["loss"].value
        return {
            "cosine": Labelled(done.records["cosine"].value, ("record", "neuron")),
            "law": Labelled(law, ("record", "neuron")),
            **done.events,
            "aligned_law": wait.nan_to_num(0.0).amax(),
            "fall": Labelled(1 - loss / loss[0], ("record",)),
            "time": Labelled(done.records["time"].value, ("record",)),
        }

    result = sweep(follow, seed=range(seed0, seed0 + n), scale=list(scales), progress=False)
    result["deviation"] = abs(result.cosine - result.law).max(["record", "neuron"])
    return result


def descents(
    points: Points, n: int, *, width: int, scale: float, iterations: int = 20_000, seed0: int = 0, **control: object
) -> xr.Dataset:
    """Gradient descent as the authors run it: step 1e-3 on the mean squared error, `iterations` of them.

    Returns (seed): first and second crossing in iterations, mse at the end, predicted (the time of formula 4 in iterations),
    off_direction (1 - the smallest cosine of a neuron with |a| > 0.01 with its sign's direction) and off_sum (largest distance
    of sum a_j w_j from its limit).
    """
    top, middle, bottom = points.plateaus
    ideal = points.directions

    def follow(seed: Tensor) -> dict[str, object]:
        network = relu_network(points, width, scale, **control)
        done = run(
            network,
            gradient_descent(ITERATION),
            seed=seed,
            steps=iterations,
            every=iterations,
            events={
                "first": lambda x, time: network.loss(x) - (top + middle) / 2,
                "second": lambda x, time: network.loss(x) - (middle + bottom) / 2,
            },
            progress=False,
        )
        w, a = done.parameters["w"], done.parameters["a"]
        worst, sums = w.new_zeros(()), w.new_zeros(())
        for sign, vector in zip((1, -1), ideal, strict=True):
            own = (a * sign > 1e-2).to(w.dtype)
            cosine = sign * (w @ vector) / (w.square().sum(-1).sqrt().clamp_min(1e-300) * vector.norm())
            worst = torch.maximum(worst, (own * (1 - cosine)).amax())
            sums = torch.maximum(sums, (((a * sign > 0) * a) @ w - vector).square().sum().sqrt())
        return {
            "first": done.events["first"] / ITERATION,
            "second": done.events["second"] / ITERATION,
            "mse": 2 * network.loss(done.parameters),
            "off_direction": worst,
            "off_sum": sums,
        }

    seeds = range(seed0, seed0 + n)
    result = sweep(follow, seed=seeds, progress=False)
    network = relu_network(points, width, scale, **control)
    sign = 1 if points.rates[0] > points.rates[1] else -1
    predicted = [first_crossing_prediction(network.initial(seed), points, sign) / ITERATION for seed in seeds]
    return result.assign(predicted=("seed", np.array(predicted)))


def frames(points: Points, *, width: int, scale: float, seed: int, dt: float, times: list[float]) -> list[Neurons]:
    """The neurons of one flow at some times."""
    network, rule = relu_network(points, width, scale), Heun(dt)
    state, now, found = network.initial(seed), 0, []

    class _Here:
        gradient = staticmethod(network.gradient)

    for target in [round(time / dt) for time in times]:
        while now < target:
            state, _ = rule.step(_Here(), state, ())  # type: ignore[arg-type]
            now += 1
        # pyrefly: ignore[missing-attribute]
        found.append({name: tensor.clone() for name, tensor in state.items()})
    return found
