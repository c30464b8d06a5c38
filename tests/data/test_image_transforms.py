"""Affine maps, photometric changes and pasting: against SciPy, by their laws, under vmap, refusals."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.func import vmap

from workbench import data, draws
from workbench.data.preparing.photometric import binomial_blur

IMAGES = draws.uniform(0, (6, 3, 9, 9), dtype=torch.float64)


def test_affine_is_scipys_inverse_map():
    degrees, scale = torch.tensor([30.0, -70.0], dtype=torch.float64), torch.tensor([1.2, 0.7], dtype=torch.float64)
    shift = torch.tensor([[0.2, -0.1], [0.0, 0.3]], dtype=torch.float64)
    moved = data.affine(IMAGES[:2], degrees, scale, shift)
    for k in range(2):
        angle = np.deg2rad(float(degrees[k]))
        # rows point down, so a counter-clockwise turn on the screen is this one in (row, column)
        back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / float(scale[k])
        middle = np.array([4.0, 4.0])
        offset = middle - back @ (middle + 4.5 * shift[k].numpy()[::-1])
        wanted = ndimage.affine_transform(
            np.pad(IMAGES[k, 0].numpy(), 4), back, offset=offset + 4 - back @ [4, 4], order=1
        )
        assert np.allclose(moved[k, 0], wanted[4:-4, 4:-4])


def test_quarter_turns_identity_and_gradients():
    ones, none = torch.ones(6, dtype=torch.float64), torch.zeros(6, 2, dtype=torch.float64)
    assert torch.allclose(data.affine(IMAGES, 90 * ones, ones, none), IMAGES.rot90(1, (2, 3)))
    still = IMAGES.clone().requires_grad_()
    same = data.affine(still, 0 * ones, ones, none)
    assert torch.allclose(same, IMAGES)
    (slope,) = torch.autograd.grad(same.sum(), still)
    assert torch.allclose(slope, torch.ones_like(slope))


@pytest.mark.parametrize("transform", [data.random_affine, data.photometric])
def test_draws_are_per_seed_and_counter_and_the_same_under_vmap(transform):
    seeds = torch.tensor([4, 9])
    together = vmap(lambda seed: transform(IMAGES, seed, counter=1))(seeds)
    assert torch.allclose(together[1], transform(IMAGES, 9, counter=1))
    assert not torch.equal(together[1], transform(IMAGES, 9, counter=2))
    folded = transform(IMAGES.reshape(2, 3, 3, 9, 9), 9, counter=1)
    assert torch.allclose(folded.reshape(IMAGES.shape), together[1])


def test_without_strength_nothing_changes():
    assert torch.allclose(data.random_affine(IMAGES, 0, rotation=0, scale=0, shift=0), IMAGES)
    assert torch.allclose(data.photometric(IMAGES, 0, noise=0, brightness=0, contrast=0, blur=0), IMAGES, atol=1e-14)


def test_every_image_gets_one_photometric_change():
    many = IMAGES[:1].expand(400, 3, 9, 9) * 0.4 + 0.3
    changed = data.photometric(many, 0)
    mean, deviation = changed.mean((2, 3)), changed.std((2, 3))
    shift = mean - many.mean((2, 3))
    bright = (shift - shift[:, :1]).abs().amax(1) < 1e-9
    bright &= (deviation - many.std((2, 3))).abs().amax(1) < 1e-9
    assert abs(bright.double().mean() - 0.25) < 0.11 and shift[bright].abs().max() <= 0.1
    still = shift.abs().amax(1) < 1e-9  # contrast and blur keep the mean and lower the spread
    ratio = (deviation / many.std((2, 3)))[still & ~bright]
    assert abs(still.double().mean() - 0.5) < 0.13 and ratio.min() > 0.5 and ratio.max() < 1
    assert changed.min() >= 0 and changed.max() <= 1


def test_binomial_blur_is_scipys():
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    wanted = ndimage.correlate(IMAGES[0, 0].numpy(), weights, mode="nearest")
    assert np.allclose(binomial_blur(IMAGES[:1])[0, 0], wanted)


def test_pasting_shows_the_donor_exactly_where_the_mask_is():
    donors = IMAGES.flip(0)
    edited, mask = data.paste(IMAGES, donors, 3, side=2)
    assert torch.equal(mask.sum((1, 2, 3)), torch.full((6,), 4))
    assert torch.equal(edited, torch.where(mask, donors, IMAGES))
    places = data.paste(torch.zeros(5000, 1, 4, 4), torch.ones(5000, 1, 4, 4), 0, side=3)[0].mean(0)[0]
    assert torch.allclose(places[1:3, 1:3], torch.ones(2, 2)) and abs(places[0, 0] - 0.25) < 0.04
    assert data.paste(IMAGES, donors, 3, side=9)[0].equal(donors)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: data.random_affine(IMAGES, 0, rotation=-1), "rotation"),
        (lambda: data.random_affine(IMAGES, 0, rotation=200), "rotation must be at most 180"),
        (lambda: data.random_affine(IMAGES, 0, scale=1.0), "scale must be at most"),
        (lambda: data.photometric(IMAGES, 0, blur=1.5), "blur"),
        (lambda: data.photometric(255 * IMAGES, 0), "divide bytes by 255"),
        (lambda: data.paste(IMAGES, IMAGES[:3], 0, side=2), "donors"),
        (lambda: data.paste(IMAGES, IMAGES, 0, side=10), "side"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
