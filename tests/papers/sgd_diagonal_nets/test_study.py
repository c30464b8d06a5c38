"""The study against plain loops and single runs, its helpers by hand, its refusals, and the one potential of the library."""

import importlib
import math

import numpy as np
import pytest
import torch
import xarray as xr

from workbench.papers import sgd_diagonal_nets as room
from workbench.papers.sgd_diagonal_nets import effective_initialisation, runs, study
from workbench.papers.sgd_diagonal_nets.data import sparse_data
from workbench.papers.sgd_diagonal_nets.runs import EVERY, descent, outcome
from workbench.papers.understanding_sam import diagonal_study, theory
from workbench.problems.factorised import diagonal_network, diagonal_potential

# The package has a function of that name.
explorer = importlib.import_module("workbench.papers.sgd_diagonal_nets.explorer")
SMALL = room.Study(range(3, 6), 8, 16, 2)


def test_potential_limit_and_network_are_the_librarys_which_understanding_sam_uses_too():
    for module in (effective_initialisation, runs, study, explorer, diagonal_study, theory):
        assert module.argmin_phi is diagonal_potential.argmin_phi
    assert effective_initialisation.phi is explorer.phi is diagonal_potential.phi
    network = sparse_data(0, 4, 9, 2).network(0.1)
    assert isinstance(network, diagonal_network.SquaresNetwork)
    own = diagonal_network.SquaresNetwork.effective_initialisation
    assert (
        type(network).effective_initialisation is own
        and type(network).predictor is diagonal_network.SquaresNetwork.predictor
    )


