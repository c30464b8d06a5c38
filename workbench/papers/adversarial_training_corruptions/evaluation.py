"""Accuracy and calibration of trained networks, clean and under every corruption and severity, as labelled arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from workbench.data.preparing import corruptions
from workbench.problems import calibration


def measures(
    logits: Float[Tensor, "*lead sample label"], labels: Int[Tensor, "*lead sample"]
) -> dict[str, Float[Tensor, "*lead"]]:
    """Accuracy, calibration error (15 bins) and confidence minus accuracy in percent."""
    logs = torch.log_softmax(logits, -1)
    confidence, guessed = logs.exp().max(-1)
    correct = (guessed == labels).to(logits.dtype)
    confidence = confidence.clamp(max=1)
    return {
        "accuracy": 100 * correct.mean(-1),
        "calibration_error": 100 * calibration.expected_calibration_error(confidence, correct),
        "overconfidence": 100 * calibration.overconfidence(confidence, correct),
    }


def labelled(
    clean: Mapping[str, Float[Tensor, " seed"]],
    training: Float[Tensor, " seed"],
    corrupted: Mapping[str, Sequence[Float[Tensor, " seed"]]],
    seeds: Sequence[int],
    names: Sequence[str],
    severities: Sequence[int],
) -> xr.Dataset:
    """Measures as one dataset: `clean_*` and `train_accuracy` (seed), corrupted ones (seed, corruption, severity), in percent.

    corrupted: per measure one entry per cell, the severities of the first corruption first.
    """
    variables = {f"clean_{name}": ("seed", values.double().numpy(), {"units": "%"}) for name, values in clean.items()}
    variables["train_accuracy"] = ("seed", training.double().numpy(), {"units": "%"})
    for name, cells in corrupted.items():
        values = torch.stack(list(cells), -1).double().numpy().reshape(len(seeds), len(names), len(severities))
        variables[name] = (("seed", "corruption", "severity"), values, {"units": "%"})  # type: ignore[assignment]
    return xr.Dataset(variables, {"seed": list(seeds), "corruption": list(names), "severity": list(severities)})


def corrupted_mean(values: xr.DataArray, group: str | None = None, grouping: str = "customary") -> xr.DataArray:
    """Mean over corruptions (of a group, among those that were measured) and severities."""
    if group is not None:
        members = corruptions.groups(grouping)[group]  # type: ignore[arg-type]
        kept = [name for name in values.corruption.values if name in members]
        if not kept:
            raise ValueError(
                f"no corruption of the group {group!r} was measured: {', '.join(values.corruption.values)}"
            )
        values = values.sel(corruption=kept)
    return values.mean(["corruption", "severity"])
