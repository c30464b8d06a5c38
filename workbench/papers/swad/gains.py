"""What the claims judge: one number per seed, means over the domains left out, read from a study's labelled arrays."""

from __future__ import annotations

import numpy as np
import xarray as xr

import workbench as wb


def accuracies(result: xr.Dataset, quantity: str = "target accuracy") -> xr.DataArray:
    """(seed, weights) per cent, mean over the domains left out; "any place" beside the solutions where it was measured."""
    found = 100 * result.accuracy.rename(solution="weights").sel(quantity=quantity, drop=True).mean("target")
    if quantity == "target accuracy" and "any_place" in result:
        place = 100 * result.any_place.mean("target").expand_dims(weights=["any place"])
        found = xr.concat([found, place], "weights")
    return found


def own_checkpoints(result: xr.Dataset) -> xr.DataArray:
    """(seed) per cent: mean target accuracy of the checkpoints inside the window, mean over the domains left out."""
    number = xr.DataArray(np.arange(result.sizes["step"]), dims="step")
    inside = (number >= result.start) & (number <= result.end)
    reached = result.curves.sel(quantity="target accuracy", drop=True).drop_vars("step", errors="ignore")
    return 100 * reached.where(inside).mean("step").mean("target")


def one_checkpoint(result: xr.Dataset) -> xr.DataArray:
    """(seed) per cent: target accuracy of one checkpoint of the window, drawn anew for every seed and domain left out."""
    reached = result.curves.sel(quantity="target accuracy", drop=True).transpose("seed", "target", "step").values
    start, end = (result[name].transpose("seed", "target").values.astype(int) for name in ("start", "end"))
    places = [
        wb.draws.generator(seed, "a checkpoint of the window").random(start.shape[1]) for seed in result.seed.values
    ]
    drawn = start + (np.array(places) * (end - start + 1)).astype(int)
    picked = np.take_along_axis(reached, drawn[..., None], -1)[..., 0].mean(1)
    return xr.DataArray(100 * picked, dims=("seed",), coords={"seed": result.seed})


def judged(result: xr.Dataset, name: str) -> xr.DataArray:
    """(seed) target accuracy of the weights that are judged as SWAD; "a checkpoint" is one of the window's."""
    return one_checkpoint(result) if name == "a checkpoint" else accuracies(result).sel(weights=name, drop=True)


def fluctuations(result: xr.Dataset, of: str = "checkpoint") -> xr.DataArray:
    """(seed) scatter of target accuracy along the run over the running average's, means over the domains left out."""
    scatter = result.fluctuation.mean("target")
    return scatter.sel(path=of, drop=True) / scatter.sel(path="EMA", drop=True)


def held_out_gain(result: xr.Dataset, name: str, half: str = "odd") -> xr.DataArray:
    """(seed) pp on half of the held-out samples of the sources over the checkpoint that was best on the even half."""
    accuracy = 100 * result.held_out.sel(half=half, drop=True).mean("target")
    return accuracy.sel(held=name, drop=True) - accuracy.sel(held="ERM even", drop=True)


def flatness_ratio(result: xr.Dataset, kind: str, part: str, first: str, second: str) -> xr.DataArray:
    """(seed) geometric mean over all radii of F_first/F_second, means over the domains left out, both positive."""
    axis = "radius" if kind == "flatness" else "relative_radius"
    mean = result[kind].sel(part=part, drop=True).mean("target")
    ratio = mean.sel(point=first, drop=True) / mean.sel(point=second, drop=True)
    # pyrefly: ignore[bad-argument-type]
    return np.exp(np.log(ratio).mean(axis))


def centre_gain(result: xr.Dataset, of: str = "mean") -> dict[str, xr.DataArray]:
    """(seed) the mean of three checkpoints minus the mean of their values: target accuracy in pp, target loss."""
    own = result.centre.sel(place=of) - result.centre.sel(place=["first", "second", "third"]).mean("place")
    own = own.mean("target")
    return {"accuracy": 100 * own.sel(quantity="target accuracy"), "loss": own.sel(quantity="target loss")}
