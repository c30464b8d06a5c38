"""Images in folders: class/image, train|test/class/image and domain/class/image; sorted names give the labels."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from jaxtyping import UInt8
from PIL import Image

from workbench.data.errors import DataError, DataNotFoundError
from workbench.data.names import composed
from workbench.data.readers import files

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm"})
_FORMATS = ("JPEG", "PNG", "BMP", "PPM")
# What else holds images, by name and by its first bytes; none of it is read, all of it is named.
_OTHERS = frozenset(
    {
        ".webp",
        ".tif",
        ".tiff",
        ".gif",
        ".heic",
        ".heif",
        ".avif",
        ".jp2",
        ".j2k",
        ".jxl",
        ".svg",
        ".tga",
        ".exr",
        ".dng",
    }
    | {".cr2", ".nef", ".arw", ".psd", ".ico", ".apng", ".dcm", ".pfm", ".hdr", ".npy", ".npz"}
)
_BEGINNINGS = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"P5",
    b"P6",
    b"\0\0\0\x0cJXL",
    b"\0\0\0\x0cjP",
)
BACKGROUND = (255, 255, 255, 255)
"""What shows through transparent pixels: white."""
_MOST_PIXELS = 64_000_000


@dataclass(frozen=True, eq=False)
class Tree:
    """Image files with their labels, not yet decoded; `groups` index `group_names` (domains, or train and test)."""

    files: tuple[Path, ...]
    targets: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray
    group_names: tuple[str, ...]


def class_tree(folder: str | os.PathLike[str]) -> Tree:
    """The files of folder/class/image; one group without a name."""
    return _tree(Path(folder), ("",))


def domain_tree(folder: str | os.PathLike[str], domains: Sequence[str] | None = None) -> Tree:
    """The files of folder/domain/class/image, for these domains or else for every sub-folder, sorted by name.

    A class may be absent from a domain (TerraIncognita), but a class folder may not be empty.
    """
    top = Path(folder)
    names = tuple(sorted(domains)) if domains is not None else tuple(_composed_name(path) for path in _folders(top))
    if not names:
        raise DataError(f"{top} has no domain folders")
    for name in names:
        if not _group_folder(top, name).is_dir():
            raise DataNotFoundError(f"{top / name} is missing; expected one folder for each of {', '.join(names)}")
    return _tree(top, names)


def read_images(
    paths: Sequence[str | os.PathLike[str]], size: int | None = None, grey: bool = False
) -> UInt8[np.ndarray, "image channel row column"]:
    """Decode images as RGB (or grey) bytes. Transparent pixels show white; grey values of 16 bits are scaled to 8.

    With `size`, the shorter side is resized to it (bilinear) and the centre cut out; without, all images must have one
    size. Raises DataError naming the file that cannot be decoded or differs.
    """
    if not paths:
        raise ValueError("paths must name at least one image")
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    first = _decode(Path(paths[0]), size, grey)
    _require_memory(first.nbytes * len(paths), len(paths))
    images = np.empty((len(paths), *first.shape), np.uint8)
    images[0] = first
    for number, path in enumerate(paths[1:], start=1):
        image = _decode(Path(path), size, grey)
        if image.shape != first.shape:
            (rows, columns), (wanted_rows, wanted_columns) = image.shape[1:], first.shape[1:]
            raise DataError(
                f"{path} has {rows} x {columns} pixels, but {paths[0]} has {wanted_rows} x {wanted_columns}; "
                "give size= to resize and crop all images to one size"
            )
        images[number] = image
    return images


def _decode(path: Path, size: int | None, grey: bool) -> np.ndarray:
    try:
        with files.reading(path), Image.open(path, formats=_FORMATS) as image:
            columns, rows = image.size
            if columns * rows > _MOST_PIXELS:
                raise DataError(f"{path} states {rows} x {columns} pixels, more than {_MOST_PIXELS:,}")
            picture = _opaque(image, path).convert("L" if grey else "RGB")
    except (DataError, DataNotFoundError):
        raise
    except Exception as error:  # Pillow's decoders raise half a dozen types for damaged files
        raise DataError(f"{path} is no readable image: {error}") from error
    if size is not None:
        shorter = min(picture.size)
        columns, rows = (max(size, round(length * size / shorter)) for length in picture.size)
        picture = picture.resize((columns, rows), Image.Resampling.BILINEAR)
        left, top = (columns - size) // 2, (rows - size) // 2
        picture = picture.crop((left, top, left + size, top + size))
    pixels = np.asarray(picture)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def _opaque(image: Image.Image, path: Path) -> Image.Image:
    """The picture with 8 bits a channel and without transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65535 or "transparency" in image.info:
            raise DataError(
                f"{path} has pixels of the type {image.mode}, which have no range; save it with 8 or 16 bits"
            )
        return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        picture = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, BACKGROUND), picture)
    return image


