"""The ladder by hand, and the court's error rates on a short trial (`benchmarks/court.py` has the long one)."""

import pytest

from benchmarks import court
from workbench.claims.judging.family import Pair, decide, ladder, level


def test_the_ladder_by_hand():
    # m = 4: levels .0125, .0125, .05/3, .025 (the cap); one claim behind Holm.
    assert [level(4, rank) for rank in range(4)] == [0.0125, 0.0125, pytest.approx(0.05 / 3), 0.025]
    pairs = [Pair(0.01, 1), Pair(1, 0.012), Pair(0.016, 1), Pair(0.024, 1)]
    assert [one for one, _ in ladder(pairs)] == ["reproduced", "contradicted", "reproduced", "reproduced"]
    # The first failure stops all later ones, though .016 and .024 would pass on their rungs.
    stopped = ladder([Pair(0.013, 1), *pairs[1:]])
    assert [one for one, _ in stopped] == ["inconclusive", "contradicted", "inconclusive", "inconclusive"]
    assert ladder([]) == [] and decide(Pair(0.025, 1)) == "reproduced"


def test_claims_not_measured_yet_count_in_the_family():
    assert ladder([Pair(0.02, 1)])[0][0] == "reproduced"
    assert ladder([Pair(0.02, 1)], m=10)[0][0] == "inconclusive"


def test_near_normal_means_and_skewed_ones_from_twenty_seeds_keep_their_level():
    # 1,500 runs: one standard error is .4, three 1.2; the worst of several laws.
    assert court.worst_of_mean(court.LAWS["near normal"], 8, 1500) <= 3.7
    assert court.worst_of_mean(court.LAWS["strong skew"], 20, 1500) <= 3.7
    assert court.worst_of_mean({"rare": court.LAWS["rare part"]["rare part"]}, 10, 1500) > 4, (
        "no guard sees a rare part"
    )


def test_a_family_keeps_its_level_for_both_verdicts_at_once():
    # 2,000 families: three standard errors of 5 % are 1.5.
    for kind in ("independent", "negative", "opposed"):
        assert court.family_rates(10, 2000, kind, "boundary from either side")[0] <= 6.5
    wrong, power = court.family_rates(10, 2000, "independent", "half")
    assert wrong <= 6.5 and power >= 55
    assert court.whole_procedure(10, 10, 300, list(court.LAWS["near normal"].values())) <= 8


def test_planted_statements_along_a_size_are_found_out():
    for noise in (0.0, 0.05):
        found = court.along_counts(noise)
        assert found["true, not reproduced"] <= 1 and found["false, not reproduced"] >= 9
