"""Lifts against the maps that they stand for; generators against the matrix exponential."""

import numpy as np
import pytest
from scipy.linalg import expm

from workbench.dynamics.moments import (
    AffineStep,
    affine_moments,
    exact_rate,
    expected_lift,
    lift,
    packed,
    second_moment_generator,
    spectral_radius,
    unpacked,
)

RANDOM = np.random.default_rng(0)
A, B, C = RANDOM.standard_normal((3, 4, 4))
M = C + C.T


def test_lifts_act_like_the_products():
    np.testing.assert_array_equal(unpacked(packed(M)), M)
    np.testing.assert_allclose(lift(A) @ packed(M), packed(A @ M @ A.T), rtol=1e-12)
    np.testing.assert_allclose(lift(A, B) @ packed(M), packed(A @ M @ B.T + B @ M @ A.T), rtol=1e-12)
    both = expected_lift(np.stack([A, B]), np.array([0.3, 0.7]))
    np.testing.assert_allclose(both @ packed(M), packed(0.3 * A @ M @ A.T + 0.7 * B @ M @ B.T), rtol=1e-12)
    np.testing.assert_allclose(lift(np.stack([A, B]))[1], lift(B))


def test_a_lift_has_the_products_of_eigenvalues():
    assert spectral_radius(lift(A)) == pytest.approx(np.abs(np.linalg.eigvals(A)).max() ** 2, rel=1e-12)


def test_generators_without_jumps_are_flows():
    generator = second_moment_generator(A, np.zeros((0, 4, 4)), [])
    np.testing.assert_allclose(
        expm(0.3 * generator) @ packed(M), packed(expm(0.3 * A) @ M @ expm(0.3 * A).T), rtol=1e-10
    )


def test_generators_of_jumps_average_over_the_number_of_jumps():
    """Commuting J: E s s^T at time t is a Poisson mixture of J^n."""
    jump = np.diag([0.5, -0.2])
    start = np.array([[2.0, 1.0], [1.0, 3.0]])
    got = expm(1.5 * second_moment_generator(np.zeros((2, 2)), [jump], [0.8])) @ packed(start)
    expected = start * np.exp(0.8 * 1.5 * (np.multiply.outer(jump.diagonal(), jump.diagonal()) - 1))
    np.testing.assert_allclose(got, packed(expected), rtol=1e-12)
    assert exact_rate(second_moment_generator(np.zeros((2, 2)), [jump], [0.8])) == pytest.approx(0.8 * 0.75)


def test_refusals_name_the_shapes():
    with pytest.raises(ValueError, match="square of one size"):
        second_moment_generator(A, [np.eye(3)], [1.0])
    with pytest.raises(ValueError, match="rates must be 1 finite numbers"):
        second_moment_generator(A, [A], [-1.0])
    with pytest.raises(MemoryError, match="choose a smaller state"):
        expected_lift(np.broadcast_to(np.eye(1), (1, 5000, 5000)), np.ones(1))


def test_affine_moments_of_many_settings_are_those_of_each():
    maps, offsets = 0.4 * RANDOM.standard_normal((3, 3, 5)), RANDOM.standard_normal((3, 5))
    root = RANDOM.standard_normal((5, 3, 3))
    noise, start = np.moveaxis(root @ root.transpose(0, 2, 1), 0, -1), RANDOM.standard_normal((3, 5))
    found = affine_moments(AffineStep(maps, offsets, noise), start, 6, at=[0, 3, 6])
    changing = affine_moments(lambda number: AffineStep(maps, offsets, noise), start, 6)
    np.testing.assert_array_equal(changing.mean[0], found.mean[-1])
    assert found.steps == [0, 3, 6]
    for i in range(5):
        mean, covariance, one = start[:, i], np.zeros((3, 3)), maps[..., i]
        for _ in range(6):
            mean, covariance = one @ mean + offsets[:, i], one @ covariance @ one.T + noise[..., i]
        np.testing.assert_allclose(found.mean[-1, :, i], mean, rtol=1e-11)
        np.testing.assert_allclose(found.covariance[-1, ..., i], covariance, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(found.second[-1, ..., i], covariance + np.outer(mean, mean), rtol=1e-11, atol=1e-12)


def test_affine_moments_broadcast_settings_and_leave_the_covariance_without_those_of_the_start():
    gain, starts = np.array([0.5, 0.9]), np.array([[1.0], [-1.0], [3.0]])
    found = affine_moments(
        AffineStep([[gain, 0.1], [0.0, 1.0]], [0.0, 0.2], [[1.0, 0.0], [0.0, 0.0]]), [starts, 0.0], 4
    )
    assert found.mean.shape == (1, 2, 3, 2) and found.covariance.shape == (1, 2, 2, 2)
    np.testing.assert_allclose(found.covariance[0, 0, 0], (1 - gain**8) / (1 - gain**2), rtol=1e-12)
    one = affine_moments(AffineStep([[0.9, 0.1], [0.0, 1.0]], [0.0, 0.2], [[1.0, 0.0], [0.0, 0.0]]), [3.0, 0.0], 4)
    np.testing.assert_allclose(found.mean[0, :, 2, 1], one.mean[0], rtol=1e-13)
