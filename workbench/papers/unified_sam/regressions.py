"""The paper's regressions: ridge of given condition number, ridge with rows of uneven length, and robust regression."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_count, require_nonnegative
from workbench.draws import Seed
from workbench.problems import LeastSquares, RobustRegression, random_rotation


def log_spectrum(d: int, cond: float) -> Float[Tensor, " eigenvalue"]:
    """d eigenvalues of A^T A from 1/cond to cond, evenly in the logarithm: A has condition number cond."""
    require_count("d", d)
    if not 1 <= cond < float("inf"):
        raise ValueError(f"cond, the condition number of A, must be a finite number >= 1, got {cond!r}")
    exponents = torch.linspace(-1, 1, d, dtype=torch.float64) if d > 1 else torch.zeros(1, dtype=torch.float64)
    return float(cond) ** exponents


def conditioned_ridge(seed: Seed, n: int, d: int, cond: float, reg: float) -> LeastSquares:
    """f_i = (a_i.x - b_i)^2/2 + reg/2 |x|^2 with A^T A of `log_spectrum`, random singular vectors, normal b: inconsistent.

    Raises ValueError unless n >= d >= 1, cond >= 1, reg >= 0.
    """
    spectrum = log_spectrum(d, cond)
    require_count(f"n (at least d = {d}: or mu is only reg)", n, d)
    require_nonnegative("reg", reg)
    left, _ = torch.linalg.qr(draws.normal(seed, (n, d), stream="left vectors"))
    inputs = left * spectrum.sqrt() @ random_rotation(seed, d).mT
    return LeastSquares(inputs, draws.normal(seed, (n,), stream="targets"), reg)


def uneven_ridge(seed: Seed, n: int, d: int, row_scale_sigma: float, reg: float) -> LeastSquares:
    """Normal rows times exp(row_scale_sigma N(0, 1)), targets consistent with a normal x: L_max far above L_avg."""
    require_count("d", d)
    require_count(f"n (at least d = {d}: or mu is only reg)", n, d)
    require_nonnegative("row_scale_sigma", row_scale_sigma)
    require_nonnegative("reg", reg)
    lengths = torch.exp(row_scale_sigma * draws.normal(seed, (n, 1), stream="row scales"))
    inputs = lengths * draws.normal(seed, (n, d), stream="rows")
    return LeastSquares(inputs, inputs @ draws.normal(seed, (d,), stream="truth"), reg)


def robust_regression(seed: int, n: int = 40, d: int = 5) -> RobustRegression:
    """Normal rows; a fifth of the targets are outliers of size 5, the others noise of size 0.1 around a normal truth."""
    inputs = draws.normal(seed, (n, d), stream="rows")
    noise = 0.1 * draws.normal(seed, (n,), stream="noise")
    noise[: n // 5] += 5.0 * draws.signs(seed, (n // 5,), stream="outliers")
    return RobustRegression(inputs, inputs @ draws.normal(seed, (d,), stream="truth") + noise)
