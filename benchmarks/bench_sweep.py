"""Many runs at once against a Python loop over single runs, and the torch adapter against plain SGD."""

from __future__ import annotations

import functools

import torch

import workbench as wb
from benchmarks.measure import compare, once, row
from workbench.optimizers import as_torch, m_sam, sam

STEPS = 100
LOOP_RUNS = 5


def rows() -> list[dict[str, object]]:
    """Sweeps of diagonal networks, exact spectra of 20 seeds, SAM steps of a small CNN."""
    return [_diagonal_networks(), _spectra(), *_adapter()]


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


def _adapter() -> list[dict[str, object]]:
    inputs = torch.randn(128, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(128) % 10
    loss = torch.nn.functional.cross_entropy

    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, 8, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Conv2d(8, 16, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(256, 64),
            torch.nn.ReLU(),
            torch.nn.Linear(64, 10),
        )

    plain, closed = network(), network()
    sgd = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    by_closure = as_torch(sam(0.05, 0.05, beta=0.9), closed.parameters())
    rules = {"sam, module": sam(0.05, 0.05, beta=0.9), "m-SAM, 16 groups of 8": m_sam(0.05, 0.05, 8, beta=0.9)}
    functional = {
        f"{name}{', compiled' if compiled else ''}": as_torch(rule, network(), loss=loss, compile=compiled)
        for name, rule in rules.items()
        for compiled in (False, True)
    }

    def backward(model: torch.nn.Module) -> torch.Tensor:
        model.zero_grad()
        value = loss(model(inputs), targets)
        value.backward()
        return value

    def steps(call):
        return lambda: [call() for _ in range(20)]

    timed = compare(
        {
            "sgd": steps(lambda: sgd.step(lambda: backward(plain))),
            "sam, closure": steps(lambda: by_closure.step(lambda: backward(closed))),
            **{name: steps(functools.partial(one.step, inputs, targets)) for name, one in functional.items()},
        },
        repeats=9,
    )
    return [
        row(f"20 steps of {name}, CNN of 20k parameters, batch 128", timed[name], "torch.optim.SGD", timed["sgd"])
        for name in timed
        if name != "sgd"
    ]
