"""AcSGD's exact risk against the recursion written out coordinate by coordinate, and against simulation."""

import numpy as np
import pytest

from workbench.papers.accelerated_lsr.bounds import average_bound, last_bound, lower_bound
from workbench.papers.accelerated_lsr.recursions import (
    acsgd_moments,
    law,
    lsq_moments,
    named_spectrum,
    real_law,
    recommended,
    risks,
    sgd_moments,
    standardised,
)
from workbench.papers.accelerated_lsr.simulation import acsgd, sgd, simulated_risks
from workbench.problems.linear.designs import GaussianDesign, OneHotDesign

H = np.array([1.0, 0.3, 0.05])
START = np.array([0.5, -1.0, 2.0])


def written_out(design, sigma2, alpha, beta, T):
    """The recursion of arXiv:2203.01744's second moments, one line per equation."""
    xx, xz, zz = START**2, START**2, START**2
    ss, sx, sz = np.zeros(3), np.zeros(3), np.zeros(3)
    for t in range(T):
        a, b, w = t / (t + 1), 1 / (t + 1), t + 1
        yy, yz = a * a * xx + 2 * a * b * xz + b * b * zz, a * xz + b * zz
        g2 = {"gauss": 2 * H**2 * yy + H * ((H * yy).sum() + sigma2), "onehot": 3 * H**2 * yy + sigma2 * H}[design]
        sy = a * sx + b * sz
        ss, ey, ez = ss + 2 * w * sy + w * w * yy, sy + w * yy, sz + w * yz
        sx, sz = (1 - beta * H) * ey, ez - alpha * w * H * ey
        xx, xz, zz = (
            yy - 2 * beta * H * yy + beta**2 * g2,
            yz - alpha * w * H * yy - beta * H * yz + alpha * w * beta * g2,
            zz - 2 * alpha * w * H * yz + (alpha * w) ** 2 * g2,
        )
    return 0.5 * (H * xx).sum(), 0.5 * (H * ss).sum() / (T * (T + 1) / 2) ** 2


@pytest.mark.parametrize("design", ["gauss", "onehot"])
@pytest.mark.parametrize("T", [1, 2, 50, 700])
def test_the_recursion_is_the_papers(design, T):
    found = lsq_moments(H, START, 0.6, 0.004, 0.08, T, design=design)
    last, average = written_out(design, 0.6, 0.004, 0.08, T)
    assert found["last"].item() == pytest.approx(last, rel=1e-10)
    assert found["average"].item() == pytest.approx(average, rel=1e-10)


def test_exact_gradients_give_the_path_itself():
    ends = acsgd(lambda t, y: H * y, START.copy(), 0.02, 0.3, 40)
    found = risks(acsgd_moments(law("gauss", H, oracle="full"), 0.02, 0.3), START, [40])
    for name, error in ends._asdict().items():
        assert found[name].item() == pytest.approx(0.5 * H @ error**2, rel=1e-10)
    plain = sgd(lambda t, y: H * y, START.copy(), 0.5, 40)
    found = risks(sgd_moments(law("gauss", H, oracle="full"), 0.5), START, [40])
    for name, error in plain._asdict().items():
        assert found[name].item() == pytest.approx(0.5 * H @ error**2, rel=1e-10)


@pytest.mark.parametrize("design", [GaussianDesign(H, 0.5), OneHotDesign(H, 0.5)], ids=["gauss", "onehot"])
def test_twenty_thousand_runs_agree_with_the_recursion(design):
    steps = recommended(*design.constants)
    runs = simulated_risks(design, START, *steps, 30, 20000)
    exact = risks(acsgd_moments(design, *steps), START, [30])
    for name in ("last", "average"):
        error = float(runs[name].std()) / 20000**0.5
        assert error < 0.02 * exact[name].item()
        assert abs(float(runs[name].mean()) - exact[name].item()) < 4 * error


