"""The made-up repository as a fixture."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_papers import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)
