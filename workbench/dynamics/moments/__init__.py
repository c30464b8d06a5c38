"""Exact second moments of linear stochastic methods: what a simulation estimates, without simulating."""

from workbench.dynamics.moments.affine import AffineStep, MeanAndCovariance, affine_moments, affine_path
from workbench.dynamics.moments.coordinates import CoordinateMoments
from workbench.dynamics.moments.lift import (
    exact_rate,
    expected_lift,
    lift,
    packed,
    second_moment_generator,
    spectral_radius,
    unpacked,
)
from workbench.dynamics.moments.linear_step import LinearStep, averaged
from workbench.dynamics.moments.rules import second_moments
from workbench.dynamics.moments.samples import SampleMoments

__all__ = [
    "AffineStep",
    "CoordinateMoments",
    "LinearStep",
    "MeanAndCovariance",
    "SampleMoments",
    "affine_moments",
    "affine_path",
    "averaged",
    "exact_rate",
    "expected_lift",
    "lift",
    "packed",
    "second_moment_generator",
    "second_moments",
    "spectral_radius",
    "unpacked",
]
