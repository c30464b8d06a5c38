"""The error metric by hand and its controls; SAM's expectations by quadrature and by nested sampling."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench import draws
from workbench.dynamics.sources import AdditiveNoise
from workbench.papers.sde_for_sam import quadrature, tracking
from workbench.papers.sde_for_sam.equations import algorithm, diffusion
from workbench.papers.sde_for_sam.networks import problem
from workbench.papers.sde_for_sam.projected_normal import direction_factors

NAME, SEEDS, RHOS = "teacher_student", [0, 1], [0.1]
FOUND = tracking.curves(NAME, SEEDS, RHOS, runs=2, steps=30)
ERRORS = tracking.error_metric(FOUND)


def test_curves_and_metric_are_single_runs_on_common_noise():
    eta, sigma, _ = tracking.SETTINGS[NAME]
    loss, paths = problem(NAME, 1), {}
    for law, rule, source in (
        ("algorithm", algorithm("dnsam", eta, 0.1), AdditiveNoise(sigma)),
        ("own", diffusion("dnsam", eta, 0.1, sigma), None),
        ("sgd", diffusion("sgd", eta, 0.0, sigma), None),
    ):
        for number in (0, 1):
            run = wb.run(
                loss, rule, seed=1000 + number, steps=30, source=source, start=loss.initial(1), progress=False,
                record={"s": lambda x: x.norm() + loss.gradient(x).norm()}, every=5,
            )  # fmt: skip
            paths[law, number] = run.records["s"].value.numpy()
            exact = FOUND.s.sel(law=law, kind="dnsam", seed=1, run=number, rho=0.1)
            np.testing.assert_allclose(exact, paths[law, number], rtol=1e-10)
    means = {law: (paths[law, 0] + paths[law, 1]) / 2 for law in ("algorithm", "own", "sgd")}
    for sde in ("own", "sgd"):
        by_hand = np.abs(means[sde] - means["algorithm"]).max() / np.abs(means["algorithm"]).mean()
        assert ERRORS.sel(sde=sde, kind="dnsam", seed=1, rho=0.1).item() == pytest.approx(by_hand, rel=1e-9)


def test_the_own_equation_tracks_and_sgds_does_without_rho():
    assert (ERRORS.sel(sde="own") < ERRORS.sel(sde="sgd")).all()
    off = tracking.error_metric(tracking.curves(NAME, SEEDS, RHOS, runs=1, steps=30, rho_run=0.0))
    assert (off.sel(sde="sgd") < 1e-12).all() and (off.sel(sde="own") > 1e-3).all()


def test_finer_time_steps_see_the_same_path():
    fine = tracking.curves(NAME, [0], RHOS, runs=1, steps=10, resolution=4)
    assert fine.sizes["step"] == 3
    assert (tracking.error_metric(fine).sel(sde="own") < tracking.error_metric(fine).sel(sde="sgd")).all()


def test_runs_at_stationary_points_are_missing_for_dnsam_alone():
    flat = FOUND.copy(deep=True)
    flat["gradient"] = flat.gradient * 0
    errors = tracking.error_metric(flat)
    assert errors.sel(kind="dnsam").isnull().all() and errors.sel(kind="sam").notnull().all()


def test_every_problem_runs():
    for name in ("deep_linear", "deep_nonlinear", "matrix_sensing"):
        assert tracking.error_metric(tracking.curves(name, [0], RHOS, runs=2, steps=6)).notnull().all()
    with pytest.raises(ValueError, match="problem must be one of teacher_student"):
        tracking.curves("cifar", [0], RHOS)
    with pytest.raises(ValueError, match="resolution must be an int >= 1, got 0"):
        tracking.curves(NAME, [0], RHOS, resolution=0)


def test_closed_forms_lie_within_the_error_of_the_quadrature_and_those_of_another_dimension_do_not():
    assert float(quadrature.closed_form_errors([2, 6], [0.3, 2.0]).max()) <= 1
    wrong = quadrature.closed_form_errors([2, 6], [0.3, 2.0], fixed_d=3).max(["d", "r"])
    assert (wrong > 1).all()


def test_nested_sampling_is_the_closed_form_for_gaussian_noise():
    g, sigma, d, rho = torch.tensor([0.3, -0.4], dtype=torch.float64), 0.5, 2, 0.05
    noise = sigma * draws.normal(0, (200_000, d), stream="nested")
    mean, cross = quadrature.sampled_direction(g, noise)
    first, second = direction_factors((g @ g) / sigma**2, d)
    eye = torch.eye(d, dtype=torch.float64)
    J = (first * eye - second * torch.outer(g, g) / sigma**2) / sigma
    torch.testing.assert_close(mean, first * g / sigma, rtol=0, atol=0.01)
    torch.testing.assert_close(cross, sigma**2 * J, rtol=0, atol=0.01)
    H = torch.tensor([[2.0, 0.5], [0.5, -1.0]], dtype=torch.float64)
    root = quadrature.sampled_noise_root(H, g, noise, rho)
    factor = sigma * (eye + rho * H @ J)
    torch.testing.assert_close(root @ root.mT, factor @ factor.mT, rtol=0, atol=0.01)
    # A covariance with a negative eigenvalue at first order is clipped, not refused.
    assert torch.isfinite(quadrature.sampled_noise_root(-100 * eye, g, noise, 1.0)).all()
