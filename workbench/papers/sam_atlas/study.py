"""What the claims of the trial measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas
import xarray as xr
from scipy import stats

from workbench.papers.sam_atlas.methods import METHODS, known
from workbench.papers.sam_atlas.tasks import Task
from workbench.papers.sam_atlas.trial import Method, trained


def contest(
    task: Task | None,
    methods: Sequence[str | Method],
    choices: Sequence[Mapping[str, Any]],
    seeds: range,
    *,
    radius_factor: float = 1.0,
    step_size: float | None = None,
) -> xr.Dataset | None:
    """One task's trial (rule, seed): errors in per cent, training loss, gradients spent, and of sgd and sam the sharpness.
    None without a task.

    choices: records of task, method, step_size and strength (`records`). `radius_factor` multiplies every radius; `step_size`,
    where given, stands in for every method's own.
    Raises ValueError for a method without a record.
    """
    if task is None:
        return None
    found = []
    for method in map(known, methods):
        own = chosen(choices, task.name, method.name)
        strength = own["strength"] * (1.0 if method.name == "sgd_wd" else radius_factor)
        sharp = method.name in ("sgd", "sam")  # a fifth of a run's time
        found.append(trained(task, method, seeds, step_size or own["step_size"], strength, sharp=sharp))
    return _joined(found, [known(each).name for each in methods])


def chosen(choices: Sequence[Mapping[str, Any]], task: str, method: str) -> Mapping[str, Any]:
    """The record of a task and a method."""
    for record in choices:
        if (record["task"], record["method"]) == (task, method):
            return record
    raise ValueError(f"choices has no step size and strength of {method} on {task}; choose them with room.tuned")


def at_one_step(
    task: Task | None, seeds: range, step_size: float, rho: float, *, half: float = 0.5, radius_factor: float = 1.0
) -> xr.Dataset | None:
    """SGD, SGD with the share `half` of the steps, and SAM, all at the same untuned step size (rule, seed)."""
    if task is None:
        return None
    shorter = dataclasses.replace(METHODS["sgd_half"], share=half)
    runs = [
        trained(task, METHODS["sgd"], seeds, step_size, 0.0),
        trained(task, shorter, seeds, step_size, 0.0),
        trained(task, METHODS["sam"], seeds, step_size, rho * radius_factor),
    ]
    return _joined(runs, ["sgd", "sgd_half", "sam"])


def _joined(found: list[xr.Dataset], names: list[str]) -> xr.Dataset:
    return xr.concat(found, xr.DataArray(names, dims="rule", name="rule"))


def gain(found: xr.Dataset | None, method: str, over: str = "sgd") -> xr.DataArray | None:
    """Test error of a method minus that of another, in percentage points (seed): below zero is better. None without a trial."""
    if found is None:
        return None
    difference = found.test_error.sel(rule=method) - found.test_error.sel(rule=over)
    return difference.drop_vars("rule", errors="ignore").assign_attrs(units="pp", long_name=f"{method} minus {over}")


def gains(found: xr.Dataset | None, method: str, over: Mapping[str, str]) -> dict[str, Any] | None:
    """`gain` over several others, by the names of a claim's conditions."""
    return None if found is None else {name: gain(found, method, other) for name, other in over.items()}


def between(fixed: xr.Dataset | None) -> tuple[Any, Any, Any] | None:
    """Test accuracies (%) of shorter SGD, of SGD and of SAM (seed): where the first lies between the others."""
    if fixed is None:
        return None
    first, second, third = (
        100 - fixed.test_error.sel(rule=name).drop_vars("rule") for name in ("sgd_half", "sgd", "sam")
    )
    return first, second, third


def log_sharpness(found: xr.Dataset | None, method: str, over: str = "sgd") -> xr.DataArray | None:
    """log of the sharpness of a method over another's (seed)."""
    if found is None:
        return None
    ratio = found.sharpness.sel(rule=method) / found.sharpness.sel(rule=over)
    return xr.DataArray(np.log(ratio.drop_vars("rule", errors="ignore").where(ratio > 0)))


def interval(samples: Any) -> tuple[float, float, float]:
    """Mean and 95 % interval by Student's t: for tables and pictures, not for verdicts."""
    values = np.asarray(samples, float)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def summary(found: xr.Dataset | None) -> pandas.DataFrame | None:
    """A line a method: test error, its difference to SGD with interval, training loss, sharpness, budget, broken runs."""
    if found is None:
        return None
    lines = []
    for method in map(str, found.rule.values):
        one = found.sel(rule=method)
        mean, low, high = (0.0, 0.0, 0.0) if method == "sgd" else interval(gain(found, method))
        lines.append(
            {
                "method": method, "test error (%)": float(one.test_error.mean()), "minus SGD (pp)": mean, "from": low,
                "to": high, "train loss": float(one.train_loss.mean()), "sharpness": float(one.sharpness.median()),
                "steps": int(one.steps), "gradients": float(one.gradients), "broken": int(one.broken.sum()),
            }
        )  # fmt: skip
    return pandas.DataFrame(lines).set_index("method").round(3)
