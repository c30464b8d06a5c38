"""Pass bands: R2 of arXiv:2510.09034 against brute force on the update map's companion matrix."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from workbench.optimizers import admissible_set, by_name, curvature_polynomial, max_sharpness, stability_constant

KINDS = ["gd", "usam", "two_step_usam", "nested_usam", "hessian_usam", "gradient_penalty"]
MOMENTA = ["", "+heavy_ball", "+nesterov"]
positive = st.floats(-2, 1).map(lambda exponent: 10**exponent)


def companion_radius(momentum, q, beta):
    """Spectral radius of the linearised step on (x, x_prev), q = alpha p(lambda)."""
    if momentum == "":
        return abs(1 - q)
    factor = 1 - q if momentum == "+nesterov" else None
    matrix = [[(1 + beta) * factor, -beta * factor], [1, 0]] if factor is not None else [[1 + beta - q, -beta], [1, 0]]
    return max(abs(np.linalg.eigvals(np.array(matrix))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("momentum", MOMENTA)
@given(alpha=positive, rho=positive, beta=st.floats(0, 0.95), size=positive, negative=st.booleans())
def test_inside_the_set_iff_the_step_is_not_expanding(kind, momentum, alpha, rho, beta, size, negative):
    rule = by_name(kind + momentum, alpha, rho=rho, beta=beta)
    eigenvalue = -size if negative else size
    q = alpha * curvature_polynomial(rule)(eigenvalue)
    if min(abs(q), abs(q - stability_constant(rule))) < 1e-6:
        return
    inside = any(low <= eigenvalue <= high for low, high in admissible_set(rule))
    assert inside == (companion_radius(momentum, q, beta) <= 1 + 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@given(alpha=positive, rho=positive, beta=st.floats(0, 0.95))
def test_max_sharpness_solves_p_equals_c_over_alpha(kind, alpha, rho, beta):
    rule = by_name(kind + "+heavy_ball", alpha, rho=rho, beta=beta)
    reached = curvature_polynomial(rule)(max_sharpness(rule))
    assert reached == pytest.approx(2 * (1 + beta) / alpha, rel=1e-9)


def test_order_of_the_upper_ends():
    ends = [max_sharpness(by_name(kind, 0.3, rho=0.05)) for kind in ("gd", "usam", "nested_usam", "two_step_usam")]
    assert ends == sorted(ends, reverse=True) and len(set(ends)) == 4


def test_usam_passes_negative_curvature_below_minus_one_over_rho_and_the_new_rules_do_not():
    (low, high), _ = admissible_set(wb.optimizers.usam(0.5, 0.4))
    assert high == -1 / 0.4 and low < high
    assert admissible_set(wb.optimizers.two_step_usam(0.5, 0.4))[0] == pytest.approx((-2.5, -2.5), rel=1e-15)
    for rule in (wb.optimizers.nested_usam(0.5, 0.4), wb.optimizers.hessian_usam(0.5, 0.4)):
        assert admissible_set(rule)[0][0] == 0.0 and len(admissible_set(rule)) == 1


def test_small_radius_tends_to_gradient_descent():
    assert max_sharpness(wb.optimizers.usam(0.1, 1e-14)) == pytest.approx(20.0, rel=1e-11)
    assert max_sharpness(wb.optimizers.usam(0.1, 0.0)) == 20.0


@pytest.mark.parametrize(
    "rule",
    [wb.optimizers.sam(0.1, 0.1), wb.optimizers.m_sam(0.1, 0.1, 2), wb.optimizers.multi_step_sam(0.1, 0.1, 2)],
    ids=lambda rule: rule.name,
)
def test_rules_outside_the_theorem_are_refused(rule):
    with pytest.raises(ValueError, match="no eigenvalue filter"):
        admissible_set(rule)


def test_a_schedule_has_no_filter():
    with pytest.raises(ValueError, match="schedule"):
        max_sharpness(wb.optimizers.gradient_descent(wb.optimizers.LinearDecay(1.0, 10)))
    assert math.isfinite(max_sharpness(wb.optimizers.gradient_descent(1.0)))
