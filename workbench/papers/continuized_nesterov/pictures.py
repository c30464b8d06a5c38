"""The figures of the notebook: each function draws on Axes that it is given and registers what it drew in words."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes

from workbench.figures.style import GUIDE, PALETTE
from workbench.figures.words import describe
from workbench.papers.continuized_nesterov import moments, rates
from workbench.papers.continuized_nesterov.gossip import exact_gossip_rate
from workbench.papers.continuized_nesterov.graphs import graph
from workbench.papers.continuized_nesterov.simulation import path, waiting_times
from workbench.problems.linear.designs import AdditiveNoise


def one_path(ax: Axes, seed: int, events: int = 12) -> None:
    """One path of x and z in the plane: flow between gradient steps (solid), jumps (dotted), a dot after each of these."""
    h = torch.tensor([0.4, 0.12], dtype=torch.float64)
    scheme = rates.strongly_convex(0.12)
    start = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    waiting = waiting_times(seed, events, 1)
    states = list(path(scheme, lambda x: h * x, start, waiting))
    for name, colour, index in (("$x_t$", PALETTE[0], 0), ("$z_t$", PALETTE[1], 1)):
        for event, after, wait in zip(states, states[1:], waiting, strict=False):
            p, q = scheme.mixing(0.0, torch.linspace(0, 1, 20, dtype=torch.float64) * wait)
            apart = event.z - event.x
            arc = (
                event.x + torch.as_tensor(p)[:, None] * apart
                if index == 0
                else event.z - torch.as_tensor(q)[:, None] * apart
            )
            jump = torch.cat([arc[-1:], after[index]])
            ax.plot(*arc.T.numpy(), color=colour, linewidth=1.8)
            ax.plot(*jump.T.numpy(), ":", color=colour, linewidth=1, alpha=0.7)
        dots = torch.cat([event[index] for event in states]).numpy()
        ax.plot(*dots.T, "o", color=colour, markersize=4, label=name)
        describe(ax, f"{name} after {events} gradient steps at ({dots[-1, 0]:.2g}, {dots[-1, 1]:.2g})")
    ax.plot(0, 0, "*", color=GUIDE, markersize=11, label="minimiser")
    ax.set(xlabel="first coordinate (curvature 0.4)", ylabel="second coordinate (0.12)")
    ax.legend(fontsize=9)


def strongly_convex(ax: Axes, curves: xr.Dataset, mu: float, seed: int, rate: float, runs: int = 40) -> None:
    """Paths of f at the jump times, the exact mean and the bound, on 30 curvatures in [mu, 1]."""
    h, a = torch.logspace(math.log10(mu), 0, 30, dtype=torch.float64), math.sqrt(mu)
    end = 8.0
    start = torch.ones(runs, 30, dtype=torch.float64)
    states = list(path(rates.strongly_convex(mu), lambda x: h * x, start, waiting_times(seed, int(2 * end / a), runs)))
    times = torch.stack([event.time for event in states]).numpy() * a
    gaps = torch.stack([0.5 * (h * event.x**2).sum(-1) for event in states]).numpy()
    ax.semilogy(times, gaps, color=PALETTE[0], alpha=0.12, linewidth=0.8)
    inside = curves.time * a <= end
    shown = curves.isel(time=np.flatnonzero(inside))
    ax.semilogy(shown.time * a, shown.gap, color=PALETTE[0], label=f"exact mean, rate {rate:.2f} $a$")
    ax.semilogy(shown.time * a, shown.bound, color=PALETTE[3], linestyle="--", label="bound, rate $a$")
    ax.set(
        xlabel="$a\\,t$",
        ylabel="$f(x_t)-f_*$",
        xlim=(0, end),
        ylim=(float(shown.gap[-1]) / 1e3, 2 * float(shown.bound[0])),
    )
    ax.set_title(rf"$\mu={mu:g}$, {runs} paths", fontsize=11)
    ax.legend(fontsize=9)
    describe(
        ax,
        f"mu = {mu:g}: exact mean {float(shown.gap[-1]):.2g} and bound {float(shown.bound[-1]):.2g} at a t = {end:g}",
    )


def convex(ax: Axes, horizon: float = 300.0) -> None:
    """Convex parameters: exact E f for four curvatures against the bound of slope -2, and with noise against t/3."""
    times = np.geomspace(0.5, horizon, 80)
    for k, h in enumerate((1.0, 1e-1, 1e-2, 1e-3)):
        curve = (
            0.5 * h * moments.expected_convex(rates.convex(), AdditiveNoise(np.array([h])), np.ones(1), times)[:, 0, 0]
        )
        ax.loglog(times, curve, color=PALETTE[k], label=f"curvature {h:g}")
    ax.loglog(times, rates.convex_bound(times, 1.0), color=GUIDE, linestyle="--", label="bound $2L/t^2$")
    noisy = (
        0.005
        * moments.expected_convex(rates.convex(), AdditiveNoise(np.array([0.01]), 1.0), np.zeros(1), times)[:, 0, 0]
    )
    ax.loglog(times, noisy, color=PALETTE[4], linestyle="-.", label="noise alone, curvature 0.01")
    ax.loglog(times, times / 3, color=GUIDE, linestyle=":", label=r"noise bound $\sigma^2t/(3L)$")
    describe(ax, f"at t = {horizon:g} the noise part is {noisy[-1]:.3g}, its bound {horizon / 3:.3g}")
    ax.set(xlabel="$t$", ylabel="$E f(x_t)-f_*$", ylim=(1e-9, 1e3))
    ax.legend(fontsize=8, loc="lower left")


def gains(ax: Axes, conds: list[float], exact: list[float], proven: list[float]) -> None:
    """Exact rate gain over SGD against the condition number, and the ratio of the proven rates."""
    ax.loglog(conds, exact, "o-", color=PALETTE[0], label="exact rates")
    ax.loglog(conds, proven, "--", color=GUIDE, label=r"$\sqrt{\kappa/\tilde\kappa}$, proven rates")
    ax.axhline(1, color=GUIDE, linewidth=1)
    ax.set(xlabel="condition number of $H$", ylabel="rate over SGD's")
    ax.legend(fontsize=9)
    describe(ax, f"gain {exact[0]:.3g} at condition {conds[0]:g} to {exact[-1]:.3g} at {conds[-1]:g}")


def gossip_decay(ax: Axes, runs: dict[str, xr.Dataset], n: int) -> None:
    """Mean squared distance to the average, both methods from the same start, and the bound of the accelerated one."""
    for k, (name, found) in enumerate(runs.items()):
        mean = found.distance2.mean("seed")
        ax.semilogy(found.time, found.distance2.values[:20].T, color=PALETTE[k], alpha=0.12, linewidth=0.8)
        ax.semilogy(
            found.time, mean, color=PALETTE[k], linestyle=("-", "--")[k], label=f"{name}, mean of {found.seed.size}"
        )
        describe(ax, f"{name}: mean {float(mean[-1]):.2g} at the end")
    bound = next(iter(runs.values())).bound
    ax.semilogy(found.time, bound, color=GUIDE, linestyle=":", label=r"bound $2e^{-\theta t}$")
    ax.set(xlabel=r"$\theta\,t$", ylabel=r"$\|x_t-\bar x\|^2$", title=f"line of {n} nodes")
    ax.legend(fontsize=9)


def gossip_rates(ax: Axes, sizes: tuple[int, ...] = (4, 5, 6, 8, 10, 12)) -> None:
    """Exact rates on lines against n, with the proven ones behind and slopes -2 and -3."""
    graphs = [graph("line", n) for n in sizes]
    for k, (name, method, proven) in enumerate(
        (("accelerated", "accelerated", lambda one: one.constants.theta), ("plain", "plain", lambda one: one.gap / 2))
    ):
        exact = [exact_gossip_rate(one, method) for one in graphs]
        ax.loglog(sizes, exact, ("o-", "s--")[k], color=PALETTE[k], label=f"{name}, exact")
        ax.loglog(
            sizes, [proven(one) for one in graphs], color=PALETTE[k], alpha=0.4, linewidth=1, label=f"{name}, proven"
        )
        last = math.log(exact[-1] / exact[-2]) / math.log(sizes[-1] / sizes[-2])
        ax.annotate(f"slope {last:.2f}", (sizes[-1], exact[-1]), xytext=(7, -3), textcoords="offset points")
        describe(
            ax,
            f"{name}: exact rate {exact[0]:.3g} at n = {sizes[0]} to {exact[-1]:.3g} at {sizes[-1]}, last slope {last:.2f}",
        )
    ax.set(xlabel="nodes $n$", ylabel="rate", title="line graphs")
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.set_xlim(sizes[0] * 0.93, sizes[-1] * 1.3)
    ax.minorticks_off()
    ax.legend(fontsize=9, loc="lower left")


def node_values(ax: Axes, values: xr.DataArray, name: str) -> None:
    """x of every node over time, in colour."""
    mesh = ax.pcolormesh(values.time, values.node, values, cmap="RdBu_r", vmin=-1, vmax=1, shading="nearest")
    ax.set(xlabel=r"$\theta\,t$", ylabel="node", title=name)
    ax.grid(False)
    ax.figure.colorbar(mesh, ax=ax, label="$x_v$")
    spans = np.ptp(values.values[:, [0, -1]], axis=0)
    describe(ax, f"{name}: the values of the nodes span {spans[0]:.3g} at the start, {spans[1]:.2g} at the end")
