import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.curvature import spectral_radius, spectrum, update_jacobian


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.integers(0, 100))
def test_a_rotated_quadratic_has_the_spectrum_it_was_given(values, seed):
    values = torch.tensor(sorted(values), dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    square = torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(square).Q
    matrix = rotation * values @ rotation.mT
    found = spectrum(lambda p: 0.5 * p @ matrix @ p, torch.zeros(len(values), dtype=torch.float64))
    torch.testing.assert_close(found, values, rtol=1e-12, atol=1e-12)


def test_the_spectrum_of_a_large_matrix_does_not_depend_on_the_algorithm():
    values = torch.cat([torch.zeros(300), torch.linspace(-1, 50, 400)]).double().sort().values
    rotation = torch.linalg.qr(torch.randn(700, 700, generator=torch.Generator().manual_seed(0)).double()).Q
    matrix = rotation * values @ rotation.mT
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 3e-5)):
        used = matrix.to(dtype)
        found = spectrum(lambda p, used=used: 0.5 * p @ used @ p, torch.zeros(700, dtype=dtype))
        torch.testing.assert_close(found.double(), values, rtol=tolerance, atol=50 * tolerance)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_diverged_runs_are_nan_and_leave_the_others_alone(bad):
    points = torch.randn(4, 3, dtype=torch.float64)
    points[1, 2] = bad

    def loss(p):
        return (p**2).sum() + (p**4).sum()

    together = torch.func.vmap(lambda p: spectrum(loss, p))(points)
    assert together[1].isnan().all()
    for run in (0, 2, 3):
        torch.testing.assert_close(together[run], (2 + 12 * points[run] ** 2).sort().values)
    assert spectrum(loss, points[1]).isnan().all()
    assert spectrum(lambda p: (p**2).sum(), points[1]).isnan().all()


def heavy_ball(step_size, beta):
    def step(x, v):
        v = beta * v - step_size * torch.func.grad(lambda p: 0.5 * (curvatures * p**2).sum())(x)
        return x + v, v

    return step


@pytest.mark.parametrize("alone", [[0], [1, 4], [0, 1, 2, 3, 4, 5]])
def test_uncoupled_parameters_keep_their_eigenvalues(alone):
    square = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = square + square.mT
    matrix[alone] = 0.0
    matrix[:, alone] = 0.0
    matrix[alone, alone] = torch.linspace(-2, 0, len(alone), dtype=torch.float64)
    found = spectrum(lambda p: 0.5 * p @ matrix @ p, torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(found, torch.linalg.eigvalsh(matrix), rtol=1e-13, atol=1e-13)


curvatures = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(0.01, 0.5), st.floats(0, 0.99))
def test_the_radius_of_heavy_ball_is_its_polynomials_largest_root(step_size, beta):
    zeros = torch.zeros(3, dtype=torch.float64)
    radius = spectral_radius(update_jacobian(heavy_ball(step_size, beta), zeros, zeros))
    roots = []
    for curvature in curvatures.tolist():
        half = (1 + beta - step_size * curvature) / 2
        root = abs(half) + (half**2 - beta) ** 0.5 if half**2 >= beta else beta**0.5
        roots.append(root)
    # A double root (critical damping) is known to half the digits only.
    assert abs(radius - max(roots)) < 1e-6


def test_jacobians_stack_states_in_order():
    x, y = torch.tensor([1.0, 2.0]), {"b": torch.tensor([3.0]), "a": torch.tensor([[4.0]])}

    def step(x, y):
        return x.flip(0) * y["b"], {"b": y["a"][0] ** 2, "a": x[:1, None]}

    expected = torch.tensor([[0.0, 3, 2, 0], [3, 0, 1, 0], [0, 0, 0, 8], [1, 0, 0, 0]])
    torch.testing.assert_close(update_jacobian(step, x, y), expected)


def test_radii_of_runs_in_a_batch():
    matrices = torch.stack([torch.eye(2), torch.tensor([[0.0, -2.0], [2.0, 0.0]]), torch.full((2, 2), torch.nan)])
    radii = torch.func.vmap(lambda m: spectral_radius(update_jacobian(lambda x: m @ x, torch.ones(2))))(matrices)
    torch.testing.assert_close(radii, torch.tensor([1.0, 2.0, torch.nan]), equal_nan=True)


def test_refusals(unchecked_shapes):
    with pytest.raises(ValueError, match="square"):
        spectral_radius(torch.ones(2, 3))
    with pytest.raises(ValueError, match="at least one state"):
        update_jacobian(lambda: ())
    with pytest.raises(ValueError, match="sizes"):
        update_jacobian(lambda x: x[:1], torch.ones(2))
