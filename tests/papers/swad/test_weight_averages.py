"""All averages of one run: each equals its definition on the iterates."""

import pytest
import torch

import workbench as wb
from workbench.papers.swad import left_out_measures as measures
from workbench.papers.swad.rotated_digits import left_out_digits
from workbench.papers.swad.weight_averages import (
    METHODS,
    as_parameters,
    best,
    metrics_of,
    solutions,
    trajectory,
    valley,
)

STEPS, EVERY = 60, 5


@pytest.fixture(scope="module")
def trained():
    problem = left_out_digits(0, 3, hidden=8)
    rule = wb.optimizers.adam(0.05)
    path = trajectory(problem, rule, seed=0, steps=STEPS, every=EVERY, batch_size=20, ema_decay=0.9)
    record = {"x": lambda x: wb.Labelled(torch.cat([v.flatten() for v in x.values()]), ("parameter",))}
    kept = wb.run(
        problem,
        rule,
        seed=0,
        steps=STEPS + 1,
        batch_size=20,
        sampling="replacement",
        record=record,
        every=1,
        progress=False,
    )
    return problem, path, kept.records["x"].value


def test_a_run_keeps_checkpoints_segments_and_exponential_means(trained):
    _, path, iterates = trained
    assert path.steps == tuple(range(1, STEPS + 2, EVERY))
    torch.testing.assert_close(path.checkpoints, iterates[list(path.steps)], rtol=0, atol=0)
    torch.testing.assert_close(path.segments[4], iterates[17:22].mean(0))
    mean = iterates[0]
    for iterate in iterates[1:]:
        mean = 0.9 * mean + 0.1 * iterate
    torch.testing.assert_close(path.ema[-1], mean)


def test_swad_is_the_mean_of_the_iterates_of_the_window(trained):
    problem, path, iterates = trained
    window = valley(path, 2, 3, 1.05)
    low, high = (path.steps[int(i)] for i in (window.start, window.end))
    made = solutions(problem, path, n_converge=2, n_tolerance=3, tolerance=1.05)
    torch.testing.assert_close(made["SWAD"], iterates[max(low - EVERY + 1, 1) : high + 1].mean(0))
    torch.testing.assert_close(made["w/o Overfit"], iterates[max(low - EVERY + 1, 1) :].mean(0))
    sparse = path.checkpoints[int(window.start) : int(window.end) + 1 : 4].mean(0)
    torch.testing.assert_close(made["w/o Dense"], sparse)


def test_the_other_methods_are_their_definitions(trained):
    problem, path, _ = trained
    made = solutions(problem, path, lawa_k=3)
    assert list(made) == list(METHODS)
    torch.testing.assert_close(made["ERM"], path.checkpoints[path.accuracies.argmax()])
    torch.testing.assert_close(made["oracle"], path.checkpoints[path.metrics[:, 3].argmax()])
    torch.testing.assert_close(made["SWA"], path.checkpoints[-3:].mean(0))
    torch.testing.assert_close(made["w/o Opt-Overfit"], path.segments[-3:].mean(0))
    torch.testing.assert_close(made["LAWA last"], path.checkpoints[-3:].mean(0))
    for name, candidates in (
        ("LAWA", [path.checkpoints[max(0, i - 2) : i + 1].mean(0) for i in range(len(path.steps))]),
        ("EMA", list(path.ema)),
    ):
        scores = torch.stack([metrics_of(problem, path, candidate)[1] for candidate in candidates])
        torch.testing.assert_close(metrics_of(problem, path, made[name])[1], scores.max())
    windows = [path.segments[i : j + 1].mean(0) for i in range(13) for j in range(i + 1, 13)]
    top = max(float(metrics_of(problem, path, window)[1]) for window in windows)
    assert float(metrics_of(problem, path, made["fit on val"])[1]) == pytest.approx(top)


def test_the_first_best_candidate_wins_and_nan_loses():
    candidates = [torch.tensor([float(i)]) for i in range(5)]
    scores = iter(torch.tensor([float("nan"), 1.0, 3.0, 3.0, 2.0]))
    assert best(candidates, lambda _: next(scores)).item() == 2.0


def test_measures_are_labelled(trained):
    problem, path, _ = trained
    surface = measures.surface(problem, path, [1.05, 1.3], [2, 4], 2)
    expected = metrics_of(problem, path, valley(path, 2, 4, 1.05).weights.double() @ path.segments)[3]
    assert surface.dims == ("n_tolerance", "tolerance")
    assert float(surface.value[1, 0]) == pytest.approx(float(expected))
    centre = measures.centre(problem, path)
    three = measures.three_places(path)
    assert three == [2, 3, 4]
    torch.testing.assert_close(centre.value[-1], metrics_of(problem, path, path.checkpoints[three].mean(0)))


def test_flatness_is_that_of_the_curvature_module(trained):
    problem, path, _ = trained
    vectors = {"last": path.checkpoints[-1]}
    found = measures.flatness_of(problem, path, vectors, [0.5, 2.0], directions=3, seed=5, samples=40)
    loss, point = problem.part_loss("target", 40), as_parameters(path, vectors["last"])
    expected = wb.curvature.flatness(loss, point, [0.5, 2.0], directions=3, seed=5).value
    torch.testing.assert_close(found.value[1, 0], expected)


def test_runs_of_a_sweep_are_the_single_runs(trained):
    _, path, _ = trained

    def swad(seed, target):
        problem = left_out_digits(seed, target, hidden=8)
        own = trajectory(
            problem, wb.optimizers.adam(0.05), seed=seed, steps=STEPS, every=EVERY, batch_size=20, ema_decay=0.9
        )
        return {"losses": own.losses, "SWAD": solutions(problem, own, methods=["SWAD"])["SWAD"].norm()}

    swept = wb.sweep(swad, seed=[0, 1], target=[1, 3], progress=False)
    torch.testing.assert_close(
        torch.from_numpy(swept.losses.sel(seed=0, target=3).values), path.losses, rtol=1e-5, atol=1e-6
    )


def test_what_does_not_fit_is_refused(trained):
    problem, path, _ = trained
    with pytest.raises(ValueError, match="every must divide steps, got every=7 and steps=60"):
        trajectory(problem, wb.optimizers.adam(0.05), seed=0, steps=60, every=7, batch_size=20)
    with pytest.raises(ValueError, match="no method called SWAG"):
        solutions(problem, path, methods=["SWAG"])


def test_half_of_the_held_out_samples_chooses_and_the_other_judges(trained):
    problem, path, _ = trained
    found = measures.held_out(problem, path, {"ERM last": path.checkpoints[-1]})
    assert list(found.coords["held"]) == ["ERM even", "ERM last"] and list(found.coords["half"]) == ["even", "odd"]
    right = []
    for vector in path.checkpoints:
        outputs = problem.outputs(as_parameters(path, vector.float()), problem.validation_inputs)
        right.append((outputs.argmax(-1) == problem.validation_targets.argmax(-1)).double())
    halves = torch.stack([torch.stack([one[0::2].mean(), one[1::2].mean()]) for one in right])
    expected = torch.stack([halves[halves[:, 0].argmax()], halves[-1]])
    torch.testing.assert_close(found.value.double(), expected, rtol=0, atol=1e-6)


def test_the_scatter_of_checkpoints_and_of_the_running_average(trained):
    problem, path, _ = trained
    found = measures.fluctuation(problem, path).value
    smooth = torch.stack([metrics_of(problem, path, vector)[3] for vector in path.ema[-6:]])
    torch.testing.assert_close(found, torch.stack([path.metrics[-6:, 3].std(), smooth.std()]))
