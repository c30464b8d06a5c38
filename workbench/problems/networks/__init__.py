"""Networks: multi-layer perceptrons as formulas, torch modules, any module as a problem."""

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

__all__ = [
    "PreActivationResNet",
    "cnn",
    "count_parameters",
    "mlp",
    "named_parameters",
    "preactivation_resnet18",
    "preactivation_resnet34",
    "rotated_mnist_cnn",
    "wide_resnet",
]
