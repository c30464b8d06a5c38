"""The page "Your own analysis", followed literally: each example in a folder and a namespace of its own, at the first attempt."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

PAGE = (Path(__file__).parents[1] / "docs" / "your-own-analysis.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, flags=re.S | re.M))


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Execute a section's Python blocks; the names that the last one leaves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_PAPERS", "papers")  # the last example sets it too

    def execute(title):
        left = []
        for block in re.findall(r"```python\n(.*?)```", SECTIONS[title], flags=re.S):
            names = {"__name__": "page"}
            with torch.random.fork_rng():
                exec(compile(block, title, "exec"), names)
            left.append(names)
        return left

    return execute


def test_there_are_six_examples():
    assert [title for title, text in SECTIONS.items() if "```python" in text] == [
        "Your model",
        "Your loss function",
        "Your loader",
        "Your update rule",
        "Your SAM variant, and its stability set",
        "Your claim",
    ]


def test_your_model(follow):
    (names,) = follow("Your model")
    result = names["result"]
    assert result.test_error.dims == ("seed", "rho", "step") and not result.diverged.any()
    assert (result.train_loss.isel(step=-1) < result.train_loss.isel(step=0)).all()


def test_your_loss_in_a_sweep(follow):
    focal, valley = follow("Your loss function")
    problem = focal["wb"].problems.classifier(focal["digits"], hidden=[16], loss="cross_entropy")
    run = focal["wb"].run(
        problem, focal["wb"].optimizers.gradient_descent(0.3), seed=1, epochs=5, batch_size=50, record=["test_error"]
    )
    found = focal["result"].test_error.sel(seed=1, gamma=0.0)
    np.testing.assert_allclose(found.values, run.records["test_error"].value, atol=1e-6)
    assert (valley["result"].distance.sel(steepness=1.0) < 1e-3).all()


def test_top_eigenvalues_of_a_residual_network_on_a_loader(follow):
    (names,) = follow("Your loader")
    curvature = names["wb"].curvature
    whole = curvature.empirical_loss(names["resnet"], torch.nn.functional.cross_entropy, names["loader"])
    again = curvature.top_eigenpairs(whole, whole.parameters(), k=3, rtol=1e-3)
    torch.testing.assert_close(names["pairs"].values, again.values, rtol=2e-3, atol=1e-4)


def test_your_update_rule(follow):
    (names,) = follow("Your update rule")
    distance = names["result"].distance
    assert (distance.sel(step_size=0.01) < 0.1).all()
    assert (distance.mean("seed").sel(step_size=0.01) < distance.mean("seed").sel(step_size=0.1)).all()


def test_your_sam_variant_and_its_stability_set(follow):
    (names,) = follow("Your SAM variant, and its stability set")
    optimizers, valley, p = names["wb"].optimizers, names["valley"], names["p"]
    assert optimizers.admissible_set(names["rule"]) == [(-4.0, -2.0), (0.0, 2.0)]
    torch.testing.assert_close(
        torch.linalg.eigvalsh(names["jacobian"]), (1 - 0.5 * p(valley.spectrum)).sort().values, rtol=1e-12, atol=1e-12
    )


def test_your_claim(follow):
    (names,) = follow("Your claim")
    assert names["card"].scoreboard().counts["reproduced"] == 1


@pytest.mark.slow
def test_your_claim_as_a_paper(tmp_path, monkeypatch):
    (tmp_path / "papers").mkdir()
    monkeypatch.setenv("WORKBENCH_PAPERS", str(tmp_path / "papers"))
    (block,) = re.findall(r"```bash\n(.*?)```", SECTIONS["Your claim"], flags=re.S)
    for line in block.strip().splitlines():
        program, *words = shlex.split(line)
        assert program == "workbench"
        command = [sys.executable, "-m", "workbench.cli", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "1 reproduced" in done.stdout
