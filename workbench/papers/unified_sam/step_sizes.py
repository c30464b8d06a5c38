"""Theorem 3.2's steps against the numbers that the authors' notebook prints, and the simplified steps against the theorem's."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from workbench import draws
from workbench.papers.unified_sam import theory

Formula = Literal["theorem", "linear weight", "half q"]


def formula_steps(
    formula: Formula, mu: float, L: float, A: float, B: float, lam: float, c: float = 0.5
) -> theory.SafeSteps:
    """`theory.theorem_3_2`; wrong on purpose: "linear weight" has (1-lam) for (1-lam)^2, "half q" q/2 for q."""
    if formula not in ("theorem", "linear weight", "half q"):
        raise ValueError(f"formula must be theorem, linear weight or half q, got {formula!r}")
    share = 0.5 if formula == "half q" else 1.0
    weight = 1 - (1 - lam) ** 0.5 if formula == "linear weight" else lam
    return theory.theorem_3_2(mu, L, share * A, share * B, 0.0, weight, c)


def off_the_printed(table: pd.DataFrame, formula: Formula = "theorem") -> xr.DataArray:
    """|ours - printed| in half units of the last printed digit: dims (row, which), rho and gamma."""
    found = np.empty((len(table), 2))
    for k, row in enumerate(table.to_dict("records")):
        ours = formula_steps(formula, row["mu"], row["L"], row["A"], row["B"], row["lam"])
        for j, (name, value) in enumerate((("rho", ours.rho), ("gamma", ours.gamma_star))):
            found[k, j] = abs(value - row[name]) / (row[f"{name}_digit"] / 2)
    return xr.DataArray(found, dims=("row", "which"), coords={"which": ["rho", "gamma"]})


def simplified_over_allowed(seed: int, count: int = 10_000, formula: Formula = "theorem") -> xr.Dataset:
    """`theory.simplified_steps` over what Theorem 3.2 allows, for random constants: dims (draw,).

    mu/L log-uniform in [1e-5, 1], A/L in [1e-4, 1e2], B uniform in [0, 2], lam in [0, 1]; `rho` over rho*, and `gamma` over
    gamma* at that rho, infinite where rho is not below rho*.
    """
    u = draws.uniform(seed, (count, 4), stream="constants").numpy()
    found = np.empty((count, 2))
    for k, (mu, A, B, lam) in enumerate(
        zip(10 ** (-5 * u[:, 0]), 10 ** (6 * u[:, 1] - 4), 2 * u[:, 2], u[:, 3], strict=True)
    ):
        rho, gamma = theory.simplified_steps(mu, 1.0, A, B, lam)
        share = rho / formula_steps(formula, mu, 1.0, A, B, lam).rho_star
        found[k] = share, np.inf if share >= 1 else gamma / formula_steps(formula, mu, 1.0, A, B, lam, share).gamma_star
    return xr.Dataset({"rho": ("draw", found[:, 0]), "gamma": ("draw", found[:, 1])})
