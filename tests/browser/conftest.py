"""JupyterLab on a small repository of its own, and a page of Debian's chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    reason = None
    if not CHROMIUM.exists():
        reason = "needs /usr/bin/chromium (apt-get install chromium)"
    try:
        import playwright  # noqa: F401
    except ModuleNotFoundError:
        reason = "needs playwright (extra test)"
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


EXPLORERS = sorted(path.parent.name for path in (ROOT / "workbench" / "papers").glob("*/explorer.py"))
EVERY_EXPLORER = f"""\
import importlib

for name in {EXPLORERS}:
    display(importlib.import_module(f"workbench.papers.{{name}}.explorer").explorer())"""


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> Path:
    """A repository with the start page, one scaffolded paper, a copy of it to edit, and a notebook of all explorers."""
    import nbformat

    from workbench.cli import new as scaffold

    root = tmp_path_factory.mktemp("repository")
    scaffold.scaffold_paper(root, "first-paper", "The first paper")
    (root / "scratch").mkdir()
    edited = nbformat.read(root / "notebooks" / "first-paper.ipynb", as_version=4)
    for cell in edited.cells:
        cell.metadata.pop("jupyter", None)
    nbformat.write(edited, root / "scratch" / "impossible.ipynb")
    if (room := root / "notebooks" / "first_paper").is_dir():
        shutil.copytree(room, root / "scratch" / "first_paper")
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", root / "notebooks")
    every = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(EVERY_EXPLORER)])
    every.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(every, root / "scratch" / "explorers.ipynb")
    return root


@pytest.fixture(scope="session")
def explorer_names() -> list[str]:
    """The explorers, in the order of their notebook."""
    return EXPLORERS


@pytest.fixture(scope="session")
def server(repository, tmp_path_factory):
    """The address, with token, of `workbench lab`; the server is stopped at the end."""
    home = tmp_path_factory.mktemp("home")
    inherited = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    environment = {
        **inherited,
        "HOME": str(home),
        "WORKBENCH_PAPERS": str(repository / "papers"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "workbench.cli", "lab", "--", "--no-browser", "--ServerApp.port=0"]
    log = home / "lab.log"
    with open(log, "w") as stream:
        process = subprocess.Popen(command, cwd=repository, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"http://(?:localhost|127\.0\.0\.1):(\d+)/lab\S*token=(\w+)", log.read_text())):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{found[1]}", found[2]
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


@pytest.fixture(scope="session")
def context(driver, tmp_path_factory):
    """A browser with an empty profile."""
    opened = driver.chromium.launch_persistent_context(
        str(tmp_path_factory.mktemp("profile")),
        executable_path=str(CHROMIUM),
        headless=True,
        args=FLAGS,
        viewport={"width": 1280, "height": 900},
    )
    opened.set_default_timeout(120_000)
    yield opened
    opened.close()