def _tree(top: Path, group_names: tuple[str, ...]) -> Tree:
    members: list[tuple[int, str, Path]] = []
    left_out: list[Path] = []
    for number, group in enumerate(group_names):
        folder = _group_folder(top, group) if group else top
        classes = _folders(folder, left_out)
        if not classes:
            raise DataError(f"{folder} has no class folders")
        for name, same in itertools.groupby(sorted(classes, key=_composed_name), _composed_name):
            class_folder, *others = same
            if others:
                raise DataError(
                    f"{class_folder} and {others[0]} are one name in two Unicode forms; put their files together"
                )
            members.extend((number, name, path) for path in _images(top, class_folder, left_out))
    if left_out:
        shown = ", ".join(path.relative_to(top).as_posix() for path in left_out[:5])
        more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
        warnings.warn(
            f"{len(left_out)} files in {top} look like images and are not read: {shown}{more}; "
            f"convert them to one of {', '.join(sorted(SUFFIXES))}, in a class folder",
            stacklevel=5,
        )
    class_names = tuple(sorted({name for _, name, _ in members}))
    label = {name: number for number, name in enumerate(class_names)}
    return Tree(
        tuple(path for _, _, path in members),
        np.array([label[name] for _, name, _ in members], np.int64),
        class_names,
        np.array([group for group, _, _ in members], np.int64),
        group_names,
    )


def _composed_name(path: Path) -> str:
    return composed(path.name)


def _group_folder(top: Path, name: str) -> Path:
    """The folder of this name, in whatever Unicode form the file system has it."""
    path = files.inside(top, name)
    if not path.is_dir() and top.is_dir():
        path = next((other for other in _folders(top) if _composed_name(other) == composed(name)), path)
    return path


def _folders(folder: Path, left_out: list[Path] | None = None) -> list[Path]:
    with files.reading(folder):
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    paths = [files.inside(folder, name) for name in names]
    if left_out is not None:
        left_out += [path for path in paths if path.is_file() and (path.suffix.lower() in SUFFIXES or _is_image(path))]
    return [path for path in paths if path.is_dir()]


def _is_image(path: Path) -> bool:
    """Whether a file that is not read holds an image, by its name or its first bytes."""
    if path.suffix.lower() in _OTHERS:
        return True
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    return head.startswith(_BEGINNINGS) or head[8:12] == b"WEBP" or head[4:8] == b"ftyp"


def _images(top: Path, folder: Path, left_out: list[Path]) -> list[Path]:
    with files.reading(folder):
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    found = []
    for name in names:
        path = files.inside(top, *folder.relative_to(top).parts, name)
        if path.is_dir():
            raise DataError(f"{path} is a folder where images were expected; is {top} one level too high?")
        if path.suffix.lower() in SUFFIXES:
            found.append(path)
        elif _is_image(path):
            left_out.append(path)
    if not found:
        others = ", ".join(path.name for path in left_out if path.parent == folder)
        others = f"; {others[:200]} would have to be converted" if others else ""
        raise DataError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}){others}")
    return found


def _require_memory(needed: int, count: int) -> None:
    available = psutil.virtual_memory().available
    if needed > available:
        raise ValueError(
            f"{count:,} images need {needed / 2**30:.1f} GiB and {available / 2**30:.1f} are free; "
            "choose a smaller size=, fewer classes= or train=, or decode in batches with data.read_images"
        )
