"""Every reader gives back what was written in its format."""

import numpy as np
import pytest
import tiny
import torch

from workbench import data


@pytest.mark.parametrize("compressed", [True, False])
def test_idx_folder_is_read_back(tmp_path, compressed):
    folder = tiny.mnist(tmp_path, compressed)
    for root in (tmp_path, folder):
        loaded = data.load("mnist", root=root, dtype=torch.uint8)
        assert np.array_equal(loaded.train_inputs[:, 0].numpy(), tiny.numbers(30, 28, 28))
        assert np.array_equal(loaded.test_targets.numpy(), np.arange(20) % 10)
        assert loaded.verification == "local, not verified"
        assert str(tmp_path) not in loaded.source
    assert torch.equal(data.load("mnist", root=folder).train_inputs, loaded.train_inputs / 255)


def test_cifar_binary_is_read_back(tmp_path):
    tiny.cifar10(tmp_path)
    loaded = data.load("cifar10", root=tmp_path, dtype=torch.uint8)
    records = np.concatenate([tiny.cifar_records(20, seed=1), tiny.cifar_records(20, seed=2)])
    assert np.array_equal(loaded.train_inputs.flatten(1).numpy(), records[:, 1:])
    assert np.array_equal(loaded.train_targets.numpy(), records[:, 0])
    assert "2 of 5 training batches" in loaded.source
    tiny.cifar100(tmp_path)
    fine = data.load("cifar100", root=tmp_path)
    assert fine.class_names[99] == "thing 99"
    assert fine.test_targets.tolist() == list(range(100))


def test_official_subsets_are_balanced_and_prefix_random(tmp_path):
    tiny.cifar10(tmp_path)
    few = data.load("cifar10", root=tmp_path, train=20, test=10, seed=1)
    assert torch.bincount(few.train_targets).tolist() == [2] * 10
    first = data.load("cifar10", root=tmp_path, train=12, seed=None, dtype=torch.uint8)
    assert torch.bincount(first.train_targets).tolist() == [2, 2] + [1] * 8
    assert first.train_targets.tolist() == [*range(10), 0, 1]
    assert not torch.equal(few.train_targets, data.load("cifar10", root=tmp_path, train=20, seed=2).train_targets)
    labels = (torch.arange(40) >= 10).long()
    lopsided = data.Data("lopsided", torch.zeros(40, 1), labels, torch.zeros(0, 1), labels[:0], ("few", "many"))
    with pytest.raises(ValueError, match="ask for at most 20"):
        data.subset(lopsided, 0, train=22)


@pytest.mark.parametrize("options", [{"size": 16, "grey": True}, {"standardise": "channels"}])
def test_image_options_equal_an_independent_computation(tmp_path, options):
    tiny.cifar10(tmp_path)
    loaded = data.load("cifar10", root=tmp_path, dtype=torch.float64, **options).test_inputs.numpy()
    pixels = tiny.cifar_records(10, seed=9)[:, 1:].reshape(10, 3, 32, 32) / 255
    if "size" in options:
        pooled = pixels.reshape(10, 3, 16, 2, 16, 2).mean((3, 5))
        expected = np.einsum("c,ncij->nij", (0.299, 0.587, 0.114), pooled)[:, None]
    else:
        mean, deviation = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2471, 0.2435, 0.2616])
        expected = (pixels - mean[:, None, None]) / deviation[:, None, None]
    assert np.allclose(loaded, expected, atol=1e-12)


def test_corrupted_images_are_those_of_the_severity(tmp_path):
    tiny.cifar10c(tmp_path)
    loaded = data.load_corrupted("fog", 3, root=tmp_path, dtype=torch.uint8)
    assert np.array_equal(loaded.test_inputs.permute(0, 2, 3, 1).numpy(), tiny.numbers(20, 32, 32, 3)[8:12])
    assert loaded.test_targets.tolist() == [0, 1, 2, 3]
    assert len(loaded.train_inputs) == 0
    for wrong in ({"corruption": "rain", "severity": 1}, {"corruption": "fog", "severity": 6}):
        with pytest.raises(ValueError, match=r"corruption|severity"):
            data.load_corrupted(**wrong, root=tmp_path)
    with pytest.raises(ValueError, match="load_corrupted"):
        data.load("cifar10-c", root=tmp_path)


