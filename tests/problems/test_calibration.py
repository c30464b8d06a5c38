"""Calibration: against a loop over bins, known cases, convexity of antithetic noise curves, refusals."""

import pytest
import torch

from workbench import draws
from workbench.problems import calibration


def test_the_error_is_the_loop_over_bins():
    confidence = draws.uniform(0, (3, 200))
    confidence[0, :3] = torch.tensor([0.0, 0.2, 1.0])
    correct = draws.uniform(1, (3, 200)) < confidence**2
    for bins in (1, 5, 15):
        found = calibration.expected_calibration_error(confidence, correct, bins)
        for row in range(3):
            total = 0.0
            for b in range(bins):
                c = confidence[row]
                members = (c > b / bins) & (c <= (b + 1) / bins) | (c == 0) * (b == 0)
                if members.any():
                    total += int(members.sum()) / 200 * abs(correct[row][members].double().mean() - c[members].mean())
            assert found[row] == pytest.approx(float(total), abs=1e-12)


def test_known_cases():
    sure = torch.ones(10)
    half = torch.tensor([True, False] * 5)
    assert calibration.expected_calibration_error(sure, half) == 0.5
    assert calibration.expected_calibration_error(0.5 * sure, half) == 0
    assert calibration.overconfidence(sure, half) == 0.5
    assert calibration.overconfidence(torch.full((10,), 0.2), half) == pytest.approx(-0.3)


def test_antithetic_noise_never_lowers_a_convex_loss_and_boxes_are_respected():
    points, z = draws.uniform(0, (20, 4)), draws.normal(1, (3, 20, 4))
    weights = draws.normal(2, (4, 3))
    curve = calibration.noise_curve(
        lambda x: torch.logsumexp(x @ weights, -1), points, z, [0, 0.3, 1, 2], box=None, antithetic=True
    )
    assert (curve.diff() > 0).all()
    seen = []
    flat = calibration.noise_curve(lambda x: seen.append(x) or x.sum(-1), points, z, [0.0, 0.5])
    assert flat[0] == pytest.approx(float(points.sum(-1).mean())) and len(seen) == 6
    assert torch.equal(seen[4], (points + 0.5 * z[1]).clamp(0, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibration.expected_calibration_error(torch.ones(3), torch.ones(2)), "one entry per sample"),
        (lambda: calibration.expected_calibration_error(torch.full((3,), 1.2), torch.ones(3)), "confidence must lie"),
        (lambda: calibration.expected_calibration_error(torch.ones(0), torch.ones(0)), "one entry per sample"),
        (lambda: calibration.expected_calibration_error(torch.ones(3), torch.ones(3), 0), "bins"),
        (lambda: calibration.overconfidence(torch.ones(3), torch.full((3,), 2.0)), "correct must lie"),
        (lambda: calibration.noise_curve(torch.sum, torch.ones(3, 2), torch.ones(0, 3, 2), [0.1]), "noise must be"),
        (lambda: calibration.noise_curve(torch.sum, torch.ones(3, 2), torch.ones(1, 3, 2), [-1]), "sigmas"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
