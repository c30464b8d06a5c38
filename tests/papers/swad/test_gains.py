"""What is read from a study: means over the window's checkpoints, and one of them drawn."""

import numpy as np
import xarray as xr

from workbench.papers.swad import gains


def study(seeds=300, targets=3, steps=12):
    rng = np.random.default_rng(0)
    curves = rng.random((seeds, targets, steps, 1))
    start = rng.integers(0, 6, (seeds, targets))
    coords = {"seed": np.arange(seeds), "target": np.arange(targets), "quantity": ["target accuracy"]}
    axes = ("seed", "target")
    return xr.Dataset(
        {
            "curves": (("seed", "target", "step", "quantity"), curves),
            "start": (axes, start),
            "end": (axes, start + rng.integers(0, 6, (seeds, targets))),
        },
        coords,
    )


def test_a_drawn_checkpoint_is_one_of_the_window_and_on_average_their_mean():
    made = study(targets=1)
    drawn, mean = gains.judged(made, "a checkpoint"), gains.own_checkpoints(made)
    inside = [
        100 * made.curves.values[seed, 0, int(made.start[seed, 0]) : int(made.end[seed, 0]) + 1, 0]
        for seed in range(made.sizes["seed"])
    ]
    assert all(np.isclose(one, own).any() for one, own in zip(drawn.values, inside, strict=True))
    np.testing.assert_allclose(mean, [own.mean() for own in inside])
    difference = (drawn - mean).values
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))
