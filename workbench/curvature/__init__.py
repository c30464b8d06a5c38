"""What the landscape looks like at a point.

Functions of `(loss, parameters, ...)` with `loss(parameters) -> scalar`; parameters are a tensor or a flat dict of
tensors. Exact functions are exact to rounding in the parameters' dtype; estimates return their own error.
"""

from .hessian import asymmetry, hessian
from .products import hessian_vector_product, hvp_operator
from .spectrum import spectral_radius, spectrum, update_jacobian

__all__ = [
    "asymmetry",
    "hessian",
    "hessian_vector_product",
    "hvp_operator",
    "spectral_radius",
    "spectrum",
    "update_jacobian",
]