def test_the_theorems_bounds_hold_and_the_lower_one_is_attained_by_kaczmarz():
    d, T = 20, np.array([1, 8, 64, 512])
    design = OneHotDesign(np.ones(d) / d)
    start, steps = np.eye(d)[0], recommended(*design.constants)
    found = risks(acsgd_moments(design, *steps), start, T)
    assert (found["last"] <= last_bound(T, *steps)).all() and (found["average"] <= average_bound(T, *steps)).all()
    assert (found["last"] >= lower_bound(T, d)).all() and (found["average"] >= lower_bound(T, d)).all()
    kaczmarz = risks(sgd_moments(design, 1.0), start, T)["last"]
    np.testing.assert_allclose(kaczmarz, lower_bound(T, d), rtol=1e-12)


def test_spectra_and_step_sizes():
    np.testing.assert_allclose(named_spectrum("log7", 50), np.logspace(0, -7, 50))
    np.testing.assert_allclose(named_spectrum("power1", 3), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(named_spectrum([0.2, 0.1], 2), [0.2, 0.1])
    steps = recommended(*GaussianDesign(H).constants)
    assert (steps.alpha + 2 * steps.beta) * GaussianDesign(H).constants.R2 <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: named_spectrum("exp3", 3), "spectrum must be log<k>, power<p> or a list"),
        (lambda: named_spectrum("log-1", 3), "spectrum must be log<k>"),
        (lambda: named_spectrum([1.0, 0.0], 2), "eigenvalues > 0"),
        (lambda: named_spectrum([1.0], 2), "spectrum has 1 eigenvalues, d is 2"),
        (lambda: law("cauchy", H), "design must be one of gauss, onehot"),
        (lambda: law("gauss", H, oracle="half"), "oracle must be one of sample, full"),
        (lambda: recommended(1.0, 2.0, alpha_ratio=0.0), "alpha_ratio must be a finite number > 0"),
        (lambda: acsgd_moments(GaussianDesign(H), 0.1, 0.1, z_weight="t"), "z_weight must be one of"),
        (lambda: acsgd(lambda t, y: y, START, 0.1, 0.1, 0), "T must be an int >= 1"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_standardised_data_have_unit_deviations_and_noiseless_targets_no_residual():
    noisy, noiseless = standardised("diabetes"), standardised("diabetes", noisy=False)
    np.testing.assert_allclose(noisy.inputs.std(0, correction=0), 1, rtol=1e-6)
    np.testing.assert_allclose(noiseless.inputs @ noiseless.minimiser, noiseless.targets, atol=1e-10)
    # All of them minimise the same quadratic, up to its constant.
    np.testing.assert_allclose(noisy.minimiser, noiseless.minimiser, atol=1e-8)


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer"])
def test_the_exact_risk_on_a_data_set_is_what_runs_have(name):
    law_ = real_law(name, 1.0)
    H, inputs, best = law_.hessian.numpy(), law_.inputs.numpy(), law_.minimiser.numpy()
    noise = (law_.targets.numpy() - inputs @ best) ** 2
    white = np.linalg.inv(np.linalg.cholesky(H))
    level = np.linalg.eigvalsh(white @ (inputs * noise[:, None]).T @ inputs @ white.T / len(inputs))
    assert level[-1] == pytest.approx(1.0, rel=1e-9)
    steps, T, runs = recommended(*law_.constants), 60, 4000
    exact = lsq_moments(None, np.zeros(len(best)), 1.0, *steps, T, design=name)
    draw = np.random.default_rng(0).integers(0, len(inputs), (T, runs))

    def gradient(t, error):
        a = inputs[draw[t]]
        return a * ((a * (error + best)).sum(1) - law_.targets.numpy()[draw[t]])[:, None]

    for output, error in acsgd(gradient, np.zeros((runs, len(best))), *steps, T)._asdict().items():
        risk = 0.5 * np.einsum("ni,ij,nj->n", error, H, error)
        assert abs(risk.mean() - float(exact[output][0])) < 4 * risk.std() / np.sqrt(runs)


@pytest.mark.parametrize(("h", "oracle"), [([1.0], "sample"), (None, "full")])
def test_a_data_set_has_its_own_eigenvalues_and_samples(h, oracle):
    with pytest.raises(ValueError, match="of its own"):
        law("diabetes", h, oracle=oracle)
    with pytest.raises(ValueError, match="need eigenvalues"):
        law("gauss", None)
