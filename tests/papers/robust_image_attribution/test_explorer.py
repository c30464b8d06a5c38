"""The explorer: its states, its read-out, its rerun command; the card's relations."""

import pytest
from matplotlib.figure import Figure

import workbench as wb
from workbench.claims import ParameterError
from workbench.papers.robust_image_attribution import explorer


def test_every_move_gives_a_picture_and_a_command(monkeypatch):
    monkeypatch.setattr(explorer, "_EPOCHS", 1)
    shown = explorer.explorer()
    before = shown.picture
    shown.set(digit=11, attack_radius=0.1, edit_row=0)
    assert shown.picture != before and not shown.failed
    assert "attack_radius=0.1" in shown.command() and "digit=" not in shown.command()
    words = explorer.draw(Figure(), digit=3, attack_steps=2)
    assert "standard: " in words and "robust: " in words
    explorer._fingerprints.cache_clear()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_radii": [0.1, 0.2, 0.3]}, "needs 0 for the standard model"),
        ({"train_radii": [0.0, 0.2, 0.1]}, "end with the largest"),
        ({"batch_size": 1200}, "a minibatch cannot have more pairs"),
        ({"queries": 400}, "at most as many as the smallest database"),
        ({"database_sizes": [300, 2000]}, "1797 digits"),
        ({"database_size": 900}, "digits that were not trained on"),
        ({"targets": 100, "database_sizes": [100, 300], "queries": 100}, "targets are competitors"),
        ({"edit_share": 0.05}, "at least one pixel"),
        ({"temperature": 0.0}, "temperature"),
        ({"photometric": {"contrast": 2.0}}, "contrast"),
        ({"seeds": 4}, "seeds"),
    ],
)
def test_relations_are_refused_in_words(changes, words):
    with pytest.raises(ParameterError, match=words):
        wb.card("robust-image-attribution").parameters(changes)
