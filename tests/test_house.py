"""The house: imports point one way, nothing imports a paper's room, no circles, no drawers."""

import ast
import graphlib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    {"checks", "compiler", "draws", "memory", "parameters", "texts"},
    {"claims", "curvature", "data"},
    {"optimizers", "problems"},
    {"batch", "dynamics", "explorers", "figures"},
    {"papers"},
    {"cli", "lab"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
# `cli` starts the lab; only its rooms' names are written down there.
FILES = sorted(ROOT.glob("workbench/**/*.py"))
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}


def imported(path: Path) -> set[str]:
    """The workbench modules that a file imports anywhere in it, also for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = list(path.relative_to(ROOT).parent.parts)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                found.add(inner if inner in MODULES else source)
    return {name for name in found if name.split(".")[0] == "workbench"}


IMPORTS = {name: imported(path) & set(MODULES) - {name} for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", [name for name in MODULES if room(name)])
def test_imports_point_down(module):
    upward = {other for other in IMPORTS[module] if room(other) and LEVEL[room(other)] > LEVEL[room(module)]}
    assert not upward, f"{module} stands below {sorted(upward)}"


def test_every_room_has_a_floor():
    assert {room(name) for name in MODULES} - {""} == set(LEVEL)


def test_only_its_own_room_imports_a_papers_room():
    for module, others in IMPORTS.items():
        own = ".".join(module.split(".")[:3]) if module.startswith("workbench.papers.") else None
        foreign = {name for name in others if name.startswith("workbench.papers.") and name.split(".")[2:3]}
        assert all(own is not None and name.startswith(own) for name in foreign), (module, foreign)


def test_no_import_circles():
    try:
        graphlib.TopologicalSorter(IMPORTS).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_drawers():
    """A folder of more than about a dozen modules holds several ideas."""
    held = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert {str(folder.relative_to(ROOT)): count for folder, count in held.items() if count > 15} == {}


def test_a_notebook_imports_the_library_and_its_papers_room():
    import json

    for path in sorted(ROOT.glob("notebooks/*.ipynb")):
        own = f"workbench.papers.{path.stem.replace('-', '_')}"
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] != "code":
                continue
            for node in ast.walk(ast.parse("".join(cell["source"]))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workbench.papers."):
                    assert node.module.startswith(own), (path.name, node.module)
