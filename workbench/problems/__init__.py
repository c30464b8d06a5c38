"""What is minimised: losses with known structure, each with its data, an initialiser from a seed and its closed-form truths."""

from workbench.problems import attacks, calibration, embeddings, networks
from workbench.problems.base import Measure, Problem
from workbench.problems.classifier import Classifier, circle, classifier
from workbench.problems.factorised.deep_linear import DeepLinear, deep_linear
from workbench.problems.factorised.diagonal_bias import (
    decay_rate,
    first_order_decay_rate,
    rho_for_stability_number,
    sam_stability_number,
)
from workbench.problems.factorised.diagonal_network import (
    DiagonalNetwork,
    ProductNetwork,
    SquaresNetwork,
    diagonal_network,
)
from workbench.problems.factorised.diagonal_potential import argmin_phi, interpolation_multipliers, phi, phi_gradient
from workbench.problems.factorised.matrix_sensing import MatrixSensing, matrix_sensing, measured_matrix
from workbench.problems.finite_sum import FiniteSum, interpolation_gap
from workbench.problems.landscapes.quadratic import Quadratic, quadratic, random_rotation
from workbench.problems.landscapes.rippled_parabola import RippledParabola
from workbench.problems.landscapes.rippled_sum import RippledSum, rippled_sum
from workbench.problems.landscapes.scalar import ScalarFactorisation, TwoBasins
from workbench.problems.landscapes.scaled import Scaled
from workbench.problems.landscapes.xy_model import ProductLoss, drift_rate, trapped_level
from workbench.problems.linear.designs import (
    AdditiveNoise,
    FiniteData,
    GaussianDesign,
    OneHotDesign,
    fourth_moment_constants,
)
from workbench.problems.linear.models import (
    LeastSquares,
    LogisticRegression,
    least_squares,
    logistic_regression,
    random_least_squares,
)
from workbench.problems.linear.robust_regression import RobustRegression
from workbench.problems.linear.sparse_regression import SparseRegression, sparse_regression

__all__ = [
    "AdditiveNoise",
    "Classifier",
    "DeepLinear",
    "DiagonalNetwork",
    "FiniteData",
    "FiniteSum",
    "GaussianDesign",
    "LeastSquares",
    "LogisticRegression",
    "MatrixSensing",
    "Measure",
    "OneHotDesign",
    "Problem",
    "ProductLoss",
    "ProductNetwork",
    "Quadratic",
    "RippledParabola",
    "RippledSum",
    "RobustRegression",
    "ScalarFactorisation",
    "Scaled",
    "SparseRegression",
    "SquaresNetwork",
    "TwoBasins",
    "argmin_phi",
    "attacks",
    "calibration",
    "circle",
    "classifier",
    "decay_rate",
    "deep_linear",
    "diagonal_network",
    "drift_rate",
    "embeddings",
    "first_order_decay_rate",
    "fourth_moment_constants",
    "interpolation_gap",
    "interpolation_multipliers",
    "least_squares",
    "logistic_regression",
    "matrix_sensing",
    "measured_matrix",
    "networks",
    "phi",
    "phi_gradient",
    "quadratic",
    "random_least_squares",
    "random_rotation",
    "rho_for_stability_number",
    "rippled_sum",
    "sam_stability_number",
    "sparse_regression",
    "trapped_level",
]


def __dir__() -> list[str]:
    return sorted(__all__)
