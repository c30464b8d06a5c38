"""What is minimised: losses with known structure, each with its data, an initialiser from a seed and its closed-form truths."""

from workbench.problems import networks
from workbench.problems.base import Measure, Problem
from workbench.problems.chain_constants import ChainConstants
from workbench.problems.classifier import Classifier, circle, classifier
from workbench.problems.diagonal_bias import (
    decay_rate,
    first_order_decay_rate,
    rho_for_stability_number,
    sam_stability_number,
)
from workbench.problems.diagonal_network import DiagonalNetwork, ProductNetwork, SquaresNetwork, diagonal_network
from workbench.problems.flat_strips import FlatStrips, HalfParabola
from workbench.problems.linear_models import (
    LeastSquares,
    LogisticRegression,
    least_squares,
    logistic_regression,
    random_least_squares,
)
from workbench.problems.matrix_sensing import MatrixSensing, matrix_sensing
from workbench.problems.noisy_sines import NoisySines, noisy_sines
from workbench.problems.polynomial import CriticalPoint, critical_point
from workbench.problems.potential import argmin_phi, phi, phi_gradient
from workbench.problems.product import ProductLoss, drift_rate, product_path, trapped_level
from workbench.problems.quadratic import Quadratic, quadratic, random_rotation
from workbench.problems.relu_regression import ReLURegression, relu_regression
from workbench.problems.rippled_parabola import RippledParabola
from workbench.problems.sam_chain import ReducedSamChain, SamChain, chain_gates, reduced_sam_chain
from workbench.problems.scalar import ScalarFactorisation, TwoBasins
from workbench.problems.scaled import Scaled
from workbench.problems.sparse_coding import SparseCoding, sparse_coding
from workbench.problems.sparse_regression import SparseRegression, sparse_regression
from workbench.problems.visible_norm import FlatButBad, HiddenValley

__all__ = [
    "ChainConstants",
    "Classifier",
    "CriticalPoint",
    "DiagonalNetwork",
    "FlatButBad",
    "FlatStrips",
    "HalfParabola",
    "HiddenValley",
    "LeastSquares",
    "LogisticRegression",
    "MatrixSensing",
    "Measure",
    "NoisySines",
    "Problem",
    "ProductLoss",
    "ProductNetwork",
    "Quadratic",
    "ReLURegression",
    "ReducedSamChain",
    "RippledParabola",
    "SamChain",
    "ScalarFactorisation",
    "Scaled",
    "SparseCoding",
    "SparseRegression",
    "SquaresNetwork",
    "TwoBasins",
    "argmin_phi",
    "chain_gates",
    "circle",
    "classifier",
    "critical_point",
    "decay_rate",
    "diagonal_network",
    "drift_rate",
    "first_order_decay_rate",
    "least_squares",
    "logistic_regression",
    "matrix_sensing",
    "networks",
    "noisy_sines",
    "phi",
    "phi_gradient",
    "product_path",
    "quadratic",
    "random_least_squares",
    "random_rotation",
    "reduced_sam_chain",
    "relu_regression",
    "rho_for_stability_number",
    "sam_stability_number",
    "sparse_coding",
    "sparse_regression",
    "trapped_level",
]
