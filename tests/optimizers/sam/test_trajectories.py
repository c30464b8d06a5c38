"""Every rule of the atlas, step by step, against the reference trajectories of its specification."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from optimizers.sam.tiny import RHO, STEP_SIZE, Scripted, Tiny, flat

import workbench as wb
from workbench import optimizers as o

RULES = {
    "gd": lambda a, r: o.gradient_descent(a),
    "sam": o.sam,
    "usam": o.usam,
    "sam+heavy_ball": lambda a, r: o.sam(a, r, beta=0.9),
    "asam": lambda a, r: o.asam(a, r, 0.01),
    "fisher_sam": lambda a, r: o.fisher_sam(a, r, 1.0),
    "gsam": lambda a, r: o.gsam(a, r, 0.4),
    "wsam": lambda a, r: o.wsam(a, r, 0.6),
    "stable_sam": o.stable_sam,
    "le_sam": lambda a, r: o.le_sam(a, r, 0.05),
    "cr_sam": lambda a, r: o.cr_sam(a, r, 0.1, 0.1),
    "gam": lambda a, r: o.gam(a, r, 0.5),
    "xsam": lambda a, r: o.xsam(a, r, 1.5),
    "eigen_sam": lambda a, r: o.eigen_sam(a, r, 0.2, 5),
    "random_sam": o.random_sam,
    "rsam": lambda a, r: o.rsam(a, r, 0.05, 2.0),
    "tilted_sam": lambda a, r: o.tilted_sam(a, r, 0.1, 2.0, 3, 0.2),
    "functional_sam": o.functional_sam,
    "m_sam": lambda a, r: o.m_sam(a, r, 2),
    "n_sam": o.n_sam,
    "previous_sam": o.previous_sam,
    "k_sam": lambda a, r: o.k_sam(a, r, 2),
    "esam": lambda a, r: o.esam(a, r, 0.6, 0.5),
    "ssam": lambda a, r: o.ssam(a, r, 0.5),
    "sam_on": o.sam_on,
    "zsharp": lambda a, r: o.zsharp(a, r, 0.5),
    "multi_step_sam": lambda a, r: o.multi_step_sam(a, r, 3, 0.5),
    "look_sam": lambda a, r: o.look_sam(a, r, 2, 0.7),
    "vasso": lambda a, r: o.vasso(a, r, 0.4),
    "f_sam": lambda a, r: o.f_sam(a, r, 1.0, 0.6),
    "f_sam (code)": lambda a, r: o.f_sam(a, r, 1.0, 0.6, "code"),
    "momentum_sam": lambda a, r: o.momentum_sam(a, r, 0.9),
    "sampa": lambda a, r: o.sampa(a, r, 0.2),
    "s2_sam": o.s2_sam,
    "bsam": lambda a, r: o.bsam(a, r, 100.0, 0.01, 0.1, 0.9, 0.99, 1.0),
    "lookbehind_sam": lambda a, r: o.lookbehind_sam(a, r, 2, 0.5),
    "ae_sam": lambda a, r: o.ae_sam(a, r, 4, 0.5, -1.0, 1.0),
    "sam+adam": lambda a, r: o.adam(0.01, gradient=o.UnifiedSAM(r)),
    "sam+muon": lambda a, r: o.muon(0.02, 0.9, gradient=o.UnifiedSAM(r)),
}


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
