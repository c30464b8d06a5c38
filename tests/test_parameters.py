"""Lengths and directions of parameters in every type, however large or small their entries."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.parameters import inner, norm, normalised

TYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128]


def exact(x):
    """The length in double precision, of entries divided by the largest one."""
    entries = x.reshape(-1).to(torch.complex128)
    size = float(entries.abs().max())
    return float((entries / size).abs().square().sum().sqrt()) * size


@pytest.mark.parametrize("dtype", TYPES)
@given(place=st.floats(0.001, 1), entries=st.integers(1, 40), seed=st.integers(0, 50))
def test_a_direction_has_length_one_for_every_finite_gradient_but_zero(dtype, place, entries, seed):
    low, high = torch.finfo(dtype).tiny * torch.finfo(dtype).eps, torch.finfo(dtype).max / 4
    entry = low ** (1 - place) * high**place
    x = entry * torch.rand(entries, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x[0] = entry
    x = x.to(dtype)
    many = torch.func.vmap(normalised)(torch.stack([x, torch.zeros_like(x)]))
    for unit in (normalised(x), normalised({"a": x[:1], "b": x[1:]}), many[0]):
        unit = torch.cat([*unit.values()]) if isinstance(unit, dict) else unit
        assert unit.dtype == dtype
        assert exact(unit) == pytest.approx(1, abs=4 * torch.finfo(dtype).eps)
    assert torch.equal(many[1], torch.zeros_like(x)) and torch.equal(normalised(x * 0), x * 0)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("entry", [1e-6, 0.3, 2e4])
def test_a_norm_is_right_where_squares_leave_the_range(dtype, entry):
    x = torch.full((5,), entry).to(dtype)
    assert float(norm(x)) == pytest.approx(exact(x), rel=1e-5)
    assert float(torch.func.vmap(norm)(x[None])[0]) == pytest.approx(exact(x), rel=1e-5)
    assert float(norm(torch.zeros(3, dtype=dtype))) == 0


def test_complex_products_are_those_of_the_real_entries():
    x, y = torch.randn(2, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    assert float(inner(x, y)) == pytest.approx(float((torch.view_as_real(x) * torch.view_as_real(y)).sum()))
    assert torch.equal(normalised(torch.tensor([torch.nan, 1.0])).isnan(), torch.tensor([True, True]))
