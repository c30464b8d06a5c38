"""Which of the finished jobs in a store are meant."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.batch import papers
from workbench.batch.jobs import Job, Sources
from workbench.batch.results.store import Record, Store


def select(store: Store, paper: str | None, preset: str | None, wanted: Mapping[str, Any]) -> list[Record]:
    """One finished record per request, with the wanted parameters (a list allows several values).

    Of several results for one request, the one that stands for the present sources is taken, otherwise the latest.

    Raises:
        ValueError: where nothing fits, or the choice of paper or preset is not unique.
    """
    if paper is None:
        if len(store.papers()) != 1:
            raise ValueError(f"paper: name one of those in {store.root}: {', '.join(store.papers()) or 'none'}")
        (paper,) = store.papers()
    by_key = {
        key: [record for record in same if record.finished and "results.nc" in record.content["files"]]
        for key, same in store.by_key(paper).items()
    }
    requests = [same for same in by_key.values() if same]
    if not requests:
        raise ValueError(
            f"{store.root} holds no finished job of {paper!r} with measured arrays: `workbench run {paper}`"
        )
    known = sorted({name for same in requests for name in same[0].content["parameters"]})
    for name in wanted:
        if name not in known:
            raise ValueError(f"{name}: {paper} has no such parameter; it has {', '.join(known)}")
    if preset is not None:
        requests = [same for same in requests if same[0].content["preset"] == preset]
    fitting = [same for same in requests if _fits(same[0].content["parameters"], wanted)]
    if not fitting:
        raise ValueError(f"no finished job of {paper!r} fits preset={preset!r}, {dict(wanted)}")
    presets = sorted({same[0].content["preset"] for same in fitting})
    if len(presets) > 1:
        raise ValueError(f"preset: {paper} was run with {', '.join(presets)}; choose one, as in preset={presets[0]!r}")
    return _latest(paper, fitting)


def _fits(parameters: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    def equal(value: Any, wish: Any) -> bool:
        if isinstance(wish, (list, tuple, set, range, np.ndarray)) and not isinstance(value, list):
            return value in list(wish)
        return value == wish

    return all(name in parameters and equal(parameters[name], wish) for name, wish in wanted.items())


def _latest(paper: str, requests: Sequence[Sequence[Record]]) -> list[Record]:
    place = papers.place_of(paper)
    sources = None if place is None else Sources()
    chosen, outdated = [], 0
    for same in requests:
        standing = None
        if place is not None and sources is not None:
            content = same[0].content
            job = Job(paper, *place, content["preset"], content["parameters"])
            standing = next((record for record in same if not sources.changes(job, record.content)), None)
            outdated += standing is None
        if standing is None:
            standing = same[0] if len(same) == 1 else max(same, key=lambda r: r.json("provenance.json")["finished"])
        chosen.append(standing)
    if outdated:
        warnings.warn(
            f"{outdated} of {len(chosen)} jobs of {paper} are older than the present code or environment; "
            f"`workbench run` redoes them",
            stacklevel=4,
        )
    return chosen
