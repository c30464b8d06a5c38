"""The door to a user's model: one substitution around model, loss and derivative, two engines, and refusals in words."""

from .batching import each
from .differences import contradiction, probe
from .door import Door, facts, transformed
from .graph import Graph
from .linearised import Linearised, agree, refuse_scripted, same_map
from .operations import ExactOperations, plain_kernels
from .refusals import in_words
from .substitution import Places, modules_of, substituted, untouched

__all__ = [
    "Door",
    "ExactOperations",
    "Graph",
    "Linearised",
    "Places",
    "agree",
    "contradiction",
    "each",
    "facts",
    "in_words",
    "modules_of",
    "plain_kernels",
    "probe",
    "refuse_scripted",
    "same_map",
    "substituted",
    "transformed",
    "untouched",
]
