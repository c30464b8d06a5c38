"""The SDEs against the discrete steps whose law they model, and the noise law that both share."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.draws import Normal, numbers
from workbench.dynamics.sources import AdditiveNoise
from workbench.papers.sde_for_sam.equations import (
    KINDS,
    SharpnessAwareSDE,
    algorithm,
    diffusion,
    sam_family_step,
    sde_increment,
)
from workbench.problems.base import Problem

D = torch.float64
START = torch.tensor([0.7, -0.4, 0.5], dtype=D)
ETA, SIGMA = 0.05, 0.3


class Bent(Problem):
    """A quartic whose Hessian is neither constant nor diagonal."""

    def loss(self, x):
        return (x**4).sum() / 12 + 0.5 * (x[0] * x[1]) ** 2 + 0.3 * x[1] * x[2] + (x**2).sum()

    def initial(self, seed):
        return START


BENT = Bent()
GRADIENT = torch.func.grad(BENT.loss)
HESSIAN = torch.func.hessian(BENT.loss)


def product(x, v):
    return HESSIAN(x) @ v


def steps_of(kind, rho, count, stream="z", fresh=False):
    """Discrete steps from START under many noises, written out; `fresh` draws the second gradient's noise anew."""
    z = SIGMA * draws.normal(0, (count, 3), stream=stream)
    second = SIGMA * draws.normal(0, (count, 3), stream="again") if fresh else z
    g = GRADIENT(START)
    noisy = g + z
    size = {"sgd": 0.0, "usam": 1.0, "dnsam": 1 / g.norm()}.get(kind)
    ascent = noisy / noisy.norm(dim=1, keepdim=True) if size is None else size * noisy
    return START - ETA * (torch.func.vmap(GRADIENT)(START + rho * ascent) + second)


@pytest.mark.parametrize("kind", KINDS)
def test_the_step_is_the_formula_with_one_noise_in_both_gradients(kind):
    z = SIGMA * draws.normal(0, (3,), stream="one")
    g = GRADIENT(START)
    size = {"sgd": 0.0, "usam": 1.0, "dnsam": 1 / g.norm(), "sam": 1 / (g + z).norm()}[kind]
    expected = START - ETA * (GRADIENT(START + 0.2 * size * (g + z)) + z)
    torch.testing.assert_close(sam_family_step(kind, GRADIENT, START, ETA, 0.2, z), expected, rtol=1e-13, atol=0)
    run = wb.run(BENT, algorithm(kind, ETA, 0.2), seed=5, steps=1, source=AdditiveNoise(SIGMA), start=START)
    same = sam_family_step(kind, GRADIENT, START, ETA, 0.2, SIGMA * numbers(Normal("noise", (3,)), 5, 1)[0])
    torch.testing.assert_close(run.parameters, same, rtol=1e-13, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_increment_is_drift_dt_plus_diffusion_dw(kind):
    equation, dw = SharpnessAwareSDE(kind, ETA, 0.2, SIGMA), draws.normal(1, (3,), stream="dw")

    class Exact(wb.optimizers.Oracle):
        gradient = staticmethod(GRADIENT)
        hessian_vector_product = staticmethod(product)

    whole = equation.increment(Exact(), START, 0.01, dw)
    parts = 0.01 * equation.drift(Exact(), START) + equation.diffusion(Exact(), START, dw)
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-15)
    doubled = equation.diffusion(Exact(), START, 2 * dw)
    torch.testing.assert_close(doubled, 2 * equation.diffusion(Exact(), START, dw), rtol=1e-12, atol=0)
    run = wb.run(BENT, diffusion(kind, ETA, 0.2, SIGMA, resolution=4), seed=5, steps=1, start=START)
    xi = numbers(Normal("noise", (3,)), 5, 1)[0]
    moved = sde_increment(kind, GRADIENT, product, START, ETA / 4, ETA, 0.2, xi, SIGMA)
    torch.testing.assert_close(run.parameters, moved, rtol=1e-12, atol=0)


def moments_of_the_sde(kind, rho):
    """Mean and covariance of one step dt = eta of the SDE, from its coefficients."""
    zero = torch.zeros(3, dtype=D)
    mean = sde_increment(kind, GRADIENT, product, START, ETA, ETA, rho, zero, SIGMA) - START
    columns = [
        sde_increment(kind, GRADIENT, product, START, ETA, ETA, rho, basis, SIGMA) - START - mean
        for basis in torch.eye(3, dtype=D)
    ]
    return mean, torch.stack(columns, dim=1)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_covariance_are_those_of_the_discrete_step_to_second_order_in_rho(kind):
    rho, count = 0.02, 200_000
    moved = steps_of(kind, rho, count) - START
    mean, factor = moments_of_the_sde(kind, rho)
    centred = moved - moved.mean(0)
    products = centred[:, :, None] * centred[:, None, :]
    # Four standard errors, and what the theorem leaves out.
    assert ((moved.mean(0) - mean).abs() < 4 * moved.std(0) / count**0.5 + ETA * 5 * rho**2).all()
    slack = 4 * products.std(0) / count**0.5 + (ETA * SIGMA) ** 2 * 30 * rho**2
    assert ((products.mean(0) - factor @ factor.mT).abs() < slack).all()


@pytest.mark.parametrize("kind", ["usam", "dnsam", "sam"])
def test_fresh_noise_in_the_second_gradient_has_another_covariance(kind):
    """With a Z of its own the second gradient is uncorrelated with the ascent: no term of first order in rho."""
    rho, count = 0.1, 200_000
    _, factor = moments_of_the_sde(kind, rho)
    plain = (ETA * SIGMA) ** 2 * torch.eye(3, dtype=D)
    right, wrong = (torch.cov(steps_of(kind, rho, count, fresh=fresh).mT) for fresh in (False, True))
    law = factor @ factor.mT
    assert (wrong - law).norm() > 5 * (right - law).norm()
    assert (law - plain).norm() > 5 * (right - law).norm()


