"""Embedded sets, splits and label noise."""

import math

import numpy as np
import pytest
import scipy.ndimage
import sklearn.datasets
import torch
from torch.func import vmap

from workbench import data, draws


def test_digits_are_scikit_learns_divided_by_16():
    digits = data.load("digits", flatten=True, dtype=torch.float64)
    bunch = sklearn.datasets.load_digits()
    assert np.array_equal(digits.train_inputs.numpy(), bunch.data / 16)
    assert np.array_equal(digits.train_targets.numpy(), bunch.target)
    assert torch.bincount(digits.train_targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert data.load("digits").train_inputs.shape == (1797, 1, 8, 8)
    assert len(digits.test_inputs) == 0


@pytest.mark.parametrize(("name", "shape", "n_classes"), [
    ("digits", (1797, 1, 8, 8), 10),
    ("breast_cancer", (569, 30), 2),
    ("wine", (178, 13), 3),
    ("diabetes", (442, 10), 0),
])  # fmt: skip
def test_every_embedded_set_loads(name, shape, n_classes):
    loaded = data.load(name)
    assert loaded.train_inputs.shape == shape
    assert loaded.n_classes == n_classes
    assert loaded.train_inputs.dtype == torch.float32
    assert loaded.train_targets.dtype == (torch.int64 if n_classes else torch.float32)
    assert loaded.verification == "embedded"
    assert name in repr(loaded)
    assert loaded.fingerprint[:12] in loaded._repr_html_()


@pytest.mark.parametrize("spelling", ["breast_cancer", "Breast-Cancer", "breastcancer"])
def test_spelling_of_names_is_forgiving(spelling):
    assert data.load(spelling).name == "breast_cancer"


def test_split_is_the_permutation_of_the_seed():
    digits = data.load("digits", flatten=True)
    parts = data.split(digits, 7, train=192)
    order = draws.permutation(7, 1797, stream="split")
    assert torch.equal(parts.train_inputs, digits.train_inputs[order[:192]])
    assert torch.equal(parts.test_targets, digits.train_targets[order[192:]])
    assert torch.equal(data.load("digits", train=192, seed=7, flatten=True).train_inputs, parts.train_inputs)
    assert len(data.load("digits", train=1000, test=500).test_inputs) == 500
    assert len(data.load("digits", test=500).train_inputs) == 1297


def test_splitting_again_uses_all_samples():
    first = data.load("digits", train=1000, seed=1)
    again = data.split(first, 2, train=100)
    assert len(again.test_inputs) == 1697
    assert sorted(first.targets.tolist()) == sorted(again.targets.tolist())


def test_splits_under_vmap_are_those_made_alone():
    digits = data.load("digits", flatten=True)
    seeds = torch.tensor([0, 3, 11])
    together = vmap(lambda seed: everything_seeded(digits, seed))(seeds)
    for position, seed in enumerate(seeds.tolist()):
        alone = everything_seeded(digits, seed)
        assert all(torch.equal(many[position], one) for many, one in zip(together, alone, strict=True))


def everything_seeded(digits, seed):
    cut = data.split(digits, seed, train=192, test=50)
    assert "Data" in repr(cut)
    noisy, mask = data.label_noise(cut.train_targets, seed, 0.3, n_classes=10)
    few = data.subset(digits, seed, train=25)
    images, labels = data.rotated_digits(seed, flatten=True)
    return cut.train_inputs, cut.test_targets, noisy, mask, few.train_inputs, few.train_targets, images, labels


@pytest.mark.parametrize("rate", [0.0, 0.29, 0.6, 1.0])
def test_label_noise_flips_its_share_and_always_wrongly(rate):
    targets = torch.arange(100) % 10
    noisy, mask = data.label_noise(targets, 0, rate, n_classes=10)
    assert int(mask.sum()) == round(rate * 100)
    assert not (mask & ~data.label_noise(targets, 0, 1.0, n_classes=10)[1]).any()
    assert torch.equal(noisy != targets, mask)
    assert noisy.min() >= 0
    assert noisy.max() <= 9


@pytest.mark.parametrize("order", ["sorted", "descending", "grouped", "shuffled"])
def test_label_noise_hits_all_classes_alike_whatever_their_order(order):
    classes = {"sorted": [0, 1, 2], "descending": [2, 1, 0], "grouped": [1, 2, 0], "shuffled": [0, 1, 2]}[order]
    targets = torch.tensor(classes).repeat_interleave(200)
    targets = targets[draws.permutation(0, 600)] if order == "shuffled" else targets
    counts = sum(
        torch.bincount(targets[data.label_noise(targets, seed, 0.3, n_classes=3)[1]], minlength=3) for seed in range(5)
    )
    assert counts.sum() == 5 * 180 and (counts - 300).abs().max() < 5 * np.sqrt(300 * 0.7)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (torch.arange(10), "classes in 0..1, got 0 to 9"),
        (torch.tensor([0, -1]), "got -1 to 0"),
        (torch.tensor([0.0, 1.0]), "float32 numbers"),
    ],
)
def test_label_noise_needs_the_classes_that_are_stated(targets, words):
    with pytest.raises(ValueError, match=words):
        data.label_noise(targets, 0, 0.5, n_classes=2)


