"""Pixels as they are meant, no file left out in silence, names compared in one form and never taken for positions."""

from __future__ import annotations

import os
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.data import DataError, DataNotFoundError, leave_one_domain_out, load
from workbench.data.names import position
from workbench.data.readers.trees import read_images

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
DEEP = (np.arange(64).reshape(8, 8) * 1040).astype(np.uint16)


def save(path: Path, values: np.ndarray = GREY, form: str = "PNG", **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, form, **options)
    return path


def test_sixteen_bits_are_scaled_whatever_the_format(tmp_path):
    expected = np.round(DEEP / 65535 * 255)
    for form, suffix in (("PNG", "png"), ("PPM", "pgm")):
        path = save(tmp_path / f"a.{suffix}", DEEP, form)
        for grey in (True, False):
            pixels = read_images([path], grey=grey)
            assert pixels.shape == (1, 1 if grey else 3, 8, 8) and np.abs(pixels[0, 0] - expected).max() <= 1
    odd = save(tmp_path / "b.pfm", DEEP.astype(np.float32), "PPM").rename(tmp_path / "b.ppm")
    with pytest.raises(DataError, match=r"b.ppm has pixels of the type F, which have no range"):
        read_images([odd])


def test_transparent_pixels_show_white_in_every_mode(tmp_path):
    red = np.zeros((4, 4, 4), np.uint8)
    red[..., 0] = 255
    half = red.copy()
    half[..., 3] = 128
    key = np.full((4, 4), 7, np.uint8)
    paths = {
        "rgba": save(tmp_path / "rgba.png", red),
        "half": save(tmp_path / "half.png", half),
        "grey": save(tmp_path / "la.png", red[..., [0, 3]]),
        "key": save(tmp_path / "key.png", key, transparency=7),
        "palette": tmp_path / "p.png",
        "opaque": save(tmp_path / "opaque.png", red[..., :3]),
    }
    Image.fromarray(key, "L").convert("P").save(paths["palette"], transparency=7)
    shown = {name: read_images([path])[0, :, 0, 0].tolist() for name, path in paths.items()}
    for name in ("rgba", "grey", "key", "palette"):
        assert shown[name] == [255, 255, 255], name
    assert shown["half"] == [255, 127, 127] and shown["opaque"] == [255, 0, 0]


def test_what_looks_like_an_image_and_is_not_read_is_named_once(tmp_path):
    for name, form in (
        ("1.png", "PNG"),
        ("2.webp", "WEBP"),
        ("3.tif", "TIFF"),
        ("4.jfif", "JPEG"),
        ("5", "PNG"),
        ("6.dat", "GIF"),
    ):
        save(tmp_path / "a" / name, form=form)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    save(tmp_path / "b" / "1.png")
    save(tmp_path / "beside.png")
    with pytest.warns(UserWarning) as seen:
        data = load("image-folder", root=tmp_path)
    (words,) = [str(one.message) for one in seen]
    assert len(data.train_targets) == 3 and words.startswith("5 files in")
    assert (
        all(name in words for name in ("beside.png", "a/2.webp", "a/3.tif", "a/5", "a/6.dat")) and "notes" not in words
    )
    save(tmp_path / "c" / "1.gif", form="GIF")
    with pytest.raises(DataError, match=r"holds no images .*; .*1.gif would have to be converted"):
        load("image-folder", root=tmp_path)


def test_folders_beside_train_and_test_are_named(tmp_path):
    for part in ("train", "test", "val"):
        save(tmp_path / part / "a" / "1.png")
    with pytest.warns(UserWarning, match="beside them val, which is not read"):
        load("image-folder", root=tmp_path)


def test_names_are_one_in_both_unicode_forms(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    for part, name in (("train", composed), ("test", decomposed)):
        save(tmp_path / "split" / part / name / "1.png")
        save(tmp_path / "split" / part / "Cat" / "1.png")
        save(tmp_path / "split" / part / "cat" / "1.png")
    for name in (composed, decomposed):
        data = load("image-folder", root=tmp_path / "split", classes=[name])
        assert len(data.train_targets) == len(data.test_targets) == 1
    assert set(load("image-folder", root=tmp_path / "split").class_names) == {composed, "Cat", "cat"}
    for domain, name in ((decomposed, composed), ("x", decomposed)):
        save(tmp_path / "domains" / domain / name / "1.png")
        save(tmp_path / "domains" / domain / "y" / "1.png")
    data = load("domain-folder", root=tmp_path / "domains")
    assert data.n_classes == 2 and composed in data.domain_names
    assert len(leave_one_domain_out(data, decomposed, 0, holdout=0.0).target_targets) == 2
    save(tmp_path / "twice" / composed / "1.png")
    save(tmp_path / "twice" / decomposed / "1.png")
    with pytest.raises(DataError, match="one name in two Unicode forms"):
        load("image-folder", root=tmp_path / "twice")


@pytest.mark.parametrize("names", [("0", "1", "10", "2"), ("00", "01", "02", "10"), ("a", "b"), ("5", "7")])
def test_a_number_is_a_position_only_where_it_is_no_other_name(names):
    for number in range(12):
        meant = [place for place, name in enumerate(names) if name.isdecimal() and int(name) == number]
        inside = number < len(names)
        if meant and (not inside or meant == [number]):
            assert position(number, names, "classes") == meant[0]
        elif inside and not meant:
            assert position(np.int64(number), names, "classes") == number
        else:
            with pytest.raises(ValueError, match="classes"):
                position(number, names, "classes")
    for wrong in (True, 0.0, "c", -1, None):
        with pytest.raises(ValueError, match="classes must be one of"):
            position(wrong, names, "classes")
    assert [position(name, names, "classes") for name in names] == list(range(len(names)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_or_a_folder_in_the_place_of_a_file_is_said_at_once(tmp_path):
    save(tmp_path / "a" / "1.png")
    os.mkfifo(tmp_path / "a" / "2.png")
    with pytest.raises(DataError, match=r"2.png is no ordinary file"):
        load("image-folder", root=tmp_path)
    (tmp_path / "mnist" / "train-images-idx3-ubyte").mkdir(parents=True)
    with pytest.raises((DataError, DataNotFoundError), match="is a folder where a file was expected"):
        load("mnist", root=tmp_path / "mnist")


def test_ordinary_folders_give_no_warning(tmp_path):
    save(tmp_path / "a" / "1.png")
    save(tmp_path / "b" / "1.JPG", form="JPEG")
    (tmp_path / "README.md").write_text("x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load("image-folder", root=tmp_path).train_targets) == 2
