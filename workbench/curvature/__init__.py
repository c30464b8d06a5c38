"""What the landscape looks like at a point.

Functions of `(loss, parameters, ...)` with `loss(parameters) -> scalar`; parameters are a tensor or a flat dict of
tensors. Exact functions are exact to rounding in the parameters' dtype; estimates return their own error.
"""

from .along.tracker import Tracked, Tracker
from .construction import empirical_loss
from .distributed import MinibatchLoss
from .empirical import EmpiricalLoss
from .gauss_newton import Decomposition, decomposition, empirical_fisher, fisher, gauss_newton
from .hessian import asymmetry, hessian
from .measures.average_case import FlatnessProfile, average_case, flatness
from .measures.interpolation import LossPlane, interpolate, loss_plane
from .measures.sharpness import rescaled, sharpness, sharpness_with_residual
from .measures.worst_case import m_sharpness, quadratic_worst_case, worst_case
from .products import hessian_vector_product, hvp_operator
from .samples.covariance import gradient_covariance, gradient_covariance_spectrum, gradient_signal_to_noise
from .samples.gradients import per_sample_gradient_norms, per_sample_gradients, stream_per_sample_gradients
from .spectra.density import SpectralDensity, spectral_density
from .spectra.eigenpairs import ConvergenceError, EigenPairs
from .spectra.estimate import Estimate
from .spectra.lanczos import top_eigenpairs
from .spectra.outliers import outlier_structure
from .spectra.spectrum import spectrum
from .spectra.trace import diagonal, frobenius_norm, trace
from .update_jacobian import spectral_radius, update_jacobian

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
    "Tracked",
    "Tracker",
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
    "stream_per_sample_gradients",
    "top_eigenpairs",
    "trace",
    "update_jacobian",
    "worst_case",
]


def __dir__() -> list[str]:
    return sorted(__all__)
