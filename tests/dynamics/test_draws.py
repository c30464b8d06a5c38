"""Random draws are functions of (seed, stream, counter) alone, vmapped or not."""

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench import draws
from workbench.draws import host
from workbench.draws.table import Table

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


@pytest.mark.parametrize("stream", ["", "ascent", "kick", "truth", "a b", "1 2"])
def test_no_two_streams_and_no_users_generator_coincide(stream):
    drawn = draws.normal(5, (4,), stream=stream)
    others = [
        draws.normal(5 + ((1 + zlib.crc32(stream.encode())) << 30), (4,)),
        draws.normal(5, (4,), stream=f"0 {stream}"),
        draws.normal(5, (4,), stream=stream, counter=2**32),
        draws.normal(5 + 2**32, (4,), stream=stream),
        torch.from_numpy(np.random.default_rng(5).standard_normal(4)),
        torch.from_numpy(np.random.default_rng([5, 0, 0]).standard_normal(4)),
    ]
    assert not any(torch.equal(drawn, other) for other in others)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@given(low=st.floats(-1e4, 1e4), exponent=st.integers(-4, 4))
def test_uniform_stays_below_its_upper_end_in_every_type(dtype, low, exponent):
    high = low + 10.0**exponent
    try:
        numbers = draws.uniform(0, (400,), low=low, high=high, dtype=dtype).double()
    except ValueError as refused:
        assert "between them" in str(refused)
        return
    assert low <= numbers.min() and numbers.max() < high


def test_kept_draws_are_bounded_in_bytes():
    for counter in range(200):
        draws.normal(0, (120_000,), stream="large", counter=counter)
    assert sum(array.nbytes for array in host._cache.values()) <= 64 << 20


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: draws.normal(0, 3), "shape must be a tuple"),
        (lambda: draws.normal(0, (3,), dtype=torch.int64), "dtype must be a floating type"),
        (lambda: draws.normal(2**63, (3,)), "below 2"),
        (
            lambda: torch.func.vmap(lambda k: draws.normal(0, (3,), counter=k))(torch.arange(3)),
            "counter must be an int",
        ),
        (lambda: draws.uniform(0, (3,), low=1.0, high=1.0), "between them"),
    ],
)
def test_bad_draws_are_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize(
    "draw",
    [
        draws.Normal("s", (3,)),
        draws.Normal("s", (900, 2), pieces=3),
        draws.Uniform("s", ()),
        draws.Exponential("s", (2,)),
        draws.Integers("s", 7, (5,)),
        draws.Epochs("s", 10, 3),
        draws.Subsets("s", 10, 3),
        draws.Stratified("s", (2, 5), 2),
    ],
    ids=str,
)
def test_rows_are_the_same_one_by_one_and_in_stretches(draw):
    table, rows = Table(3, [(draw, 0), (draw, -1)]), draws.numbers(draw, 3, 9)
    assert rows.shape[1:] == draw.blank().shape and rows.dtype == draw.blank().dtype
    assert all(torch.equal(table.at(step)[0], rows[step]) for step in range(9))
    assert torch.equal(table.stretch((draw, 0), 2, 6), rows[2:8])
    assert torch.equal(table.stretch((draw, -1), 0, 6), rows[[0, 0, 1, 2, 3, 4]])
    for shift in (0, -1):
        pieces = table.stretches((draw, shift), 1, 8, 2)
        assert torch.equal(torch.cat(pieces), rows[1 + shift : 9 + shift])
        assert all(len(piece) % 2 == 0 for piece in pieces)
    many = torch.func.vmap(lambda seed: draws.numbers(draw, seed, 9))(torch.tensor([1, 3]))
    assert torch.equal(many[1], rows)


def test_a_coarse_row_is_the_sum_of_its_pieces():
    fine, coarse = (draws.numbers(draws.Normal("w", (2,), r), 0, 12 // r) for r in (1, 4))
    torch.testing.assert_close(coarse, fine.reshape(3, 4, 2).sum(1) / 2)
