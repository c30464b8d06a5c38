"""The explorer: its states, its read-out, its rerun command."""

from matplotlib.figure import Figure

from workbench.papers.adversarial_training_corruptions import explorer


def test_every_move_gives_a_picture_and_a_command():
    shown = explorer.explorer()
    before = shown.picture
    shown.set(sigma_train=2.0, severity=0, digit=3, noise_sigma=0.1)
    assert shown.picture != before and "✘" not in shown._readout.value
    assert "noise_sigma=0.1" in shown.command() and "l2_selected=0.6" in shown.command()
    assert "mu=" not in shown.command()


def test_the_read_out_says_where_the_detector_works():
    words = explorer.draw(Figure(), sigma_train=3.0, sigma_test=0.0)
    assert "for test noise 1.61 to 4.3" in words and "the accuracy is 50 %" in words
    assert "the accuracy is 100 %" in explorer.draw(Figure(), sigma_train=2.0, sigma_test=0.0)
    assert "test noise 0 to" in explorer.draw(Figure(), sigma_train=3.0, clean_share=0.5)
