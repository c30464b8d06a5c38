"""How unnormalised SAM shrinks the effective initialisation of a diagonal network, and where it loses stability.

With groups S of m samples, g_S = mean_S r_i x_i and h_S the same at the group's perturbed parameters, the flow obeys
log(alpha/alpha_eff) = rho Delta with Delta = int mean_S(g_S h_S) ds (arXiv:2206.06232 for m = 1 and m = n; general m
derived). rho multiplies the gradient of (1/4) r^2 in (w+, w-), equal to that of (1/2) r^2 in (u, v).

The rates are functions of the parameters, made for `wb.run(..., integrate={"delta": decay_rate(network, rho, m)})`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.checks import require_count, require_nonnegative, require_positive
from workbench.problems.factorised.diagonal_network import DiagonalNetwork

Rate = Callable[[Float[Tensor, "2 feature"]], Float[Tensor, " feature"]]


def decay_rate(network: DiagonalNetwork, rho: float | Tensor, m: int) -> Rate:
    """d Delta/ds = mean_S(g_S h_S), exact in rho, for consecutive groups of m samples (m = 1: 1-SAM, m = n: n-SAM)."""
    groups = _groups(network, m)
    require_nonnegative("rho", rho)

    def one_group(parameters: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        batch = (inputs, targets)
        displaced = parameters + rho * network.gradient(parameters, batch)
        return network.residual_correlation(parameters, batch) * network.residual_correlation(displaced, batch)

    def rate(parameters: Tensor) -> Tensor:
        return torch.func.vmap(one_group, (None, 0, 0))(parameters, *groups).mean(0)

    return rate


def first_order_decay_rate(network: DiagonalNetwork, m: int) -> Rate:
    """The rate at rho -> 0, averaged over random partitions into groups of m:

    (n-m)/(m(n-1)) (1/n) sum_i r_i^2 x_i^2 + n(m-1)/(m(n-1)) g^2, with g = (1/n) X^T r.
    It interpolates 1-SAM's (1/n) sum r_i^2 x_i^2 and n-SAM's g^2.
    """
    n = network.n_samples
    _groups(network, m)
    own = 1.0 if n == 1 else (n - m) / (m * (n - 1))
    shared = 0.0 if n == 1 else n * (m - 1) / (m * (n - 1))

    def rate(parameters: Tensor) -> Tensor:
        residuals = network.residuals(parameters)
        each = (residuals**2 / n) @ network.inputs**2
        return own * each + shared * network.residual_correlation(parameters) ** 2

    return rate


def sam_stability_number(
    network: DiagonalNetwork, parameters: Float[Tensor, "2 feature"], step_size: float | Tensor, rho: float | Tensor
) -> Float[Tensor, ""]:
    """Lam = (gamma/n) max eig(A diag(1 + 2 rho s)), A = X diag(2(w+^2 + w-^2)) X^T, s_i = A_ii/2.

    Near an interpolating network one 1-SAM step maps the residuals by I - (gamma/n) A diag(1 + 2 rho s): linearly stable
    iff Lam < 2 (derived for arXiv:2206.06232). rho = 0 gives gradient descent's gamma times sharpness.
    """
    require_positive("step_size", step_size)
    require_nonnegative("rho", rho)
    return _stability(_kernel(network, parameters), step_size, rho)


def rho_for_stability_number(
    network: DiagonalNetwork,
    parameters: Float[Tensor, "2 feature"],
    step_size: float | Tensor,
    target: float | Tensor,
    *,
    largest: float = 200.0,
) -> Float[Tensor, ""]:
    """The radius rho in [0, largest] at which `sam_stability_number` equals `target`; it increases with rho.

    NaN where no such radius exists: the number exceeds the target already at rho = 0, or stays below it up to `largest`.
    """
    require_positive("step_size", step_size)
    require_positive("target", target)
    kernel = _kernel(network, parameters)
    low = torch.zeros_like(kernel[0, 0])
    high = low + largest
    reachable = (_stability(kernel, step_size, low) <= target) & (_stability(kernel, step_size, high) >= target)
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = _stability(kernel, step_size, middle) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(reachable, 0.5 * (low + high), torch.nan)


def _groups(network: DiagonalNetwork, m: int) -> tuple[Tensor, Tensor]:
    n = network.n_samples
    require_count("m", m, 1, n)
    if n % m:
        raise ValueError(f"m must divide the number of samples n = {n}, got m={m}")
    return network.inputs.reshape(n // m, m, -1), network.targets.reshape(n // m, m)


def _kernel(network: DiagonalNetwork, parameters: Tensor) -> Float[Tensor, "sample sample"]:
    return (network.inputs * (2 * network.squared_scale(parameters))) @ network.inputs.mT


def _stability(kernel: Tensor, step_size: float | Tensor, rho: float | Tensor) -> Float[Tensor, ""]:
    # A D has the eigenvalues of the symmetric D^(1/2) A D^(1/2).
    root = torch.sqrt(1 + rho * torch.diagonal(kernel))
    symmetric = root[:, None] * kernel * root
    # A diverged run has no spectrum; eigvalsh would raise for all runs at once.
    usable = torch.isfinite(symmetric).all()
    top = torch.linalg.eigvalsh(torch.where(usable, symmetric, torch.zeros_like(symmetric)))[-1]
    return torch.where(usable, step_size / kernel.shape[0] * top, torch.nan)
