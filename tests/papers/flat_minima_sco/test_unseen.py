"""Samples with unseen coordinates: probabilities against enumeration and sampling, draws against their event."""

import itertools
import math

import numpy as np
import pytest
import torch

from workbench.papers.flat_minima_sco import unseen_coordinates as unseen


def test_probability_by_enumeration():
    # n = 2 samples of 4 coins: 2^8 equally likely tables.
    tables = np.array(list(itertools.product([0, 1], repeat=8))).reshape(-1, 2, 4)
    hidden = (~tables.any(axis=1)).sum(axis=1)
    assert unseen.unseen_probability(2) == pytest.approx(np.mean(hidden >= 1), rel=1e-14)
    for k in range(5):
        assert unseen.unseen_probability(2, k) == pytest.approx(np.mean(hidden == k), rel=1e-12)


@pytest.mark.parametrize("n", range(2, 41))
def test_constant_probability_whatever_the_number_of_samples(n):
    assert unseen.unseen_probability(n) > (1 - 1 / math.e) * (1 - 1e-15)
    assert unseen.unseen_probability(n, 1) > 1 / math.e * (1 - 1e-12)


@pytest.mark.parametrize("n", [3, 10, 60])
@pytest.mark.parametrize("m", [1, 7, 1000, 2.0**40])
def test_largest_shown_puts_the_event_at_one_half(n, m):
    p = unseen.largest_shown(n, m)
    assert -math.expm1(m * math.log1p(-((1 - p) ** n))) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("event", ["any", 0, 1, 2, 3])
@pytest.mark.parametrize("n", [2, 5, 9])
def test_samples_show_their_event(n, event):
    for seed in range(5):
        samples = unseen.coins(seed, n, event)
        hidden = int(unseen.never_shown(samples).sum())
        assert samples.shape == (n, 2**n) and set(samples.unique().tolist()) <= {0.0, 1.0}
        assert hidden >= 1 if event == "any" else hidden == event
        if hidden:
            assert samples[:, unseen.first_unseen(samples)].sum() == 0
        assert int(unseen.tries(seed, n, event)) >= 1


def test_number_of_draws_is_geometric():
    tries = np.array([int(unseen.tries(seed, 6, 1)) for seed in range(400)])
    expected = 1 / unseen.unseen_probability(6, 1)
    assert abs(tries.mean() - expected) < 4 * tries.std() / 20


def test_seeds_may_be_vmapped():
    batch = torch.func.vmap(lambda seed: unseen.coins(seed, 4, 1))(torch.arange(3))
    assert all(torch.equal(batch[seed], unseen.coins(seed, 4, 1)) for seed in range(3))


def test_too_large_samples_are_refused_with_their_size():
    with pytest.raises(MemoryError, match=r"n=40 .* needs .*TiB"):
        unseen.coins(0, 40)


@pytest.mark.parametrize(("n", "event"), [(0, "any"), (3, -1), (3, 6), (1, 3), (2.5, 1), (3, "some")])
def test_impossible_requests_are_refused(n, event):
    with pytest.raises(ValueError, match=r"must be an int"):
        unseen.coins(0, n, event)
