"""Random damage to every format: a reader either succeeds or raises one of the two documented errors."""

import contextlib
import gzip
import io
import json
import pickle
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from workbench import data
from workbench.data.fetching import download, verified
from workbench.data.readers import cifar, corrupted, idx

DOCUMENTED = (data.DataError, data.DataNotFoundError)

edits = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "delete", "insert", "cut", "repeat"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes, changes: list[tuple[str, float, bytes]], head: int) -> bytes:
    """The content after some edits; half of the places are in its first `head` bytes, where formats keep their sizes."""
    for kind, where, piece in changes:
        reach = min(head, len(content)) if where < 0.5 else len(content)
        at = int(2 * where % 1 * reach)
        if kind == "overwrite":
            content = content[:at] + piece + content[at + len(piece) :]
        elif kind == "delete":
            content = content[:at] + content[at + len(piece) :]
        elif kind == "insert":
            content = content[:at] + piece + content[at:]
        elif kind == "cut":
            content = content[:at]
        else:
            content = content[:at] + content[: at + len(piece)] + content[at:]
    return content


@contextlib.contextmanager
def written(name: str, content: bytes):
    """A file of this content in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set" / name
        path.parent.mkdir()
        path.write_bytes(content)
        yield path


def either_way(read, path):
    try:
        read()
    except DOCUMENTED as error:
        assert str(path.parent) in str(error)


IMAGES = tiny.idx_bytes(tiny.numbers(3, 4, 5))
RECORDS = tiny.cifar_records(3).tobytes()


@settings(max_examples=300)
@given(edits)
def test_idx(changes):
    with written("x-idx3-ubyte", damaged(IMAGES, changes, 16)) as path:
        either_way(lambda: idx.read_idx(path, 3), path)


@settings(max_examples=300)
@given(edits, st.booleans())
def test_idx_in_gzip(changes, inside):
    content = gzip.compress(damaged(IMAGES, changes, 16)) if inside else damaged(gzip.compress(IMAGES), changes, 12)
    with written("x-idx3-ubyte.gz", content) as path:
        either_way(lambda: idx.read_idx(path, 3), path)


@settings(max_examples=200)
@given(edits, st.sampled_from([(10,), (20, 100)]))
def test_cifar_binary(changes, limits):
    with written("x.bin", damaged(RECORDS, changes, 4)) as path:
        either_way(lambda: cifar.read_binary(path, limits), path)


@settings(max_examples=100)
@given(st.binary(max_size=200), st.integers(1, 5))
def test_cifar_names(content, count):
    with written("names.txt", content) as path:
        either_way(lambda: cifar.read_names(path, count), path)


@settings(max_examples=300)
@given(edits, st.booleans())
def test_npy(changes, images):
    buffer = io.BytesIO()
    np.save(buffer, tiny.numbers(5, 32, 32, 3) if images else np.arange(5))
    name = "fog.npy" if images else "labels.npy"
    with written(name, damaged(buffer.getvalue(), changes, 128)) as path:
        np.save(
            path.parent / ("labels.npy" if images else "fog.npy"),
            np.arange(5) if images else np.zeros((5, 32, 32, 3), np.uint8),
        )
        either_way(lambda: corrupted.read_severity(path.parent, "fog", 1, tuple("abcdefghij"), "here"), path)


def _encoded(kind):
    buffer = io.BytesIO()
    Image.fromarray(tiny.numbers(9, 11, 3)).save(buffer, kind)
    return buffer.getvalue()


ENCODED = {kind: _encoded(kind) for kind in ("PNG", "JPEG", "BMP", "PPM")}


@settings(max_examples=400)
@given(edits, st.sampled_from(sorted(ENCODED)), st.sampled_from([None, 4]), st.booleans())
def test_images(changes, kind, size, grey):
    with written("x.png", damaged(ENCODED[kind], changes, 60)) as path:
        either_way(lambda: data.read_images([path], size, grey), path)


@settings(max_examples=200)
@given(edits, st.booleans())
def test_archives(changes, compressed):
    with tempfile.TemporaryDirectory() as folder:
        mode = "w:gz" if compressed else "w"
        content = tiny.archive(Path(folder) / "whole", {"set/a": b"abc" * 100, "set/b": bytes(600)}, mode)
        path = Path(folder) / "archive"
        path.write_bytes(damaged(content, changes, 520))
        either_way(lambda: download.unpack(path, Path(folder) / "home" / "set", "md5:0"), path)
        assert {file.name for file in Path(folder).iterdir()} <= {"whole", "archive", "home"}


parts = st.sampled_from(["set", "a", "..", ".", "", "/", "\\", "\0", "C:", "~", "x" * 300, "é", "link"])
members = st.lists(
    st.tuples(
        st.lists(parts, min_size=1, max_size=4).map("/".join),
        st.sampled_from([tarfile.REGTYPE, *tarfile.SUPPORTED_TYPES]),
        st.integers(0, 3),
        st.lists(parts, min_size=1, max_size=3).map("/".join),
        st.sampled_from([0o644, 0o000, 0o7777]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=300)
@given(members, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
def test_members_of_archives(members, layout):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in" / "archive"
        path.parent.mkdir()
        with tarfile.open(path, "w", format=layout) as tar:
            for name, kind, size, link, mode in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname, member.mode = kind, link, mode
                member.size = size if kind == tarfile.REGTYPE else 0
                tar.addfile(member, io.BytesIO(bytes(member.size)))
        target = path.parent / "home" / "set"
        either_way(lambda: download.unpack(path, target, "md5:0"), path)
        made = [file for file in Path(folder).rglob("*") if file not in (path, path.parent, target.parent)]
        assert all(file.is_relative_to(target) and not file.is_symlink() for file in made)


@settings(max_examples=200)
@given(st.sampled_from([cifar.read_binary, cifar.read_names]), st.recursive(
    st.none() | st.integers() | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=5), inner, max_size=4),
), st.integers(0, 5), st.booleans())  # fmt: skip
def test_pickles_posing_as_files(read, value, protocol, padded):
    content = pickle.dumps(value, protocol=protocol)
    with written("data_batch_1.bin", content.ljust(3073, b"\0") if padded else content) as path:
        either_way(lambda: read(path, (10,) if read is cifar.read_binary else 10), path)


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=80), st.text(alphabet='original,vt"/.\n\0a0png', max_size=60).map(str.encode)))
def test_pair_lists(content):
    with written("pairs.csv", b"original,variant\n" + content) as path:
        tiny.image(path.parent / "a.png")
        either_way(lambda: data.read_pairs(path), path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["sha256", "x"]), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(json_values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50))
def test_verification_notes(content):
    with written(verified.NOTE, content) as path:
        (path.parent / "x").write_bytes(b"")
        either_way(lambda: verified.matches(path.parent, [path.parent / "x"]), path)
