"""The trial's rules: equal gradients, paired samples, disjoint parts, a guard on the step size, broken runs shown."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import xarray as xr

import workbench as wb
from workbench.papers import sam_atlas as room
from workbench.papers.sam_atlas import trial, tuning
from workbench.papers.sam_atlas.attention import AttentionBlock

TASK = room.tasks(["noisy"], budget=0.02)["noisy"]
CHOICES = [{"task": "noisy", "method": name, "step_size": 0.01, "strength": 0.1} for name in room.METHODS]


def test_every_method_spends_at_most_the_budget_and_almost_all_of_it():
    drawn = TASK.drawn(0)
    for method in room.METHODS.values():
        steps, cost = method.steps(TASK, drawn), method.cost(TASK, drawn)
        assert method.share * TASK.budget - cost < steps * cost <= method.share * TASK.budget + 1e-9, method.name
    costs = {name: room.METHODS[name].cost(TASK, drawn) for name in ("sgd", "sam", "momentum_sam", "look_sam", "sampa")}
    assert costs == {"sgd": 1, "sam": 2, "momentum_sam": 1, "look_sam": 1.5, "sampa": 2}


def test_parts_of_a_seed_are_disjoint_and_the_wrong_labels_are_thirty_per_cent():
    clean = dataclasses.replace(TASK, noise=0.0)
    one, other = TASK.drawn(3), clean.drawn(3)
    assert torch.equal(one.problem.inputs, other.problem.inputs)
    wrong = (one.problem.targets.argmax(1) != other.problem.targets.argmax(1)).float().mean()
    assert float(wrong) == pytest.approx(0.3)
    rows = torch.cat([one.problem.inputs, one.validation[0], one.problem.test_inputs])
    assert len(rows) == 1700
    images = TASK.loaded.train_inputs.flatten(1)
    repeated = len(images) - len(torch.unique(images, dim=0))
    assert len(rows) - len(torch.unique(rows, dim=0)) <= repeated


def test_radius_zero_at_the_same_step_size_is_shorter_sgd_to_the_last_digit_and_runs_are_paired():
    found = room.contest(TASK, ["sgd", "sgd_half", "sam", "random_sam"], CHOICES, range(2), radius_factor=0.0)
    half = found.sel(rule="sgd_half")
    for name in ("sam", "random_sam"):
        np.testing.assert_allclose(found.train_loss.sel(rule=name), half.train_loss, rtol=1e-5)
    assert (found.train_loss.sel(rule="sgd") < half.train_loss).all()
    assert float(np.abs(room.gain(found, "sam", "sgd_half")).max()) == 0
    np.testing.assert_allclose(found.gradients, [32, 16, 32, 16])


def test_a_run_that_breaks_has_the_error_of_a_guess_and_is_marked():
    found = room.contest(TASK, ["sgd"], CHOICES, range(2), step_size=1e12)
    assert (found.test_error == 90).all() and (found.broken == 1).all()
    assert room.summary(found).broken["sgd"] == 2


def test_sharpness_is_the_eigenvalue_of_largest_size():
    inputs = wb.draws.normal(0, (12, 4), dtype=torch.float32)
    small = wb.problems.classifier((inputs, torch.arange(12) % 3), hidden=[3], loss="cross_entropy")
    here = small.initial(0)
    spectrum = wb.curvature.spectrum(small.loss, here)
    exact = float(spectrum[spectrum.abs().argmax()])
    assert float(trial.sharpness(small, here, 0, steps=200)) == pytest.approx(exact, rel=1e-3)


def test_an_own_method_and_an_own_task_get_the_same_table():
    mine = room.Method("mine", lambda step_size, rho, steps: wb.optimizers.gsam(step_size, rho, 0.8, beta=0.9))
    wine = room.Task(
        "wine",
        lambda: wb.data.load("wine", standardise="features"),
        budget=40,
        batch=10,
        train=60,
        validation=50,
        test=60,
        classes=3,
    )
    grid = room.Grid((0.01, 0.02), (0.01, 0.02), (0.05, 0.1))
    best = {name: room.tuned(wine, name, grid, range(1000, 1002)) for name in ("sgd", mine)}
    table = room.summary(room.contest(wine, ["sgd", mine], room.records(wine, best), range(3)))
    assert list(table.index) == ["sgd", "mine"] and list(table.steps) == [40, 20]
    assert (table["test error (%)"] < 60).all()


def validated(errors, broken=lambda a: False):
    """A stand-in for training: errors of (step size, strength)."""

    def found(task, method, step_sizes, strengths, seeds):
        shape = (len(seeds), len(step_sizes), len(strengths))
        values = np.broadcast_to([[errors(a, s) for s in strengths] for a in step_sizes], shape)
        broke = np.broadcast_to([[float(broken(a)) for _ in strengths] for a in step_sizes], shape)
        dims = ("seed", "step_size", "strength")
        coords = {"seed": list(seeds), "step_size": step_sizes, "strength": strengths}
        return xr.Dataset({"validation_error": (dims, values), "broken": (dims, broke)}, coords)

    return found


def test_a_best_value_on_the_edge_widens_the_grid_once(monkeypatch):
    grid = room.Grid((0.01, 0.02, 0.04), (0.01,), (0.1, 0.2, 0.4))
    monkeypatch.setattr(tuning, "_validated", validated(lambda a, s: abs(math.log(a / 0.08)) + abs(math.log(s / 0.2))))
    best = room.tuned(TASK, "sam", grid)
    assert best[:2] == (0.08, 0.2) and best.on_edge
    monkeypatch.setattr(tuning, "_validated", validated(lambda a, s: abs(math.log(a / 0.02)) + abs(math.log(s / 0.2))))
    best = room.tuned(TASK, "sam", grid)
    assert best[:2] == (0.02, 0.2) and not best.on_edge and best.broke == math.inf


def test_no_step_size_above_half_of_the_first_that_broke_is_chosen(monkeypatch):
    grid = room.Grid((0.01, 0.02, 0.04), (0.01,), (0.1, 0.2, 0.4))
    monkeypatch.setattr(tuning, "_validated", validated(lambda a, s: -a + abs(s - 0.2), lambda a: a >= 0.04))
    best = room.tuned(TASK, "sam", grid)
    assert best.step_size == 0.02 and best.broke == 0.04


def test_tuning_seeds_are_not_judged():
    card = wb.card("sam-atlas")
    with pytest.raises(ValueError, match="was chosen"):
        card.parameters({"seed0": 990})


def test_one_attention_block_is_permutation_blind_without_positions():
    with torch.random.fork_rng():
        block = AttentionBlock().double()
    images = torch.arange(128, dtype=torch.float64).reshape(2, 8, 8).sin()
    with torch.no_grad():
        first = block(images)
        block.position.weight.zero_()
        torch.testing.assert_close(block(images), block(images.flip(1)))
    assert first.shape == (2, 10)


def test_without_the_files_of_mnist_few_is_left_out_in_words(tmp_path, capsys):
    assert list(room.available(room.tasks(["noisy", "few"], root=str(tmp_path)))) == ["noisy"]
    assert "few is left out" in capsys.readouterr().out
    assert room.contest(None, ["sgd"], CHOICES, range(2)) is None and room.gain(None, "sam") is None


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="noisy, few, rows"):
        room.tasks(["other"])
    with pytest.raises(ValueError, match="method must be one of"):
        room.contest(TASK, ["sams"], CHOICES, range(2))
    with pytest.raises(ValueError, match=r"room\.tuned"):
        room.contest(TASK, ["sam"], [], range(2))
