"""What the claims measure: the drawn words against exact probabilities, methods by the name of a swap, exponents."""

import math

import numpy as np
import pytest
import torch

from workbench.optimizers.inner_maximisation import sa_gd
from workbench.papers import flat_minima_sco as room
from workbench.papers.flat_minima_sco.adversaries import FreshCoordinate
from workbench.papers.flat_minima_sco.methods import method, positive_part
from workbench.papers.flat_minima_sco.minima import hidden_counts
from workbench.papers.flat_minima_sco.unseen_coordinates import unseen_probability
from workbench.papers.flat_minima_sco.visible_norm import shrinkage
from workbench.papers.flat_minima_sco.walks import exponent


@pytest.mark.parametrize(("swap", "shown"), [("none", 0.5), ("loaded-coin", 0.75)])
@pytest.mark.parametrize("n", [2, 5, 7])
def test_words_of_bits_leave_a_binomial_number_unseen(n, swap, shown):
    counts = hidden_counts(3, n, 4000, swap)
    assert counts.min() >= 0 and counts.max() <= 2**n
    rate = (1 - shown) ** n
    assert abs(counts.mean() - 2**n * rate) < 5 * math.sqrt(2**n * rate * (1 - rate) / 4000)
    assert abs((counts >= 1).mean() - unseen_probability(n, shown=shown)) < 5 * 0.5 / math.sqrt(4000)


def test_a_swap_names_the_method_that_runs():
    assert repr(method("SA-GD", "none", 0.1, 0.2, FreshCoordinate(0))) == repr(sa_gd(0.1, 0.2, FreshCoordinate(0)))
    assert repr(method("SAM", "gd", 0.1, 0.2)) == repr(method("GD", "none", 0.1, 0.2))
    assert repr(method("SA-GD", "sam", 0.1, 0.2)) == repr(method("SAM", "none", 0.1, 0.2))
    with pytest.raises(ValueError, match="maximiser"):
        method("SAM", "sa-gd", 0.1, 0.2)


def test_the_profile_without_a_swap_is_the_problem_s_own():
    shown = torch.tensor([0.0, 0.1, 0.3, 0.9], dtype=torch.float64)
    torch.testing.assert_close(positive_part(shown, 0.2, "none"), shrinkage(shown, 0.2))
    assert positive_part(shown, 0.2, "no-hinge")[1] < 0 and positive_part(shown, 0.2, "unsquared")[2] == pytest.approx(
        1 / 0.3
    )


def test_no_risk_has_no_exponent():
    assert exponent(1.0, 4.0) == 2 and math.isnan(exponent(0.0, 1.0)) and math.isnan(exponent(1.0, math.nan))


def test_gradient_descent_violates_the_bound_of_the_method_that_it_replaces():
    assert float(room.line_ratios("SA-GD", 0.25).max()) < 1
    assert float(room.line_ratios("SA-GD", 0.25, "gd").max()) == pytest.approx(32)


def test_the_printed_weight_holds_exactly_below_one():
    found = room.slip(range(4), [(6, 1 / 24), (6, 0.25), (6, 2.0)])
    assert found.corrected.values.all()
    np.testing.assert_array_equal(found.printed.values.astype(bool), found.factor.values < 1)
