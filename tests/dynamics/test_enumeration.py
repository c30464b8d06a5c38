"""Expectations over a step's samples: sources are unbiased by enumeration, and as noisy as their constants say."""

import itertools

import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.dynamics.sources import (
    AdditiveNoise,
    AllSamples,
    Importance,
    Minibatches,
    expectation,
    expected_residual,
    smoothness_probabilities,
)
from workbench.optimizers import Plain, UnifiedSAM
from workbench.problems import LeastSquares, LogisticRegression, RobustRegression, random_least_squares, rippled_sum

D = torch.float64
N = 5
INPUTS, TARGETS = draws.normal(0, (N, 3), stream="x"), draws.normal(0, (N,), stream="t")
CHANCES = torch.tensor([0.05, 0.1, 0.2, 0.25, 0.4], dtype=D)
SUMS = {
    "ridge": LeastSquares(INPUTS, TARGETS, 0.3),
    "least squares": LeastSquares(INPUTS, TARGETS),
    "logistic": LogisticRegression(INPUTS, TARGETS.sign(), 0.1),
    "robust": RobustRegression(INPUTS, TARGETS),
    "rippled": rippled_sum(3, N),
}
SOURCES = {
    "all": AllSamples(),
    "one": Minibatches(1, "replacement"),
    "three": Minibatches(3, "replacement"),
    "tau-nice 1": Minibatches(1, "tau-nice"),
    "tau-nice 3": Minibatches(3, "tau-nice"),
    "tau-nice 5": Minibatches(5, "tau-nice"),
    "importance": Importance(CHANCES),
    "two by importance": Importance(7 * CHANCES, 2),
}


def per_sample(problem, x):
    return torch.stack([problem.gradient(x, tuple(part[i : i + 1] for part in problem.data)) for i in range(N)])


