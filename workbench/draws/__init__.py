"""Every random number of the workbench: pure functions of a seed, and named streams of them with one row a step."""

from workbench.draws.host import Seed, generator, integers, normal, permutation, seeded, signs, uniform
from workbench.draws.kinds import (
    Draw,
    Epochs,
    Exponential,
    Integers,
    Normal,
    Stratified,
    Subsets,
    Uniform,
    numbers,
)

__all__ = [
    "Draw",
    "Epochs",
    "Exponential",
    "Integers",
    "Normal",
    "Seed",
    "Stratified",
    "Subsets",
    "Uniform",
    "generator",
    "integers",
    "normal",
    "numbers",
    "permutation",
    "seeded",
    "signs",
    "uniform",
]
