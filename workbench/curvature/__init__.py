"""What the landscape looks like at a point.

Functions of `(loss, parameters, ...)` with `loss(parameters) -> scalar`; parameters are a tensor or a flat dict of
tensors. Exact functions are exact to rounding in the parameters' dtype; estimates return their own error.
"""

from .ball import m_sharpness, quadratic_worst_case, worst_case
from .empirical import EmpiricalLoss, empirical_loss
from .hessian import asymmetry, hessian
from .lanczos import ConvergenceError, EigenPairs, top_eigenpairs
from .per_sample import (
    gradient_covariance,
    gradient_covariance_spectrum,
    gradient_signal_to_noise,
    per_sample_gradient_norms,
    per_sample_gradients,
)
from .products import hessian_vector_product, hvp_operator
from .sharpness import rescaled, sharpness, sharpness_with_residual
from .spectrum import spectral_radius, spectrum, update_jacobian

__all__ = [
    "ConvergenceError",
    "EigenPairs",
    "EmpiricalLoss",
    "asymmetry",
    "empirical_loss",
    "gradient_covariance",
    "gradient_covariance_spectrum",
    "gradient_signal_to_noise",
    "hessian",
    "hessian_vector_product",
    "hvp_operator",
    "m_sharpness",
    "per_sample_gradient_norms",
    "per_sample_gradients",
    "quadratic_worst_case",
    "rescaled",
    "sharpness",
    "sharpness_with_residual",
    "spectral_radius",
    "spectrum",
    "top_eigenpairs",
    "update_jacobian",
    "worst_case",
]
