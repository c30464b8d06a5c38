"""What the card measures on quadratics, at small sizes, and what its controls change."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from workbench.papers import sam_atlas as room


def test_runs_end_on_their_cycles_and_not_without_a_radius():
    assert np.abs(room.cycles(0.8, 0.1, 400).off).max() < 1e-9
    assert np.abs(room.cycles(0.8, 0.1, 100, 0.0).off).min() > 1e-3


def test_cycles_attract_along_the_top_axis_alone():
    assert set(room.mismatches(50, 1).values()) == {0}
    assert min(room.mismatches(50, 1, with_radius=False).values()) > 0


def test_saddles_keep_sam_inside_the_region_alone():
    found = room.saddles([1.0], 1500)
    assert (found.stays == found.should).all()
    assert not room.saddles([1.0], 300, "usam").stays.any()


def test_largest_eigenvalues_are_those_of_the_steps_jacobian():
    assert max(room.filter_edges().values()) < 1e-7
    assert min(room.filter_edges(plain=True).values()) > 1e-2


def test_sampa_diverges_beyond_its_bound():
    found = room.narrow(0.2, [0.8, 0.95])
    assert np.isfinite(found.sampa[0]) and np.isinf(found.sampa[1]) and np.isfinite(found.sam).all()


def test_the_noise_floor():
    ratio = room.noise_floor(range(40), [1.0, 0.5], 0.4, 0.1, 800).mean("seed")
    np.testing.assert_allclose(ratio, 1, atol=0.06)


@pytest.mark.parametrize("rule, a", [("sam", 0.8), ("momentum_sam", 1.2), ("asam", 1.9)])
def test_the_explorer_says_what_two_cycle_says(rule, a):
    figure = plt.figure()
    words = room.draw(figure, rule=rule, a=a, rho=0.1, r=0.5)
    plt.close(figure)
    assert ("no 2-cycle" in words) == (rule == "asam") and rule in words
