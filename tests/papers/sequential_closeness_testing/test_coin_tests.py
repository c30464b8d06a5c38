"""Tests of a coin: sizes in exact arithmetic, boundaries by their definitions, the programme against enumeration."""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from workbench.papers.sequential_closeness_testing import bernoulli, stopping_law
from workbench.papers.sequential_closeness_testing.stopping_law import sequential_dp
from workbench.papers.sequential_closeness_testing.stopping_rules import GLR, Looks, MixtureSPRT, stopping_rule

SHORT = [GLR(0.3, 0.4), GLR(0.4, 0.3, union_bound=False), MixtureSPRT(0.3, 0.3), MixtureSPRT(0.2, 0.4, 0.8)]


def exact_tail(m, k, p):  # P(Bin(m, p) >= k) with p a fraction
    return sum(math.comb(m, j) * p**j * (1 - p) ** (m - j) for j in range(k, m + 1))


def exact_miss(m, eps, delta):
    k = next((k for k in range(m // 2 + 1, m + 1) if 2 * exact_tail(m, k, Fraction(1, 2)) <= delta), m + 1)
    p = Fraction(1, 2) + eps
    return exact_tail(m, m - k + 1, p) - exact_tail(m, k, p) if k <= m else Fraction(1)


@pytest.mark.parametrize(("eps", "delta"), [(Fraction(1, 4), 0.05), (Fraction(2, 5), 1e-3), (Fraction(1, 8), 0.2)])
def test_batch_size_is_the_smallest_one_in_exact_arithmetic(eps, delta):
    m = bernoulli.batch_size_bernoulli(float(eps), delta)
    miss = [float(exact_miss(size, eps, delta)) for size in range(1, m + 1)]
    np.testing.assert_allclose(bernoulli.batch_miss(np.arange(1, m + 1), float(eps), delta), miss, rtol=1e-10)
    assert miss[-1] <= delta and all(value > delta for value in miss[:-1])


def test_tails_far_below_the_smallest_quantile():
    m, eps, delta = 3000, Fraction(1, 4), 1e-100
    k = int(bernoulli.batch_threshold(m, delta)[0])
    half = Fraction(1, 2)
    assert 2 * exact_tail(m, k, half) <= delta < 2 * exact_tail(m, k - 1, half)
    miss = sum(math.comb(m, j) * 3**j for j in range(m - k + 1, k)) / Fraction(4**m)
    assert bernoulli.batch_miss(m, float(eps), delta)[0] == pytest.approx(float(miss), rel=1e-10)


def test_chernoff_information_is_the_best_exponent():
    for p, q in ((0.5, 0.7), (0.5, 0.51), (0.1, 0.9)):
        mixed = minimize_scalar(
            lambda s, p=p, q=q: math.log(p**s * q ** (1 - s) + (1 - p) ** s * (1 - q) ** (1 - s)),
            bounds=(0, 1),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert bernoulli.chernoff_information(p, q) == pytest.approx(-mixed.fun, rel=1e-7)
    assert bernoulli.limit_ratios(1e-4) == pytest.approx((4, 4), abs=1e-5)


def test_lower_bound_uses_the_relative_entropies():
    at_half, away = bernoulli.expected_size_bound(0.2, 0.05)
    evidence = 0.9 * math.log(19)
    assert at_half == pytest.approx(evidence / (0.5 * math.log(0.25 / 0.21)), rel=1e-12)
    assert away == pytest.approx(evidence / (0.7 * math.log(1.4) + 0.3 * math.log(0.6)), rel=1e-12)
    assert bernoulli.kl(0.0, 0.25) == pytest.approx(-math.log(0.75)) and bernoulli.kl(1.0, 0.25) == pytest.approx(
        math.log(4)
    )


def decision(rule, heads, t):
    """The definitions of arXiv:2205.06069, letter by letter: +1 reject, -1 accept, 0 go on."""
    if isinstance(rule, Looks):
        return decision(rule.of, heads, t) if t % rule.every == 0 else 0
    high, low = 0.5 + rule.eps, 0.5 - rule.eps
    if isinstance(rule, GLR):
        theta = rule.threshold_scale * math.log((2 * t * (t + 1) if rule.union_bound else 1) / rule.delta) / t
        share = heads / t
        if bernoulli.kl(share, 0.5) > theta:
            return 1
        near = abs(share - 0.5) < rule.eps and min(bernoulli.kl(share, high), bernoulli.kl(share, low)) > theta
        return -1 if near else 0
    plus, minus = ((2 * p) ** heads * (2 - 2 * p) ** (t - heads) for p in (high, low))
    bar = rule.delta**-rule.threshold_scale
    return 1 if (plus + minus) / 2 >= bar else -1 if max(plus, minus) <= 1 / bar else 0


@pytest.mark.parametrize("rule", [*SHORT, GLR(0.2, 1e-3), MixtureSPRT(0.1, 0.01), Looks(MixtureSPRT(0.2, 0.1), 5)])
def test_boundaries_are_the_definitions(rule):
    times = np.arange(1, 121)
    reject, accept = rule.boundaries(times)
    for t, rejects, accepts in zip(times.tolist(), reject.tolist(), accept.tolist(), strict=True):
        for heads in range(t + 1):
            most = max(heads, t - heads)
            assert (1 if most >= rejects else -1 if most <= accepts else 0) == decision(rule, heads, t), (t, heads)


@pytest.mark.parametrize("rule", [*SHORT, Looks(SHORT[0], 3), Looks(SHORT[2], 4)])
def test_programme_agrees_with_every_sequence(rule):
    length, chances = 12, np.array([0.5, 0.8, 0.35, 1.0])
    reject, accept, size = np.zeros((3, len(chances)))
    pmf = np.zeros((len(chances), length))
    for tosses in itertools.product((0, 1), repeat=length):
        heads, stopped = 0, None
        for t, toss in enumerate(tosses, 1):
            heads += toss
            if stopped is None and (verdict := decision(rule, heads, t)):
                stopped = t, verdict
        weight = chances**heads * (1 - chances) ** (length - heads)
        size += weight * (stopped[0] if stopped else length)
        if stopped:
            pmf[:, stopped[0] - 1] += weight
            reject += weight * (stopped[1] == 1)
            accept += weight * (stopped[1] == -1)
    law = sequential_dp(chances, rule, t_max=length)
    stopped_by = law.pmf.shape[1]
    np.testing.assert_allclose(law.pmf, pmf[:, :stopped_by], atol=1e-13)
    assert not pmf[:, stopped_by:].any()
    np.testing.assert_allclose([law.p_reject, law.p_accept, law.E_tau], [reject, accept, size], atol=1e-12)
    np.testing.assert_allclose(law.leftover, 1 - reject - accept, atol=1e-12)


@dataclass(frozen=True)
class TwoBarriers:
    """Stops, rejecting, at |2 S - t| = distance."""

    distance: int
    delta: float = 1e-6

    def boundaries(self, t):
        return np.minimum((t + self.distance + 1) // 2, t + 1), np.full_like(t, -1)


@pytest.mark.parametrize("distance", [1, 2, 7, 30])
def test_gamblers_ruin(distance):
    chances = np.array([0.5, 0.6, 0.9, 1.0])
    law = sequential_dp(chances, TwoBarriers(distance))
    drift, odds = 2 * chances - 1, (1 - chances) / chances
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.where(drift == 0, distance**2, distance / drift * (1 - odds**distance) / (1 + odds**distance))
    np.testing.assert_allclose(law.E_tau, expected, rtol=1e-10)
    np.testing.assert_allclose(law.p_reject, 1, rtol=1e-10)


@pytest.mark.parametrize("name", ["sprt", "glr"])
@pytest.mark.parametrize(("eps", "delta"), [(0.2, 1e-2), (0.3, 1e-30)])
def test_theorems_hold_exactly(name, eps, delta):
    law = sequential_dp([0.5, 0.5 + eps, 0.5 + 1.2 * eps], stopping_rule(name, eps, delta))
    assert law.p_reject[0] <= delta and (law.p_accept[1:] <= delta).all()
    assert (law.E_tau[:2] >= bernoulli.expected_size_bound(eps, delta)).all()
    assert (law.leftover < delta / 1000).all()
    np.testing.assert_allclose(law.p_reject + law.p_accept + law.leftover, 1, rtol=1e-12)


def test_heads_and_tails_are_alike_and_several_p_equal_one_at_a_time():
    rule = MixtureSPRT(0.2, 1e-3)
    law = sequential_dp([0.3, 0.7, 0.55], rule)
    assert law.E_tau[0] == pytest.approx(law.E_tau[1], rel=1e-13)
    alone = sequential_dp(0.55, rule)
    assert alone.E_tau.shape == () and alone.E_tau == pytest.approx(law.E_tau[2], rel=1e-12)


def test_a_cut_run_says_what_is_left():
    law = sequential_dp(0.5, GLR(0.2, 1e-3), t_max=700)
    whole = sequential_dp(0.5, GLR(0.2, 1e-3))
    np.testing.assert_array_equal(law.pmf, whole.pmf[:700])
    assert law.leftover == pytest.approx(whole.pmf[700:].sum(), rel=1e-9) and law.E_tau < whole.E_tau


def test_dropped_states_do_not_matter(monkeypatch):
    law = sequential_dp([0.5, 0.7], MixtureSPRT(0.2, 1e-32))
    monkeypatch.setattr(stopping_law, "_NEGLIGIBLE", 0.0)
    whole = sequential_dp([0.5, 0.7], MixtureSPRT(0.2, 1e-32))
    np.testing.assert_allclose(law.E_tau, whole.E_tau, rtol=1e-13)
    np.testing.assert_allclose(law.p_accept, whole.p_accept, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: GLR(0.5, 0.1), "eps"),
        (lambda: MixtureSPRT(0.1, 0.5), "delta"),
        (lambda: MixtureSPRT(0.1, 0.1, math.nan), "threshold_scale"),
        (lambda: stopping_rule("wald", 0.1, 0.1), "one of glr, sprt"),
        (lambda: stopping_rule("sprt", 0.4, 0.1, looks=1000), "fewer looks"),
        (lambda: sequential_dp(1.5, GLR(0.1, 0.1)), "p must lie"),
        (lambda: sequential_dp(0.5, GLR(0.1, 0.1), t_max=0), "t_max"),
        (lambda: bernoulli.batch_size_bernoulli(0.1, 1e-300), "delta"),
        (lambda: bernoulli.chernoff_information(0.5, 0.5), "differ"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
