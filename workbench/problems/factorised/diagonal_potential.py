"""The potential that training a diagonal linear network minimises among all interpolating predictors.

phi_alpha(beta) = 1/4 sum_j [beta_j arcsinh(beta_j/(2 alpha_j^2)) - sqrt(beta_j^2 + 4 alpha_j^4) + 2 alpha_j^2]
(arXiv:2002.09277; in the scaling of arXiv:2206.06232). For alpha -> infinity it is sum beta_j^2/(16 alpha_j^2), for
alpha -> 0 it is 1/2 log(1/alpha) |beta|_1 to leading order.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from workbench.checks import require_positive

MAX_ITERATIONS = 500
TOLERANCE = 1e-12
_MAX_CHANGE = 2.0
_HALVINGS = 40


def phi(beta: Float[Tensor, " feature"], alpha: float | Tensor) -> Float[Tensor, ""]:
    """phi_alpha(beta); alpha > 0 is one number or one per feature. Accurate for every ratio of beta to alpha^2."""
    require_positive("alpha", alpha)
    ratio = beta / (2 * torch.as_tensor(alpha, dtype=beta.dtype) ** 2)
    # sqrt(beta^2 + 4 alpha^4) - 2 alpha^2, written without the cancellation at large alpha.
    return 0.25 * (beta * (torch.arcsinh(ratio) - ratio / (1 + torch.hypot(ratio, torch.ones_like(ratio))))).sum()


def phi_gradient(beta: Float[Tensor, " feature"], alpha: float | Tensor) -> Float[Tensor, " feature"]:
    """1/4 arcsinh(beta/(2 alpha^2))."""
    require_positive("alpha", alpha)
    return 0.25 * torch.arcsinh(beta / (2 * torch.as_tensor(alpha, dtype=beta.dtype) ** 2))


def argmin_phi(
    inputs: ArrayLike | Float[Tensor, "sample feature"],
    targets: ArrayLike | Float[Tensor, " sample"],
    alpha: float | ArrayLike | Float[Tensor, ""] | Float[Tensor, " feature"],
) -> Float[Tensor, " feature"]:
    """The minimiser of phi_alpha among the predictors with X beta = y, in float64; tensors, NumPy arrays or lists.

    Damped Newton on the dual  min_nu sum_j (alpha_j^2/2) cosh(4 (X^T nu)_j) - <nu, y>  with
    beta = 2 alpha^2 sinh(4 X^T nu), until |X beta - y| <= 1e-12 max(1, |y|). One problem, or one per run under vmap.
    NaN where no minimiser was found: X beta = y has no solution, or an entry is not finite. Not differentiable.
    Raises ValueError when alpha is not positive or shapes do not fit.
    """
    beta, _ = _solved(inputs, targets, alpha)
    return beta


def interpolation_multipliers(
    inputs: ArrayLike | Float[Tensor, "sample feature"],
    targets: ArrayLike | Float[Tensor, " sample"],
    alpha: float | ArrayLike | Float[Tensor, ""] | Float[Tensor, " feature"],
) -> Float[Tensor, " sample"]:
    """nu with grad phi_alpha(beta) = X^T nu at `argmin_phi`'s beta: the solution of the dual, which certifies beta's."""
    _, nu = _solved(inputs, targets, alpha)
    return nu


def _solved(inputs: Any, targets: Any, alpha: Any) -> tuple[Tensor, Tensor]:
    inputs, targets = (torch.as_tensor(part) for part in (inputs, targets))
    scale = torch.as_tensor(alpha, dtype=torch.float64)
    require_positive("alpha", scale)
    if inputs.dim() != 2 or targets.shape != inputs.shape[:1] or not inputs.numel():
        raise ValueError(
            f"inputs must be [sample, feature] and targets [sample], got {tuple(inputs.shape)} and {tuple(targets.shape)}"
        )
    if scale.dim() > 1 or (scale.dim() == 1 and scale.shape != inputs.shape[1:]):
        raise ValueError(
            f"alpha must be one number or one per feature ({inputs.shape[1]}), got shape {tuple(scale.shape)}"
        )
    return _ArgminPhi.apply(inputs.double(), targets.double(), scale.expand(inputs.shape[1]))


class _ArgminPhi(torch.autograd.Function):
    """Newton stops when every run has converged, a decision that only the batch as a whole can take: hence the rule."""

    generate_vmap_rule = False

    @staticmethod
    def forward(inputs: Tensor, targets: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        shape = torch.broadcast_shapes(inputs.shape[:-2], targets.shape[:-1], alpha.shape[:-1])
        flat = [
            tensor.expand(*shape, *tensor.shape[-kept:]).reshape(-1, *tensor.shape[-kept:])
            for tensor, kept in ((inputs, 2), (targets, 1), (alpha, 1))
        ]
        beta, nu = _newton(*flat)
        return beta.reshape(*shape, inputs.shape[-1]), nu.reshape(*shape, inputs.shape[-2])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, *tensors: Tensor) -> Any:
        # Runs lead; a tensor shared by all runs gets a leading dimension of one and is broadcast in `forward`.
        leading = [
            tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(tensors, in_dims, strict=True)
        ]
        return _ArgminPhi.apply(*leading), (0, 0)


def _newton(
    inputs: Float[Tensor, "run sample feature"],
    targets: Float[Tensor, "run sample"],
    alpha: Float[Tensor, "run feature"],
) -> tuple[Float[Tensor, "run feature"], Float[Tensor, "run sample"]]:
    squared = alpha**2
    goal = targets.norm(dim=1).clamp(min=1.0)
    identity = torch.eye(inputs.shape[1], dtype=inputs.dtype, device=inputs.device)
    usable = torch.isfinite(inputs).all(2).all(1) & torch.isfinite(targets).all(1) & torch.isfinite(squared).all(1)

    def exponents(nu: Tensor) -> Tensor:
        return 4 * torch.einsum("rs,rsf->rf", nu, inputs)

    def dual(nu: Tensor) -> Tensor:
        return (0.5 * squared * torch.cosh(exponents(nu))).sum(1) - (nu * targets).sum(1)

    def residual(nu: Tensor) -> Tensor:
        return torch.einsum("rsf,rf->rs", inputs, 2 * squared * torch.sinh(exponents(nu))) - targets

    nu = torch.zeros_like(targets)
    active = usable.clone()
    for _ in range(MAX_ITERATIONS):
        gap = residual(nu)
        active = active & (gap.norm(dim=1) > TOLERANCE * goal)
        if not active.any():
            break
        weights = 8 * squared * torch.cosh(exponents(nu))
        hessian = torch.einsum("rsf,rf,rtf->rst", inputs, weights, inputs)
        ridge = 1e-14 * hessian.diagonal(dim1=1, dim2=2).mean(1)
        step, _ = torch.linalg.solve_ex(hessian + ridge[:, None, None] * identity, -gap)
        active = active & torch.isfinite(step).all(1)
        step = torch.where(active[:, None], step, torch.zeros_like(step))
        # Far from the minimum the quadratic model of cosh is meaningless beyond a few units of its argument.
        length = (_MAX_CHANGE / exponents(step).abs().amax(1).clamp(min=_MAX_CHANGE)).clamp(max=1.0)
        nu = nu + _armijo(dual, nu, step, length, (gap * step).sum(1))[:, None] * step
    beta = 2 * squared * torch.sinh(exponents(nu))
    found = usable & (residual(nu).norm(dim=1) <= 1e3 * TOLERANCE * goal)
    return torch.where(found[:, None], beta, torch.nan), torch.where(found[:, None], nu, torch.nan)


def _armijo(dual: Any, nu: Tensor, step: Tensor, length: Tensor, slope: Tensor) -> Tensor:
    """Halve each run's step length until its dual value decreases (up to rounding, which decides near the minimum)."""
    value = dual(nu)
    slack = 4 * torch.finfo(nu.dtype).eps * value.abs()
    for _ in range(_HALVINGS):
        refused = ~(dual(nu + length[:, None] * step) <= value + 1e-4 * length * slope + slack)
        if not refused.any():
            break
        length = torch.where(refused, 0.5 * length, length)
    return length
