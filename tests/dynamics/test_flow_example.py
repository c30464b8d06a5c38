"""The documentation's example of flows with events, executed as printed."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "api" / "running.md"


def test_the_times_of_events_grow_as_the_scale_shrinks():
    section = PAGE.read_text(encoding="utf-8").split("## Flows, with events")[1]
    names: dict = {}
    exec(re.search(r"```python\n(.*?)```", section, re.S)[1], names)
    times = names["result"].half_loss
    assert times.dims == ("seed", "scale") and times.notnull().all()
    assert (times.diff("scale") < 0).all()
    # Between scales that are small the leading direction grows like e^(2 sigma_1 t) in each layer: ln(10)/2 for a tenth.
    gap = float((times.sel(scale=1e-3) - times.sel(scale=1e-2)).mean())
    assert abs(gap / (2.302585 / 2) - 1) < 0.1
