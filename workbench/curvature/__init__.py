"""What the landscape looks like at a point.

Functions of `(loss, parameters, ...)` with `loss(parameters) -> scalar`; parameters are a tensor or a flat dict of
tensors. Exact functions are exact to rounding in the parameters' dtype; estimates return their own error.
"""

from .average_case import FlatnessProfile, average_case, flatness
from .density import SpectralDensity, spectral_density
from .distributed import MinibatchLoss
from .empirical import EmpiricalLoss, empirical_loss
from .gauss_newton import Decomposition, decomposition, empirical_fisher, fisher, gauss_newton
from .hessian import asymmetry, hessian
from .interpolation import LossPlane, interpolate, loss_plane
from .lanczos import ConvergenceError, EigenPairs, top_eigenpairs
from .outliers import outlier_structure
from .per_sample import (
    gradient_covariance,
    gradient_covariance_spectrum,
    gradient_signal_to_noise,
    per_sample_gradient_norms,
    per_sample_gradients,
)
from .products import hessian_vector_product, hvp_operator
from .sharpness import rescaled, sharpness, sharpness_with_residual
from .spectrum import spectrum
from .trace import Estimate, diagonal, frobenius_norm, trace
from .update_jacobian import spectral_radius, update_jacobian
from .worst_case import m_sharpness, quadratic_worst_case, worst_case

__all__ = [
    "ConvergenceError",
    "Decomposition",
    "EigenPairs",
    "EmpiricalLoss",
    "Estimate",
    "FlatnessProfile",
    "LossPlane",
    "MinibatchLoss",
    "SpectralDensity",
    "asymmetry",
    "average_case",
    "decomposition",
    "diagonal",
    "empirical_fisher",
    "empirical_loss",
    "fisher",
    "flatness",
    "frobenius_norm",
    "gauss_newton",
    "gradient_covariance",
    "gradient_covariance_spectrum",
    "gradient_signal_to_noise",
    "hessian",
    "hessian_vector_product",
    "hvp_operator",
    "interpolate",
    "loss_plane",
    "m_sharpness",
    "outlier_structure",
    "per_sample_gradient_norms",
    "per_sample_gradients",
    "quadratic_worst_case",
    "rescaled",
    "sharpness",
    "sharpness_with_residual",
    "spectral_density",
    "spectral_radius",
    "spectrum",
    "top_eigenpairs",
    "trace",
    "update_jacobian",
    "worst_case",
]
