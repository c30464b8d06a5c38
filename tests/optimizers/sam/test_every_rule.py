"""What holds for every rule of the atlas: sweeps are the loop, costs are what the table says, refusals come in words."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench as wb
from workbench import optimizers as o
from workbench.dynamics.sources import AllSamples, Minibatches
from workbench.optimizers.oracle import needs
from workbench.optimizers.sam.atlas import COLUMNS, ROWS, as_markdown, table
from workbench.papers.sam_atlas.reference import RHO, RULES, STEP_SIZE, Scripted, Tiny, flat

BOWL = wb.problems.quadratic([1.0, 3.0])
SEVERAL = {name: rule for name, rule in RULES.items() if name not in ("gd", "sam+heavy_ball")}


def ends(rule, **options):
    def train(seed, step_size, rho):
        run = wb.run(Tiny(), rule(step_size, rho), seed=seed, batch_size=4, progress=False, **options)
        return {"end": wb.Labelled(flat(run.parameters), ("entry",))}

    return train


@pytest.mark.parametrize("name", SEVERAL)
def test_a_sweep_over_seed_step_size_and_rho_is_the_loop_in_any_chunks(name):
    train = ends(SEVERAL[name], steps=2)
    axes = {"seed": [0, 5], "step_size": [0.05, 0.1], "rho": [0.0, 0.2]}
    found = [wb.sweep(train, **axes, chunk_size=chunk, progress=False) for chunk in (None, 3)]
    np.testing.assert_allclose(found[0].end, found[1].end, rtol=1e-12, atol=1e-14)
    alone = train(5, 0.05, 0.2)["end"].value
    there = found[0].end.sel(seed=5, step_size=0.05, rho=0.2)
    np.testing.assert_allclose(there, alone, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "name", ["look_sam", "vasso", "f_sam", "momentum_sam", "sampa", "bsam", "ae_sam", "lookbehind_sam"]
)
def test_memory_is_traced(name):
    def train(compile):
        rule = RULES[name](0.02, 0.05)
        return flat(wb.run(Tiny(), rule, seed=1, batch_size=4, steps=110, compile=compile, progress=False).parameters)

    torch.testing.assert_close(train(None), train(False), rtol=1e-9, atol=1e-11)


COSTS = {
    "gd": 1, "sam": 2, "usam": 2, "asam": 2, "fisher_sam": 2, "gsam": 2, "wsam": 2, "stable_sam": 2, "le_sam": 2, "cr_sam": 3,
    "gam": 6, "xsam": 2, "eigen_sam": 12, "random_sam": 1, "rsam": 2, "tilted_sam": 6, "functional_sam": 2, "m_sam": 2,
    "n_sam": 3, "previous_sam": 2, "k_sam": 1 / 3 + 1, "esam": 4 / 3 + 0.5, "ssam": 2, "sam_on": 2, "zsharp": 2,
    "multi_step_sam": 4, "look_sam": 1.5, "vasso": 2, "f_sam": 2, "momentum_sam": 1, "sampa": 2, "s2_sam": 1, "bsam": 2,
    "lookbehind_sam": 4, "ae_sam": 2, "sam+adam": 2, "sam+muon": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", COSTS)
def test_cost_of_a_step_in_minibatch_gradients(name):
    """Of minibatches of 4 of 8 samples: the gradient over all samples counts two."""
    problem = Tiny()
    start = problem.initial(0)
    asked = needs(Minibatches(4), problem, RULES[name](STEP_SIZE, RHO), start, torch.tensor(0))
    assert asked.cost == pytest.approx(COSTS[name])


STILL = (
    "sam gsam wsam stable_sam le_sam cr_sam gam xsam fisher_sam asam zsharp eigen_sam look_sam vasso f_sam momentum_sam sampa "
    "s2_sam lookbehind_sam ae_sam"
)


def test_a_zero_gradient_moves_nothing_but_rules_with_noise():
    for name in STILL.split():
        run = wb.run(BOWL, RULES[name](STEP_SIZE, RHO), steps=2, start=BOWL.minimiser, progress=False)
        assert torch.equal(run.parameters, BOWL.minimiser), name


def test_on_the_ascent_metrics_edges():
    """asam with eta = 0 commutes with rescaling the weights; le_sam with a large sigma is SAM; wsam at one half is SAM."""
    problem = Tiny()
    path = lambda rule: flat(wb.run(problem, rule, source=Scripted(), steps=3, progress=False).parameters)  # noqa: E731
    torch.testing.assert_close(path(o.le_sam(0.1, 0.2, 1e9)), path(o.sam(0.1, 0.2)), rtol=1e-14, atol=0)
    torch.testing.assert_close(path(o.wsam(0.1, 0.2, 0.5)), path(o.sam(0.1, 0.2)), rtol=1e-13, atol=0)
    torch.testing.assert_close(path(o.xsam(0.1, 0.2, 1.0)), path(o.sam(0.1, 0.2)), rtol=1e-12, atol=0)
    torch.testing.assert_close(path(o.eigen_sam(0.1, 0.2, 0.0)), path(o.sam(0.1, 0.2)), rtol=1e-12, atol=0)
    torch.testing.assert_close(path(o.vasso(0.1, 0.2, 1.0)), path(o.sam(0.1, 0.2)), rtol=1e-13, atol=0)
    torch.testing.assert_close(path(o.look_sam(0.1, 0.2, 1)), path(o.sam(0.1, 0.2)), rtol=1e-13, atol=0)
    torch.testing.assert_close(path(o.fisher_sam(0.1, 0.2, 0.0)), path(o.sam(0.1, 0.2)), rtol=1e-13, atol=0)
    torch.testing.assert_close(path(o.k_sam(0.1, 0.2, 4)), path(o.sam(0.1, 0.2)), rtol=1e-12, atol=0)
    torch.testing.assert_close(path(o.momentum_sam(0.1, 0.0, 0.9)), path(o.heavy_ball(0.1, 0.9)), rtol=1e-13, atol=0)
    torch.testing.assert_close(path(o.lookbehind_sam(0.1, 0.2, 1, 1.0)), path(o.sam(0.1, 0.2)), rtol=1e-13, atol=0)


def test_momentum_around_rules_that_remember_is_the_written_out_loop():
    problem, theta = Tiny(), 0.3
    x, mean, velocity = flat(problem.initial(0)), None, 0.0
    for step in range(4):
        batch = tuple(part[4 * (step % 2) :][:4] for part in problem.data)
        g = lambda v: flat(problem.gradient(wb.parameters.unravel(v, problem.initial(0)), batch))  # noqa: E731, B023
        mean = g(x) if mean is None else (1 - theta) * mean + theta * g(x)
        velocity = 0.9 * velocity + g(x + RHO * mean / mean.norm())
        x = x - STEP_SIZE * velocity
    run = wb.run(problem, o.vasso(STEP_SIZE, RHO, theta, beta=0.9), source=Scripted(), steps=4, progress=False)
    torch.testing.assert_close(flat(run.parameters), x, rtol=1e-13, atol=0)


def test_momentum_sam_records_both_points():
    run = wb.run(
        Tiny(), o.momentum_sam(0.1, 0.2), source=Scripted(), steps=3, progress=False,
        record={"there": ("displaced", flat), "here": flat}, every=1,
    )  # fmt: skip
    there, here = (run.records[name].array().values for name in ("there", "here"))
    lengths = np.linalg.norm(there - here, axis=1)
    np.testing.assert_allclose(lengths, [0, 0.2, 0.2, 0.2], atol=1e-14)


BAD = [
    (lambda: o.asam(0.1, -1.0), "rho"), (lambda: o.asam(0.1, 0.1, -1.0), "eta"), (lambda: o.wsam(0.1, 0.1, 1.0), "gamma"),
    (lambda: o.vasso(0.1, 0.1, 0.0), "theta"), (lambda: o.f_sam(0.1, 0.1, 1.0, 1.0), "lam"),
    (lambda: o.f_sam(0.1, 0.1, form="other"), "form"), (lambda: o.k_sam(0.1, 0.1, 0), "k must"),
    (lambda: o.esam(0.1, 0.1, 0.0), "keep"), (lambda: o.esam(0.1, 0.1, 0.5, 0.0), "gamma"),
    (lambda: o.ssam(0.1, 0.1, 1.0), "sparsity"), (lambda: o.zsharp(0.1, 0.1, 1.5), "q must"),
    (lambda: o.look_sam(0.1, 0.1, 0), "k must"), (lambda: o.sampa(0.1, 0.1, 1.5), "lam"),
    (lambda: o.momentum_sam(0.0, 0.1), "step_size"), (lambda: o.momentum_sam(0.1, 0.1, 1.0), "mu"),
    (lambda: o.bsam(0.1, 0.1, damping=0.0), "damping"), (lambda: o.bsam(0.1, 0.1, 0.0), "samples"),
    (lambda: o.lookbehind_sam(0.1, 0.1, 0), "k must"), (lambda: o.lookbehind_sam(0.1, 0.1, 2, 0.0), "slow"),
    (lambda: o.ae_sam(0.1, 0.1, 0), "horizon"), (lambda: o.tilted_sam(0.1, 0.1, 0.1, 1.0, 0), "points"),
    (lambda: o.tilted_sam(0.1, 0.1, 0.1, 1.0, 2, 0.0), "radius"), (lambda: o.le_sam(0.1, 0.1, -1.0), "sigma"),
    (lambda: o.muon(0.1, 1.0), "mu"), (lambda: o.Euler(0.1, o.VaSSO(0.1)), "remembers"),
]  # fmt: skip


@pytest.mark.parametrize("make, word", BAD)
def test_values_out_of_range_are_refused_by_name(make, word):
    with pytest.raises(ValueError, match=word):
        make()


UNANSWERED = [
    (o.k_sam(0.1, 0.1, 2), BOWL, "no samples"),
    (o.esam(0.1, 0.1), BOWL, "no samples"),
    (o.ssam(0.1, 0.1), BOWL, "no samples"),
    (o.functional_sam(0.1, 0.1), BOWL, "no model"),
    (o.sam_on(0.1, 0.1), BOWL, "selects none of the tensors"),
    (o.sam_on(0.1, 0.1, lambda name: name == "gain"), Tiny(), "'weight', 'norm'"),
    (o.asam(0.1, 0.1, weights=lambda name: "kernel" in name), Tiny(), "weights selects none"),
    (o.k_sam(0.1, 0.1, 9), Tiny(), "at most the 8 samples"),
]


@pytest.mark.parametrize("rule, problem, words", UNANSWERED)
def test_what_a_run_cannot_answer_is_refused_before_the_first_step(rule, problem, words):
    with pytest.raises(ValueError, match=words):
        wb.run(problem, rule, steps=1)


def test_sampa_takes_the_same_samples_where_there_are_no_others():
    run = wb.run(BOWL, o.sampa(0.1, 0.0, 0.0), steps=1, start=torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(run.parameters, 1 - 0.1 * torch.tensor([1.0, 3.0], dtype=torch.float64))
    assert needs(AllSamples(), Tiny(), o.sampa(0.1, 0.1), Tiny().initial(0), torch.tensor(0)).previous is False


def test_the_table_has_a_row_for_every_constructor():
    assert len(table()) == len(ROWS) + 2 and all(len(line) == len(COLUMNS) for line in table())
    for name, row in ROWS.items():
        made = getattr(o, name)
        assert list(inspect.signature(made).parameters)[:2] == ["step_size", "rho"], name
        assert row.paper and row.equation and row.cost, name
    marked = {name for name, row in ROWS.items() if row.mark}
    assert marked == {"fisher_sam", "k_sam", "s2_sam", "stable_sam", "functional_sam", "lookbehind_sam", "ae_sam"}


def test_the_page_in_the_documentation_is_the_table():
    page = (Path(__file__).parents[3] / "docs" / "sam-atlas.md").read_text(encoding="utf-8")
    assert page.endswith(as_markdown()), "write as_markdown() to the end of docs/sam-atlas.md"
