"""Hard spectra: no wrong eigenvalue without a word. The whole table is `benchmarks/bench_hard_spectra.py`."""

import pytest
import torch

from benchmarks.spectra import DTYPES, HARD, SIZE, WHICH, answers, matrix
from workbench.curvature import top_eigenpairs


def test_there_are_enough_of_them():
    assert len(HARD) >= 22
    assert {len(values) for values in HARD.values()} == {SIZE}


@pytest.mark.parametrize("name", HARD)
def test_nothing_is_wrong(name):
    found = list(answers(name, counts=(6,), dtypes=(torch.float64,)))
    assert len(found) == len(WHICH)
    assert not set().union(*found) & {"wrong", "unannounced", "untrue residual"}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", WHICH)
def test_more_equal_eigenvalues_than_a_start_shows(dtype, which):
    # A reflection: each random start shows one eigenvalue of either sign, and nothing else.
    entries = matrix("a reflection").to(dtype)
    pairs = top_eigenpairs(lambda w: 0.5 * w @ entries @ w, torch.zeros(SIZE, dtype=dtype), 10, which=which)
    signs = {"largest": [1.0] * 10, "smallest": [-1.0] * 10}.get(which)
    found = pairs.values if signs else pairs.values.abs()
    torch.testing.assert_close(found, torch.tensor(signs or [1.0] * 10, dtype=dtype), rtol=1e-5, atol=0)
