"""Flat minima, sharpness-aware minimisation and implicit bias: papers whose claims are measured.

    import workbench as wb

`wb.run` and `wb.sweep` train, `wb.curvature` looks at the landscape, `wb.card` knows a paper's claims.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench import claims, curvature, data, draws, explorers, figures, optimizers, problems
    from workbench.batch.results.open_runs import open_runs
    from workbench.claims import card, cards
    from workbench.dynamics import Labelled, Run, Watch, run, second_moments, sweep, times

__version__ = "0.2.0"

_NAMES = {
    "Labelled": "workbench.dynamics",
    "Run": "workbench.dynamics",
    "Watch": "workbench.dynamics",
    "card": "workbench.claims",
    "cards": "workbench.claims",
    "open_runs": "workbench.batch.results.open_runs",
    "run": "workbench.dynamics",
    "second_moments": "workbench.dynamics",
    "sweep": "workbench.dynamics",
    "times": "workbench.dynamics",
}

__all__ = [
    "Labelled",
    "Run",
    "Watch",
    "__version__",
    "card",
    "cards",
    "claims",
    "curvature",
    "data",
    "draws",
    "explorers",
    "figures",
    "open_runs",
    "optimizers",
    "problems",
    "run",
    "second_moments",
    "sweep",
    "times",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that `workbench list` does not wait for torch.
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"workbench.{name}")
    raise AttributeError(f"module 'workbench' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
