"""Shared settings of all tests: one thread, no progress bars, a fixed hypothesis profile."""

import os
from pathlib import Path

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


@pytest.fixture(scope="session")
def driver():
    """Playwright, started once a process: a second one would find the first one's event loop running."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra test)")
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("needs /usr/bin/chromium (apt-get install chromium)")
    with api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(driver):
    """Debian's chromium without a profile."""
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
    yield browser
    browser.close()
