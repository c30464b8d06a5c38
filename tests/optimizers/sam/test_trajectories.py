"""Every rule of the atlas, step by step, against the reference trajectories of its specification."""

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

import workbench as wb
from workbench.papers.sam_atlas.reference import RULES, STEP_SIZE, Scripted, Tiny, flat, walked

TABLE = pandas.read_csv(Path(__file__).parents[3] / "papers" / "sam-atlas" / "trajectories.csv")
REFERENCE = {name: rows.iloc[:, 2:].to_numpy(float) for name, rows in TABLE.groupby("rule")}


def test_every_trajectory_has_a_rule():
    assert set(REFERENCE) == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_four_steps_are_the_reference(name):
    np.testing.assert_allclose(walked(name), REFERENCE[name], rtol=0, atol=1e-11)


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
