"""Exact moments of a step on a finite sum: against loops over samples, autograd of the regularisers, and a wrong term."""

import numpy as np
import pytest
import torch

from workbench.papers.sde_for_sam import one_step
from workbench.papers.sde_for_sam.networks import problem, teacher_student, tumours

SMALL = tumours(0, 40, 3)
X = SMALL.initial(1)


@pytest.mark.parametrize("loss", [SMALL, tumours(2, 30, 4, "sigmoid"), teacher_student(3, 4, 2)])
def test_written_out_gradients_are_autograds_and_means_over_samples(loss):
    x = loss.initial(0)
    torch.testing.assert_close(loss.gradient(x), torch.func.grad(loss.loss)(x), rtol=1e-11, atol=1e-13)
    rows = [loss.sample_loss(x, *(part[i] for part in loss.data)) for i in range(loss.n_samples)]
    torch.testing.assert_close(torch.stack(rows).mean(), loss.loss(x), rtol=1e-12, atol=0)


def looped(kind, rho):
    """Directions of all samples, one by one."""
    gradients = [
        torch.func.grad(SMALL.sample_loss)(X, *(part[i] for part in SMALL.data)) for i in range(SMALL.n_samples)
    ]
    whole = torch.stack(gradients).mean(0).norm()
    moved = []
    for i, g in enumerate(gradients):
        size = {"usam": 1.0, "dnsam": 1 / whole, "sam": 1 / g.norm()}[kind]
        moved.append(torch.func.grad(SMALL.sample_loss)(X + rho * size * g, *(part[i] for part in SMALL.data)))
    return torch.stack(moved)


@pytest.mark.parametrize("kind", one_step.METHODS)
def test_moments_are_a_loop_over_samples(kind):
    found, directions = one_step.minibatch_moments(kind, SMALL, X, 0.1), looped(kind, 0.1)
    torch.testing.assert_close(found.mean, directions.mean(0), rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(found.covariance, torch.cov(directions.mT, correction=0), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("kind", one_step.METHODS)
def test_predictions_are_the_derivative_in_rho(kind):
    h = 1e-5
    plain, first = one_step.expansion(kind, SMALL, X)
    ends = [one_step.minibatch_moments(kind, SMALL, X, rho) for rho in (0.0, h, 2 * h)]
    for name in ("mean", "covariance"):
        zero, one, two = (getattr(end, name) for end in ends)
        torch.testing.assert_close(getattr(plain, name), zero, rtol=1e-11, atol=1e-15)
        slope = (4 * one - two - 3 * zero) / (2 * h)
        assert (slope - getattr(first, name)).norm() < 1e-5 * slope.norm()


def test_errors_have_order_two_and_one_with_another_methods_term():
    for term, order in (("own", 2), ("other", 1)):
        found = one_step.one_step_errors(SMALL, [0], term=term)
        for part in (found.drift, found.noise):
            slopes = np.log10(part.sel(rho=1e-4) / part.sel(rho=1e-5))
            np.testing.assert_allclose(slopes, order, atol=0.05)


def test_regularisers_are_the_methods_own_and_dnsams_only_for_additive_noise():
    own = one_step.regulariser_differences(SMALL, [0, 1])
    assert (own.sel(kind=["usam", "sam"]) < 1e-13).all() and (own.sel(kind="dnsam") > 0.1).all()
    assert (one_step.regulariser_differences(SMALL, [0], "swapped") > 0.1).all()


def test_seeds_draw_the_samples_and_all_of_them_need_none():
    one, two = tumours(0, 50), tumours(1, 50)
    assert not torch.equal(one.inputs, two.inputs) and torch.equal(tumours(0).inputs, tumours(1).inputs)
    torch.testing.assert_close(tumours(0).inputs.mean(0), torch.zeros(30, dtype=torch.float64), atol=1e-12, rtol=0)
    assert set(one.targets.tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tumours(0, 570), "n_samples must be an int in 1..569, got 570"),
        (lambda: problem("cifar", 0), "problem must be one of teacher_student, deep_linear"),
        (lambda: one_step.ascents("lion", X[None]), "kind must be one of usam, dnsam, sam, got 'lion'"),
        (lambda: one_step.ascents("dnsam", torch.zeros(2, 3)), r"\|grad f\(x\)\|, which is 0 at this x"),
        (lambda: one_step.one_step_errors(SMALL, [0], term="none"), "term must be own or other, got 'none'"),
        (lambda: one_step.regulariser_differences(SMALL, [0], "off"), "regularisers must be own or swapped"),
        (lambda: one_step.regulariser("sgd", SMALL, X), "kind must be one of usam, dnsam, sam, got 'sgd'"),
        (lambda: one_step.minibatch_moments("sam", SMALL, X, -0.1), "rho must be a finite number >= 0, got -0.1"),
    ],
)
def test_bad_arguments_are_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()
