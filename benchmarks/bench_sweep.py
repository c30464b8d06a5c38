"""Many runs at once against a Python loop over single runs, and the torch adapter against plain SGD."""

from __future__ import annotations

import functools
from unittest import mock

import torch
from torch import nn

import workbench as wb
from benchmarks.measure import compare, once, row
from benchmarks.networks import CNN, SMALL_CNN, cnn
from workbench.compiler import compiler_found
from workbench.optimizers import as_torch, m_sam, sam

STEPS = 100
LOOP_RUNS = 5
STEPS_TIMED, BATCH = 20, 128


def rows() -> list[dict[str, object]]:
    """Sweeps of diagonal networks, exact spectra of 20 seeds, SAM steps of two CNNs."""
    return [_diagonal_networks(), _spectra(), *(row for what in (CNN, SMALL_CNN) for row in _adapter(what))]


def _diagonal_networks() -> dict[str, object]:
    def train(seed, rho):
        problem = wb.problems.diagonal_network(wb.problems.sparse_regression(seed, 20, 30, 3), alpha=0.05)
        run = wb.run(
            problem, wb.optimizers.usam(0.1, rho), steps=STEPS, record=["train_loss"], at=[STEPS], progress=False
        )
        return run.records

    rhos = torch.linspace(0.0, 0.2, 50).tolist()
    many = compare({"sweep": lambda: wb.sweep(train, seed=range(20), rho=rhos, progress=False)}, repeats=3)["sweep"]
    single = once(lambda: [train(seed, rhos[seed]) for seed in range(LOOP_RUNS)]) / LOOP_RUNS
    return row(
        f"1,000 diagonal-network SAM runs, d=30, n=20, {STEPS} steps",
        many,
        "Python loop over runs",
        1000 * single,
        f"loop extrapolated from {LOOP_RUNS} runs",
    )


def _spectra() -> dict[str, object]:
    def spectrum(seed):
        problem = wb.problems.circle()
        return {"spectrum": wb.curvature.spectrum(problem.loss, problem.initial(seed))}

    timed = compare(
        {
            "sweep": lambda: wb.sweep(spectrum, seed=range(20), progress=False),
            "loop": lambda: [spectrum(seed) for seed in range(20)],
        }
    )
    return row("exact spectra of 20 seeds of the 65-parameter MLP", timed["sweep"], "loop over seeds", timed["loop"])


def _adapter(what: str) -> list[dict[str, object]]:
    inputs = torch.randn(BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(BATCH) % 10
    loss = nn.functional.cross_entropy
    network = functools.partial(cnn, what)

    plain, twice, closed, looped = (network() for _ in range(4))
    sgd = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    by_closure = as_torch(sam(0.05, 0.05, beta=0.9), closed.parameters())
    rules = {"SAM, module": sam(0.05, 0.05, beta=0.9), "m-SAM, 16 groups of 8": m_sam(0.05, 0.05, 8, beta=0.9)}
    functional = {
        f"{name}{', compiled' if compiled else ''}": as_torch(rule, network(), loss=loss, compile=compiled)
        for name, rule in rules.items()
        for compiled in (False, True)
    }
    with mock.patch("shutil.which", return_value=None):
        compiler_found.cache_clear()
        for name, rule in rules.items():
            functional[f"{name}, compile=True without a compiler"] = as_torch(rule, network(), loss=loss, compile=True)
    compiler_found.cache_clear()

    def backward(model: nn.Module) -> torch.Tensor:
        model.zero_grad()
        value = loss(model(inputs), targets)
        value.backward()
        return value

    def loop() -> None:
        """m-SAM as one writes it: group after group, the displacement in place."""
        parameters = list(looped.parameters())
        total = [torch.zeros_like(p) for p in parameters]
        for x, y in zip(inputs.split(8), targets.split(8), strict=True):
            ascent = torch.autograd.grad(loss(looped(x), y), parameters)
            size = torch.stack([g.norm() for g in ascent]).norm()
            with torch.no_grad():
                torch._foreach_add_(parameters, ascent, alpha=0.05 / size.item())
            descent = torch.autograd.grad(loss(looped(x), y), parameters)
            with torch.no_grad():
                torch._foreach_sub_(parameters, ascent, alpha=0.05 / size.item())
            torch._foreach_add_(total, descent, alpha=1 / 16)
        with torch.no_grad():
            torch._foreach_sub_(parameters, total, alpha=0.05)

    def steps(call):
        return lambda: [call() for _ in range(STEPS_TIMED)]

    timed = compare(
        {
            "sgd": steps(lambda: sgd.step(lambda: backward(plain))),
            "two gradients": steps(lambda: (backward(twice), backward(twice))),
            "SAM, closure": steps(lambda: by_closure.step(lambda: backward(closed))),
            **{name: steps(functools.partial(one.step, inputs, targets)) for name, one in functional.items()},
            "m-SAM, loop over groups": steps(loop),
        },
        repeats=9,
    )
    ours = [name for name in timed if name not in ("sgd", "two gradients", "m-SAM, loop over groups")]
    return [
        row(
            f"{STEPS_TIMED} steps of {name}, {what}, batch {BATCH}",
            timed[name],
            peer,
            timed[contender],
            f"{timed[name] / timed['sgd']:.2f} SGD steps",
        )
        for name in ours
        for peer, contender in [
            ("torch.optim.SGD", "sgd"),
            ("m-SAM, loop over groups", "m-SAM, loop over groups")
            if name.startswith("m-SAM")
            else ("two gradients alone", "two gradients"),
        ]
    ]
