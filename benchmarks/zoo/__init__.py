"""Modules that people train x every curvature function x precision, against central differences in float64.

`python -m benchmarks.zoo` writes docs/zoo.md.
"""

from .animals import ANIMALS, Animal
from .functions import FUNCTIONS, examine

__all__ = ["ANIMALS", "FUNCTIONS", "Animal", "examine"]
