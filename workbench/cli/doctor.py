"""`workbench doctor`: is everything here that the workbench needs, and what to do where it is not."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

import typer

_GIB = 2**30


class Finding(NamedTuple):
    """One line: what was looked at, what was found, and what to do (empty where all is well)."""

    subject: str
    found: str
    advice: str = ""
    needed: bool = False


def doctor() -> None:
    """One line each for versions, compiler, threads, memory, disk, GPU, data; what to do where something is missing."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    findings = list(examine())
    for finding in findings:
        mark, style = ("✔", "green") if not finding.advice else ("✘", "red") if finding.needed else ("!", "yellow")
        line = Text(f"{mark} ", style=style).append(f"{finding.subject:<10} ", style="bold")
        line.append(finding.found, style="default")
        if finding.advice:
            line.append(f": {finding.advice}", style="default")
        console.print(line, soft_wrap=True)
    if any(finding.needed and finding.advice for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Every finding, in the order of the lines. A check that itself breaks is a finding too."""
    checks: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "packages": _packages,
        "jupyter": _jupyter,
        "papers": _papers,
        "compiler": _compiler,
        "threads": _threads,
        "memory": _memory,
        "disk": _disk,
        "gpu": _gpu,
        "data": _data,
        "cluster": _cluster,
        "browser": _browser,
    }
    for subject, check in checks.items():
        try:
            yield check()
        except Exception as error:  # the doctor must reach the last line on any machine
            yield Finding(subject, f"cannot be examined ({type(error).__name__})", str(error) or "see --debug", True)


def _python() -> Finding:
    return Finding("python", f"{platform.python_version()}, workbench {_version('workbench') or 'not installed'}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _packages() -> Finding:
    names = ("torch", "numpy", "scipy", "xarray", "matplotlib", "papermill", "pydantic")
    versions = {name: _version(name) for name in names}
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = [name for name, version in versions.items() if version is None]
    advice = f"missing {', '.join(missing)}; install the package again (`make test` does)" if missing else ""
    return Finding("packages", found, advice, needed=True)


def _jupyter() -> Finding:
    versions = {name: _version(name) for name in ("jupyterlab", "ipywidgets", "ipykernel")}
    found = ", ".join(f"{name} {version or 'missing'}" for name, version in versions.items())
    if None in versions.values():
        return Finding("jupyter", found, "pip install jupyterlab ipywidgets ipykernel", needed=True)
    if _version("jupyter-app-launcher") is None:
        return Finding("jupyter", found, "for Launcher cards of the papers: pip install jupyter-app-launcher")
    return Finding("jupyter", found)


def _papers() -> Finding:
    from workbench import claims
    from workbench.batch import papers

    cards = claims.cards()
    if not cards:
        return Finding("papers", "none", "start inside the repository, or set WORKBENCH_PAPERS", needed=True)
    written = sum(papers.notebook_of(slug).is_file() for slug in cards)
    return Finding("papers", f"{len(cards)} cards, {written} notebooks, {papers.default_store()}")


def _compiler() -> Finding:
    name = os.environ.get("CXX") or next((word for word in ("c++", "g++", "clang++") if shutil.which(word)), None)
    if name is None or not shutil.which(name):
        return Finding("compiler", "none", "compile=True has no effect; install g++ (or set CXX)")
    return Finding("compiler", f"{name}, for compile=True")


def _threads() -> Finding:
    cores, setting = os.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS")
    found = f"{cores} cores, OMP_NUM_THREADS {setting or 'not set'}"
    return Finding("threads", found + (" (jobs of `workbench run` get 1 each)" if not setting else ""))


def _memory() -> Finding:
    import psutil

    from workbench import memory

    free = psutil.virtual_memory()
    found = f"{free.available / _GIB:.1f} of {free.total / _GIB:.1f} GiB free, one computation may take "
    found += f"{memory.budget() / _GIB:.1f} GiB"
    advice = "close other programs; set WORKBENCH_MEMORY (GiB) to allow more" if free.available < 2 * _GIB else ""
    return Finding("memory", found, advice)


def _disk() -> Finding:
    from workbench.batch import papers

    store = papers.default_store()
    place = next(folder for folder in (store, *store.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    found = f"{free / _GIB:.0f} GiB free for {store.name}/"
    return Finding("disk", found, "`workbench clean` removes superseded runs" if free < 2 * _GIB else "")


def _gpu() -> Finding:
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        return Finding("gpu", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}")
    if shutil.which("nvidia-smi"):
        return Finding("gpu", "present, but this torch cannot use it", "install torch's CUDA build (pytorch.org)")
    return Finding("gpu", "none; everything runs on the CPU")


def _data() -> Finding:
    from workbench.data import catalogue
    from workbench.data.errors import DataNotFoundError
    from workbench.data.fetching import places

    here = []
    for entry in catalogue.ENTRIES.values():
        if entry.kind != "embedded" and entry.folders:
            try:
                places.find(entry)
            except DataNotFoundError:
                continue
            here.append(entry.name)
    embedded = sum(entry.kind == "embedded" for entry in catalogue.ENTRIES.values())
    named = os.environ.get(places.VARIABLE)
    found = f"{embedded} embedded, on this machine {', '.join(here) or 'no others'}"
    if named and not Path(named).expanduser().is_dir():
        return Finding("data", found, f"{places.VARIABLE} names {named}, which is no folder")
    if not here:
        return Finding("data", found + " (`workbench data list` shows what can be fetched)")
    return Finding("data", found)


def _cluster() -> Finding:
    if util.find_spec("distributed") is None:
        return Finding("cluster", "Dask is not installed (only needed for clusters: pip install 'workbench[cluster]')")
    return Finding("cluster", f"Dask {_version('distributed')}")


def _browser() -> Finding:
    if not Path("/usr/bin/chromium").exists():
        return Finding("browser", "no /usr/bin/chromium; the browser tests skip (apt-get install chromium)")
    return Finding("browser", "chromium, for the browser tests")
