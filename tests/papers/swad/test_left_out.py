"""Leaving a domain out: what is trained on, what is held out, and that image folders behave like the digits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import workbench as wb
from workbench.data import rotated_digits
from workbench.draws import Stratified, numbers
from workbench.papers.swad.image_folders import domain_images, left_out_images
from workbench.papers.swad.left_out import left_out, n_domains
from workbench.papers.swad.rotated_digits import left_out_digits
from workbench.papers.swad.study import experiment
from workbench.problems.base import Problem
from workbench.problems.networks.modules import rotated_mnist_cnn
from workbench.problems.networks.resnet50 import ResNet50, load_backbone


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three domains of two classes; cats are bright, dogs dark."""
    top, generator = tmp_path_factory.mktemp("domains"), np.random.default_rng(0)
    for domain in "abc":
        for name, brightness in (("cat", 255), ("dog", 90)):
            (top / domain / name).mkdir(parents=True)
            for number in range(5 if domain == "a" else 6):
                pixels = generator.random((40, 36, 3)) * brightness
                Image.fromarray(pixels.astype(np.uint8)).save(top / domain / name / f"{number}.png")
    domain_images.cache_clear()
    return top


def test_sources_and_target_are_the_domains():
    images, labels = rotated_digits(3, flatten=True)
    problem = left_out_digits(3, 2, label_noise=0.0)
    torch.testing.assert_close(problem.test_inputs, images[2])
    assert (problem.test_targets.argmax(-1) == labels[2]).all()
    assert problem.inputs.shape == (1200, 64) and problem.strata == (240,) * 5
    seen = torch.cat([problem.inputs.float(), problem.validation_inputs])
    sources = images[[0, 1, 3, 4, 5]].flatten(0, 1)
    assert {row.numpy().tobytes() for row in seen} == {row.numpy().tobytes() for row in sources}


def test_a_tenth_of_the_source_labels_is_redrawn_in_every_domain():
    clean, noisy = left_out_digits(0, 0, label_noise=0.0), left_out_digits(0, 0, label_noise=0.2)
    changed = (clean.targets != noisy.targets).any(-1).reshape(5, 240).float().mean(1)
    # A tenth of the redrawn labels stay by chance: 0.18, within four standard deviations of 240 labels.
    assert ((changed > 0.08) & (changed < 0.28)).all()
    assert (clean.validation_targets != noisy.validation_targets).any()
    torch.testing.assert_close(clean.test_targets, noisy.test_targets)


def test_a_part_of_the_sources_has_its_share_of_redrawn_labels_and_domains():
    clean, noisy = left_out_digits(0, 0, label_noise=0.0), left_out_digits(0, 0, label_noise=0.5)
    spaced = torch.arange(300) * 1200 // 300
    wrong = (clean.targets != noisy.targets).any(-1)
    assert abs(float(wrong[spaced].float().mean() - wrong.float().mean())) < 0.05


def test_one_problem_per_run_of_a_sweep():
    def first(seed, target):
        problem = left_out_digits(seed, target)
        start = problem.initial(seed)
        return {"pixels": problem.test_inputs.sum(), "loss": problem.evaluate(start, "target")[0]}

    swept = wb.sweep(first, seed=[0, 4], target=[1, 5], progress=False)
    alone = first(4, 5)
    for name in ("pixels", "loss"):
        assert float(swept[name].sel(seed=4, target=5)) == pytest.approx(float(alone[name]), rel=1e-6)


def test_evaluate_agrees_with_the_measures():
    problem = left_out_digits(0, 1)
    start = problem.initial(0)
    loss, accuracy = problem.evaluate(start, "target")
    assert float(problem.measures["target_accuracy"](start)) == pytest.approx(float(accuracy))
    assert float(problem.measures["target_loss"](start)) == pytest.approx(float(loss))
    assert float(problem.part_loss("target")(start)) == pytest.approx(float(loss))
    assert float(problem.part_loss("source")(start)) == pytest.approx(float(problem.loss(start)))


def test_initial_weights_are_uniform_within_the_fan_in():
    start = left_out_digits(0, 0).initial(0)
    for value in start.values():
        assert 0.11 < float(value.abs().max()) <= 0.125


def test_minibatches_hold_equally_many_of_every_stratum():
    drawn = numbers(Stratified("batches", (10, 20, 30), 4), 0, 400).reshape(400, 3, 4)
    for stratum, (low, high) in enumerate(((0, 10), (10, 30), (30, 60))):
        values = drawn[:, stratum]
        assert int(values.min()) == low and int(values.max()) == high - 1
        counts = torch.bincount(values.flatten() - low).double()
        assert float(counts.max() / counts.mean()) < 1.5


