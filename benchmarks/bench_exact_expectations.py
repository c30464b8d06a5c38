"""Exact laws of sequential tests, exact moments of collaborating users: sizes of the papers, against the obvious way.

The largest programme of the test of a coin (eps = 0.1, delta = 1e-32; eps = 0.2 to 1e-128) should take at most 10 seconds.
"""

from __future__ import annotations

import numpy as np

from benchmarks.measure import compare, row
from workbench.dynamics.moments import AffineStep, affine_path
from workbench.papers.sequential_closeness_testing.bernoulli import batch_size_bernoulli
from workbench.papers.sequential_closeness_testing.stopping_law import sequential_dp
from workbench.papers.sequential_closeness_testing.stopping_rules import stopping_rule

SETTINGS, STEPS = 2000, 500


def rows() -> list[dict[str, object]]:
    """The stopping law, its largest sizes, and thousands of small recursions."""
    return [_small(), *_largest(), _recursions()]


def _small() -> dict[str, object]:
    eps, delta = 0.2, 1e-8
    rule = stopping_rule("sprt", eps, delta)
    horizon = sequential_dp([0.5, 0.7], rule).pmf.shape[1]
    seconds = compare({"ours": lambda: sequential_dp([0.5, 0.7], rule), "heads": lambda: _by_heads(rule, horizon)})
    return row(
        f"stopping law, eps = {eps}, delta = {delta}, {horizon} samples", seconds["ours"], "all S", seconds["heads"]
    )


def _by_heads(rule, horizon: int) -> float:
    """The programme over the number of heads, the states in between included."""
    size = 0.0
    times = np.arange(1, horizon + 1)
    reject, accept = rule.boundaries(times)
    for p in (0.5, 0.7):
        mass = np.zeros(horizon + 2)
        mass[0] = 1.0
        for t in times.tolist():
            mass[1 : t + 1], mass[0] = p * mass[:t] + (1 - p) * mass[1 : t + 1], (1 - p) * mass[0]
            heads = np.arange(t + 1)
            most = np.maximum(heads, t - heads)
            stop = (most >= reject[t - 1]) | (most <= accept[t - 1])
            size += t * mass[: t + 1][stop].sum()
            mass[: t + 1][stop] = 0.0
    return size


def _largest() -> list[dict[str, object]]:
    found = []
    for eps, delta, name in ((0.1, 1e-32, "sprt"), (0.1, 1e-32, "glr"), (0.2, 1e-128, "sprt")):
        rule = stopping_rule(name, eps, delta)
        seconds = compare(
            {
                "law": lambda rule=rule, eps=eps: sequential_dp([0.5, 0.5 + eps], rule),
                "batch": lambda eps=eps, delta=delta: batch_size_bernoulli(eps, delta),
            }
        )
        what = f"stopping law, {name}, eps = {eps}, delta = {delta}"
        found.append(row(what, seconds["law"], "batch size alone", seconds["batch"], "at most 10 s"))
    return found


def _recursions() -> dict[str, object]:
    rng = np.random.default_rng(0)
    maps, offsets = 0.4 * rng.standard_normal((2, 2, SETTINGS)), rng.standard_normal((2, SETTINGS))
    noise = np.broadcast_to(np.eye(2)[..., None], (2, 2, SETTINGS))

    def entries() -> None:
        for number, _ in enumerate(affine_path(AffineStep(maps, offsets, noise), offsets)):
            if number == STEPS:
                return

    def matrices() -> None:
        step, b, covariance = np.moveaxis(maps, -1, 0), offsets.T, np.moveaxis(noise, -1, 0)
        mean, spread = b, np.zeros_like(covariance)
        for _ in range(STEPS):
            mean = (step @ mean[..., None])[..., 0] + b
            spread = step @ spread @ step.transpose(0, 2, 1) + covariance

    seconds = compare({"entries": entries, "matrices": matrices})
    return row(
        f"{SETTINGS} recursions of 2 numbers, {STEPS} steps", seconds["entries"], "numpy matmul", seconds["matrices"]
    )
