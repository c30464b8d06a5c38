"""Progress bars for what takes longer than two seconds; silent with TQDM_DISABLE=1."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm


def bar(total: int, what: str, shown: bool) -> Any:
    """A bar counting `what`. Passing `disable` explicitly would override the environment variable."""
    hidden: dict[str, Any] = {} if shown else {"disable": True}
    return tqdm(total=total, desc=what, delay=2, leave=False, **hidden)
