"""What is minimised: losses with known structure, each with its data, an initialiser from a seed and its closed-form truths."""

from workbench.problems import networks
from workbench.problems.base import Measure, Problem
from workbench.problems.classifier import Classifier, circle, classifier
from workbench.problems.diagonal_bias import (
    decay_rate,
    first_order_decay_rate,
    rho_for_stability_number,
    sam_stability_number,
)
from workbench.problems.diagonal_network import DiagonalNetwork, ProductNetwork, SquaresNetwork, diagonal_network
from workbench.problems.noisy_sines import NoisySines, noisy_sines
from workbench.problems.polynomial import CriticalPoint, critical_point
from workbench.problems.potential import argmin_phi, phi, phi_gradient
from workbench.problems.quadratic import Quadratic, quadratic, random_rotation
from workbench.problems.relu_regression import ReLURegression, relu_regression
from workbench.problems.scalar import ScalarFactorisation, TwoBasins
from workbench.problems.sparse_regression import SparseRegression, sparse_regression

__all__ = [
    "Classifier",
    "CriticalPoint",
    "DiagonalNetwork",
    "Measure",
    "NoisySines",
    "Problem",
    "ProductNetwork",
    "Quadratic",
    "ReLURegression",
    "ScalarFactorisation",
    "SparseRegression",
    "SquaresNetwork",
    "TwoBasins",
    "argmin_phi",
    "circle",
    "classifier",
    "critical_point",
    "decay_rate",
    "diagonal_network",
    "first_order_decay_rate",
    "networks",
    "noisy_sines",
    "phi",
    "phi_gradient",
    "quadratic",
    "random_rotation",
    "relu_regression",
    "rho_for_stability_number",
    "sam_stability_number",
    "sparse_regression",
]
