"""Long sweeps in both precisions: vmapped eagerly, compiled in blocks of steps, and in JAX (jit of a scan of a vmapped step)."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

import workbench as wb
from benchmarks.measure import available, compare, once, row

DIAGONAL_STEPS = 10_000
MLP_STEPS = 1_000
LOOP_STEPS = 200


def rows() -> list[dict[str, object]]:
    """Diagonal networks (1,000 full-batch SAM runs) and 64 MLPs on minibatches."""
    return [row for dtype in (torch.float32, torch.float64) for row in (*_diagonal(dtype), *_mlps(dtype))]


def _diagonal(dtype: torch.dtype) -> list[dict[str, object]]:
    data = wb.problems.sparse_regression(0, 20, 30, 3)
    data = dataclasses.replace(data, **{name: value.to(dtype) for name, value in vars(data).items()})
    problem = wb.problems.diagonal_network(data, alpha=0.05)
    radii = np.linspace(0.0, 0.2, 1000).tolist()

    def train(rho, steps=DIAGONAL_STEPS, compile=False):
        run = wb.run(problem, wb.optimizers.usam(0.1, rho), steps=steps, compile=compile, progress=False)
        return {"predictor": problem.predictor(run.parameters)}

    def sweep(compile):
        return wb.sweep(lambda rho: train(rho, compile=compile), rho=radii, progress=False)

    first = once(lambda: sweep(True))
    contenders = {"compiled": lambda: sweep(True), "eager": lambda: sweep(False)}
    if available("jax"):
        contenders["JAX"] = _jax_diagonal(problem, radii)
    timed = compare(contenders, repeats=3)
    loop = once(lambda: train(radii[500], LOOP_STEPS)) * 1000 * DIAGONAL_STEPS / LOOP_STEPS
    _script_diagonal(problem, radii[500])  # the first call loads what later ones have
    script = once(lambda: _script_diagonal(problem, radii[500])) * 1000 * DIAGONAL_STEPS / LOOP_STEPS
    what = f"1,000 SAM runs x {DIAGONAL_STEPS} steps, diagonal network d=30, n=20, {str(dtype)[6:]}"
    note = f"compiler's first call {first - timed['compiled']:.3g} s more"
    return [
        row(what, timed["compiled"], "workbench, loop over runs", loop, "extrapolated from one run"),
        row(what, timed["compiled"], "torch script, loop over runs", script, "autograd; extrapolated from one run"),
        row(what, timed["compiled"], "workbench, eager", timed["eager"], note),
        row(what, timed["compiled"], "JAX jit(scan(vmap))", timed.get("JAX")),
    ]


def _script_diagonal(problem, rho):
    """As one writes it for a single run: autograd, the displacement in place."""
    parameters = problem.initial(0).clone().requires_grad_()
    for _ in range(LOOP_STEPS):
        (ascent,) = torch.autograd.grad(problem.loss(parameters), parameters)
        with torch.no_grad():
            parameters += rho * ascent
        (descent,) = torch.autograd.grad(problem.loss(parameters), parameters)
        with torch.no_grad():
            parameters -= rho * ascent + 0.1 * descent


def _jax_diagonal(problem, radii):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", problem.inputs.dtype == torch.float64)
    inputs, targets = jnp.asarray(problem.inputs.numpy()), jnp.asarray(problem.targets.numpy())

    def loss(parameters):
        residuals = inputs @ (parameters[0] ** 2 - parameters[1] ** 2) - targets
        return 0.25 * (residuals**2).mean()

    gradient = jax.grad(loss)

    def run(rho, start):
        def step(parameters, _):
            return parameters - 0.1 * gradient(parameters + rho * gradient(parameters)), None

        return jax.lax.scan(step, start, None, length=DIAGONAL_STEPS)[0]

    start = jnp.full((2, inputs.shape[1]), 0.05, dtype=inputs.dtype)
    many = jax.jit(jax.vmap(run, (0, None)))
    rho = jnp.asarray(radii, dtype=inputs.dtype)
    return lambda: many(rho, start).block_until_ready()


def _mlps(dtype: torch.dtype) -> list[dict[str, object]]:
    digits = wb.data.load("digits", train=1000, centre=True)
    problem = wb.problems.classifier(digits, hidden=[32], activation="tanh", loss="squared", dtype=dtype)

    def train(seed, steps=MLP_STEPS, compile=False):
        rule = wb.optimizers.gradient_descent(0.3)
        run = wb.run(problem, rule, seed=seed, steps=steps, batch_size=100, compile=compile, progress=False)
        return run.parameters

    def sweep(compile):
        return wb.sweep(lambda seed: train(seed, compile=compile), seed=range(64), progress=False)

    first = once(lambda: sweep(True))
    contenders = {"compiled": lambda: sweep(True), "eager": lambda: sweep(False)}
    if available("jax"):
        contenders["JAX"] = _jax_mlps(problem)
    timed = compare(contenders, repeats=3)
    loop = once(lambda: train(0, LOOP_STEPS)) * 64 * MLP_STEPS / LOOP_STEPS
    _script_mlp(problem)
    script = once(lambda: _script_mlp(problem)) * 64 * MLP_STEPS / LOOP_STEPS
    what = f"64 MLPs (64-32-10) x {MLP_STEPS} minibatch steps of 100, {str(dtype)[6:]}"
    note = f"compiler's first call {first - timed['compiled']:.3g} s more"
    return [
        row(what, timed["compiled"], "workbench, loop over runs", loop, "extrapolated from one run"),
        row(what, timed["compiled"], "torch script, loop over runs", script, "autograd; extrapolated from one run"),
        row(what, timed["compiled"], "workbench, eager", timed["eager"], note),
        row(what, timed["compiled"], "JAX jit(scan(vmap))", timed.get("JAX")),
    ]


def _script_mlp(problem):
    """As one writes it for a single network: a module, a loss, `torch.optim.SGD`."""
    inputs, targets = problem.data
    model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)).to(inputs.dtype)
    optimizer, order = torch.optim.SGD(model.parameters(), lr=0.3), torch.arange(1000)
    for step in range(LOOP_STEPS):
        order = torch.randperm(1000) if step % 10 == 0 else order
        batch = order[step % 10 * 100 :][:100]
        optimizer.zero_grad()
        (0.5 * ((model(inputs[batch]) - targets[batch]) ** 2).sum(-1).mean()).backward()
        optimizer.step()


def _jax_mlps(problem):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", problem.inputs.dtype == torch.float64)
    start = torch.func.vmap(problem.initial)(torch.arange(64))
    start = {name: jnp.asarray(value.numpy()) for name, value in start.items()}
    inputs, targets = (jnp.asarray(tensor.numpy()) for tensor in problem.data)
    names = list(start)

    def loss(parameters, x, y):
        hidden = jnp.tanh(x @ parameters[names[0]].T + parameters[names[1]])
        return 0.5 * ((hidden @ parameters[names[2]].T + parameters[names[3]] - y) ** 2).sum(-1).mean()

    gradient = jax.grad(loss)

    def run(parameters, order):
        def step(parameters, batch):
            g = gradient(parameters, inputs[batch], targets[batch])
            return {name: parameters[name] - 0.3 * g[name] for name in parameters}, None

        return jax.lax.scan(step, parameters, order)[0]

    rng = np.random.default_rng(0)
    epochs = MLP_STEPS // 10
    order = np.stack([np.concatenate([rng.permutation(1000) for _ in range(epochs)]) for _ in range(64)])
    order = jnp.asarray(order.reshape(64, MLP_STEPS, 100))
    many = jax.jit(jax.vmap(run))
    return lambda: jax.block_until_ready(many(start, order))
