"""Running rules on problems: single runs and whole sweeps."""

from workbench.dynamics import times
from workbench.dynamics.labelled import Labelled
from workbench.dynamics.run import Run, run
from workbench.dynamics.sweep import sweep

__all__ = ["Labelled", "Run", "run", "sweep", "times"]
