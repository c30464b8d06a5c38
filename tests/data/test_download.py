"""Downloads from a server on this machine: right bytes, wrong bytes, broken transfers that go on."""

import ast
import contextlib
import functools
import gzip
import hashlib
import http.server
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tqdm import tqdm

from workbench import data
from workbench.data import catalogue
from workbench.data.fetching import places, transfer


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`. The first part of a path says how: broken/ stops half-way, each time; deaf/ ignores ranges;
    early/ answers a range with one that begins at the start.
    """

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.requests.append(self.path)
        self.server.ranges.append(asked)
        way, _, name = self.path.lstrip("/").rpartition("/")
        content = self.server.files.get(f"{way}/{name}".lstrip("/"), self.server.files.get(name))
        if content is None or way == "gone":
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and way != "deaf" else None
        if start is not None and start >= len(content):
            self.send_error(416)
            return
        body = content[start or 0 :] if way != "early" else content
        self.send_response(200 if start is None else 206)
        if start is not None:
            first = 0 if way == "early" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if way == "broken" else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A loopback server of the dictionary `files`; retries off, proxies ignored."""
    monkeypatch.setattr(transfer, "RETRIES", 0)
    monkeypatch.setenv("NO_PROXY", "*")
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    running.files, running.requests, running.ranges = {}, [], []
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


def test_a_transfer_that_fails_at_once_leaves_nothing_and_says_so(server, monkeypatch, tmp_path):
    _offer(monkeypatch, "mnist", remote=(_remote(server, "x", b"bytes", "absent"),))
    with pytest.raises(data.DataNotFoundError, match="nothing was kept"):
        data.fetch("mnist", root=tmp_path, progress=False)
    assert [file for file in tmp_path.rglob("*") if file.is_file() and not file.name.endswith(".lock")] == []


CONTENT = tiny.numbers(4 << 14).tobytes()


def _files(folder):
    return sorted(path.name for path in folder.iterdir())


def _interrupted(server, folder):
    """A transfer that broke off half-way."""
    server.files["x"] = CONTENT
    with pytest.raises(data.DataNotFoundError, match="first 32,768 bytes are kept"):
        transfer.transfer(_remote(server, "x", CONTENT, "broken/x"), folder, progress=False)
    assert _files(folder) == ["x.part"]
    assert (folder / "x.part").read_bytes() == CONTENT[: 2 << 14]


@pytest.mark.parametrize(
    ("path", "ranges"),
    [
        ("x", ["bytes=32768-"]),
        ("deaf/x", ["bytes=32768-"]),
        ("early/x", ["bytes=32768-", None]),
    ],
)
def test_an_interrupted_transfer_goes_on(server, tmp_path, path, ranges):
    _interrupted(server, tmp_path)
    del server.ranges[:]
    made = transfer.transfer(_remote(server, "x", CONTENT, path), tmp_path, progress=False)
    assert made.read_bytes() == CONTENT
    assert server.ranges == ranges
    assert _files(tmp_path) == ["x"]


def test_a_transfer_that_breaks_again_and_again_arrives_within_its_retries(server, monkeypatch, tmp_path):
    monkeypatch.setattr(transfer, "RETRIES", 2)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.files["x"] = CONTENT
    with pytest.raises(data.DataNotFoundError, match="first 49,152 bytes are kept"):
        transfer.transfer(_remote(server, "x", CONTENT, "broken/x"), tmp_path, progress=False)
    assert server.ranges == [None, "bytes=32768-", "bytes=49152-"]


def test_another_address_goes_on_with_what_the_first_one_brought(server, tmp_path):
    server.files["x"] = CONTENT
    made = transfer.transfer(_remote(server, "x", CONTENT, "broken/x", "x"), tmp_path, progress=False)
    assert made.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=32768-"]


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more", bytes(100_000)])
def test_a_rest_as_long_as_the_file_or_longer_is_thrown_away(server, tmp_path, left):
    server.files["x"] = CONTENT
    (tmp_path / "x.part").write_bytes(left)
    assert transfer.transfer(_remote(server, "x", CONTENT), tmp_path, progress=False).read_bytes() == CONTENT
    assert server.ranges[-1] is None
    assert _files(tmp_path) == ["x"]


@pytest.mark.parametrize("left", [b"other bytes", bytes(50_000)])
def test_wrong_bytes_of_an_earlier_attempt_do_not_spoil_the_next(server, tmp_path, left):
    server.files["x"] = CONTENT
    (tmp_path / "x.part").write_bytes(left)
    remote = _remote(server, "x", CONTENT)
    with pytest.raises(data.DataNotFoundError, match=r"nothing was kept(.|\n)*differs from the official"):
        transfer.transfer(remote, tmp_path, progress=False)
    assert _files(tmp_path) == []
    assert transfer.transfer(remote, tmp_path, progress=False).read_bytes() == CONTENT


def test_a_file_changed_at_its_publisher_is_refused_and_its_first_half_forgotten(server, tmp_path):
    _interrupted(server, tmp_path)
    server.files["x"] = bytes(len(CONTENT))
    remote = _remote(server, "x", CONTENT)
    for _ in range(2):
        with pytest.raises(data.DataNotFoundError, match="differs from the official"):
            transfer.transfer(remote, tmp_path, progress=False)
        assert _files(tmp_path) == []
    server.files["x"] = CONTENT
    assert transfer.transfer(remote, tmp_path, progress=False).read_bytes() == CONTENT


def test_the_progress_bar_starts_where_the_transfer_goes_on(server, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(transfer, "tqdm", functools.partial(tqdm, disable=False))
    _interrupted(server, tmp_path)
    assert capsys.readouterr().err == ""
    transfer.transfer(_remote(server, "x", CONTENT), tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert "x:  50%" in shown
    assert "100%" in shown


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 3000), st.booleans(), st.sampled_from(["x", "deaf/x", "early/x", "broken/x"]))
def test_whatever_was_left_only_the_official_bytes_arrive(server, length, right, path):
    content = CONTENT[:2000]
    server.files["x"] = content
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.part").write_bytes((content + bytes(1000) if right else bytes(3000))[:length])
        remote = _remote(server, "x", content, path)
        for _ in range(12):
            try:
                made = transfer.transfer(remote, Path(folder), progress=False)
            except data.DataNotFoundError:
                assert not (Path(folder) / "x").exists()
            else:
                assert made.read_bytes() == content
                break
        else:
            assert path == "broken/x"


def test_no_network_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setattr(transfer, "RETRIES", 0)
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
    path = transfer.transfer(_remote(server, "x", b"the bytes", "gone/x", "mirror/x"), tmp_path, progress=False)
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
        assert re.search(r"Address: .* [MG]B", str(caught.value))


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


class _Elsewhere(http.server.BaseHTTPRequestHandler):
    """Answers with a redirect to the path asked for, or sends bytes without end."""

    asked = 0

    def do_GET(self):
        type(self).asked += 1
        if self.path.startswith("/endless"):
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(bytes(1 << 16))
            return
        self.send_response(302)
        self.send_header("Location", self.path.lstrip("/"))
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("file:///etc/passwd", "a redirect or a proxy setting cannot be used"),
        ("ftp://127.0.0.1/x", "cannot be used"),
        ("endless", "more than 1,048,580 bytes were sent"),
    ],
)
def test_the_true_cause_is_named_and_nothing_hopeless_is_tried_again(monkeypatch, tmp_path, path, words):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(_Elsewhere, "asked", 0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        remote = catalogue.Remote("x", (f"http://127.0.0.1:{running.server_address[1]}/{path}",), "0" * 32, 4)
        with pytest.raises(data.DataNotFoundError, match=words) as told:
            transfer.transfer(remote, tmp_path, progress=False)
        running.shutdown()
    assert "differs from the official" not in str(told.value) and "nothing was kept" in str(told.value)
    assert _Elsewhere.asked == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("proxy", ["socks5://user:secret@127.0.0.1:9", "htp://127.0.0.1:9", "http://"])
def test_a_proxy_that_cannot_be_used_is_named_without_its_password(monkeypatch, tmp_path, proxy):
    for name in ("NO_PROXY", "no_proxy", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    remote = catalogue.Remote("x", ("https://127.0.0.1:9/x",), "0" * 32, 4)
    with pytest.raises(data.DataNotFoundError, match="HTTPS_PROXY") as told:
        transfer.transfer(remote, tmp_path, progress=False)
    assert "differs from the official" not in str(told.value) and "secret" not in str(told.value)
