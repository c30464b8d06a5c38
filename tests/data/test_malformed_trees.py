"""Image folders and pair lists that are damaged: a documented error comes out, and it names the file.

Each table maps what is wrong to a function that damages a valid miniature set and returns the damaged path.
"""

import struct
import zlib

import damage
import pytest
import tiny
from PIL import Image

from workbench import data

DOCUMENTED = (data.DataError, data.DataNotFoundError)


def _other_image(name, mode="RGB", rows=6, columns=6, kind=None):
    def damage(folder):
        Image.new(mode, (columns, rows)).save(folder / name, kind)
        return folder / name

    return damage


def _emptied(name):
    def damage(folder):
        for path in (folder / name).iterdir():
            path.unlink()
        return folder / name

    return damage


def _bomb(folder):
    # A valid header that states 60000 x 60000 pixels.
    header = struct.pack(">2I5B", 60000, 60000, 8, 2, 0, 0, 0)

    chunk = b"IHDR" + header
    (folder / "cat/1.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    return folder / "cat/1.png"


def _nested(folder):
    tiny.image(folder / "cat" / "more" / "0.png")
    return folder / "cat" / "more"


def _image_is_folder(folder):
    (folder / "cat/1.png").unlink()
    (folder / "cat/1.png").mkdir()
    return folder / "cat/1.png"


def _only_hidden(folder):
    _emptied("dog")(folder)
    tiny.image(folder / "dog" / ".0.png")
    return folder / "dog"


def _only_text(folder):
    _emptied("dog")(folder)
    (folder / "dog" / "labels.txt").write_text("dog")
    return folder / "dog"


TREES = {
    "empty file": damage.put("cat/1.png", b""),
    "only a signature": damage.put("cat/1.png", lambda b: b[:8]),
    "half an image": damage.put("cat/1.png", lambda b: b[: len(b) // 2]),
    "flipped bits": damage.put("cat/1.png", lambda b: b[:45] + bytes(255 - x for x in b[45:60]) + b[60:]),
    "wrong header checksum": damage.put("cat/1.png", lambda b: b[:29] + b"\0\0\0\0" + b[33:]),
    "zero width": damage.put("cat/1.png", lambda b: b[:16] + b"\0\0\0\0" + b[20:]),
    "a web page": damage.put("dog/3.png", b"<html>404</html>"),
    "text": damage.put("cat/0.png", b"0 0 0"),
    "a pickle": damage.put("cat/0.png", b"\x80\x04K\x01."),
    "a gif by another name": _other_image("cat/1.png", kind="GIF"),
    "a tiff by another name": _other_image("cat/1.png", kind="TIFF"),
    "an eps that would start a program": damage.put("cat/1.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n"),
    "a truncated ppm": damage.put("cat/1.png", b"P6 6 6 255\n" + b"\0" * 50),
    "a ppm without numbers": damage.put("cat/1.png", b"P6 x y 255\n"),
    "a truncated bmp": damage.put("cat/1.png", b"BM" + bytes(20)),
    "a truncated jpeg": damage.put("cat/1.png", b"\xff\xd8\xff\xe0" + bytes(30)),
    "more pixels than memory": _bomb,
    "another width": _other_image("cat/1.png", columns=7),
    "another height": _other_image("dog/2.png", rows=5),
    "turned": _other_image("dog/0.png", rows=7, columns=5),
    "empty class": _emptied("dog"),
    "class of hidden files": _only_hidden,
    "class without images": _only_text,
    "a folder among the images": _nested,
    "a folder named like an image": _image_is_folder,
    "an image leads out": damage.link_out("cat/1.png"),
    "a class leads out": damage.link_out("dog"),
    "an image links to itself": damage.link_to_itself("cat/1.png"),
}


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("kind", ["image-folder", "domain-folder"])
def test_malformed_image_folders(tmp_path, name, kind):
    root = tmp_path / "top" / "root" if kind == "image-folder" else tmp_path / "top"
    folder = tiny.classes(root if kind == "image-folder" else root / "photo")
    damaged = TREES[name](folder)
    with pytest.raises(DOCUMENTED, match=damaged.name):
        data.load(kind, root=root)


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(data.DataNotFoundError, match="nowhere"):
        data.load("image-folder", root=tmp_path / "nowhere")
    with pytest.raises(data.DataNotFoundError, match="nowhere"):
        data.read_images([tmp_path / "nowhere.png"])
    for kind in ("image-folder", "domain-folder"):
        with pytest.raises(data.DataError, match=r"has no (class|domain) folders"):
            data.load(kind, root=tmp_path)
        with pytest.raises(ValueError, match="needs root="):
            data.load(kind)
    tiny.domains(tmp_path / "PACS", ("art_painting", "cartoon", "photo"))
    with pytest.raises(data.DataNotFoundError, match="sketch"):
        data.load("pacs", root=tmp_path)


PAIRS = {
    "empty": b"",
    "no header": b"a/0.png,b/0.png\n",
    "another header": b"query,original\na/0.png,b/0.png\n",
    "only the header": b"original,variant\n",
    "semicolons": b"original;variant\na/0.png;b/0.png\n",
    "one cell": b"original,variant\na/0.png\n",
    "three cells": b"original,variant\na/0.png,b/0.png,c\n",
    "an empty cell": b"original,variant\na/0.png,\n",
    "a blank cell": b"original,variant\n  ,b/0.png\n",
    "a blank line": b"original,variant\n\na/0.png,b/0.png\n",
    "an open quote": b'original,variant\n"a/0.png,b/0.png\n',
    "text after a quote": b'original,variant\n"a/0.png"x,b/0.png\n',
    "a missing file": b"original,variant\na/0.png,b/9.png\n",
    "a folder": b"original,variant\na/0.png,b\n",
    "a path upwards": b"original,variant\na/0.png,../outside.png\n",
    "a winding path upwards": b"original,variant\na/0.png,a/../../outside.png\n",
    "an absolute path": b"original,variant\na/0.png,/etc/hostname\n",
    "a link that leads out": b"original,variant\na/0.png,link.png\n",
    "a zero byte": b"original,variant\na/0.png,b/0\0.png\n",
    "no encoding": b"original,variant\n\xff\xfe,b/0.png\n",
    "utf-16": "original,variant\na/0.png,b/0.png\n".encode("utf-16"),
    "an endless name": b"original,variant\na/0.png," + b"x" * 5000 + b"\n",
}


@pytest.mark.parametrize("name", PAIRS)
def test_malformed_pair_lists(tmp_path, name):
    folder = tmp_path / "pairs"
    tiny.classes(folder, ("a", "b"), each=1)
    tiny.image(tmp_path / "outside.png")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "pairs.csv").write_bytes(PAIRS[name])
    with pytest.raises(DOCUMENTED, match=str(folder)):
        data.read_pairs(folder / "pairs.csv")
