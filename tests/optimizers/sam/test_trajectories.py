"""Every rule of the atlas, step by step, against the reference trajectories of its specification."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from optimizers.sam.tiny import RHO, RULES, STEP_SIZE, Scripted, Tiny, flat

import workbench as wb


def reference():
    path = Path(__file__).parent / "trajectories.csv"
    found = defaultdict(list)
    with path.open(encoding="utf-8") as lines:
        for line in csv.reader(lines):
            if line[1] != "step":
                found[line[0]].append([float(number) for number in line[2:]])
    return {name: np.array(rows) for name, rows in found.items()}


REFERENCE = reference()


def test_every_trajectory_has_a_rule():
    assert set(REFERENCE) == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_four_steps_are_the_reference(name):
    problem, rule = Tiny(), RULES[name](STEP_SIZE, RHO)
    run = wb.run(problem, rule, source=Scripted(), steps=4, record={"path": flat}, every=1, progress=False)
    found = run.records["path"].array().values
    np.testing.assert_allclose(found, REFERENCE[name], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", [name for name in RULES if name not in ("gd", "bsam")])
def test_without_radius_the_path_is_another(name):
    end = wb.run(Tiny(), RULES[name](STEP_SIZE, 0.0), source=Scripted(), steps=4, progress=False).parameters
    assert np.abs(flat(end).numpy() - REFERENCE[name][-1]).max() > 1e-4


def test_the_gradient_of_the_reference_problem():
    problem = Tiny()
    first = tuple(part[:4] for part in problem.data)
    expected = [-0.44727047, -0.22413811, 0.18355065, 0.01985449, -0.17588976, -0.34884171]
    torch.testing.assert_close(
        flat(problem.gradient(problem.initial(0), first)),
        torch.tensor(expected, dtype=torch.float64),
        rtol=0,
        atol=1e-8,
    )