def test_label_noise_is_uniform_over_the_other_classes():
    targets = torch.full((18000,), 3)
    noisy, _ = data.label_noise(targets, 5, 1.0, n_classes=10)
    counts = torch.bincount(noisy, minlength=10)
    assert counts[3] == 0
    assert (counts[counts > 0] - 2000).abs().max() < 5 * np.sqrt(2000)
    noisy, mask = data.label_noise(targets, 5, 1.0, n_classes=10, self_flips=True)
    assert mask.all()
    assert (torch.bincount(noisy) - 1800).abs().max() < 5 * np.sqrt(1800)


def test_centre_and_standardise():
    raw = sklearn.datasets.load_digits().data / 16
    centred = data.load("digits", centre=True, flatten=True, train=1000, dtype=torch.float64)
    order = draws.permutation(0, 1797, stream="split")
    assert np.allclose(centred.inputs.numpy(), (raw - raw.mean(0))[order.numpy()], atol=1e-15)
    one = data.load("digits", standardise="all", dtype=torch.float64).inputs
    assert abs(one.mean()) < 1e-12
    assert abs(one.std(correction=0) - 1) < 1e-12
    cancer = data.load("breast_cancer", standardise="features", dtype=torch.float64).inputs
    assert cancer.mean(0).abs().max() < 1e-9
    assert torch.allclose(cancer.std(0, correction=0), torch.ones(30, dtype=torch.float64))
    # Three pixels of the digits are always 0: they stay 0 instead of becoming NaN.
    assert data.load("digits", standardise="features").inputs.isfinite().all()


def test_classes_are_relabelled_in_the_order_given():
    pair = data.load("digits", classes=[7, "1"])
    assert pair.class_names == ("7", "1")
    assert torch.bincount(pair.train_targets).tolist() == [179, 182]


def test_size_pools_by_the_mean():
    small, full = data.load("digits", size=4), data.load("digits")
    assert torch.allclose(small.train_inputs[0, 0, 1, 2], full.train_inputs[0, 0, 2:4, 4:6].mean())
    assert data.load("digits", dtype=torch.uint8).train_inputs.max() == 16


