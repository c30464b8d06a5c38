"""Progress bars for what takes longer than two seconds; silent with TQDM_DISABLE=1."""

from __future__ import annotations

import os
from typing import Any

from tqdm.auto import tqdm


def bar(total: int, what: str, shown: bool) -> Any:
    """A bar counting `what`. In notebooks tqdm itself does not look at the variable."""
    silent = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    return tqdm(total=total, desc=what, delay=2, leave=False, disable=silent or not shown)
