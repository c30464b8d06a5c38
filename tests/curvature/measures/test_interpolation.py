"""The line between two solutions and the plane of three."""

import pytest
import torch

from workbench.curvature import interpolate, loss_plane

P = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
Q = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[-1.0]])}


def test_every_entry_moves_linearly_and_ends_are_exact():
    values = interpolate(P, Q, [0.0, 0.25, 1.0, 2.0], lambda w: {"first": w["a"], "sum": w["a"].sum() + w["b"].sum()})
    torch.testing.assert_close(values["first"], torch.tensor([[1.0, 2.0], [1.5, 1.5], [3.0, 0.0], [5.0, -2.0]]))
    torch.testing.assert_close(values["sum"], torch.tensor([6.0, 5.0, 2.0, -2.0]))


def test_quadratic_along_the_line_whatever_the_chunks():
    ts = torch.linspace(-1, 2, 13)
    loss = lambda w: (w**2).sum()  # noqa: E731
    p, q = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    expected = (1 - ts) ** 2 + ts**2
    torch.testing.assert_close(interpolate(p, q, ts, loss), expected)
    torch.testing.assert_close(interpolate(p, q, ts, loss, chunk=4), expected)


def test_under_vmap_over_pairs():
    p, q = torch.randn(5, 3), torch.randn(5, 3)
    together = torch.func.vmap(lambda a, b: interpolate(a, b, [0.0, 0.5], lambda w: w.sum()))(p, q)
    torch.testing.assert_close(together[:, 1], (p + q).sum(1) / 2)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (P["a"], "different structure"),
        ({"b": P["b"], "a": P["a"]}, "same order"),
        ({"a": P["b"], "b": P["b"]}, "agree"),
    ],
)
def test_parameters_must_match(other, message):
    with pytest.raises(ValueError, match=message):
        interpolate(P, other, [0.5], lambda w: w["b"].sum())


def test_ts_must_be_a_list():
    with pytest.raises(ValueError, match="ts must be"):
        interpolate(P, Q, 0.5, lambda w: w["b"].sum())


def test_plane_shows_distances_and_the_loss_itself():
    generator = torch.Generator().manual_seed(0)
    corners = torch.randn(3, 7, generator=generator, dtype=torch.float64)
    centre = torch.randn(7, generator=generator, dtype=torch.float64)
    loss = lambda w: (w - centre).square().sum()  # noqa: E731
    plane = loss_plane(loss, *corners, points=5, chunk=4)
    assert plane.values.shape == (5, 5) and plane.x.shape == plane.y.shape == (5,)
    torch.testing.assert_close(torch.cdist(plane.corners, plane.corners), torch.cdist(corners, corners))
    torch.testing.assert_close(plane.mean, plane.corners.mean(0))
    assert plane.x[0] < plane.corners[:, 0].min() and plane.y[-1] > plane.corners[:, 1].max()
    # |w - c|^2 restricted to the plane is a paraboloid: constant second differences 2 h^2 in both directions.
    for axis, grid in ((1, plane.x), (0, plane.y)):
        second = plane.values.diff(dim=axis).diff(dim=axis)
        torch.testing.assert_close(second, 2 * (grid[1] - grid[0]) ** 2 * torch.ones_like(second))
    u = (corners[1] - corners[0]) / (corners[1] - corners[0]).norm()
    across = corners[2] - corners[0]
    across = across - (across @ u) * u
    place = corners[0] + plane.x[3] * u + plane.y[1] * across / across.norm()
    torch.testing.assert_close(plane.values[1, 3], loss(place))


def test_three_solutions_on_a_line_span_no_plane():
    p = torch.tensor([1.0, 2.0, 0.0])
    loss = lambda w: w.sum()  # noqa: E731
    for third in (3 * p, p, 2 * p):
        with pytest.raises(ValueError, match="one line"):
            loss_plane(loss, p, 2 * p, third)
    with pytest.raises(ValueError, match="points=1"):
        loss_plane(loss, p, 2 * p, p * p, points=1)
