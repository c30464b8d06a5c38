"""Exact second moments against the same recursion written out and against simulation; gossip by events against a global clock.

Wanted: the exact risk of AcSGD at d = 1,000, T = 100,000 in at most 10 seconds, 1,000 nodes and 100,000 events in at most 5.
"""

from __future__ import annotations

import numpy as np

from benchmarks.measure import compare, once, row
from workbench.papers.accelerated_lsr.recursions import acsgd_moments, named_spectrum, recommended, risks
from workbench.papers.accelerated_lsr.simulation import simulated_risks
from workbench.papers.continuized_nesterov.gossip import half_and_half, simulate_gossip, simulate_gossip_globally
from workbench.papers.continuized_nesterov.graphs import graph
from workbench.problems.linear.designs import GaussianDesign

D, T = 1000, 100_000
SHORT = 2000


def rows() -> list[dict[str, object]]:
    """AcSGD at scale, AcSGD at the precision of a simulation, gossip on a long line."""
    return [_scale(), _simulation(), _gossip()]


def _scale() -> dict[str, object]:
    law = GaussianDesign(named_spectrum("power1", D), 1.0)
    method = acsgd_moments(law, *recommended(*law.constants))
    ours = once(lambda: risks(method, np.zeros(D), [T]))
    peer = T / SHORT * once(lambda: _written_out(law.spectrum, *recommended(*law.constants), SHORT))
    return row(
        f"exact risk of AcSGD, last and averaged, d = {D}, T = {T:,}", ours, "equation by equation", peer,
        f"peer extrapolated from T = {SHORT}",
    )  # fmt: skip


def _written_out(h: np.ndarray, alpha: float, beta: float, steps: int) -> float:
    """The recursion as on paper, one line per equation, the average included."""
    xx = xz = zz = ss = sx = sz = np.zeros_like(h)
    for t in range(steps):
        a, b, w = t / (t + 1), 1 / (t + 1), t + 1
        yy, yz = a * a * xx + 2 * a * b * xz + b * b * zz, a * xz + b * zz
        g2 = 2 * h**2 * yy + h * ((h * yy).sum() + 1.0)
        sy = a * sx + b * sz
        ss, ey, ez = ss + 2 * w * sy + w * w * yy, sy + w * yy, sz + w * yz
        sx, sz = (1 - beta * h) * ey, ez - alpha * w * h * ey
        xx = yy - 2 * beta * h * yy + beta**2 * g2
        xz = yz - alpha * w * h * yy - beta * h * yz + alpha * w * beta * g2
        zz = zz - 2 * alpha * w * h * yz + (alpha * w) ** 2 * g2
    return float((h * xx).sum() + (h * ss).sum())


def _simulation() -> dict[str, object]:
    law = GaussianDesign(named_spectrum("power1", 10), 0.5)
    steps, start = recommended(*law.constants), np.full(10, 10**-0.5)
    method = acsgd_moments(law, *steps)
    seconds = compare(
        {
            "exact": lambda: risks(method, start, [200]),
            "runs": lambda: simulated_risks(law, start, *steps, 200, 4000),
        },
        repeats=3,
    )
    return row("risk of AcSGD, d = 10, T = 200, exact", seconds["exact"], "4,000 runs (1 % error)", seconds["runs"])


def _gossip() -> dict[str, object]:
    one, start = graph("line", 1000), half_and_half(1000)
    ours = once(lambda: simulate_gossip(one, start, [1e5], 0))
    peer = 10 * once(lambda: simulate_gossip_globally(one, start, 1e4, 0))
    return row("gossip, 1,000 nodes, 100,000 events", ours, "the whole state flows at every event", peer,
               "peer extrapolated from 10,000 events")  # fmt: skip
