"""Moments on finite data against the mean over all sequences of samples."""

import itertools

import numpy as np
import pytest
import torch

from workbench.dynamics.moments import CoordinateMoments, LinearStep
from workbench.dynamics.moments.samples import SampleMoments
from workbench.problems.linear.designs import FiniteData, OneHotDesign, fourth_moment_constants

INPUTS = torch.tensor([[1.0, 0.5], [-0.3, 0.8], [0.2, -1.1]], dtype=torch.float64)
TARGETS = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
STEP = LinearStep(np.array([[1.0, -0.06], [0.0, 0.6]]), np.array([[1.0, 0.0]]), np.array([[-0.1], [1.0]]))
OUTPUTS = {"parameters": np.array([1.0, 0.0])}


def simulate(data, start, sequence, rho=0.0):
    """Heavy ball on the samples of a sequence, with the gradient at x + rho g(x)."""
    x, v = start + data.minimiser.numpy(), np.zeros(2)
    inputs, targets = data.inputs.numpy(), data.targets.numpy()
    for i in sequence:

        def gradient(point, i=i):
            return inputs[i] * (inputs[i] @ point - targets[i])

        v = 0.6 * v + gradient(x + rho * gradient(x))
        x = x - 0.1 * v
    error = x - data.minimiser.numpy()
    return 0.5 * error @ data.hessian.numpy() @ error


@pytest.mark.parametrize("rho", [0.0, 0.3])
@pytest.mark.parametrize("probabilities", [None, torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)])
def test_risk_is_the_mean_over_all_sequences(probabilities, rho):
    data = FiniteData(INPUTS, TARGETS, probabilities)
    start = np.array([1.0, -2.0])
    step = STEP
    if rho:
        move = np.concatenate([np.zeros((2, 1)), STEP.move], axis=1)
        step = LinearStep(STEP.carry, np.repeat(STEP.point, 2, 0), move, np.array([[0.0, 0.0], [rho, 0.0]]))
    exact = SampleMoments(step, data, np.array([1.0, 0.0]), OUTPUTS)
    changing = SampleMoments(lambda first, count: step, data, np.array([1.0, 0.0]), OUTPUTS)
    shares = data.probabilities.numpy()
    for steps in (0, 1, 4):
        sequences = list(itertools.product(range(3), repeat=steps))
        expected = sum(shares[list(s)].prod() * simulate(data, start, s, rho) for s in sequences)
        assert exact.risk(start, steps).item() == pytest.approx(expected, rel=1e-11)
        assert changing.risk(start, steps).item() == pytest.approx(expected, rel=1e-11)


def test_one_hot_data_follow_the_one_hot_design():
    spectrum = np.array([1.0, 0.4, 0.1])
    inputs = torch.diag(torch.from_numpy(np.sqrt(3 * spectrum)))
    data = FiniteData(inputs, torch.zeros(3, dtype=torch.float64))
    start = np.array([1.0, 2.0, -1.0])
    finite = SampleMoments(STEP, data, np.array([1.0, 0.0]), OUTPUTS)
    design = CoordinateMoments(STEP, OneHotDesign(spectrum), np.array([1.0, 0.0]), OUTPUTS)
    np.testing.assert_allclose(finite.risk(start, 20, at=[1, 20]), design.risk(start, 20, at=[1, 20]), rtol=1e-12)
    # The whole state also has products of different coordinates: the radius is that of the expected map where it is larger.
    assert finite.spectral_radius() >= design.spectral_radius() - 1e-12
    assert data.constants == pytest.approx(OneHotDesign(spectrum).constants, rel=1e-12)


def test_constants_are_the_least_with_their_inequality():
    constants = fourth_moment_constants(INPUTS)
    hessian = (INPUTS.mT @ INPUTS / 3).numpy()
    fourth = (INPUTS * INPUTS.square().sum(1)[:, None]).mT @ INPUTS / 3
    scaled = (INPUTS @ torch.linalg.inv(torch.from_numpy(hessian)) * INPUTS).sum(1)
    weighted = (INPUTS * scaled[:, None]).mT @ INPUTS / 3
    for value, moments in zip(constants, (fourth, weighted), strict=True):
        gap = np.linalg.eigvalsh(value * hessian - moments.numpy())
        assert gap[0] == pytest.approx(0, abs=1e-12) and gap[1] > 0
    assert fourth_moment_constants(torch.cat([INPUTS, INPUTS[:, :1]], dim=1)).kappa >= 2
    with pytest.raises(ValueError, match="not all zero"):
        fourth_moment_constants(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="probabilities must be 3 numbers"):
        fourth_moment_constants(INPUTS, torch.tensor([0.5, 0.5]))


def test_one_gradient_a_step_needs_only_the_fourth_moments_of_the_data():
    """Changing coefficients: the operator from fourth moments equals the mean over every sample's own map."""
    generator = torch.Generator().manual_seed(0)
    inputs, targets = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((7, 3), (7,)))
    data = FiniteData(inputs, targets, torch.tensor([1, 2, 3, 1, 1, 1, 1.0], dtype=torch.float64) / 10)

    def steps(first, count):
        numbers = np.arange(first, first + count)[:, None, None]
        carry = np.array([[0.7, 0.3], [0.1, 0.9]]) + 0 * numbers
        point = np.concatenate([numbers / (numbers + 1.0), 1 / (numbers + 1.0)], axis=-1)
        move = np.concatenate([-0.1 + 0 * numbers, -0.01 * (numbers + 1)], axis=-2)
        return LinearStep(carry, point, move)

    exact = SampleMoments(steps, data, np.array([1.0, 1.0]), {"parameters": np.eye(2)[0], "other": np.eye(2)[1]})
    state = np.append(np.outer([1.0, 1.0], [0.5, -1.0, 2.0]).ravel(), 1.0)
    moments, found = np.outer(state, state), exact.risks(np.array([0.5, -1.0, 2.0]), 6, at=range(7))
    for step in range(7):
        for k, name in enumerate(("parameters", "other")):
            block = moments[3 * k : 3 * k + 3, 3 * k : 3 * k + 3]
            expected = 0.5 * np.trace(block @ data.hessian.numpy())
            assert found[name].values[step] == pytest.approx(expected, rel=1e-12)
        maps = exact.maps(step)
        moments = np.einsum("n,nij,jk,nlk->il", data.probabilities.numpy(), maps, moments, maps)
