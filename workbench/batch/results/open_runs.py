"""What finished jobs measured, as one labelled object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.batch.results.store import Store

if TYPE_CHECKING:
    import xarray


def open_runs(
    paper: str | None = None,
    *,
    name: str | None = None,
    preset: str | None = None,
    store: Path | str | None = None,
    **parameters: Any,
) -> xarray.Dataset | xarray.DataTree:
    """What finished jobs of a paper measured, with the swept parameters as dimensions; loaded when used.

    >>> runs = workbench.open_runs("eigenvalue-filtering", rho=[0.02, 0.06])      # doctest: +SKIP
    >>> runs.test_error.mean("seed").plot(x="rho")                               # doctest: +SKIP

    Args:
        paper: its slug; may be left out where the store holds one paper.
        name: which of the datasets that the notebook saved with `card.save(name=...)`.
        preset: needed where jobs of several presets are there.
        store: folder of the run store, by default `runs/` in the repository.
        parameters: keep only jobs with these values (or with one of these values).

    Returns:
        A Dataset where the notebook saves one dataset or `name` is given, else a DataTree with a node for each. Parameters that
        were swept together (`--zip`) share a dimension. Values, types, names and attributes are those that were saved;
        combinations that were not run are missing values (NaN, also for truth values and whole numbers, which then are
        floating-point; NaT; "" for text). The coordinate `job` names each job's folder. The attributes hold the parameters
        that did not vary. A job whose results are damaged is left out with a warning.

    Raises:
        ValueError: where nothing fits, saying what there is; where jobs disagree on units, types or dimensions.
    """
    import xarray

    from workbench.batch import papers
    from workbench.batch.results import mapped
    from workbench.batch.results.choosing import select

    runs = Store(papers.default_store() if store is None else store)
    records = select(runs, paper, preset, parameters)
    datasets, records = mapped.load(records, runs.root / ".cache")
    first = records[0].content
    swept = {n for n, v in first["parameters"].items() if any(r.content["parameters"].get(n) != v for r in records)}
    fixed = {n: v for n, v in first["parameters"].items() if n not in swept}
    attrs = {"paper": first["paper"], "preset": first["preset"], "jobs": len(records), "parameters": json.dumps(fixed)}
    datasets = {group: dataset.assign_attrs(attrs) for group, dataset in datasets.items()}
    if name is not None:
        if name not in datasets:
            raise ValueError(f"name = {name!r}: {first['paper']} saved {', '.join(map(repr, datasets))}")
        return datasets[name]
    if len(datasets) == 1:
        return next(iter(datasets.values()))
    return xarray.DataTree.from_dict({f"/{group}": dataset for group, dataset in datasets.items()})
