"""Samples as the readers deliver them: NumPy arrays in the file's own type, before any option is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Raw:
    """Arrays of one data set; images are (sample, channel, row, column), tables (sample, feature).

    `scale` is the value that becomes 1 (255 for bytes, 16 for digits). `test_inputs` is None where the set has no
    official split. The mean and standard deviation of each channel are the published ones where there are any.
    With `decode`, the inputs are numbers of image files, and `decode(numbers)` gives their pixels.
    """

    inputs: np.ndarray
    targets: np.ndarray
    class_names: tuple[str, ...]
    scale: float
    source: str
    verification: str
    test_inputs: np.ndarray | None = None
    test_targets: np.ndarray | None = None
    domains: np.ndarray | None = None
    domain_names: tuple[str, ...] = ()
    channel_mean: tuple[float, ...] | None = None
    channel_deviation: tuple[float, ...] | None = None
    decode: Callable[[np.ndarray], np.ndarray] | None = None
