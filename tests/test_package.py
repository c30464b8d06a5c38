"""The package as strangers get it: a wheel in an environment of its own, in another folder."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONPATH": ""})
    (path,) = folder.glob("flat_minima_workbench-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """An environment with the wheel alone; its dependencies are read from this one's folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    purelib = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    )
    # A folder named in a .pth file is searched, but its own .pth files (such as an editable workbench) are not followed.
    (Path(purelib.strip()) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def workbench(installed, *words):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("WORKBENCH", "PYTHON"))}
    environment["JUPYTER_PATH"] = str(Path(sys.prefix) / "share" / "jupyter")  # the templates of the borrowed nbconvert
    command = [str(installed / "venv" / "bin" / "workbench"), *words]
    return subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True)


def test_the_wheel_holds_cards_notebooks_licence_and_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    slugs = {path.parent.name for path in ROOT.glob("papers/*/paper.toml")}
    assert {name.split("/")[3] for name in names if name.endswith("/paper.toml")} == slugs
    assert {f"workbench/shipped/notebooks/{slug}.ipynb" for slug in slugs} <= set(names)
    assert "workbench/py.typed" in names and any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "runs/", "benchmarks/")) for name in names)


def test_an_installed_workbench_knows_and_runs_its_papers(installed):
    listed = workbench(installed, "list")
    assert listed.returncode == 0 and "eigenvalue-filtering" in listed.stdout, listed.stderr
    done = workbench(installed, "run", "flat-minima-sco", "--preset", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (installed / "runs").is_dir()
    code = "import workbench as wb; print(wb.__file__, wb.open_runs('flat-minima-sco'))"
    python = installed / "venv" / "bin" / "python"
    shown = subprocess.run([python, "-I", "-c", code], cwd=installed, capture_output=True, text=True)
    assert shown.returncode == 0 and str(installed) in shown.stdout, shown.stderr


def test_the_lock_has_hashes_every_dependency_and_no_hosts():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = {match.lower().replace("_", "-") for match in re.findall(r"^([\w.-]+)==", text, re.M)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[^\w.-]", one)[0].lower() for one in project["dependencies"]} - {"torch"}
    assert wanted <= pinned, wanted - pinned
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text


def test_the_citation_is_of_this_version():
    import workbench

    assert f"version: {workbench.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
