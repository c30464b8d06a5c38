"""Which rule runs under a name, in a control and without."""

import pytest
import torch

import workbench as wb
from workbench.papers.normalization_in_sam.rules import ARMS, RANDOM, rule, running


def test_as_stated_every_arm_is_itself():
    assert [running(arm) for arm in (*ARMS, RANDOM)] == [*ARMS, RANDOM]


@pytest.mark.parametrize(
    ("arms", "usam", "sam"),
    [("gd", "GD", "GD"), ("usam", "USAM", "USAM"), ("sam", "SAM", "SAM"), ("swap", "SAM", "USAM"),
     ("equal", "USAM", "USAM"), ("random", "USAM", RANDOM)],
)  # fmt: skip
def test_a_control_changes_the_rule_under_the_name(arms, usam, sam):
    assert (running("USAM", arms), running("SAM", arms)) == (usam, sam)


def test_the_step_is_the_formula_of_the_rule_that_runs():
    parabola, start = wb.problems.quadratic([2.0]), torch.tensor([3.0], dtype=torch.float64)
    steps = {"GD": 3 - 0.1 * 6, "USAM": 3 - 0.1 * 2 * (3 + 0.5 * 6), "SAM": 3 - 0.1 * 2 * (3 + 0.5)}
    for arm, expected in steps.items():
        assert wb.run(parabola, rule(arm, 0.1, 0.5), start=start, steps=1).parameters.item() == pytest.approx(expected)
    swapped = wb.run(parabola, rule("SAM", 0.1, 0.5, "swap"), start=start, steps=1).parameters.item()
    assert swapped == pytest.approx(steps["USAM"])
