"""The paper's preset of the swad notebook, at a small size, on a synthetic folder of image domains."""

import json

import numpy as np
import papermill
import pytest
from PIL import Image

import workbench as wb

NOTEBOOK = "notebooks/swad.ipynb"


@pytest.fixture
def pacs(tmp_path):
    """A folder with the domains and classes of PACS, three tiny images each."""
    generator = np.random.default_rng(0)
    for domain in ("art_painting", "cartoon", "photo", "sketch"):
        for shade, name in enumerate(("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")):
            folder = tmp_path / "PACS" / domain / name
            folder.mkdir(parents=True)
            for number in range(5):
                pixels = generator.random((20, 20, 3)) * (35 + 35 * shade)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.jpg")
    return tmp_path


@pytest.mark.slow
def test_the_notebook_runs_on_an_image_folder(pacs, tmp_path, monkeypatch, request):
    monkeypatch.setenv("WORKBENCH_PRESET", "paper")
    monkeypatch.setenv("WORKBENCH_JOB", str(tmp_path / "job"))
    (tmp_path / "job").mkdir()
    small = {
        "data_root": str(pacs), "seeds": 5, "clean_seeds": 5, "targets": [1], "steps": 20, "eval_every": 2, "batch_per_domain": 2,
        "n_converge": 2, "n_tolerance": 3, "n_directions": 4, "radii": [0.5, 2.0], "bound_seeds": 20,
        "image_size": 16, "network_width": 4,
    }  # fmt: skip
    # A job gives every parameter that differs from the card's default, those of its preset too.
    card = wb.card("swad")
    given = {**card.presets["paper"], **small}
    root = request.config.rootpath
    papermill.execute_notebook(
        root / NOTEBOOK, tmp_path / "out.ipynb", given, cwd=root, progress_bar=False, log_output=False
    )
    record = json.loads((tmp_path / "job" / "claims.json").read_text())
    verdicts = {claim["id"]: claim["verdict"] for claim in record["claims"]}
    assert record["preset"] == "paper" and record["parameters"]["dataset"] == "PACS"
    left_out = {name for name, claim in card.claims.items() if claim.when}
    assert left_out and {name for name, verdict in verdicts.items() if verdict == "not run"} == left_out
    assert verdicts["dense-mean-identity"] == verdicts["lemma-tv"] == "reproduced"
    # Five seeds of twenty steps on noise decide nothing about means.
    assert verdicts["swad-beats-swa"] != "reproduced"


def test_absent_images_stop_the_notebook_before_it_computes(tmp_path, request):
    with pytest.raises(papermill.exceptions.PapermillExecutionError, match="PACS"):
        papermill.execute_notebook(
            request.config.rootpath / NOTEBOOK, tmp_path / "out.ipynb",
            {"dataset": "PACS", "label_noise": 0.0, "data_root": str(tmp_path)},
            cwd=request.config.rootpath, progress_bar=False, log_output=False,
        )  # fmt: skip
