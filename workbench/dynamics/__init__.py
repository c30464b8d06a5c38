"""Running rules on problems: single runs and whole sweeps."""

from workbench.dynamics import sources, times
from workbench.dynamics.eigenvalues import TopEigenvalues
from workbench.dynamics.labelled import Labelled
from workbench.dynamics.moments import second_moments
from workbench.dynamics.run import Checkpoint, Run, run
from workbench.dynamics.sweep import sweep
from workbench.dynamics.watch import Watch

__all__ = [
    "Checkpoint",
    "Labelled",
    "Run",
    "TopEigenvalues",
    "Watch",
    "run",
    "second_moments",
    "sources",
    "sweep",
    "times",
]


def __dir__() -> list[str]:
    return sorted(__all__)
