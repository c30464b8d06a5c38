"""Matrix sensing, sparse coding, the rippled parabola and scaled problems against literal formulas."""

import pytest
import torch

import workbench as wb
from workbench.papers.normalization_in_sam.sparse_coding import sparse_coding
from workbench.problems import RippledParabola, Scaled, classifier, matrix_sensing


@pytest.mark.parametrize(("d", "r", "m"), [(2, 1, 1), (7, 2, 15), (12, 12, 40)])
def test_matrix_sensing_is_the_literal_formula(d, r, m):
    problem = matrix_sensing(4, d, r, m, init=0.3)
    raw = wb.draws.normal(4, (m, d, d), stream="measurements")
    measurements = (raw + raw.mT) / 2
    torch.testing.assert_close((measurements * problem.truth).sum((1, 2)), problem.targets)
    factor = problem.initial(4)
    residual = (measurements * (factor @ factor.T)).sum((1, 2)) - problem.targets
    torch.testing.assert_close(problem.loss(factor), (residual**2).mean())
    torch.testing.assert_close(problem.gradient(factor), torch.func.grad(problem.loss)(factor))
    assert factor.norm().item() == pytest.approx(0.3 * d**0.5)


def test_matrix_sensing_truth_has_its_rank_and_norm_and_is_a_minimum():
    problem = matrix_sensing(1, 9, 2, 30)
    assert torch.linalg.matrix_rank(problem.truth) == 2
    assert problem.truth.norm().item() == pytest.approx(1.0)
    values, vectors = torch.linalg.eigh(problem.truth)
    root = vectors * values.clamp(min=0).sqrt()
    assert problem.loss(root) < 1e-20 and problem.test_error(root) < 1e-20


def test_matrix_sensing_beyond_memory_is_refused_with_its_size(monkeypatch):
    monkeypatch.setenv("WORKBENCH_MEMORY", "0.01")
    with pytest.raises(ValueError, match="2500 measurement matrices of 100 x 100"):
        matrix_sensing(0, 100, 5, 2500)


def test_sparse_coding_is_the_literal_formula():
    problem = sparse_coding(2, n=30, d=8)
    minus, plus, bias = parameters = torch.tensor([0.2, -0.5, -0.3], dtype=torch.float64)
    outputs = sum(minus * torch.relu(-problem.inputs[:, i] + bias) for i in range(8))
    outputs = outputs + sum(plus * torch.relu(problem.inputs[:, i] + bias) for i in range(8))
    torch.testing.assert_close(problem.loss(parameters), torch.log1p(torch.exp(-problem.targets * outputs)).mean())
    torch.testing.assert_close(problem.gradient(parameters), torch.func.grad(problem.loss)(parameters))
    assert (problem.initial(0) == 0).all()


def test_sparse_coding_hides_its_signal_in_the_first_coordinate():
    problem = sparse_coding(0, n=4000, d=5, signal=5.0)
    correlation = (problem.targets[:, None] * problem.inputs).mean(0)
    torch.testing.assert_close(correlation, torch.tensor([5.0, 0, 0, 0, 0], dtype=torch.float64), atol=0.06, rtol=0)


@pytest.mark.parametrize("ripple", [0.0, 3.0, 7.5])
def test_rippled_parabola_has_its_smoothness_and_minimum(ripple):
    problem = RippledParabola(ripple)
    x = torch.linspace(-6, 6, 241, dtype=torch.float64)
    torch.testing.assert_close(
        torch.func.vmap(problem.gradient)(x), torch.func.vmap(torch.func.grad(problem.loss))(x), atol=1e-12, rtol=1e-9
    )
    bends = torch.func.vmap(torch.func.hessian(problem.loss))(x)
    assert bends.abs().max().item() == pytest.approx(problem.smoothness, abs=1e-6)
    assert torch.func.vmap(problem.loss)(x).min() >= problem.loss(torch.zeros(()))


def test_scaling_a_problem_is_a_step_size_for_sgd_and_a_radius_for_usam_but_not_for_sam():
    problem = classifier((wb.draws.normal(0, (40, 3)), wb.draws.integers(0, 2, (40,))), hidden=[4])
    doubled = Scaled(problem, 2.0)

    def end(of, rule):
        return wb.run(of, rule, seed=1, epochs=3, batch_size=10, record=["train_error"]).parameters

    optimizers = wb.optimizers
    pairs = [
        (optimizers.gradient_descent(0.1), optimizers.gradient_descent(0.2)),
        (optimizers.usam(0.1, 0.3), optimizers.usam(0.2, 0.6)),
        (optimizers.sam(0.1, 0.3), optimizers.sam(0.2, 0.3)),
    ]
    for scaled, plain in pairs:
        for one, other in zip(end(doubled, scaled).values(), end(problem, plain).values(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: matrix_sensing(0, 5, 6), "r must be an int in 1..5"),
        (lambda: matrix_sensing(0, 1), "d must be an int >= 2"),
        (lambda: matrix_sensing(0, init=0.0), "init must be a finite number > 0"),
        (lambda: sparse_coding(0, n=0), "n must be an int >= 1"),
        (lambda: sparse_coding(0, signal=-1.0), "signal must be a finite number > 0"),
        (lambda: RippledParabola(-1.0), "ripple must be a finite number >= 0"),
        (lambda: Scaled(RippledParabola(), 0.0), "factor must be a finite number > 0"),
    ],
)
def test_values_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    "build", [lambda: sparse_coding(0, 10**6, 10**4), lambda: wb.problems.quadratic(torch.ones(20_000))]
)
def test_what_does_not_fit_is_refused_with_its_size(build, monkeypatch):
    monkeypatch.setenv("WORKBENCH_MEMORY", "0.5")
    with pytest.raises(ValueError, match=r"[GT]iB, more than the budget of 512 MiB"):
        build()
