"""Corruptions: laws against independent computations, order in severity, equal for equal seeds, refusals."""

import colorsys
import io
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import workbench as wb
from workbench.data.preparing import corruptions
from workbench.data.preparing.corruptions import filters, weather
from workbench.data.preparing.corruptions.draw import Draws

ROOT = Path(os.environ.get("WORKBENCH_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
NOT_MONOTONE = ("glass_blur", "elastic_transform")
"""Their published constants do not rise together: figure 4 of arXiv:2103.02325."""


@pytest.fixture(scope="module")
def images():
    """Smooth colour images with values spread over [0, 1]."""
    numbers = wb.draws.normal(0, (60, 3, 32, 32)).numpy()
    blurred = np.stack([ndimage.gaussian_filter(image, (0, 2, 2), mode="wrap") for image in numbers])
    low, high = blurred.min((1, 2, 3), keepdims=True), blurred.max((1, 2, 3), keepdims=True)
    return torch.from_numpy((blurred - low) / (high - low)).float()


def draws_of(name, seed=0):
    return Draws(seed, name, torch.device("cpu"))


@pytest.mark.parametrize("name", corruptions.names())
def test_equal_seeds_equal_images_whatever_else_is_corrupted(images, name):
    few = images[:6]
    once = corruptions.apply(few, name, 3, seed=5)
    assert torch.equal(once, corruptions.apply(few, name, 3, seed=5))
    assert torch.equal(once[:2], corruptions.apply(few[:2], name, 3, seed=5))
    assert once.min() >= 0 and once.max() <= 1 and once.dtype == few.dtype
    random = name not in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
    assert torch.equal(once, corruptions.apply(few, name, 3, seed=6)) != random
    folded = corruptions.apply(few.reshape(2, 3, 3, 32, 32).double(), name, 3, seed=5)
    assert folded.dtype == torch.float64 and torch.equal(folded.reshape(few.shape).float(), once)


@pytest.mark.parametrize("name", [name for name in corruptions.names() if name not in NOT_MONOTONE])
@pytest.mark.parametrize("profile", ["cifar", "mnist"])
def test_the_distance_grows_with_the_severity(images, name, profile):
    if (name, profile) == ("pixelate", "mnist"):
        pytest.skip("half of 28 pixels (severity 2) is a whole number of boxes and loses less than 16 of them do")
    some = images if profile == "cifar" else images[:, :1, 2:30, 2:30]
    distance = [
        (corruptions.apply(some, name, severity, profile=profile) - some).square().sum((1, 2, 3)).sqrt().mean()
        for severity in range(1, 6)
    ]
    # Longer lines of the same deviation (motion blur, 3 and 4) differ in their tails alone.
    assert all(after >= 0.99 * before for before, after in itertools.pairwise(distance))
    assert distance[4] > 1.3 * distance[0] > 0


def test_elastic_distance_falls_as_published(images):
    near, far = (corruptions.apply(images, "elastic_transform", severity) - images for severity in (1, 5))
    assert far.square().sum((1, 2, 3)).sqrt().mean() < near.square().sum((1, 2, 3)).sqrt().mean()


def test_noise_has_its_moments():
    grey = torch.full((20, 3, 32, 32), 0.5)
    n = grey.numel()
    gaussian = corruptions.apply(grey, "gaussian_noise", 1) - grey
    assert abs(gaussian.std() / 0.04 - 1) < 5 / (2 * n) ** 0.5
    shot = corruptions.apply(grey, "shot_noise", 5)
    assert abs(shot.mean() - 0.5) < 5 * (0.5 / 50 / n) ** 0.5 and abs(shot.var() / (0.5 / 50) - 1) < 0.05
    assert torch.allclose((50 * shot).round(), 50 * shot, atol=1e-4)
    impulse = corruptions.apply(grey, "impulse_noise", 5)
    assert abs((impulse != 0.5).double().mean() - 0.07) < 5 * (0.07 / n) ** 0.5
    assert abs((impulse == 1).double().mean() - 0.035) < 5 * (0.035 / n) ** 0.5


def test_smoothing_and_disks_are_scipys(images):
    one = images[0].numpy()
    for sigma in (0.25, 0.7, 1.6):
        for ours, theirs in (("replicate", "nearest"), ("reflect", "reflect")):
            wanted = ndimage.gaussian_filter(one, (0, sigma, sigma), mode=theirs)
            assert np.allclose(filters.smooth(images[:1], sigma, mode=ours)[0], wanted, atol=1e-5)
    kernel = filters.disk(1.5, 0.1)
    assert kernel.sum() == pytest.approx(1) and (kernel > 1e-6).sum() == 9  # the 3x3 places within 1.5 of the middle
    blurred = corruptions.apply(images[:1], "defocus_blur", 5)[0]
    wanted = np.stack([ndimage.correlate(channel, kernel.numpy(), mode="mirror") for channel in one])
    assert np.allclose(blurred, wanted, atol=1e-5)


@pytest.mark.parametrize("factor", [1.0, 1.07, 1.26, 1.75])
def test_zooming_is_scipys(images, factor):
    kept = int(np.ceil(32 / factor))
    top = (32 - kept) // 2
    middle = images[0, 0, top : top + kept, top : top + kept].numpy()
    grown = ndimage.zoom(middle, factor, order=1)
    trim = (len(grown) - 32) // 2
    assert np.allclose(filters.zoomed(images[0, 0], factor), grown[trim : trim + 32, trim : trim + 32], atol=1e-5)


def test_lines_of_length_zero_change_nothing_and_others_keep_the_mean(images):
    angles = torch.tensor([0.0, 90.0, 30.0])
    assert torch.allclose(filters.along_lines(images[:3], 2, 1e-3, angles), images[:3], atol=1e-6)
    constant = torch.full((3, 1, 8, 8), 0.3)
    assert torch.allclose(filters.along_lines(constant, 3, 2.0, angles), constant, atol=1e-6)
    dot = torch.zeros(2, 1, 9, 9)
    dot[:, :, 4, 4] = 1
    weights = torch.exp(-0.5 * (torch.arange(5.0) / 1.5) ** 2)
    smeared = filters.along_lines(dot, 2, 1.5, torch.tensor([0.0, 90.0]))
    # Correlation: what lies to the right shows up on the left.
    assert torch.allclose(smeared[0, 0, 4, :5].flip(0), weights / weights.sum(), atol=1e-6)
    assert torch.allclose(smeared[1, 0, :5, 4].flip(0), weights / weights.sum(), atol=1e-6)


def test_pixels_and_jpeg_are_pillows(images):
    one = images[0, 0].numpy()
    shrunk = Image.fromarray(one).resize((20, 20), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    assert np.allclose(corruptions.apply(images[:1], "pixelate", 5)[0, 0], np.array(shrunk), atol=1e-5)
    bytes_ = (255 * images[0]).round().to(torch.uint8).permute(1, 2, 0).numpy()
    with io.BytesIO() as file:
        Image.fromarray(bytes_).save(file, "JPEG", quality=40)
        decoded = np.array(Image.open(file))
    assert np.array_equal(255 * corruptions.apply(images[:1], "jpeg_compression", 5)[0].permute(1, 2, 0), decoded)


def test_brightness_raises_the_value_alone(images):
    lighter = corruptions.apply(images[:1], "brightness", 2)[0]
    for row, column in ((0, 0), (5, 9), (31, 16)):
        hue, saturation, value = colorsys.rgb_to_hsv(*images[0, :, row, column].tolist())
        wanted = colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + 0.1))
        assert lighter[:, row, column].tolist() == pytest.approx(wanted, abs=1e-5)
    black = corruptions.apply(torch.zeros(1, 3, 4, 4), "brightness", 5)
    assert torch.allclose(black, torch.full_like(black, 0.3))


def test_contrast_fog_and_clouds(images):
    paler = corruptions.apply(images, "contrast", 3)
    assert torch.allclose(paler.std((2, 3)), 0.4 * images.std((2, 3)), rtol=1e-4)
    cloud = weather.plasma(4, 16, 2.0, draws_of("fog"))
    assert cloud.shape == (4, 16, 16) and torch.equal(cloud.amin((1, 2)), torch.zeros(4)) and cloud.max() == 1
    wanted = (images[:4] + 1.0 * weather.plasma(4, 32, 2.0, draws_of("fog"))[:, None]) / (1 + 1.0)
    assert torch.allclose(corruptions.apply(images[:4], "fog", 4), wanted, atol=1e-5)


def test_the_affine_part_moves_three_points(images):
    ramp = torch.stack(torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")) / 31
    three = torch.cat([ramp, ramp[:1]])[None]
    moves = draws_of("elastic_transform").uniform("affine", (1, 3, 2), -1.0, 1.0)[0].numpy() * 0.08 * 32
    bent = corruptions.apply(three, "elastic_transform", 1)[0, :2].numpy()
    for corner, move in zip([(26, 26), (26, 6), (6, 6)], moves, strict=True):
        column, row = np.add(corner, move)
        for axis, coordinate in enumerate(corner[::-1]):
            found = ndimage.map_coordinates(bent[axis], [[row], [column]], order=1)[0] * 31
            assert found == pytest.approx(coordinate, abs=1e-3)


@pytest.mark.skipif(
    not (ROOT / "cifar-10-batches-bin").is_dir(), reason="needs CIFAR-10 in WORKBENCH_DATA or ../shared/data"
)
@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("brightness", 2.4, 13.1),
        ("contrast", 2.8, 9.5),
        ("fog", 2.8, 10.1),
        ("glass_blur", 5.5, 5.8),
        ("defocus_blur", 0.4, 2.9),
        ("pixelate", 1.3, 3.0),
        ("gaussian_noise", 2.2, 5.4),
    ],
)
def test_distances_on_cifar_are_those_of_another_implementation(name, first, last):
    some = wb.data.load("cifar10", root=ROOT, train=10, test=300).test_inputs
    for severity, wanted in ((1, first), (5, last)):
        distance = (corruptions.apply(some, name, severity) - some).square().sum((1, 2, 3)).sqrt().mean()
        assert distance == pytest.approx(wanted, rel=0.06, abs=0.06)


