"""The continuized process as it runs: many runs at once, exact between its random gradient steps (arXiv:2106.07644)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count
from workbench.optimizers.accelerated import Continuized, ContinuizedConvex

FLOWS = ("exact", "euler")
Points = Float[Tensor, "... run parameter"]


class Event(NamedTuple):
    """The state right after a gradient step: x, z and the time, all runs in the leading dimensions."""

    x: Points
    z: Points
    time: Float[Tensor, "... run"]


def waiting_times(seed: int, events: int, runs: int) -> Float[Tensor, "event run"]:
    """Exp(1) times between gradient steps."""
    return -torch.log1p(-draws.uniform(seed, (events, runs), stream="waiting"))


def flowed(
    scheme: Continuized | ContinuizedConvex, event: Event, waiting: Float[Tensor, "... run"], flow: str = "exact"
) -> tuple[Points, Points]:
    """x and z after the flow over `waiting`; flow = "euler" takes one Euler step instead (control, constant rates)."""
    if flow not in FLOWS:
        raise ValueError(f"flow must be one of {', '.join(FLOWS)}, got {flow!r}")
    if flow == "exact":
        p, q = scheme.mixing(event.time, waiting)
    elif isinstance(scheme, Continuized):
        p, q = scheme.eta * waiting, scheme.eta_z * waiting
    else:
        raise ValueError("flow = euler needs constant rates: eta = power/t is singular at 0")
    apart = event.z - event.x
    return event.x + torch.as_tensor(p)[..., None] * apart, event.z - torch.as_tensor(q)[..., None] * apart


def continuized_step(
    scheme: Continuized | ContinuizedConvex,
    event: Event,
    waiting: Float[Tensor, "... run"],
    gradient: Callable[[Points], Points],
    flow: str = "exact",
) -> Event:
    """Theorem 3: flow over `waiting`, then a gradient step of both sequences at the flowed x."""
    x, z = flowed(scheme, event, waiting, flow)
    time, slope = event.time + waiting, gradient(x)
    return Event(x - scheme.step_size * slope, z - torch.as_tensor(scheme.z_step_at(time))[..., None] * slope, time)


def path(
    scheme: Continuized | ContinuizedConvex,
    gradient: Callable[[Points], Points],
    start: Points,
    waiting: Float[Tensor, "event ... run"],
    flow: str = "exact",
) -> Iterator[Event]:
    """The start and the state after each gradient step."""
    event = Event(start, start, torch.zeros(start.shape[:-1], dtype=start.dtype))
    yield event
    for row in waiting:
        event = continuized_step(scheme, event, row, gradient, flow)
        yield event


def values_at(
    scheme: Continuized,
    gradient: Callable[[Points], Points],
    value: Callable[[Points], Float[Tensor, " run"]],
    start: Points,
    times: list[float],
    seed: int,
    flow: str = "exact",
) -> Float[Tensor, "time run"]:
    """value(x_t) at fixed times, every run flowing on from its last gradient step before t."""
    runs = start.shape[0]
    events = int(max(times) + 12 * max(times) ** 0.5 + 30)  # a Poisson count beyond this has probability < 1e-20
    require_count("runs", runs)
    waiting = waiting_times(seed, events, runs)
    found = torch.full((len(times), runs), torch.nan, dtype=start.dtype)
    for event, row in zip(path(scheme, gradient, start, waiting, flow), waiting, strict=False):
        for index, time in enumerate(times):
            here = (event.time <= time) & (time < event.time + row)
            if here.any():
                some = Event(event.x[here], event.z[here], event.time[here])
                found[index, here] = value(flowed(scheme, some, time - event.time[here], flow)[0])
    if found.isnan().any():
        raise ValueError(f"a run took more than {events} gradient steps before t = {max(times):g}")
    return found
