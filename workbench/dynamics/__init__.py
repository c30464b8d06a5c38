"""Running rules on problems: single runs and whole sweeps."""

from workbench.dynamics import sources, times
from workbench.dynamics.labelled import Labelled
from workbench.dynamics.moments import second_moments
from workbench.dynamics.run import Checkpoint, Run, run
from workbench.dynamics.sweep import sweep

__all__ = ["Checkpoint", "Labelled", "Run", "run", "second_moments", "sources", "sweep", "times"]