def test_class_folders_are_read_back(tmp_path):
    tiny.classes(tmp_path / "flat", ("dog", "cat"))
    (tmp_path / "flat" / "cat" / ".hidden.png").write_bytes(b"nothing")
    (tmp_path / "flat" / "cat" / "notes.txt").write_text("not an image")
    loaded = data.load("image-folder", root=tmp_path / "flat", dtype=torch.uint8)
    assert loaded.class_names == ("cat", "dog")
    assert loaded.train_targets.tolist() == [0] * 4 + [1] * 4
    assert np.array_equal(loaded.train_inputs[4].permute(1, 2, 0).numpy(), tiny.numbers(6, 6, 3, seed=0))
    tiny.classes(tmp_path / "both" / "train", each=6)
    tiny.classes(tmp_path / "both" / "test", each=2)
    parts = data.load("image-folder", root=tmp_path / "both", train=4, size=3)
    assert parts.train_inputs.shape == (4, 3, 3, 3)
    assert parts.test_inputs.shape == (4, 3, 3, 3)
    only = data.load("image-folder", root=tmp_path / "both", classes=["dog"], grey=True, flatten=True)
    assert only.train_inputs.shape == (6, 36)
    assert only.class_names == ("dog",)


def test_images_are_resized_by_the_shorter_side_and_cropped_in_the_middle(tmp_path):
    tiny.image(tmp_path / "wide.png", rows=4, columns=10)
    pixels = data.read_images([tmp_path / "wide.png"], size=4)
    assert np.array_equal(pixels[0].transpose(1, 2, 0), tiny.numbers(4, 10, 3)[:, 3:7])
    with pytest.raises(ValueError, match="at least one"):
        data.read_images([])
    with pytest.raises(ValueError, match="size must be at least 1"):
        data.read_images([tmp_path / "wide.png"], size=0)


def test_domain_folders_are_read_back(tmp_path):
    tiny.domains(tmp_path / "PACS", ("art_painting", "cartoon", "photo", "sketch"))
    pacs = data.load("pacs", root=tmp_path, size=4, standardise="channels")
    assert pacs.domain_names == ("art_painting", "cartoon", "photo", "sketch")
    assert torch.bincount(pacs.train_domains).tolist() == [8] * 4
    parts = data.leave_one_domain_out(pacs, "photo", 0, holdout=0.25)
    assert len(parts.validation_inputs) == 6
    assert len(parts.target_inputs) == 8
    for wrong in (4, "oil", -1):
        with pytest.raises(ValueError, match="target must be"):
            data.leave_one_domain_out(pacs, wrong, 0)
    with pytest.raises(ValueError, match="has no domains"):
        data.leave_one_domain_out(data.load("digits"), 0, 0)
    own = data.load("domain-folder", root=tiny.domains(tmp_path / "own"), train=20)
    assert len(own.test_inputs) == 4
    assert own.domain_names == ("art", "photo", "sketch")
    assert own.train_domains is not None


def test_a_class_may_be_absent_from_a_domain(tmp_path):
    tiny.classes(tmp_path / "a", ("cat", "dog"))
    tiny.classes(tmp_path / "b", ("dog",))
    tree = data.domain_tree(tmp_path)
    assert tree.class_names == ("cat", "dog")
    assert tree.targets[tree.groups == 1].tolist() == [1] * 4


def test_images_that_do_not_fit_in_memory_are_refused_before_decoding(tmp_path, monkeypatch):
    tiny.classes(tmp_path)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 100})())
    with pytest.raises(ValueError, match="decode in batches"):
        data.load("image-folder", root=tmp_path)


def test_pairs_are_read_back(tmp_path):
    tiny.classes(tmp_path, ("a", "b"), each=2)
    (tmp_path / "pairs.csv").write_text("original,variant\na/0.png,b/0.png\na/1.png, b/1.png\n")
    pairs = data.read_pairs(tmp_path / "pairs.csv")
    assert pairs[1] == (tmp_path / "a/1.png", tmp_path / "b/1.png")
    assert data.read_images([file for pair in pairs for file in pair]).shape == (4, 3, 6, 6)
