"""Linear fingerprints: the radius against a linear programme and bisection, the theorem tried, attacks graded, refusals."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from workbench import draws
from workbench.papers.robust_image_attribution import linear


def _case(seed, features=3, pixels=5, entries=6, queries=4):
    W, database = draws.normal(seed, (features, pixels)), draws.uniform(seed + 50, (entries, pixels))
    index = torch.arange(queries)
    return W, database, database[:queries] + 0.02 * draws.normal(seed + 90, (queries, pixels)), index


@pytest.mark.parametrize("seed", range(3))
def test_the_radius_is_that_of_linear_programmes(seed):
    W, database, queries, index = _case(seed)
    radii = linear.linear_evasion_radius(W=W, database=database, queries=queries, index=index, norm="linf")
    z = (database @ W.T).numpy()
    for q, i in enumerate(index.tolist()):
        least = np.inf
        for j in range(len(z)):
            if j == i:
                continue
            # min t subject to |delta_k| <= t and the half-space of j reached.
            normal = 2 * W.numpy().T @ (z[j] - z[i])
            level = z[j] @ z[j] - z[i] @ z[i] - normal @ queries[q].numpy()
            d = len(normal)
            box = np.block([[np.eye(d), -np.ones((d, 1))], [-np.eye(d), -np.ones((d, 1))]])
            found = linprog(
                np.r_[np.zeros(d), 1],
                A_ub=np.vstack([box, np.r_[-normal, 0]]),
                b_ub=np.r_[np.zeros(2 * d), -level],
                bounds=[(None, None)] * d + [(0, None)],
            )
            least = min(least, found.x[-1])
        assert float(radii[q]) == pytest.approx(least, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nothing_inside_the_ball_breaks_the_match_and_the_perturbation_does(norm):
    W, database, queries, index = _case(7)
    found = linear.linear_evasion(W, database, queries, index, norm)
    assert (found.radius > 0).all()
    size = found.perturbation.abs().amax(1) if norm == "linf" else found.perturbation.norm(dim=1)
    assert torch.allclose(size, found.radius, rtol=1e-12)
    assert linear.matched(W, database, queries + (1 - 1e-9) * found.perturbation, index).all()
    assert not linear.matched(W, database, queries + (1 + 1e-9) * found.perturbation, index).any()
    for draw in range(200):
        step = draws.normal(draw, tuple(queries.shape))
        step = step.sign() if norm == "linf" else step / step.norm(dim=1, keepdim=True)
        assert linear.matched(W, database, queries + 0.999 * found.radius[:, None] * step, index).all()


def test_l2_radii_are_longer_and_both_scale_with_the_pictures():
    W, database, queries, index = _case(11)
    radii = {norm: linear.linear_evasion_radius(W, database, queries, index, norm) for norm in ("linf", "l2")}
    assert (radii["l2"] > radii["linf"]).all() and (radii["l2"] < 5**0.5 * radii["linf"] * (1 + 1e-12)).all()
    for norm, radius in radii.items():
        assert torch.allclose(linear.linear_evasion_radius(3 * W, database, queries, index, norm), radius, rtol=1e-11)
        twice = linear.linear_evasion_radius(W, 2 * database, 2 * queries, index, norm)
        assert torch.allclose(twice, 2 * radius, rtol=1e-11)
        more = linear.linear_evasion_radius(W, torch.cat([database, database[:1] + 0.1]), queries, index, norm)
        assert (more <= radius).all()


def test_mismatches_and_duplicates_have_no_radius():
    W, database, queries, index = _case(3)
    wrong = linear.linear_evasion_radius(W, database, database[[1]], torch.tensor([0]))
    assert wrong < 0
    doubled = torch.cat([database, database[:1]])
    assert linear.linear_evasion_radius(W, doubled, queries[:1], index[:1]) == 0
    one = linear.linear_evasion(W, database[:2], queries[:1], index[:1])
    assert one.rival == 1


def test_the_theorem_holds_and_the_wrong_norm_is_found_out():
    right, wrong = linear.exactness(0), linear.exactness(0, norm="l2")
    assert right["flipped"] == 1 and right["crossings"] == 0 and right["rounding"] < 1e-9
    assert wrong["crossings"] > 0


def test_attacks_lie_above_the_exact_curve():
    radii = [0.0, 0.02, 0.04, 0.06]
    curves = linear.recall_curves([5], radii, ("pgd", "away", "targets"), k=10)
    one = linear.example(5)
    exact = linear.linear_evasion_radius(one.W, one.database, one.queries, one.index)
    assert curves.exact[0].values.tolist() == [float((exact > radius).double().mean()) for radius in radii]
    for method in ("pgd", "away", "targets"):
        assert (curves[method] >= curves.exact - 1e-12).all()
        assert (curves[method].diff("radius") <= 1e-12).all()
    assert (curves.away > curves.exact + 0.1)[0, 2] and (curves.targets <= curves.pgd + 1e-12).all()
    stretched = linear.recall_curves([5], radii[2:3], ("pgd",), stretch=1.2)
    assert (stretched.pgd < stretched.exact).all()


def test_one_step_at_every_competitor_is_complete():
    W, database, queries, index = _case(1, entries=12, queries=8)
    radii = linear.linear_evasion_radius(W, database, queries, index)
    for radius in (*radii.tolist(), 0.0):
        held = linear.targeted_sign(W, database, queries, index, radius=1.000001 * radius, k=11)
        assert torch.equal(held, radii > 1.000001 * radius)
        assert (linear.targeted_sign(W, database, queries, index, radius, k=1) >= held).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "l1"}, "norm must be one of"),
        ({"database": torch.ones(1, 5, dtype=torch.float64)}, "at least two entries"),
        ({"index": torch.tensor([0, 1, 2, 6])}, "0..5"),
        ({"W": torch.ones(3, 4, dtype=torch.float64)}, "must fit"),
        ({"index": torch.arange(3)}, "must fit"),
    ],
)
def test_wrong_input_is_refused(change, message):
    W, database, queries, index = _case(0)
    arguments = {"W": W, "database": database, "queries": queries, "index": index} | change
    with pytest.raises(ValueError, match=message):
        linear.linear_evasion_radius(**arguments)
