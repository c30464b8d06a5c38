"""Archives that misbehave: they leave nothing behind but the documented error, which names them."""

import gzip
import tarfile

import pytest
import tiny

from workbench import data
from workbench.data.fetching import download, verified


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


def _negative_size():
    header = bytearray(tarfile.TarInfo("set/a").tobuf())
    header[124:136] = b"\xff" * 12
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def _zero_byte(path):
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("set/a")
        member.pax_headers = {"path": "set/a\0/../../evil"}
        tar.addfile(member)
    return path.read_bytes()


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
    "symbolic link through a link": {**GOOD, "l": _link(tarfile.SYMTYPE, ".."), "m": _link(tarfile.SYMTYPE, "link/x")},
    "a contiguous file as a device": {**GOOD, "p": _special(b"8")},
    "an unknown kind of member": {**GOOD, "p": _special(b"Z")},
    "a file twice": lambda path: tiny.archive(path, [*GOOD.items(), ("set/a", b"other")]),
    "a file twice by another spelling": {**GOOD, "set//a": b"other"},
    "a file twice, with a dot": {**GOOD, "./set/a": b"other"},
    "a folder in the place of a file": {**GOOD, "set/a/b": b"c"},
    "a file in the place of a folder": {"set/a/b": b"c", "set/a": b"a"},
    "a name too long to write": {**GOOD, "set/" + "x" * 300: b"x"},
    "the archive's own folder": {".": b"x"},
    "no name": {"": b"x", **GOOD},
    "a zero byte in a name": _zero_byte,
    "a negative size": _negative_size(),
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


@pytest.mark.parametrize(("limit", "most"), [("LARGEST", 1000), ("MOST_MEMBERS", 3)])
def test_archives_of_too_much_are_refused_before_they_are_written(monkeypatch, tmp_path, limit, most):
    monkeypatch.setattr(download, limit, most)
    content = tiny.archive(tmp_path / "set.tar.gz", {f"set/{number}": bytes(300) for number in range(4)})
    assert len(content) < 1000
    with pytest.raises(data.DataError, match=r"set\.tar\.gz holds more than"):
        download.unpack(tmp_path / "set.tar.gz", tmp_path / "set", "md5:0")
    assert [file.name for file in tmp_path.iterdir()] == ["set.tar.gz"]


def test_a_good_archive_unpacks(tmp_path):
    tiny.archive(tmp_path / "set.tar", GOOD, "w")
    download.unpack(tmp_path / "set.tar", tmp_path / "set", "md5:0")
    assert (tmp_path / "set" / "b").read_bytes() == b"b"
    assert verified.matches(tmp_path / "set", [tmp_path / "set" / "a"])
    assert not verified.matches(tmp_path / "set", [tmp_path / "set" / verified.NOTE])
