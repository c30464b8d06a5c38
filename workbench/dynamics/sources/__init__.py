"""Where gradients come from: a source makes the oracle of each step of a run."""

from workbench.dynamics.sources.adversarial import Adversarial
from workbench.dynamics.sources.enumeration import expectation
from workbench.dynamics.sources.expected_residual import (
    ExpectedResidual,
    expected_residual,
    smoothness_probabilities,
)
from workbench.dynamics.sources.masked import Masked
from workbench.dynamics.sources.noise import AdditiveNoise, LabelNoise
from workbench.dynamics.sources.samples import AllSamples, Importance, Minibatches, SampleOracle, Stream
from workbench.dynamics.sources.users import Users

__all__ = [
    "AdditiveNoise",
    "Adversarial",
    "AllSamples",
    "ExpectedResidual",
    "Importance",
    "LabelNoise",
    "Masked",
    "Minibatches",
    "SampleOracle",
    "Stream",
    "Users",
    "expectation",
    "expected_residual",
    "smoothness_probabilities",
]
