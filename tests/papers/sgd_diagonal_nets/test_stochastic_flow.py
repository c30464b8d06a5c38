"""The diffusion against plain loops, its laws by enumeration, the theorem's identities along it, and the isotropic noise."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.draws import Normal, numbers
from workbench.papers.sgd_diagonal_nets.data import minimum_l1, sparse_data
from workbench.papers.sgd_diagonal_nets.effective_initialisation import effective_initialisation, predicted_limit
from workbench.papers.sgd_diagonal_nets.runs import descent, noise_integral, outcome, stochastic_flow
from workbench.papers.sgd_diagonal_nets.step_size import kaczmarz_step
from workbench.papers.sgd_diagonal_nets.stochastic_flow import IsotropicNoise, StochasticGradientFlow

DATA = sparse_data(4, n=4, d=9, k=2)
NETWORK = DATA.network(0.1)


def plain_flow(scheme, seed, gamma, h, steps, delta=0.0, until=0, per_sample=False):
    inputs, targets = DATA.inputs.numpy(), DATA.targets.numpy()
    plus, minus = np.full(9, 0.1), np.full(9, 0.1)
    for t, z in enumerate(numbers(Normal("noise", (4,)), seed, steps).numpy()):
        r = inputs @ (plus**2 - minus**2) - targets
        noise = delta**2 if t < until else 0.0
        s = (
            np.sqrt(gamma / 4 * (r**2 + 4 * noise))
            if per_sample
            else 2 * np.sqrt(gamma * ((r**2).mean() / 4 + noise) / 4)
        )
        inc = inputs.T @ (r * h / 4 - np.sqrt(h) * s * z)
        square = ((inputs.T * s) ** 2).sum(1)
        if scheme == "em":
            plus, minus = plus * (1 - inc), minus * (1 + inc)
        else:
            plus, minus = plus * np.exp(-inc - square * h / 2), minus * np.exp(inc - square * h / 2)
    return torch.from_numpy(np.stack([plus, minus]))


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("scheme", ["log", "em"])
def test_the_flow_is_the_plain_loop(scheme, per_sample):
    options = {"delta": 0.2, "per_sample": per_sample}
    run = stochastic_flow(NETWORK, 0.04, 60, 3, scheme=scheme, dt=0.03, noise_until=40, **options)
    expected = plain_flow(scheme, 3, 0.04, 0.03, 60, until=40, **options)
    torch.testing.assert_close(run.parameters, expected, rtol=1e-10, atol=1e-15)


def matrix(equation, w):
    """The diffusion matrix at w, column by column: [2 * feature, sample]."""
    oracle = wb.dynamics.sources.AllSamples().oracle(None)  # type: ignore[arg-type]
    return torch.stack([equation.diffusion(oracle, w, e).flatten() for e in torch.eye(4).double()], 1)


def test_the_covariance_is_that_of_sampled_gradients():
    """gamma (second moment of SGD's sample gradients) for every w; the mean diagonal's trace where residuals are equal."""
    w, gamma, delta = NETWORK.start_from(0.1) + 0.2 * wb.draws.normal(0, (2, 9)), 0.05, 0.15
    samples = []
    for x, y in zip(*NETWORK.data, strict=True):
        for sign in (-1, 1):
            samples.append(NETWORK.gradient(w, (x[None], y[None] + sign * 2 * delta)).flatten())
    moment = sum(torch.outer(g, g) for g in samples) / len(samples)
    noise = matrix(StochasticGradientFlow(NETWORK, gamma, delta, per_sample=True), w)
    torch.testing.assert_close(noise @ noise.T, gamma * moment, rtol=1e-11, atol=1e-14)
    mean = StochasticGradientFlow(NETWORK, gamma, delta)
    oracle = wb.dynamics.sources.AllSamples().oracle(None)  # type: ignore[arg-type]
    for equation in (mean, StochasticGradientFlow(NETWORK, gamma, delta, per_sample=True)):
        full = matrix(equation, w)
        torch.testing.assert_close(equation.variance(oracle, w).flatten(), (full**2).sum(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        mean.sample_variances(oracle, w), torch.ones(4).double() * gamma * (NETWORK.loss(w) + delta**2)
    )


def test_along_the_log_scheme_the_identities_are_exact():
    """w+ w- is the formula's alpha^2 with the run's own loss integral, and log(w+/w-) stays in the row space."""
    gamma, delta = 0.05, 0.1
    run = stochastic_flow(NETWORK, gamma, 300, 1, delta=delta, noise_until=100)
    alpha = effective_initialisation(
        DATA.inputs, 0.1, gamma, run.integrals["loss"], noise_integral(gamma, 300, delta, 100)
    )
    torch.testing.assert_close(NETWORK.effective_initialisation(run.parameters), alpha, rtol=1e-12, atol=0)
    ratio = torch.log(run.parameters[0] / run.parameters[1])
    outside = ratio - DATA.inputs.T @ torch.linalg.lstsq(DATA.inputs.T, ratio).solution
    assert outside.abs().max() < 1e-10
    torch.testing.assert_close(
        ratio, torch.asinh(NETWORK.predictor(run.parameters) / (2 * alpha**2)), rtol=1e-9, atol=1e-10
    )


def test_euler_maruyama_approaches_the_identity():
    gamma, fine = 0.08, 512

    def error(seed, pieces):
        h = 4 / fine * pieces
        run = stochastic_flow(NETWORK, gamma, fine // pieces, seed, scheme="em", dt=h, pieces=pieces)
        gap = NETWORK.log_decay(run.parameters) + torch.log(
            effective_initialisation(DATA.inputs, 0.1, gamma, run.integrals["loss"]) / 0.1
        )
        return {"error": (gap**2).mean()}

    errors = wb.sweep(error, static=["pieces"], seed=range(16), pieces=[2, 32], progress=False).error.mean("seed")
    order = 0.5 * float(np.log(errors[1] / errors[0]) / np.log(16))
    assert 0.3 < order < 1.0  # strong order 1/2, and not "does not vanish"


def test_the_flow_converges_to_the_predicted_limit():
    gamma = 0.5 * float(kaczmarz_step(DATA.inputs, minimum_l1(DATA.inputs, DATA.targets)))
    run = stochastic_flow(NETWORK, gamma, 6000, 2)
    found = outcome(DATA, NETWORK, run, gamma)
    beta = NETWORK.predictor(run.parameters)
    limit = predicted_limit(DATA.inputs, DATA.targets, 0.1, gamma, run.integrals["loss"])
    assert float(found["residual"]) < 1e-6
    assert float((beta - limit).norm()) < 1e-5 * float(beta.norm())
    assert float(found["distance_formula"]) < 1e-3 * float(found["distance_flow"])
    assert float(found["decay"]) == pytest.approx(float(found["decay_formula"]), rel=1e-10) and found["decay"] > 0


def test_without_noise_it_is_the_gradient_flow():
    still = stochastic_flow(NETWORK, 0.05, 400, 0, sde_noise=0.0)
    torch.testing.assert_close(NETWORK.log_decay(still.parameters), torch.zeros(9).double(), rtol=0, atol=1e-12)


def test_outcomes_in_a_sweep_are_those_alone_and_divergence_is_data():
    def one(seed, gamma):
        data = sparse_data(seed, n=4, d=9, k=2)
        network = data.network(0.1)
        return outcome(data, network, descent(network, gamma, 400, seed), gamma)

    swept = wb.sweep(one, seed=[0, 3], gamma=[0.02, 50.0], progress=False)
    alone = one(3, 0.02)
    for name, value in alone.items():
        assert float(swept[name].sel(seed=3, gamma=0.02)) == pytest.approx(float(value), rel=1e-6, abs=1e-9), name
    assert bool(swept.test.sel(gamma=50.0).isnull().all()) and bool(swept.test_flow.notnull().all())


def test_isotropic_noise_has_the_mean_variance_of_sampled_gradients():
    w = NETWORK.start_from(0.1) + 0.2 * wb.draws.normal(0, (2, 9))
    gradients = torch.stack([NETWORK.gradient(w, (x[None], y[None])) for x, y in zip(*NETWORK.data, strict=True)])
    variance = gradients.var(0, correction=0).mean()
    assert float(IsotropicNoise(NETWORK).size(w)) == pytest.approx(float(variance.sqrt()), rel=1e-12)
    z = numbers(Normal("isotropic", (18,)), 6, 1)[0].reshape(2, 9)
    run = descent(NETWORK, 0.05, 1, 6, method="isotropic")
    start = NETWORK.start_from(0.1)
    step = NETWORK.gradient(start) + IsotropicNoise(NETWORK).size(start) * z
    torch.testing.assert_close(run.parameters, start - 0.05 * step, rtol=1e-12, atol=0)


def test_bad_words_are_refused():
    with pytest.raises(ValueError, match="scheme"):
        stochastic_flow(NETWORK, 0.05, 4, 0, scheme="milstein")
    with pytest.raises(ValueError, match="gamma"):
        StochasticGradientFlow(NETWORK, -0.1)
