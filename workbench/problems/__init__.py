"""What is minimised: losses with known structure, each with its data, an initialiser from a seed and its closed-form truths."""

from workbench.problems.base import Measure, Problem
from workbench.problems.classifier import Classifier, circle, classifier
from workbench.problems.diagonal_network import DiagonalNetwork, ProductNetwork, SquaresNetwork, diagonal_network
from workbench.problems.quadratic import Quadratic, quadratic, random_rotation
from workbench.problems.scalar import ScalarFactorisation, TwoBasins
from workbench.problems.sparse_regression import SparseRegression, sparse_regression

__all__ = [
    "Classifier",
    "DiagonalNetwork",
    "Measure",
    "Problem",
    "ProductNetwork",
    "Quadratic",
    "ScalarFactorisation",
    "SparseRegression",
    "SquaresNetwork",
    "TwoBasins",
    "circle",
    "classifier",
    "diagonal_network",
    "quadratic",
    "random_rotation",
    "sparse_regression",
]