def test_noise_has_variance_eta_dt_and_not_dt_squared():
    """Over a time t the variance is eta sigma^2 t however fine the steps: dt in the place of sqrt(eta dt) gives t dt."""
    flat = wb.problems.quadratic([0.0, 0.0])
    for resolution in (1, 5):

        def end(seed, resolution=resolution):
            rule = diffusion("sgd", 0.1, 0.0, 0.5, resolution=resolution)
            steps = 10 * resolution
            return {
                "x": wb.run(
                    flat, rule, seed=seed, steps=steps, start=torch.zeros(2, dtype=D), progress=False
                ).parameters
            }

        found = wb.sweep(end, seed=range(2000), progress=False).x.values
        assert np.mean(found**2) == pytest.approx(0.1 * 0.25 * 1.0, rel=4 * (2 / 4000) ** 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_common_noise_makes_the_sde_the_first_order_step(kind):
    """Same seed, dt = eta: the difference of one step is of second order in rho, of SGD and quadratic USAM, DNSAM zero."""
    quadratic = wb.problems.quadratic([0.5, 2.0, -1.0], rotation=3)
    problem = quadratic if kind != "sam" else BENT
    gaps = []
    for rho in (0.04, 0.02):
        ends = [
            wb.run(problem, rule, seed=4, steps=1, start=START, source=source).parameters
            for rule, source in (
                (algorithm(kind, ETA, rho), AdditiveNoise(SIGMA)),
                (diffusion(kind, ETA, rho, SIGMA), None),
            )
        ]
        gaps.append(float((ends[0] - ends[1]).norm()))
    if kind == "sam":
        # J is a mean over the noise: on one draw SAM's step differs at first order already, but not in the mean.
        assert 0 < gaps[1] < gaps[0] < ETA * SIGMA
    else:
        assert max(gaps) < 1e-15


def test_many_runs_are_the_single_ones_and_rho_and_sigma_may_be_swept():
    def end(seed, rho):
        return {"x": wb.run(BENT, diffusion("sam", ETA, rho, SIGMA), seed=seed, steps=20, progress=False).parameters}

    swept = wb.sweep(end, seed=[1, 4], rho=[0.1, 0.3], progress=False).x
    for seed, rho in ((1, 0.3), (4, 0.1)):
        alone = wb.run(BENT, diffusion("sam", ETA, rho, SIGMA), seed=seed, steps=20, compile=False, progress=False)
        np.testing.assert_allclose(swept.sel(seed=seed, rho=rho), alone.parameters, rtol=1e-12)


def test_without_noise_dnsam_is_sam_and_with_parameters_in_parts_nothing_changes():
    one, two = (
        wb.run(BENT, algorithm(kind, ETA, 0.2), steps=30, progress=False).parameters for kind in ("dnsam", "sam")
    )
    torch.testing.assert_close(one, two, rtol=1e-13, atol=0)
    parts = {"a": START[:1], "b": START[1:]}

    def split(gradient):
        return lambda x: dict(zip("ab", gradient(torch.cat([x["a"], x["b"]])).split([1, 2]), strict=True))

    def split_product(x, v):
        whole = product(torch.cat([x["a"], x["b"]]), torch.cat([v["a"], v["b"]]))
        return dict(zip("ab", whole.split([1, 2]), strict=True))

    xi = draws.normal(3, (3,), stream="xi")
    for kind in KINDS:
        whole = sde_increment(kind, GRADIENT, product, START, 0.01, ETA, 0.2, xi, SIGMA)
        found = sde_increment(
            kind, split(GRADIENT), split_product, parts, 0.01, ETA, 0.2, {"a": xi[:1], "b": xi[1:]}, SIGMA
        )
        torch.testing.assert_close(torch.cat([found["a"], found["b"]]), whole, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SharpnessAwareSDE("lion", 0.1, 0.1, 0.1), "kind must be one of sgd, usam, dnsam, sam, got 'lion'"),
        (lambda: SharpnessAwareSDE("sam", 0.1, 0.1, 0.0), r"sigma must be a finite number in \(0"),
        (lambda: SharpnessAwareSDE("usam", 0.1, -0.1, 0.1), r"rho must be a finite number in \[0"),
        (lambda: algorithm("msam", 0.1, 0.1), "kind must be one of"),
        (
            lambda: sam_family_step("dnsam", lambda x: x, torch.zeros(2), 0.1, 0.1),
            r"\|grad f\(x\)\|, which is 0 at this x",
        ),
        (
            lambda: sde_increment(
                "dnsam", lambda x: x, lambda x, v: v, torch.zeros(2), 0.1, 0.1, 0.1, torch.ones(2), 0.1
            ),
            r"\|grad f\(x\)\|, which is 0 at this x",
        ),
        (
            lambda: sde_increment(
                "usam", lambda x: x, lambda x, v: v, torch.ones(2), 0.0, 0.1, 0.1, torch.ones(2), 0.1
            ),
            r"dt must be a finite number in \(0",
        ),
    ],
)
def test_bad_arguments_are_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_dnsam_blows_up_at_a_stationary_point_and_that_is_data():
    bowl = wb.problems.quadratic([1.0, 2.0])
    run = wb.run(
        bowl, algorithm("dnsam", ETA, 0.1), steps=3, source=AdditiveNoise(SIGMA), start=torch.zeros(2, dtype=D)
    )
    assert run.diverged and int(run.diverged_at) == 1
