"""The same work on a GPU, where one is at hand, and on one core of its machine: wall seconds, the GPU's work waited for."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

import workbench as wb
from benchmarks.bench_estimates import Digits
from benchmarks.networks import CNN, cnn
from workbench.optimizers import as_torch, m_sam, sam

REPEATS = 5
RUNS, STEPS, OPTIMIZER_STEPS, BATCH = 1_000, 1_000, 20, 128


def rows() -> list[dict[str, object]]:
    """No rows without a GPU."""
    if not torch.cuda.is_available():
        return []
    gpu = torch.device("cuda")
    name = torch.cuda.get_device_name(gpu)
    there, here = _work(gpu), _work(torch.device("cpu"))
    return [
        {
            "what": what,
            f"{name} (s)": f"{(fast := _seconds(there[what])):.3g}",
            "one CPU core (s)": f"{(slow := _seconds(here[what])):.3g}",
            "CPU / GPU": f"{slow / fast:.3g}",
        }
        for what in there
    ]


def _work(device: torch.device) -> dict[str, Callable[[], object]]:
    work: dict[str, Callable[[], object]] = {}
    for dtype in (torch.float32, torch.float64):
        loss, parameters = _digits(dtype, device)
        kind = str(dtype).removeprefix("torch.")
        work |= {
            f"exact Hessian, P = 4,810, {kind}": functools.partial(wb.curvature.hessian, loss, parameters),
            f"exact spectrum, {kind}": functools.partial(wb.curvature.spectrum, loss, parameters),
            f"top 10 eigenpairs, {kind}": functools.partial(wb.curvature.top_eigenpairs, loss, parameters, 10),
            f"spectral density, 8 probes x 80 steps, {kind}": functools.partial(
                wb.curvature.spectral_density, loss, parameters
            ),
            f"trace, 64 products, {kind}": functools.partial(wb.curvature.trace, loss, parameters),
        }
        for compiled in (False, True):
            how = "compiled" if compiled else "eager"
            work[f"{RUNS:,} SAM runs x {STEPS:,} steps, diagonal network, {kind}, {how}"] = functools.partial(
                _sweep, dtype, device, compiled
            )
    return work | _cnns(device)


def _digits(dtype: torch.dtype, device: torch.device):
    digits = Digits(dtype)
    loss = wb.curvature.empirical_loss(
        digits.model.to(device), functional.cross_entropy, digits.inputs.to(device), digits.targets.to(device)
    )
    return loss, loss.parameters()


def _sweep(dtype: torch.dtype, device: torch.device, compiled: bool) -> object:
    data = wb.problems.sparse_regression(0, 20, 30, 3)
    data = dataclasses.replace(data, **{name: value.to(device, dtype) for name, value in vars(data).items()})
    problem = wb.problems.diagonal_network(data, alpha=0.05)

    def train(rho):
        run = wb.run(problem, wb.optimizers.usam(0.1, rho), steps=STEPS, compile=compiled, progress=False)
        return {"predictor": problem.predictor(run.parameters)}

    return wb.sweep(train, rho=np.linspace(0.0, 0.2, RUNS).tolist(), progress=False)


def _cnns(device: torch.device) -> dict[str, Callable[[], object]]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1797, 1, 8, 8, generator=generator).to(device)
    targets = (torch.arange(1797) % 10).to(device)
    loss = wb.curvature.empirical_loss(cnn(CNN).to(device), functional.cross_entropy, inputs, targets)
    what = f"gradients of 1,797 samples, {CNN}"
    work: dict[str, Callable[[], object]] = {
        what: lambda: wb.curvature.per_sample_gradients(loss, loss.parameters()),
    }
    for name, rule in {
        "SAM": sam(0.05, 0.05, beta=0.9),
        "m-SAM, 16 groups of 8": m_sam(0.05, 0.05, 8, beta=0.9),
    }.items():
        for compiled in (False, True):
            how = "compiled" if compiled else "eager"
            optimizer = as_torch(rule, cnn(CNN).to(device), loss=functional.cross_entropy, compile=compiled)
            step = functools.partial(optimizer.step, inputs[:BATCH], targets[:BATCH])
            work[f"{OPTIMIZER_STEPS} steps of {name}, {CNN}, batch {BATCH}, {how}"] = functools.partial(_repeat, step)
    return work


def _repeat(step: Callable[[], object]) -> None:
    for _ in range(OPTIMIZER_STEPS):
        step()


def _seconds(call: Callable[[], object]) -> float:
    """Median wall seconds, warmed up."""

    def timed() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        return time.perf_counter() - start

    timed()
    return statistics.median(timed() for _ in range(REPEATS))
