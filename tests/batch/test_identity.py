"""What a finished job promises: computed with the values asked for, to the last cell, and from files that are still the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import nbformat
import pytest
import xarray
from made_up_papers import Repository

from workbench.batch.grid import Request, RequestError, plan
from workbench.batch.running.execute import Options, execute
from workbench.texts import read_text

# How a notebook may read a file that is not its own: each by another way than the others.
READERS = {
    "module": "import shift\nsamples = samples + shift.BY",
    "package": "from tools.inner import depth\nsamples = samples + depth.BY",
    "text": "samples = samples + float(open('table.csv').read())",
    "numpy": "samples = samples + np.loadtxt('table.csv')",
    "database": """
import sqlite3
table = sqlite3.connect('file:table.db?mode=ro', uri=True)
samples = samples + table.execute('select x from t').fetchone()[0]""",
    "library": "import netCDF4\nsamples = samples + float(netCDF4.Dataset(DATA + '/set/x.nc')['x'][...])",
    "native": """
import ctypes
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
assert libc.fopen(b'table.csv', b'r')""",
    "child": """
import subprocess
samples = samples + float(subprocess.check_output(['cat', DATA + '/set/x.txt']))""",
    "process": """
import multiprocessing, pathlib
with multiprocessing.get_context('spawn').Pool(1) as pool:
    samples = samples + float(pool.apply(pathlib.Path('table.csv').read_text))""",
    "middle": "samples = samples + open(DATA + '/set/x.bin', 'rb').read()[200_000]",
    "listing": "samples = samples + len(os.listdir(DATA + '/folder'))",
    "outside": "samples = samples + float(open('{outside}').read())",
}
WRITES = (
    "import pathlib, tempfile\nplace = pathlib.Path(tempfile.mkdtemp()) / 'own'\nplace.write_text('1')\n"
    "place.rename(place.with_name('kept'))\nsamples = samples + float(place.with_name('kept').read_text())"
)


def fill(repository: Repository, by: int) -> None:
    """Every file that the readers read, with this content."""
    notebooks, data = repository.root / "notebooks", repository.root / "data"
    for folder in (notebooks / "tools" / "inner", data / "set", data / "folder"):
        folder.mkdir(parents=True, exist_ok=True)
    (notebooks / "shift.py").write_text(f"BY = {by}.00\n")
    (notebooks / "tools" / "__init__.py").touch()
    (notebooks / "tools" / "inner" / "depth.py").write_text(f"BY = {by}.00\n")
    (notebooks / "table.csv").write_text(f"{by}\n")
    (repository.root / "outside.txt").write_text(f"{by}\n")
    (data / "set" / "x.txt").write_text(f"{by}\n")
    raw = bytearray(400_000)
    raw[200_000] = by
    (data / "set" / "x.bin").write_bytes(raw)
    (data / "folder" / str(by)).touch()
    xarray.Dataset({"x": float(by)}).to_netcdf(data / "set" / "x.nc", engine="netcdf4")
    import sqlite3

    (notebooks / "table.db").unlink(missing_ok=True)
    with sqlite3.connect(notebooks / "table.db") as database:
        database.execute("create table t (x real)")
        database.execute("insert into t values (?)", (by,))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="files are followed on Linux")
def test_a_result_stands_while_every_file_that_it_read_is_the_same(repository):
    fill(repository, 1)
    for slug, body in READERS.items():
        opening = "import os\nDATA = os.environ['WORKBENCH_DATA']\n"
        repository.paper(slug, opening + body.format(outside=repository.root / "outside.txt"))
    repository.paper("plain")
    repository.paper("writes", WRITES)
    data = {"WORKBENCH_DATA": str(repository.root / "data"), "TMPDIR": str(repository.root)}
    slugs = [*READERS, "plain", "writes"]
    first = repository("run", *slugs, **data)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"{len(slugs)} jobs, 0 to run" in repository("run", *slugs, "--why", **data).stdout
    files = {record["paper"]: record["identity"]["files"] for record in repository.records()}
    assert (
        files["plain"] == files["writes"] == {}
    )  # no card, no file of Python's or the system's, nothing of its own making
    assert list(files["module"]) == ["notebooks/shift.py"] and list(files["child"]) == ["data:set/x.txt"]
    assert list(files["library"]) == ["data:set/x.nc"] and list(files["listing"]) == ["data:folder/"]
    assert not any("untracked" in record for record in repository.records())
    assert str(repository.root) not in json.dumps(files)

    fill(repository, 2)
    shown = repository("run", *slugs, "--why", **data).stdout
    assert f"{len(slugs)} jobs, {len(READERS)} to run" in shown
    for name in ("notebooks/tools/inner/depth.py", "data:set/x.bin", "names in data:folder/", "file outside.txt"):
        assert f"changed since it finished: {name if ' ' in name else 'file ' + name}" in shown


WRONG = {
    "assigned-later": ("rho = 0.1  # quick look", "rho = 0.1 reached card.parameters, but the job was asked for 0.5"),
    "preset-by-hand": ("n = 6", "n = 6 reached"),
    "exit": ("import sys\nsys.exit(0)", "ended the notebook (SystemExit)"),
    "gone": ("import os\nos._exit(0)", "the kernel died|the kernel ended"),
    "quit": ("quit()", "quit"),
}


def never_read(cells) -> None:
    source = re.sub(r"card\.parameters\(.*\)", "SimpleNamespace(n=n, rho=rho)", cells[2].source)
    cells[2].source = "from types import SimpleNamespace\n" + source


def read_twice(cells) -> None:
    cells[2].source += "\ntry:\n    card.parameters(rho=0.2)\nexcept ValueError:\n    pass"


CHANGES = {"untagged": lambda cells: cells[1].metadata.update(tags=[]), "unread": never_read, "twice": read_twice}


@pytest.mark.slow
def test_a_job_finishes_only_with_the_values_asked_for_and_after_its_last_cell(repository):
    for slug, (line, _) in WRONG.items():
        path = repository.paper(slug)
        book = nbformat.read(path, as_version=4)
        book.cells.insert(2, nbformat.v4.new_code_cell(line))
        nbformat.write(book, path)
    for slug, change in CHANGES.items():
        path = repository.paper(slug)
        book = nbformat.read(path, as_version=4)
        change(book.cells)
        nbformat.write(book, path)
    result = repository("run", "-p", "rho=0.5")
    records = {record["paper"]: record for record in repository.records()}
    assert result.returncode == 1 and {record["status"] for record in records.values()} == {"failed"}, result.stdout
    for slug, (_, words) in WRONG.items():
        assert any(word in records[slug]["error"]["message"] for word in words.split("|")), records[slug]["error"]
    assert "never read its parameters" in records["unread"]["error"]["message"]
    assert "rho = 0.2 reached" in records["twice"]["error"]["message"]
    assert "tag `parameters`" in records["untagged"]["error"]["message"]
    for record in records.values():
        assert not (repository.runs / record["paper"] / record["hash"] / "claims.json").exists()


def test_byte_order_marks_and_encodings(repository, tmp_path):
    notebook = repository.paper()
    card = repository.root / "papers" / "toy" / "paper.toml"
    for path in (notebook, card):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    sweep = tmp_path / "sweep.toml"
    sweep.write_bytes(b'\xef\xbb\xbf[[sweep]]\r\npaper = "toy"\r\n')
    result = repository("run", str(sweep))
    assert result.returncode == 0 and "1 reproduced" in result.stdout, result.stdout + result.stderr
    for text, words in (
        ("ä".encode("latin-1"), "is not UTF-8 text (line 1)"),
        ("a".encode("utf-16"), "UTF-16"),
        (b"a\0b", "zero"),
    ):
        sweep.write_bytes(text)
        refused = repository("run", str(sweep), "--dry-run")
        assert refused.returncode == 2 and words in refused.stderr and "sweep.toml" in refused.stderr
    assert read_text(notebook).startswith("{")


def test_a_notebook_that_is_none_is_named_before_anything_starts_and_recorded_after(repository, monkeypatch):
    notebook = repository.paper()
    monkeypatch.setenv("WORKBENCH_PAPERS", str(repository.root / "papers"))
    (job,) = plan([Request(["toy"])])
    for content in (b"", b"{}", b'{"cells": 3}', b"[" * 5000, "ä".encode("latin-1")):
        notebook.write_bytes(content)
        with pytest.raises(RequestError, match="toy"):
            plan([Request(["toy"])])
        outcome = execute(job, Options(str(repository.runs)))
        (record,) = repository.records()
        assert outcome.status == record["status"] == "failed" and "toy.ipynb: is n" in record["error"]["message"]


def test_where_nothing_is_followed_python_s_opens_are_noted_and_the_rest_is_said(tmp_path):
    (tmp_path / "a").write_text("1")
    program = (
        "import os, socket, subprocess, sys\n"
        "from workbench.batch.watching import traces\ntraces.watch(followed=False)\nopen('a').read()\n"
        "open('b', 'w').close()\nopen('b').read()\nos.rename('b', 'c')\nopen('c').read()\n"
        "subprocess.run([sys.executable, '-c', ''])\n"
        "try:\n    socket.create_connection(('192.0.2.1', 9), 0.01)\nexcept OSError:\n    pass\nprint(traces.used())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    used = json.loads(done.stdout)
    assert [path for path in used["files"] if path.startswith(str(tmp_path))] == [str(tmp_path / "a")]
    assert {str(tmp_path / "b"), str(tmp_path / "c")} <= set(used["written"])
    assert any("python" in words for words in used["beyond"]) and "what 192.0.2.1:9 sent" in used["beyond"]