class Strata(Problem):
    data = (torch.ones(60, dtype=torch.float64),)
    strata = (10, 20, 30)

    def initial(self, seed):
        return torch.zeros(1, dtype=torch.float64)

    def sample_loss(self, parameters, x):
        return (parameters[0] - x) ** 2


@pytest.mark.parametrize(("sampling", "size"), [("epoch", 12), ("replacement", 10)])
def test_strata_that_do_not_fit_are_refused(sampling, size):
    with pytest.raises(ValueError, match="3 strata needs sampling='replacement' and a batch_size that they divide"):
        wb.run(Strata(), wb.optimizers.gradient_descent(0.1), steps=2, batch_size=size, sampling=sampling)


def test_folders_split_into_sources_validation_and_target(folder):
    problem = left_out("domain-folder", 0, 1, root=folder, image_size=32, width=4)
    assert n_domains("domain-folder", root=folder, image_size=32) == 3
    parts = [problem.training, problem.validation, problem.target]
    assert [len(part) for part in parts] == [8 + 10, 2 + 2, 10]  # a fifth of 10 and 12; four fifths of 12
    assert problem.strata == (8, 10)
    domains = problem.images.domains
    assert set(domains[problem.target].tolist()) == {1} and 1 not in domains[torch.cat(parts[:2])].tolist()
    assert len(torch.cat(parts).unique()) == sum(map(len, parts))


def test_training_on_folders_learns_bright_from_dark(folder):
    problem = left_out("domain-folder", 0, 0, root=folder, image_size=32, width=4)
    start, rule = problem.initial(0), wb.optimizers.adam(2e-3)
    run = wb.run(problem, rule, steps=30, batch_size=8, sampling="replacement", start=start, progress=False)
    before, after = (problem.evaluate(point, "source")[0] for point in (start, run.parameters))
    assert float(after) < 0.8 * float(before)
    # The same minibatch is augmented the same way, whoever asks.
    batch = (problem.training[:4],)
    one, other = problem.gradient(start, batch), torch.func.grad(problem.batch_loss)(start, batch)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)


def test_batch_normalisation_is_frozen(folder):
    problem = left_out("domain-folder", 0, 0, root=folder, image_size=32, width=4)
    before = {name: value.clone() for name, value in problem.network.named_buffers()}
    problem.gradient(problem.initial(0), (problem.training[:6],))
    assert not problem.network.training
    for name, value in problem.network.named_buffers():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_weights_from_a_file_fill_all_but_the_last_layer(folder, tmp_path):
    stored = ResNet50(1000, width=4)
    torch.save(stored.state_dict(), tmp_path / "weights.pt")
    images = domain_images("domain-folder", root=folder, size=32)
    problem = left_out_images(images, 0, 0, width=4, weights=tmp_path / "weights.pt", device="cpu")
    torch.testing.assert_close(problem.network.layer3[0].conv2.weight, stored.layer3[0].conv2.weight)
    assert problem.network.fc.out_features == 2
    with pytest.raises(
        ValueError, match=r"conv1.weight is of shape \(4, 3, 7, 7\), but the network needs \(8, 3, 7, 7\)"
    ):
        load_backbone(ResNet50(2, width=8), str(tmp_path / "weights.pt"))


def test_resnet50_has_the_published_size_and_names():
    network = ResNet50(1000)
    assert sum(value.numel() for value in network.parameters()) == 25_557_032
    assert {"layer1.0.downsample.0.weight", "layer4.2.bn3.running_var", "fc.bias"} <= set(network.state_dict())
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_rotated_mnist_network_halves_the_image_once():
    network = rotated_mnist_cnn(10, width=8)
    assert network[:6](torch.zeros(2, 1, 28, 28)).shape == (2, 16, 14, 14)
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_absent_data_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="PACS"):
        left_out("PACS", 0, 0, root=tmp_path)
    with pytest.raises(ValueError, match=r"target must be a domain 0\.\.5, got 6"):
        left_out("rotated-digits", 0, 6)
    with pytest.raises(ValueError, match="label_noise must be 0 for PACS"):
        left_out("PACS", 0, 0, label_noise=0.1)
    with pytest.raises(ValueError, match="static="):
        left_out("PACS", torch.tensor(0), 0)


def test_the_cards_parameters_describe_an_experiment():
    p = wb.card("swad").parameters(label_noise=0.2, variant="released", image_size=32)
    made = experiment(p)
    assert (made.label_noise, made.step_size, made.width, made.swad) == (0.2, p.lr, p.network_width, "SWAD released")
    assert made.files == {"root": p.data_root, "image_size": 32} and made.window["tolerance"] == p.tolerance
    assert experiment(p, label_noise=0.0) == replace(made, label_noise=0.0)
