"""`workbench data`: list, where, fetch."""

import subprocess
import sys

import pytest
import tiny
from typer.testing import CliRunner

from workbench.cli.data import app
from workbench.data import catalogue
from workbench.data.errors import DataNotFoundError
from workbench.data.fetching import download, places


@pytest.fixture(autouse=True)
def _nothing_here(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    monkeypatch.setattr(places, "cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("COLUMNS", "200")


def test_list_shows_every_set_and_where_it_is(tmp_path):
    tiny.mnist(tmp_path)
    lines = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    row = {line.split()[0]: line for line in lines if line.strip()}
    assert set(catalogue.ENTRIES) <= set(row)
    assert "mnist in WORKBENCH_DATA" in row["mnist"]
    assert "embedded" in row["digits"]
    assert "by hand" in row["pacs"]


def test_where_prints_the_folder_or_the_ways_to_get_it(tmp_path):
    missing = CliRunner().invoke(app, ["where", "mnist"])
    assert isinstance(missing.exception, DataNotFoundError)
    assert "workbench data fetch mnist" in str(missing.exception)
    folder = tiny.mnist(tmp_path)
    assert CliRunner().invoke(app, ["where", "mnist"]).stdout.strip() == str(folder)
    assert "embedded" in CliRunner().invoke(app, ["where", "digits"]).stdout
    assert "root=" in CliRunner().invoke(app, ["where", "image-folder"]).stdout
    unknown = CliRunner().invoke(app, ["where", "nosuch"])
    assert isinstance(unknown.exception, ValueError)
    assert "no data set called 'nosuch'" in str(unknown.exception)


def test_fetch_reports_the_folder_and_raises_what_the_program_reports(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "fetch", lambda name, root, progress: tmp_path / name)
    assert str(tmp_path / "mnist") in CliRunner().invoke(app, ["fetch", "mnist", "--quiet"]).stdout
    monkeypatch.undo()
    for name, message in (("pacs", "drive.google.com"), ("digits", "nothing to fetch"), ("nosuch", "no data set")):
        failed = CliRunner().invoke(app, ["fetch", name, "--root", str(tmp_path)])
        assert isinstance(failed.exception, (ValueError, OSError))
        assert message in str(failed.exception)


def test_listing_does_not_wait_for_torch():
    program = "import sys, workbench.cli.data; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "workbench.data.catalogue" in modules
    assert not {"torch", "numpy", "pooch", "sklearn"} & set(modules)
