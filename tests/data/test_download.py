"""Downloads from a server on this machine: right bytes, wrong bytes, broken transfers; archives that misbehave."""

import ast
import gzip
import hashlib
import http.server
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from workbench import data
from workbench.data import catalogue, download, places, verified


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path.startswith("/broken") else content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A loopback server of the dictionary `files`; retries off, proxies ignored."""
    monkeypatch.setattr(download, "RETRIES", 0)
    monkeypatch.setenv("NO_PROXY", "*")
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running.files, running.requests = {}, []
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def _url(server, name):
    return f"http://127.0.0.1:{server.server_address[1]}/{name}"


def _remote(server, name, content, *paths):
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return catalogue.Remote(name, tuple(_url(server, path) for path in paths or (name,)), digest, len(content))


def _offer(monkeypatch, name, **changes):
    monkeypatch.setitem(catalogue.ENTRIES, name, replace(catalogue.ENTRIES[name], **changes))


@pytest.fixture
def mnist(server, monkeypatch, tmp_path):
    folder = tiny.mnist(tmp_path / "publisher")
    remote, official = [], {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        server.files[path.name] = content
        remote.append(_remote(server, path.name, content))
        official[path.stem] = hashlib.md5(gzip.decompress(content), usedforsecurity=False).hexdigest()
    _offer(monkeypatch, "mnist", remote=tuple(remote), official=official)
    return server


def test_load_never_downloads_unasked(mnist, tmp_path):
    with pytest.raises(data.DataNotFoundError):
        data.load("mnist", root=tmp_path / "here")
    assert mnist.requests == []


def test_download_is_verified_and_done_once(mnist, tmp_path):
    loaded = data.load("mnist", root=tmp_path / "here", download=True)
    assert loaded.verification == "official"
    assert np.array_equal(loaded.test_targets.numpy(), np.arange(20) % 10)
    assert len(mnist.requests) == 4
    assert data.load("mnist", root=tmp_path / "here", download=True).fingerprint == loaded.fingerprint
    assert data.fetch("mnist", root=tmp_path / "here", progress=False) == tmp_path / "here" / "mnist"
    assert len(mnist.requests) == 4


def test_changed_files_are_no_longer_official(mnist, tmp_path):
    folder = data.fetch("mnist", root=tmp_path, progress=False)
    path = folder / f"{tiny.TRAIN_LABELS}.gz"
    path.write_bytes(gzip.compress(tiny.idx_bytes(np.zeros(30, np.uint8))))
    assert data.load("mnist", root=tmp_path).verification == "local, not verified"


def test_wrong_bytes_leave_nothing(mnist, tmp_path):
    mnist.files[f"{tiny.TRAIN_IMAGES}.gz"] = b"not what was promised"
    with pytest.raises(data.DataNotFoundError, match=r"differs from the official") as caught:
        data.fetch("mnist", root=tmp_path / "here", progress=False)
    assert tiny.TRAIN_IMAGES in str(caught.value)
    left = [path.name for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert all("train-images" not in name and "tmp" not in name for name in left)


@pytest.mark.parametrize("path", ["absent", "broken/x"])
def test_failed_transfers_leave_nothing_and_say_so(server, monkeypatch, tmp_path, path):
    content = bytes(100_000)
    server.files["broken/x"] = content
    _offer(monkeypatch, "mnist", remote=(_remote(server, "x", content, path),))
    with pytest.raises(data.DataNotFoundError, match="nothing was kept"):
        data.fetch("mnist", root=tmp_path, progress=False)
    assert [file for file in tmp_path.rglob("*") if file.is_file() and not file.name.endswith(".lock")] == []


def test_no_network_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "RETRIES", 0)
    monkeypatch.setenv("NO_PROXY", "*")
    remote = catalogue.Remote("x", ("http://127.0.0.1:9/x",), "0" * 32, 1)
    _offer(monkeypatch, "mnist", remote=(remote,))
    with pytest.raises(data.DataNotFoundError, match=r"127\.0\.0\.1:9/x"):
        data.fetch("mnist", root=tmp_path, progress=False)


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(data.DataError, match="cannot be written to"):
        data.fetch("mnist", root=tmp_path / "file", progress=False)


def test_a_second_address_is_tried(server, tmp_path):
    server.files["mirror/x"] = b"the bytes"
    path = download.transfer(_remote(server, "x", b"the bytes", "gone/x", "mirror/x"), tmp_path, progress=False)
    assert path.read_bytes() == b"the bytes"
    assert server.requests == ["/gone/x", "/mirror/x"]


def test_archives_are_unpacked_whole_and_remembered_as_official(server, monkeypatch, tmp_path):
    folder = tiny.cifar10(tmp_path / "publisher", batches=5)
    members = {f"{folder.name}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}
    content = tiny.archive(tmp_path / "cifar-10-binary.tar.gz", members)
    server.files["cifar-10-binary.tar.gz"] = content
    _offer(monkeypatch, "cifar10", remote=(_remote(server, "cifar-10-binary.tar.gz", content),))
    home = tmp_path / "home"
    loaded = data.load("cifar10", root=home, download=True)
    assert loaded.verification == "official"
    assert len(loaded.train_inputs) == 100
    assert sorted(path.name for path in home.iterdir() if path.suffix != ".lock") == [folder.name]
    (home / folder.name / "test_batch.bin").write_bytes(tiny.cifar_records(10, seed=4).tobytes())
    assert data.load("cifar10", root=home).verification == "local, not verified"


def test_a_folder_in_the_way_is_left_alone(server, monkeypatch, tmp_path):
    (tmp_path / "cifar-10-batches-bin").mkdir()
    (tmp_path / "cifar-10-batches-bin" / "mine.txt").write_text("mine")
    with pytest.raises(data.DataError, match="in the way"):
        data.fetch("cifar10", root=tmp_path, progress=False)
    assert (tmp_path / "cifar-10-batches-bin" / "mine.txt").read_text() == "mine"


def _link(kind, target):
    info = tarfile.TarInfo("set/link")
    info.type, info.linkname = kind, target
    return info


def _special(kind):
    info = tarfile.TarInfo("set/special")
    info.type = kind
    return info


def _sparse_bomb():
    info = tarfile.TarInfo("set/bomb")
    info.size = 1 << 40
    return info.tobuf() + bytes(512)


GOOD = {"set/a": b"a", "set/b": b"b"}
ARCHIVES = {
    "empty": b"",
    "a web page": b"<html>404</html>",
    "random bytes": tiny.numbers(5000).tobytes(),
    "gzip of nothing": gzip.compress(b""),
    "gzip of text": gzip.compress(b"hello" * 500),
    "half an archive": lambda path: tiny.archive(path, {"set/a": tiny.numbers(50_000).tobytes()})[:20_000],
    "flipped bits": lambda path: (lambda b: b[:60] + bytes(255 - x for x in b[60:90]) + b[90:])(
        tiny.archive(path, {"set/a": tiny.numbers(500).tobytes()})
    ),
    "a header with a wrong checksum": lambda path: b"x" + tiny.archive(path, GOOD, "w")[1:],
    "a member larger than the file": _sparse_bomb(),
    "upwards": {**GOOD, "../evil": b"x"},
    "upwards inside": {**GOOD, "set/../../evil": b"x"},
    "upwards and back": {**GOOD, "set/../set/c": b"x"},
    "absolute": {**GOOD, "/tmp/evil": b"x"},
    "a drive": {**GOOD, "set\\..\\..\\evil": b"x"},
    "symbolic link upwards": {**GOOD, "l": _link(tarfile.SYMTYPE, "../../evil")},
    "symbolic link inside": {**GOOD, "l": _link(tarfile.SYMTYPE, "a")},
    "absolute symbolic link": {**GOOD, "l": _link(tarfile.SYMTYPE, "/etc/passwd")},
    "hard link": {**GOOD, "l": _link(tarfile.LNKTYPE, "set/a")},
    "hard link upwards": {**GOOD, "l": _link(tarfile.LNKTYPE, "../../evil")},
    "named pipe": {**GOOD, "p": _special(tarfile.FIFOTYPE)},
    "character device": {**GOOD, "p": _special(tarfile.CHRTYPE)},
    "block device": {**GOOD, "p": _special(tarfile.BLKTYPE)},
    "no folder": {"a": b"a"},
    "two folders": {"one/a": b"a", "two/b": b"b"},
    "a file, then a folder of its name": {"set": b"a", "set/b": b"b"},
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_malformed_archives_leave_nothing(tmp_path, name):
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    path, made = home / "set.tar.gz", ARCHIVES[name]
    content = tiny.archive(path, made) if isinstance(made, dict) else made if isinstance(made, bytes) else made(path)
    path.write_bytes(content)
    with pytest.raises(data.DataError, match=r"set\.tar\.gz"):
        download.unpack(path, home / "set", "md5:0")
    assert [file.name for file in home.iterdir()] == ["set.tar.gz"]
    assert not any(file.name == "evil" for file in tmp_path.rglob("*"))


def test_a_good_archive_unpacks(tmp_path):
    tiny.archive(tmp_path / "set.tar", GOOD, "w")
    download.unpack(tmp_path / "set.tar", tmp_path / "set", "md5:0")
    assert (tmp_path / "set" / "b").read_bytes() == b"b"
    assert verified.matches(tmp_path / "set", [tmp_path / "set" / "a"])
    assert not verified.matches(tmp_path / "set", [tmp_path / "set" / verified.NOTE])


def test_absent_data_says_where_how_and_what_instead(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path / "mine"))
    monkeypatch.setattr(places, "cache", lambda: tmp_path / "cache")
    with pytest.raises(FileNotFoundError) as caught:
        data.load("mnist")
    message = str(caught.value)
    expected = [
        str(tmp_path / "mine" / "mnist"), str(tmp_path / "cache" / "mnist"), "11.6 MB", "workbench data fetch mnist",
        "WORKBENCH_DATA", "root=", 'data.load("digits")',
    ]  # fmt: skip
    positions = [message.index(part) for part in expected]
    assert positions == sorted(positions)


@pytest.mark.parametrize("name", ["pacs", "VLCS", "OfficeHome", "TerraIncognita", "DomainNet"])
def test_sets_without_a_download_name_address_and_folders(monkeypatch, tmp_path, name):
    monkeypatch.setattr(places, "cache", lambda: tmp_path)
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    entry = catalogue.entry(name)
    for attempt in (lambda: data.load(name, download=True), lambda: data.fetch(name)):
        with pytest.raises(data.DataNotFoundError) as caught:
            attempt()
        assert entry.address in str(caught.value)
        assert entry.tree in str(caught.value)


def test_embedded_sets_are_never_fetched():
    with pytest.raises(ValueError, match="ships with the package"):
        data.fetch("digits")


def test_importing_and_loading_touches_neither_torchvision_nor_the_network_library():
    program = "import sys; from workbench import data; data.load('digits'); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "workbench.data" in modules
    assert not {"torchvision", "requests", "pooch"} & set(modules)


def test_the_data_package_knows_nothing_of_the_rest_but_draws():
    for path in Path(data.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            inner = [name for name in names if name and name.startswith("workbench.")]
            assert all(name == "workbench.draws" or name.startswith("workbench.data") for name in inner), path.name
            if isinstance(node, ast.ImportFrom) and node.module == "workbench":
                assert [alias.name for alias in node.names] == ["draws"], path.name
