"""Augmentation and class-incremental sessions."""

import numpy as np
import pytest
import torch
from torch.func import vmap

from workbench import data


def test_pad_crop_flip_cuts_out_of_the_padded_image():
    images = torch.arange(1.0, 1 + 6 * 2 * 5 * 7).reshape(6, 2, 5, 7)
    changed = data.pad_crop_flip(images, 3, counter=2, padding=2)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2))
    for before, after in zip(padded, changed, strict=True):
        cuts = [before[:, row : row + 5, column : column + 7] for row in range(5) for column in range(5)]
        assert any(torch.equal(after, view) for cut in cuts for view in (cut, cut.flip(-1)))
    assert torch.equal(data.pad_crop_flip(images, 3, padding=0, flip=False), images)
    assert not torch.equal(changed, data.pad_crop_flip(images, 3, counter=3, padding=2))


def test_pad_crop_flip_is_uniform_over_places_and_mirrors():
    dot = torch.zeros(5000, 1, 3, 3)
    dot[:, :, 1, 1] = 1
    places = data.pad_crop_flip(dot, 0, padding=1, flip=False)[:, 0].mean(0)
    assert torch.allclose(places, torch.full((3, 3), 1 / 9), atol=5 * (1 / 9 / 5000) ** 0.5)
    ramp = torch.arange(3.0).expand(5000, 1, 3, 3)
    mirrored = data.pad_crop_flip(ramp, 0, padding=0)[:, 0, 0, 0] == 2
    assert abs(mirrored.double().mean() - 0.5) < 0.05


def test_pad_crop_flip_under_vmap_is_the_one_made_alone():
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    seeds = torch.tensor([4, 9])
    together = vmap(lambda seed: data.pad_crop_flip(images, seed, counter=1))(seeds)
    assert torch.equal(together[1], data.pad_crop_flip(images, 9, counter=1))
    batched = vmap(data.pad_crop_flip, in_dims=(0, None))(torch.stack([images, 2 * images]), 9)
    assert torch.equal(batched[1], 2 * batched[0])
    with pytest.raises(ValueError, match="padding"):
        data.pad_crop_flip(images, 0, padding=-1)


def test_sessions_follow_the_published_recipe():
    digits = data.load("digits", flatten=True)
    dealt = data.sessions(digits, 5, base=6, ways=2, shots=5, train=120, test=50)
    assert dealt.classes.tolist() == np.random.default_rng(5).permutation(10).tolist()
    assert dealt.base.shape == (6, 120)
    assert dealt.shots.shape == (2, 2, 5)
    assert dealt.test.shape == (10, 50)
    assert torch.equal(digits.targets[dealt.test], dealt.classes[:, None].expand(10, 50))
    assert torch.equal(digits.targets[dealt.shots].flatten(0, 1), dealt.classes[6:, None].expand(4, 5))
    used = torch.cat([dealt.base.flatten(), dealt.shots.flatten(), dealt.test.flatten()])
    assert len(used.unique()) == len(used)
    many = vmap(lambda seed: data.sessions(digits, seed, base=6, ways=2, shots=5, train=120, test=50))(
        torch.tensor([5, 6])
    )
    assert all(torch.equal(a[0], b) for a, b in zip(many, dealt, strict=True))


@pytest.mark.parametrize("wrong", [{"base": 0}, {"base": 10}, {"ways": 0}, {"ways": 9}, {"train": 170}, {"shots": 0}])
def test_sessions_that_do_not_fit_are_refused(wrong):
    options = {"base": 6, "ways": 2, "shots": 5, "train": 120, "test": 50} | wrong
    with pytest.raises(ValueError, match="must"):
        data.sessions(data.load("digits"), 0, **options)
