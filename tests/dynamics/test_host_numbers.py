"""A swept function is called once for many runs: numbers that do not follow the run's seed are refused."""

import random
import sys

import numpy as np
import pytest
import torch

import workbench as wb

HELD = random.Random(4)


def from_a_helper():
    return HELD.gauss(0.0, 1.0)


class WithGenerator:
    def __init__(self):
        self.source = np.random.default_rng(3)

    def measure(self, seed):
        return {"x": self.source.normal()}


def captured():
    source = np.random.default_rng(0)
    return lambda seed: {"x": source.normal()}


def as_default():
    def measure(seed, source=np.random.RandomState(2)):  # noqa: B008
        return {"x": source.randn()}

    return measure


REFUSED = {
    "numpy": lambda seed: {"x": np.random.randn()},  # noqa: NPY002
    "python": lambda seed: {"x": random.random()},
    "unseeded": lambda seed: {"x": np.random.default_rng().normal()},
    "unseeded, old": lambda seed: {"x": np.random.RandomState().randn()},
    "a helper's": lambda seed: {"x": from_a_helper()},
    "an object's": WithGenerator().measure,
    "captured": captured(),
    "default": as_default(),
    "torch": lambda seed: {"x": torch.randn(2)},
    "layer": lambda seed: {"x": torch.nn.functional.dropout(torch.ones(3))},
    "in place": lambda seed: {"x": torch.zeros(2).normal_()},
}


@pytest.mark.parametrize("kind", REFUSED)
def test_numbers_shared_by_all_runs_are_refused(kind):
    np.random.seed(0)  # noqa: NPY002
    np.random.randn()  # noqa: NPY002 -- the second number of a pair waits
    with pytest.raises(ValueError, match=r"use wb.draws.normal\(seed"):
        wb.sweep(REFUSED[kind], seed=[1, 2])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: np.random.default_rng(7).normal(),
        lambda: np.random.RandomState(7).randn(),
        lambda: random.Random(7).random(),
    ],
)
def test_a_generator_that_is_seeded_inside_is_a_constant(draw):
    found = wb.sweep(lambda seed: {"x": seed + draw()}, seed=[1, 2]).x
    np.testing.assert_array_equal(found, np.array([1, 2]) + draw())


def test_numbers_drawn_by_the_runs_seed_may_come_from_numpys_old_generator():
    # RandomState(seed) draws from the machine's entropy before it takes its seed.
    @wb.draws.seeded
    def old(seed):
        return np.random.RandomState(seed).randn(2)

    found = wb.sweep(lambda seed: {"x": old(seed).sum(), "y": wb.draws.normal(seed, (1,))[0]}, seed=[11, 12]).x
    np.testing.assert_array_equal(found, [np.random.RandomState(seed).randn(2).sum() for seed in (11, 12)])
    with pytest.raises(ValueError, match=r"use wb.draws.normal\(seed"):
        wb.sweep(lambda seed: {"x": old(seed).sum() + np.random.default_rng().normal()}, seed=[11, 12])


def test_a_library_that_draws_while_it_is_imported_is_no_draw_of_the_function(tmp_path, monkeypatch):
    (tmp_path / "draws_at_import.py").write_text("import random\nrandom.random()\nvalue = 2.0\n")
    monkeypatch.syspath_prepend(tmp_path)

    def measure(seed):
        import draws_at_import

        return {"x": seed * draws_at_import.value}

    assert wb.sweep(measure, seed=[1, 2]).x.values.tolist() == [2.0, 4.0]
    sys.modules.pop("draws_at_import")


def test_a_swept_value_is_never_looked_up():
    for function in (lambda n: {"x": float(n in {1, 2})}, lambda n: {"x": {1: 1.0, 2: 2.0}[n]}):
        with pytest.raises(ValueError, match=r"look-up .* static=\['n'\]"):
            wb.sweep(function, n=[1, 2])


def test_a_swept_value_cannot_be_copied_into_a_tensor_in_words():
    with pytest.raises(ValueError, match=r"static=\['n'\]"):
        wb.sweep(lambda n: {"x": torch.tensor(n)}, n=[1.0, 2.0])


def test_divmod_is_the_numbers():
    found = wb.sweep(lambda n: dict(zip("qr", divmod(n, 3), strict=True)), n=[7, -7])
    assert [(int(q), int(r)) for q, r in zip(found.q, found.r, strict=True)] == [divmod(7, 3), divmod(-7, 3)]


def test_static_points_that_return_whole_and_broken_numbers_are_joined():
    found = wb.sweep(lambda kind: {"x": 1.5 if kind == "a" else 2}, kind=["a", "b"])
    assert found.x.values.tolist() == [1.5, 2.0]
    assert found.diverged.values.tolist() == [False, False]


def test_records_inside_a_dict_are_refused_in_words():
    problem, start = wb.problems.quadratic([1.0]), torch.ones(1, dtype=torch.float64)
    rule = wb.optimizers.gradient_descent(0.1)
    with pytest.raises(ValueError, match="side by side"):
        wb.sweep(
            lambda a: {"x": wb.run(problem, rule, start=a * start, steps=2, record=["train_loss"]).records}, a=[1.0]
        )
