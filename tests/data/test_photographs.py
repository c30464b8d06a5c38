"""The augmentation of photographs: what each part does, alone and under vmap."""

import colorsys

import numpy as np
import pytest
import torch
from torch.func import vmap

from workbench import data
from workbench.data.preparing import photographs


@pytest.fixture
def images():
    return torch.rand(4, 3, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_hue_is_shifted_as_colorsys_does(images):
    images[0, :, 0, 0] = 0.5
    images[0, :, 0, 1] = 0.0
    turns = torch.tensor([0.0, 0.25, -0.3, 1.0], dtype=torch.float64)
    shifted = photographs._hue_shifted(images, turns)
    for image, turn, after in zip(images, turns, shifted, strict=True):
        for row, column in ((0, 0), (0, 1), (3, 5)):
            hue, saturation, value = colorsys.rgb_to_hsv(*image[:, row, column].tolist())
            expected = colorsys.hsv_to_rgb((hue + float(turn)) % 1, saturation, value)
            assert np.allclose(after[:, row, column], expected, atol=1e-12)


def test_the_crop_is_a_stretched_window_of_the_image():
    ramp = torch.linspace(0, 1, 60, dtype=torch.float64).expand(200, 3, 60, 60)
    changed = data.augment_photographs(ramp, 0, area=(0.5, 0.5), jitter=0.0, grey=0.0)
    slope = changed[:, 0, 30].diff(dim=-1).median(-1).values * 59
    down = data.augment_photographs(ramp.transpose(2, 3), 0, area=(0.5, 0.5), jitter=0.0, grey=0.0)
    height = down[:, 0, :, 30].diff(dim=-1).median(-1).values * 59
    # Width times height is the area asked for, the aspect ratio stays within [3/4, 4/3], half are mirrored.
    assert torch.allclose(slope.abs() * height, torch.tensor(0.5, dtype=torch.float64), atol=1e-6)
    assert (slope.abs() / height).min() >= 3 / 4 - 1e-6
    assert (slope.abs() / height).max() <= 4 / 3 + 1e-6
    assert abs((slope < 0).double().mean() - 0.5) < 0.15


def test_without_strength_only_mirrors_and_stretches_remain(images):
    square = images[..., :6]
    plain = data.augment_photographs(square, 0, area=(1.0, 1.0), jitter=0.0, grey=0.0)
    assert plain.min() >= square.min() - 1e-12
    assert plain.max() <= square.max() + 1e-12
    flat = torch.full((2, 3, 5, 5), 0.25, dtype=torch.float64)
    assert torch.allclose(data.augment_photographs(flat, 1, jitter=0.0, grey=0.0), flat)


def test_values_stay_in_range_and_grey_is_grey(images):
    changed = data.augment_photographs(images, 3)
    assert changed.shape == images.shape
    assert changed.min() >= 0
    assert changed.max() <= 1 + 1e-12
    grey = data.augment_photographs(images, 3, grey=1.0)
    assert torch.allclose(grey[:, 0], grey[:, 2])


def test_seeds_counters_and_vmap(images):
    seeds = torch.tensor([1, 2])
    together = vmap(lambda seed: data.augment_photographs(images, seed, counter=5))(seeds)
    assert torch.allclose(together[1], data.augment_photographs(images, 2, counter=5), atol=1e-12)
    assert not torch.allclose(together[1], data.augment_photographs(images, 2, counter=6))


@pytest.mark.parametrize("wrong", [{"area": (0.0, 1.0)}, {"area": (0.9, 0.8)}, {"jitter": 0.6}, {"grey": 1.1}])
def test_options_out_of_range(images, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        data.augment_photographs(images, 0, **wrong)
