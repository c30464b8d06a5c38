"""Shared settings of all tests: one thread, no progress bars, a fixed hypothesis profile."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("MPLBACKEND", "agg")

import hypothesis
import jaxtyping
import pytest

hypothesis.settings.register_profile("workbench", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.load_profile("workbench")


@pytest.fixture
def unchecked_shapes():
    """For tests that hand over wrong shapes on purpose, to read the library's own message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