@pytest.mark.parametrize("of", SUMS)
@pytest.mark.parametrize("source", SOURCES)
def test_gradients_are_unbiased_and_their_second_moment_is_exact(source, of):
    problem, source = SUMS[of], SOURCES[source]
    for seed in range(2):
        x = problem.initial(seed)
        full, each = problem.gradient(x), per_sample(problem, x).reshape(N, -1).square().sum(1)
        torch.testing.assert_close(expectation(problem, source, Plain(), x), full, rtol=1e-12, atol=1e-12)
        samples, whole = source.second_moment(problem)
        square = expectation(problem, source, lambda oracle, x: oracle.gradient(x).square().sum(), x)
        torch.testing.assert_close(square, samples @ each + whole * full.square().sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("of", SUMS)
@pytest.mark.parametrize("source", SOURCES)
def test_expected_residual_holds(source, of):
    problem, source = SUMS[of], SOURCES[source]
    least = 0.0 if of == "robust" else float(problem.minimum)
    A, B, C = expected_residual(problem, source, least)
    for seed in range(20):
        x = 10.0 ** (seed % 5 - 2) * problem.initial(seed)
        left = expectation(problem, source, lambda oracle, x: oracle.gradient(x).square().sum(), x)
        right = 2 * A * (problem.loss(x) - least) + B * problem.gradient(x).square().sum() + C
        assert left <= right * (1 + 1e-12) + 1e-14


def test_the_enumerated_step_is_the_sum_over_subsets_written_out():
    problem, rule, x = SUMS["ridge"], UnifiedSAM(0.2, 0.4), SUMS["ridge"].initial(1)
    terms = []
    for subset in itertools.combinations(range(N), 2):
        batch = tuple(part[list(subset)] for part in problem.data)
        g = problem.gradient(x, batch)
        terms.append(problem.gradient(x + 0.2 * (0.6 + 0.4 / g.norm()) * g, batch))
    found = expectation(problem, Minibatches(2, "tau-nice"), rule, x)
    torch.testing.assert_close(found, torch.stack(terms).mean(0), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("source", [Minibatches(2, "tau-nice"), Importance(CHANCES, 2)])
def test_enumeration_agrees_with_drawn_steps(source):
    problem, rule, x = SUMS["ridge"], wb.optimizers.unified_sam(0.1, 0.3, 0.5), SUMS["ridge"].initial(1)
    runs = wb.sweep(
        lambda seed: {"x": wb.run(problem, rule, seed=seed, steps=1, source=source, start=x).parameters},
        seed=range(3000),
    ).x.values
    exact = expectation(problem, source, lambda oracle, x: rule.step(oracle, x, ())[0], x).numpy()
    assert (abs(runs.mean(0) - exact) < 4.5 * runs.std(0) / 3000**0.5).all()


def test_importance_sampling_without_weights_is_biased_as_in_the_papers_public_code():
    """That code steps along grad f_i, i drawn with p_i, without 1/(n p_i): its mean is sum p_i grad f_i."""
    inconsistent, x = SUMS["ridge"], SUMS["ridge"].minimiser
    p = smoothness_probabilities(inconsistent)
    biased = expectation(inconsistent, Importance(p, weighted=False), Plain(), x)
    torch.testing.assert_close(biased, p @ per_sample(inconsistent, x))
    assert biased.norm() > 0.05 > 1e-12 > expectation(inconsistent, Importance(p), Plain(), x).norm()
    # Where every sample's loss has the same minimiser there is nothing to see at it, and still a bias elsewhere.
    shared = LeastSquares(INPUTS, INPUTS @ torch.ones(3, dtype=D))
    p = smoothness_probabilities(shared)
    at_the_minimum = expectation(shared, Importance(p, weighted=False), Plain(), torch.ones(3, dtype=D))
    assert at_the_minimum.norm() < 1e-12
    away = expectation(shared, Importance(p, weighted=False), Plain(), torch.zeros(3, dtype=D))
    assert (away - shared.gradient(torch.zeros(3, dtype=D))).norm() > 0.1


def test_probabilities_by_smoothness_have_the_least_constant():
    problem = SUMS["ridge"]
    best = expected_residual(problem, Importance(smoothness_probabilities(problem))).A
    assert best == pytest.approx(float(problem.sample_smoothness.mean()), rel=1e-12)
    others = [expected_residual(problem, Importance(draws.uniform(seed, (N,), low=0.01))).A for seed in range(20)]
    assert min(others) > best
    uniform = expected_residual(problem, Minibatches(1, "tau-nice")).A
    assert uniform == float(problem.sample_smoothness.max())


def test_inside_vmap_and_in_pieces():
    problem = random_least_squares(0, 12, 3)
    points = torch.stack([problem.initial(seed) for seed in range(3)])
    source = Minibatches(4, "tau-nice")  # 495 subsets, more than are held at once
    found = torch.func.vmap(lambda x: expectation(problem, source, Plain(), x))(points)
    torch.testing.assert_close(found, torch.stack([problem.gradient(x) for x in points]))


def test_what_cannot_be_enumerated_is_refused_in_words():
    problem, x = SUMS["ridge"], SUMS["ridge"].initial(0)
    with pytest.raises(ValueError, match="10 outcomes, more than most=9"):
        expectation(problem, Minibatches(2, "tau-nice"), Plain(), x, most=9)
    with pytest.raises(ValueError, match="3,125 outcomes"):
        expectation(problem, Importance(CHANCES, 5), Plain(), x, most=1000)
    with pytest.raises(ValueError, match="sampling must be 'tau-nice' or 'replacement'"):
        expectation(problem, Minibatches(2), Plain(), x)
    with pytest.raises(ValueError, match="AdditiveNoise has no finite list of outcomes"):
        expectation(problem, AdditiveNoise(0.1), Plain(), x)
    with pytest.raises(ValueError, match="only the source's own numbers"):
        expectation(problem, AllSamples(), lambda oracle, x: oracle.normal("own", x), x)
    with pytest.raises(ValueError, match="second moment of AdditiveNoise is not known"):
        expected_residual(problem, AdditiveNoise(0.1))
    for source in (Importance(CHANCES, weighted=False), Importance(torch.tensor([0.0, 1, 1, 1, 1], dtype=D))):
        with pytest.raises(ValueError, match="the gradient is biased"):
            expected_residual(problem, source)