def test_groups_are_the_customary_ones_or_figure_twos():
    for grouping in ("customary", "paper"):
        members = sum(corruptions.groups(grouping).values(), ())
        assert sorted(members) == sorted(corruptions.names()) and len(set(members)) == 14
        assert len(sum(corruptions.groups(grouping, frost=True).values(), ())) == 15
    assert corruptions.groups("paper")["weather"] == ("snow", "fog", "defocus_blur")
    with pytest.raises(ValueError, match="grouping"):
        corruptions.groups("usual")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.full((1, 3, 8, 8), 255.0)}, "divide bytes by 255"),
        ({"images": torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)}, "convert them"),
        ({"images": torch.full((1, 3, 8, 8), -0.1)}, "must lie in"),
        ({"images": torch.full((1, 3, 8, 8), torch.nan)}, "must lie in"),
        ({"images": torch.rand(1, 2, 8, 8)}, "1 or 3 channels"),
        ({"images": torch.rand(8, 8)}, "channel, row, column"),
        ({"name": "frost"}, "name must be one of"),
        ({"severity": 0}, "severity must be an int in 1..5"),
        ({"severity": 6}, "severity"),
        ({"severity": 2.5}, "severity"),
        ({"profile": "imagenet"}, "profile must be one of cifar, digits, mnist"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_input_is_refused(change, message):
    arguments = {"images": torch.rand(1, 3, 8, 8), "name": "fog", "severity": 1, "profile": "cifar", "seed": 0}
    with pytest.raises(ValueError, match=message):
        corruptions.apply(**arguments | change)
    assert wb.data.corruptions is corruptions