def test_fingerprints_are_stable_and_follow_the_content():
    digits = data.load("digits")
    assert digits.fingerprint == data.load("digits").fingerprint
    others = [
        data.load("digits", train=100), data.load("digits", train=100, seed=1), data.load("digits", dtype=torch.float64)
    ]  # fmt: skip
    assert len({digits.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert digits.fingerprint == FINGERPRINTS["digits"]
    assert data.load("digits", train=192, seed=3).fingerprint == FINGERPRINTS["split"]
    assert data.load("rotated-digits", seed=2).fingerprint == FINGERPRINTS["rotated"]


FINGERPRINTS = {
    "digits": "071a3ec0be7e5a215420583d4329cf0ef39689f0442e994effffe5f133f31e1d",
    "split": "18653fbba0bcea7d9cb7b87ec4d921b01a5dd0f4b79ad85e3a1def8d22fddfad",
    "rotated": "a5bb53fca6426a466178fde07964eb4c3e34d7f8802dbdfc035282eca6f468de",
}


@pytest.mark.parametrize("degrees", [0, 15, 30, 45, 60, 75, 90, -33.3, 180])
def test_rotation_is_scipys(degrees):
    images = np.random.default_rng(0).random((5, 8, 8))
    expected = scipy.ndimage.rotate(images, degrees, axes=(2, 1), order=1, reshape=False)
    turned = data.rotate(torch.from_numpy(images), degrees)
    assert np.abs(turned.numpy() - expected).max() < 1e-12
    assert torch.allclose(data.rotate(torch.from_numpy(images[:, :, :7]), 0), torch.from_numpy(images[:, :, :7]))


@pytest.mark.parametrize("size", [1, 2, 7, 8])
@pytest.mark.parametrize("quarter", range(-5, 6))
def test_quarter_turns_are_exact_however_the_angle_is_given(size, quarter):
    image = torch.rand(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1
    expected = torch.rot90(image, quarter)
    for angle in (90 * quarter, 90.0 * quarter, np.float32(90 * quarter), torch.tensor(90 * quarter)):
        torch.testing.assert_close(data.rotate(image, angle), expected, rtol=0, atol=1e-13)
    many = vmap(lambda angle: data.rotate(image, angle))(torch.tensor([90.0 * quarter, 45.0]))
    assert torch.equal(many[0], data.rotate(image, 90.0 * quarter)) and torch.equal(many[1], data.rotate(image, 45.0))


@pytest.mark.parametrize("angle", [math.nan, torch.tensor(math.inf), torch.tensor([1.0, 2.0])])
def test_angles_that_are_none_are_refused(angle):
    with pytest.raises(ValueError, match="degrees"):
        data.rotate(torch.ones(2, 2), angle)


def test_gradients_of_a_rotation_flow_to_the_image():
    image = torch.rand(4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((data.rotate(image, torch.tensor(30.0)) * data.rotate(image, 30.0)).sum(), image)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


@pytest.mark.parametrize("standardise", ["features", "all", "channels"])
def test_what_never_varies_is_only_centred(standardise):
    from workbench.data.preparing.transforms import location_and_scale

    for level in range(0, 256, 5):
        images = torch.full((1797, 1, 1, 1), level / 255, dtype=torch.float64)
        location, scale = location_and_scale(images, False, standardise)
        assert (((images - location) / scale) == 0).all()


def test_numpys_integers_choose_classes():
    assert data.load("digits", classes=np.arange(3)).n_classes == 3
    with pytest.raises(ValueError, match="got True"):
        data.load("digits", classes=[True, False])


def test_rotation_angles_may_be_vmapped():
    images = torch.rand(3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    angles = torch.tensor([10.0, 40.0])
    together = vmap(lambda angle: data.rotate(images, angle))(angles)
    assert torch.allclose(together[1], data.rotate(images, 40.0), atol=1e-12)


def test_rotated_digits_follow_the_published_recipe():
    bunch = sklearn.datasets.load_digits()
    order = np.random.default_rng(4).permutation(1797)
    images, targets = data.rotated_digits(4, dtype=torch.float64)
    assert images.shape == (6, 299, 1, 8, 8)
    for domain, angle in enumerate((0, 15, 30, 45, 60, 75)):
        members = order[domain::6][:299]
        one = scipy.ndimage.rotate(bunch.images[members[5]] / 16, angle, order=1, reshape=False).clip(0, 1)
        assert np.abs(images[domain, 5, 0].numpy() - one).max() < 1e-12
        assert np.array_equal(targets[domain].numpy(), bunch.target[members])
    loaded = data.load("RotatedDigits", seed=4)
    assert torch.equal(loaded.train_inputs, images.flatten(0, 1).float())
    assert loaded.train_domains.tolist() == sorted(list(range(6)) * 299)
    assert loaded.domain_names == ("0°", "15°", "30°", "45°", "60°", "75°")


def test_leaving_a_domain_out():
    rotated = data.load("rotated-digits", seed=0, flatten=True)
    parts = data.leave_one_domain_out(rotated, "30°", seed=1)
    assert len(parts.target_targets) == 299
    assert torch.bincount(parts.validation_domains).tolist() == [59, 59, 0, 59, 59, 59]
    assert torch.bincount(parts.train_domains).tolist() == [240, 240, 0, 240, 240, 240]
    many = vmap(lambda seed: data.leave_one_domain_out(rotated, 2, seed))(torch.tensor([0, 1]))
    assert all(torch.equal(a[1], b) for a, b in zip(many, parts, strict=True))


@pytest.mark.parametrize(("options", "message"), [
    ({"name": "digitz"}, "no data set called 'digitz'"),
    ({"name": "digits", "train": 0}, "train must be between 1 and 1797"),
    ({"name": "digits", "train": 1000, "test": 800}, "test must be between 0 and 797"),
    ({"name": "digits", "train": 10, "seed": None}, "seed must be a number"),
    ({"name": "digits", "size": 3}, "size must divide"),
    ({"name": "wine", "size": 2}, "apply to images"),
    ({"name": "wine", "standardise": "channels"}, "needs images"),
    ({"name": "wine", "standardise": "rows"}, "standardise must be one of"),
    ({"name": "wine", "standardise": "all", "centre": True}, "choose one"),
    ({"name": "wine", "dtype": torch.int64}, "dtype must be"),
    ({"name": "wine", "dtype": torch.uint8}, "stored as bytes"),
    ({"name": "digits", "dtype": torch.uint8, "grey": True}, "so grey cannot"),
    ({"name": "digits", "classes": ["ten"]}, "or a position 0..9, got 'ten'"),
    ({"name": "digits", "classes": [1, 1]}, "different classes"),
    ({"name": "diabetes", "classes": [1]}, "regression"),
])  # fmt: skip
def test_options_out_of_range_say_what_to_do(options, message):
    with pytest.raises(ValueError, match=message):
        data.load(**options)


def test_arrays_and_devices():
    inputs, targets = torch.arange(12.0).reshape(6, 2), torch.arange(6)
    cut = data.split((inputs, targets), 0, train=4)
    assert len(cut.test_inputs) == 2
    double = cut.to(dtype=torch.float64)
    assert double.train_inputs.dtype == torch.float64
    assert double.train_targets.dtype == torch.int64
    assert set(double.provenance) >= {"fingerprint", "source", "verification"}
    with pytest.raises((ValueError, TypeError), match="train_targets"):
        data.Data("broken", inputs, targets[:2], inputs[:0], targets[:0])
