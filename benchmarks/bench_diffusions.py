"""The diffusion of SAM on many paths, against diffrax (jit of a vmap of diffeqsolve), whose paths also check ours.

Wanted: 10,000 paths of 10,000 steps in 30 dimensions in at most 1.1 times diffrax's CPU time. Both are measured at a tenth of the
steps, on which both depend linearly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

import workbench as wb
from benchmarks.measure import available, compare, once, row
from workbench.papers.sde_for_sam.equations import diffusion
from workbench.papers.sde_for_sam.projected_normal import _PLACES, _table

D, PATHS, STEPS = 30, 10_000, 1_000
STEP_SIZE, RHO, SIGMA = 0.01, 0.1, 0.5
CURVATURES = np.linspace(0.1, 3.0, D)


def rows() -> list[dict[str, object]]:
    """The time of both, first calls apart, and how far the paths' second moments are apart."""
    contenders: dict[str, Any] = {"workbench": lambda: _ours(PATHS, STEPS)}
    if available("diffrax"):
        contenders["diffrax"] = _diffrax(PATHS, STEPS)
    first = {name: once(call) for name, call in contenders.items()}
    seconds = compare(contenders, repeats=3, warmups=0)
    note = f"first call {first['workbench'] - seconds['workbench']:.2g} s more"
    if "diffrax" in contenders:
        ours, theirs = (np.asarray(call()) for call in contenders.values())
        ratio = float((ours**2).mean() / (theirs**2).mean())
        error = float((theirs**2).mean(1).std() / (theirs**2).mean() * (2 / PATHS) ** 0.5)
        note += f", diffrax's {first['diffrax'] - seconds['diffrax']:.2g} s; E|X|^2 over diffrax's {ratio:.4f} +- {error:.4f}"
    what = f"SAM's SDE, d = {D}, {PATHS:,} paths x {STEPS:,} steps (a tenth)"
    return [row(what, seconds["workbench"], "diffrax Euler", seconds.get("diffrax"), note)]


def _ours(paths: int, steps: int) -> np.ndarray:
    problem = wb.problems.quadratic(CURVATURES.tolist())
    rule = diffusion("sam", STEP_SIZE, RHO, SIGMA)
    start = torch.ones(D, dtype=torch.float64)

    def one(seed):
        return {
            "x": wb.run(problem, rule, start=start, seed=seed, steps=steps, compile=True, progress=False).parameters
        }

    # So many paths' numbers of a few steps stay in the cache; the whole sweep at once takes almost twice as long.
    return wb.sweep(one, seed=range(paths), chunk_size=500, progress=False).x.values


def _diffrax(paths: int, steps: int) -> Any:
    """The same equation, the same table of J, one gradient and one Hessian product in each coefficient."""
    import diffrax
    import jax
    import jax.numpy as jnp
    import lineax

    jax.config.update("jax_enable_x64", True)
    curvatures, table = jnp.asarray(CURVATURES), jnp.asarray(_table(D).numpy())

    def factors(square):
        inverse = 1 / (1 + square / D)
        place = (1 - inverse) * (_PLACES - 1)
        left = jnp.clip(jnp.floor(place), 0, _PLACES - 2)
        coefficients, t = table[left.astype(int)], place - left
        powers, root = jnp.stack([t**3, t**2, t, jnp.ones_like(t)]), jnp.sqrt(inverse)
        return (coefficients[:4] * powers).sum() * root, (coefficients[4:] * powers).sum() * root * inverse

    def drift(t, x, args):
        gradient = curvatures * x
        first, _ = factors((gradient**2).sum() / SIGMA**2)
        return -(gradient + RHO * curvatures * (first / SIGMA * gradient))

    def noise(t, x, args):
        gradient = curvatures * x
        first, second = factors((gradient**2).sum() / SIGMA**2)

        def times(v):
            spread = (first * v - second * (gradient @ v) / SIGMA**2 * gradient) / SIGMA
            return -(STEP_SIZE**0.5) * SIGMA * (v + RHO * curvatures * spread)

        # As an operator: a matrix would cost 30 times as much.
        return lineax.FunctionLinearOperator(times, jax.ShapeDtypeStruct((D,), jnp.float64))

    def solve(key):
        path = diffrax.UnsafeBrownianPath(shape=(D,), key=key)
        terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(noise, path))
        solution = diffrax.diffeqsolve(
            terms, diffrax.Euler(), 0.0, steps * STEP_SIZE, STEP_SIZE, jnp.ones(D), max_steps=steps + 1,
            adjoint=diffrax.ForwardMode() if hasattr(diffrax, "ForwardMode") else diffrax.DirectAdjoint(),
        )  # fmt: skip
        return solution.ys[0]

    many = jax.jit(jax.vmap(solve))
    keys = jax.random.split(jax.random.PRNGKey(0), paths)
    return lambda: many(keys).block_until_ready()
