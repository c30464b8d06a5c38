"""Networks: multi-layer perceptrons as formulas, torch modules, any module as a problem."""

from workbench.problems.networks.batch_norm import (
    batch_norm_cnn,
    batch_norm_mlp,
    embedding,
    hidden_layers,
    initialise,
)
from workbench.problems.networks.modules import (
    PreActivationResNet,
    cnn,
    count_parameters,
    mlp,
    named_parameters,
    preactivation_resnet18,
    preactivation_resnet34,
    rotated_mnist_cnn,
    wide_resnet,
)
from workbench.problems.networks.stacked import StackedMLP, sample_cross_entropy

__all__ = [
    "PreActivationResNet",
    "StackedMLP",
    "batch_norm_cnn",
    "batch_norm_mlp",
    "cnn",
    "count_parameters",
    "embedding",
    "hidden_layers",
    "initialise",
    "mlp",
    "named_parameters",
    "preactivation_resnet18",
    "preactivation_resnet34",
    "rotated_mnist_cnn",
    "sample_cross_entropy",
    "wide_resnet",
]
