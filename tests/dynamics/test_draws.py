"""Random draws are functions of (seed, stream, counter) alone, vmapped or not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench import draws

seeds = st.lists(st.integers(0, 2**31), min_size=1, max_size=6)


@given(seeds)
def test_every_run_of_a_vmap_draws_what_it_draws_alone(values):
    many = torch.func.vmap(lambda seed: draws.normal(seed, (3, 2), stream="test", counter=5))(torch.tensor(values))
    alone = torch.stack([draws.normal(seed, (3, 2), stream="test", counter=5) for seed in values])
    assert torch.equal(many, alone)


def test_nested_vmaps_and_gradients_pass_through():
    def value(seed, scale):
        return (scale * draws.normal(seed, (4,))).square().sum()

    table = torch.func.vmap(torch.func.vmap(torch.func.grad(value, 1), (None, 0)), (0, None))
    scales = torch.tensor([1.0, 2.0], dtype=torch.float64)
    got = table(torch.tensor([3, 9]), scales)
    for i, seed in enumerate([3, 9]):
        squares = draws.normal(seed, (4,)).square().sum()
        torch.testing.assert_close(got[i], 2 * scales * squares)


def test_streams_and_counters_are_different_numbers():
    drawn = [draws.normal(1, (5,), stream=s, counter=c) for s in ("a", "b") for c in (0, 1)]
    assert all(not torch.equal(drawn[i], drawn[j]) for i in range(4) for j in range(i))


def test_distributions():
    assert abs(draws.normal(0, (20_000,)).mean()) < 4 / 20_000**0.5
    uniform = draws.uniform(0, (20_000,), low=-1.0, high=3.0)
    assert uniform.min() >= -1 and uniform.max() < 3 and abs(uniform.mean() - 1) < 0.04
    assert set(draws.signs(0, (100,)).tolist()) == {-1.0, 1.0}
    assert set(draws.integers(0, 3, (100,)).tolist()) == {0, 1, 2}
    assert sorted(draws.permutation(4, 50).tolist()) == list(range(50))


def test_seeded_reproduces_a_given_generator():
    @draws.seeded
    def legacy(seed, n):
        return np.random.RandomState(seed).randn(n)

    many = torch.func.vmap(lambda seed: legacy(seed, 4))(torch.tensor([7, 8]))
    assert np.array_equal(many[1].numpy(), np.random.RandomState(8).randn(4))


def test_a_caller_cannot_spoil_later_draws():
    first = draws.normal(11, (3,))
    first.zero_()
    assert not torch.equal(draws.normal(11, (3,)), first)


@pytest.mark.parametrize("seed", [1.5, torch.tensor([1, 2]), torch.tensor(1.0), True, -1])
def test_bad_seeds_are_refused(seed):
    with pytest.raises((ValueError, RuntimeError), match="seed must be"):
        draws.normal(seed, (2,))
