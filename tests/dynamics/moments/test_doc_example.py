"""The example of the documentation runs as printed, and says what it claims."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "api" / "running.md"


def test_the_example_of_the_documentation():
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "second_moments" in block
    ]
    names: dict = {}
    exec(code, names)
    risk, exact = names["risk"], names["exact"]
    assert exact.spectral_radius() < 1
    assert risk.parameters[-1].item() == pytest.approx(exact.stationary_risk(), rel=1e-2)
    assert risk.average[-1] < risk.parameters[-1]