def test_sums_over_rows_are_the_librarys():
    one = sparse_data(1, 5, 9, 2)
    network = one.network(0.1)
    plain = diagonal_network.diagonal_network((one.inputs, one.targets), 0.1)
    w = torch.linspace(0.1, 1.0, 18, dtype=torch.float64).reshape(2, 9)
    torch.testing.assert_close(network.residuals(w), plain.residuals(w), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(network.gradient(w), plain.gradient(w), rtol=1e-12, atol=1e-14)
    batch = (one.inputs[:2], one.targets[:2])
    assert torch.equal(network.gradient(w, batch), plain.gradient(w, batch))


def test_a_thinned_integral_is_the_whole_one_where_the_loss_is_smooth():
    network = sparse_data(2, 8, 16, 2).network(0.05)
    record = {"loss": network.loss}
    whole = descent(network, 0.02, 1000, 0, method="gd", record=record)
    thinned = descent(network, 0.02, 1000, 0, method="gd", thin_after=300, record=record)
    assert torch.equal(whole.parameters, thinned.parameters)
    assert float(thinned.integrals["loss"]) == pytest.approx(float(whole.integrals["loss"]), rel=1e-3)
    steps = np.asarray(thinned.records["loss"].coords["step"])
    assert (np.diff(steps) > 0).all() and steps[-1] == 1000 and (np.diff(steps[steps >= 300]) <= EVERY).all()


def test_arms_are_single_runs_with_their_own_settings():
    arms = room.arms([0.4, 0.8], 0.05, [0.2, 0.05], 0.1)
    assert list(arms) == ["c = 0.4", "c = 0.8", "label noise", "alpha = 0.2"]
    found = SMALL.descents(arms, 120)
    for name, arm in arms.items():
        one = sparse_data(4, 8, 16, 2)
        gamma = arm.fraction * float(SMALL.units[1])
        network = one.network(arm.alpha)
        done = descent(
            network, gamma, 120, 4 + 10_000_000 * arm.stream, delta=arm.delta, noise_until=60 if arm.delta else None
        )
        alone = outcome(one, network, done, gamma, gamma * arm.delta**2 * 60)
        for quantity in ("test", "decay", "decay_formula", "distance_own", "loss_integral"):
            assert float(found[quantity].sel(seed=4, arm=name)) == pytest.approx(float(alone[quantity]), rel=1e-9)
    same = room.arms([0.4, 0.8], 0.05, [0.05], 0.0, same_step=True)
    assert same["c = 0.8"] == room.Arm(0.4, 0.05, 0.0, 2)


def test_gradient_descent_in_every_place_and_the_next_features_scale():
    swapped = room.Study(SMALL.seeds, 8, 16, 2, method="gd")
    arms = {"one": room.Arm(0.5, 0.05)}
    assert swapped.descents(arms, 200).equals(SMALL.descents(arms, 200, method="gd"))
    own, shifted = (SMALL.descents(arms, 200, next_feature=flag) for flag in (False, True))
    assert float((own.distance_own - shifted.distance_own).min()) < 0 and own.test.equals(shifted.test)


def test_an_unstable_start_is_refused_before_any_step():
    with pytest.raises(ValueError, match=r"4 gamma alpha\^2 max \|x\|\^2 is .* alpha = 1 "):
        SMALL.descents({"wide": room.Arm(1.0, 1.0)}, 10)


def test_the_unit_of_the_steps():
    assert float(room.Study(SMALL.seeds, 8, 16, 2, gamma=0.03).step(4, 0.5)) == pytest.approx(0.015)
    beta = SMALL.sparsest[2]
    one = sparse_data(5, 8, 16, 2)
    largest = max(sum(x * x * abs(b) for x, b in zip(row, beta.tolist(), strict=True)) for row in one.inputs.tolist())
    assert float(SMALL.step(5, 2.0)) == pytest.approx(2 / largest, rel=1e-12)
    zeta = 0.5 * 0.5 / largest * float(beta.abs().sum()) * float((one.inputs**2).mean())
    assert float(SMALL.zeta(0.5).sel(seed=5)) == pytest.approx(zeta, rel=1e-12)


def test_errors_in_units_of_their_computed_error():
    h = xr.DataArray([1.0, 0.5, 0.25], dims="h", coords={"h": [1.0, 0.5, 0.25]})
    # One extrapolation leaves -0.2 h^2 of h + 0.1 h^2, two leave nothing: the error is 0.2/16.
    assert float(room.over_computed_error(1e-3 + h + 0.1 * h**2)) == pytest.approx(1e-3 / 0.0125)
    assert float(room.over_computed_error(h + 0.1 * h**2)) < 1e-12
    assert math.isnan(float(room.over_computed_error(xr.ones_like(h) * [1.0, 0.3, 0.9])))


def test_powers_ranks_and_which_is_nearer():
    alphas = [0.1, 0.01]
    decay = xr.DataArray([[1.0, 3.0], [2.0, 5.0]], dims=("seed", "arm"), coords={"arm": ["c = 0.5", "alpha = 0.01"]})
    slopes = room.powers(xr.Dataset({"decay": decay}), alphas, 0.1, xr.DataArray([2.0, 1.0], dims="seed"))
    assert slopes.sel(alpha=0.01).values == pytest.approx(np.array([1.0, 3.0]) / math.log(10))
    pairs = xr.Dataset(
        {"loss_integral": (("seed", "run"), [[1.0, 2, 3, 4]]), "test": (("seed", "run"), [[4.0, 3, 1, 2]])},
        coords={"seed": [0]},
    )
    assert float(room.rank_correlations(pairs)[0]) == pytest.approx((1 - 5) / 6)
    mixed = pairs.isel(seed=[0] * 300).assign_coords(seed=range(300))
    assert abs(float(room.rank_correlations(mixed, permuted=True).mean())) < 4 * 0.471 / 300**0.5
    one, two, to = (xr.DataArray(value) for value in (2.0, 8.0, 4.0))
    assert float(room.nearer(one, two, to)) == pytest.approx(0) and float(room.nearer(to, two, to)) < 0


def test_euler_maruyama_shrinks_and_without_noise_the_formula_is_wrong():
    errors = SMALL.flow_errors(0.5, 0.05, 4.0, [0.04, 0.01])
    assert (errors.sel(h=0.01) < errors.sel(h=0.04)).all()
    off = SMALL.flow_errors(0.5, 0.05, 4.0, [0.04, 0.01], sde_noise=0.0)
    assert (off.sel(h=0.01) > 0.9 * off.sel(h=0.04)).all()


def test_runs_on_one_data_set_differ_and_belong_to_their_seeds():
    flow, sgd = (SMALL.run_to_run(0.5, 0.05, 80, 3, method=method) for method in ("flow", "sgd"))
    for one in (flow, sgd):
        assert one.sizes == {"seed": 3, "run": 3} and len(np.unique(one.test)) == 9
    alone = room.Study(range(5, 6), 8, 16, 2).run_to_run(0.5, 0.05, 80, 3)
    np.testing.assert_allclose(alone.test.sel(seed=5), flow.test.sel(seed=5), rtol=1e-10)
