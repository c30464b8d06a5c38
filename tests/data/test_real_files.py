"""The real MNIST and CIFAR-10 files, where this machine has them."""

import os
from pathlib import Path

import pytest
import torch

from workbench import data

_ROOT = Path(os.environ.get("WORKBENCH_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def _needs(folder):
    reason = f"{folder}/ is neither in WORKBENCH_DATA nor in ../shared/data beside the repository"
    return pytest.mark.skipif(not (_ROOT / folder).is_dir(), reason=reason)


@_needs("mnist")
def test_mnist_is_official_and_in_order():
    mnist = data.load("mnist", root=_ROOT, dtype=torch.uint8)
    assert mnist.verification == "official"
    assert mnist.train_inputs.shape == (60_000, 1, 28, 28)
    assert mnist.train_targets[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert mnist.test_targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert torch.bincount(mnist.train_targets).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    pixels = mnist.train_inputs.double() / 255
    assert abs(pixels.mean() - 0.1307) < 1e-4
    assert abs(pixels.std() - 0.3081) < 1e-4


@_needs("mnist")
def test_mnist_subsets_are_balanced_and_standardised():
    few = data.load("mnist", root=_ROOT, train=500, test=100, size=14, standardise="channels", flatten=True)
    assert torch.bincount(few.train_targets).tolist() == [50] * 10
    assert few.train_inputs.shape == (500, 196)
    assert abs(few.train_inputs.mean()) < 0.1
    again = data.load("mnist", root=_ROOT, train=500, test=100, size=14, standardise="channels", flatten=True)
    assert few.fingerprint == again.fingerprint
    assert few.fingerprint != data.load("mnist", root=_ROOT, train=500, test=100, seed=1).fingerprint


@_needs("mnist")
def test_rotated_mnist_has_six_disjoint_domains():
    rotated = data.load("RotatedMNIST", root=_ROOT, seed=3, dtype=torch.uint8)
    assert rotated.domain_names == ("0°", "15°", "30°", "45°", "60°", "75°")
    assert torch.bincount(rotated.train_domains).tolist() == [11_666] * 6
    mnist = data.load("mnist", root=_ROOT, dtype=torch.uint8)
    members = data.domain_members(3, 70_000, 6)
    assert torch.equal(rotated.train_inputs[:5], mnist.inputs[members[0, :5]])
    assert members.unique().numel() == 69_996


@_needs("cifar-10-batches-bin")
def test_cifar10_copes_with_fewer_batches():
    cifar = data.load("cifar10", root=_ROOT, dtype=torch.uint8)
    assert len(cifar.test_inputs) == 10_000
    assert len(cifar.train_inputs) in range(10_000, 50_001, 10_000)
    assert torch.bincount(cifar.test_targets).tolist() == [1000] * 10
    assert cifar.class_names[0] == "airplane"
    assert cifar.verification in ("official", "local, not verified")
    means = cifar.train_inputs[:10_000].double().mean((0, 2, 3)) / 255
    assert (means - torch.tensor([0.4914, 0.4822, 0.4465], dtype=torch.float64)).abs().max() < 0.01


@_needs("cifar-10-batches-bin")
def test_cifar10_options_of_the_papers():
    small = data.load("cifar10", root=_ROOT, train=5000, test=1000, size=16)
    assert small.train_inputs.shape == (5000, 3, 16, 16)
    assert torch.bincount(small.train_targets).tolist() == [500] * 10
    first = data.load("cifar10", root=_ROOT, train=3000, test=2000, seed=None, size=8, standardise="all", flatten=True)
    parts = data.subset(first, 0, train=1024)
    assert parts.train_inputs.shape == (1024, 192)
    assert len(parts.test_inputs) == 2000
