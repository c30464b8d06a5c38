"""Explorers: move a slider, see what a theorem says. One per paper, `explorers.<paper>.explorer()`."""

from workbench.explorers.frame import Control, Explorer

__all__ = ["Control", "Explorer"]
