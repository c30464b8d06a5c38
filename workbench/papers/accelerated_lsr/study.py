"""What the notebook measures, under its parameters and control switches (arXiv:2203.01744)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from workbench.papers.accelerated_lsr.bounds import average_bound, last_bound, lower_bound
from workbench.papers.accelerated_lsr.limit import (
    critical_ratio,
    limit_operator,
    noise_floor,
    noise_share,
    small_step_ratio,
    solved_ratio,
)
from workbench.papers.accelerated_lsr.recursions import (
    DESIGNS,
    REAL_DESIGNS,
    StepSizes,
    acsgd_moments,
    law,
    named_spectrum,
    recommended,
    risks,
    sgd_moments,
)
from workbench.problems.linear.designs import AdditiveNoise, FiniteData, OneHotDesign

OUTPUTS = ("last", "average")
BOUNDARY_SPECTRA = ("power0", "power1", "log2")


def powers_of_two(T: int) -> list[int]:
    """2, 4, 8, ... up to T."""
    return [2**k for k in range(1, T.bit_length()) if 2**k <= T]


def worst_cases(
    d: int, name: str, T: int, *, beta_R2: float = 1 / 3, alpha_ratio: float = 0.5, z_weight: str = "t+1"
) -> xr.Dataset:
    """Noiseless risk at the worst coordinate start, of AcSGD and SGD, last and averaged, at powers of two.

    Variables "acsgd" and "sgd" over (design, step, output), "bound" of AcSGD alike.
    """
    at, parts = powers_of_two(T), []
    for design, kind in DESIGNS.items():
        one = kind(named_spectrum(name, d))
        steps = recommended(*one.constants, beta_R2=beta_R2, alpha_ratio=alpha_ratio)
        methods = {
            "acsgd": acsgd_moments(one, *steps, z_weight=z_weight),
            "sgd": sgd_moments(one, 1 / (2 * one.constants.R2)),
        }
        curves = {
            arm: risks(method, np.eye(d), at).max("start").to_array("output").transpose("step", "output")
            for arm, method in methods.items()
        }
        bounds = np.stack([last_bound(np.array(at), *steps), average_bound(np.array(at), *steps)], axis=1)
        curves["bound"] = curves["acsgd"].copy(data=bounds)
        parts.append(xr.Dataset(curves).expand_dims(design=[design]))
    found = xr.concat(parts, "design")
    found.step.attrs["long_name"] = "samples $T$"
    for variable in found.values():
        variable.attrs["long_name"] = "worst excess risk"
    return found


def last_slopes(risk: xr.DataArray) -> xr.DataArray:
    """log2 of the risk's change over the last doubling of `step`; NaN unless the doubling before changed it by nearly as much."""
    changes = risk / risk.shift(step=1)
    slopes = changes.copy(data=np.log2(changes)).isel(step=[-2, -1])
    settled = abs(slopes.diff("step")).isel(step=0, drop=True) < 0.1
    return slopes.isel(step=-1, drop=True).where(settled)


def noisy_curves(
    d: int,
    T: int,
    *,
    design: str = "gauss",
    sigma: float = 1.0,
    beta_R2: float = 1 / 3,
    alpha_ratio: float = 0.5,
    points: int = 60,
) -> tuple[xr.Dataset, StepSizes]:
    """Noise part (start at theta*) of AcSGD's and SGD's risk over (arm, step), and AcSGD's step sizes.

    On h_i = 1/i, i = 1, ..., d, or on a data set, whose number of features then stands in the place of d.
    The result's attribute `d` is the number of features.
    """
    one = law(design, None if design in REAL_DESIGNS else named_spectrum("power1", d), sigma**2)
    d = one.inputs.shape[1] if isinstance(one, FiniteData) else d
    R2, kappa = one.constants  # type: ignore[attr-defined]
    steps = recommended(R2, kappa, beta_R2=beta_R2, alpha_ratio=alpha_ratio)
    at = np.unique(np.append(np.geomspace(1, T, points).astype(int), [T // 4, T // 2, T]))
    methods = {"acsgd": acsgd_moments(one, *steps), "sgd": sgd_moments(one, 1 / (2 * R2))}
    found = xr.concat([risks(method, np.zeros(d), at).expand_dims(arm=[arm]) for arm, method in methods.items()], "arm")
    found.step.attrs["long_name"] = "samples $T$"
    return found.assign_attrs(d=d), steps


def floor(d: int, design: str, sigma: float, steps: StepSizes, *, feedback: bool = True) -> float:
    """Where AcSGD's last iterate stalls on h_i = 1/i, in closed form; NaN for a data set, of which none is known."""
    if design in REAL_DESIGNS:
        return np.nan
    return noise_floor(named_spectrum("power1", d), sigma**2, *steps, design, feedback=feedback)


def floor_against_solve(sizes: Iterable[int], *, beta_R2: float = 1 / 3, feedback: bool = True) -> xr.DataArray:
    """|closed form - 3d x 3d linear solve| of the noise floor, relative, in units of eps times the system's condition.

    Over (d, design, alpha_ratio, output), for h_i = 1/i and the recommended alpha and a tenth of it.
    """
    sizes, ratios, eps = list(sizes), (0.5, 0.05), np.finfo(float).eps
    found = np.empty((len(sizes), len(DESIGNS), len(ratios), 2))
    for index in np.ndindex(*found.shape[:-1]):
        d, (design, kind), ratio = sizes[index[0]], list(DESIGNS.items())[index[1]], ratios[index[2]]
        one = kind(named_spectrum("power1", d), 1.0)
        steps = recommended(*one.constants, beta_R2=beta_R2, alpha_ratio=ratio)
        operator = limit_operator(one, *steps)
        system = np.eye(3 * d) - operator.matrix()
        moments = np.linalg.solve(system, operator.apply(np.zeros((3, d))).T.ravel()).reshape(d, 3).T
        for k, (output, weights) in enumerate({"x": (1, -2, 1), "y": (0, 0, 1)}.items()):
            solved = 0.5 * float(np.array(weights) @ moments @ one.spectrum)
            closed = noise_floor(one.spectrum, 1.0, *steps, design, output=output, feedback=feedback)
            found[(*index, k)] = abs(closed / solved - 1) / (eps * np.linalg.cond(system))
    coords = {"d": sizes, "design": list(DESIGNS), "alpha_ratio": list(ratios), "output": ["x", "y"]}
    return xr.DataArray(found, coords=coords, dims=list(coords))


def stability(d: int, design: str, oracle: str, steps: StepSizes) -> dict[str, float]:
    """Spectral radius - 1 of the limit on h_i = 1/i: "plain" acceleration (alpha = beta), and AcSGD with these steps."""
    h = named_spectrum("power1", d)
    one = AdditiveNoise(h) if oracle == "full" else DESIGNS[design](h)
    pairs = {"plain": (steps.beta, steps.beta), "acsgd": tuple(steps)}
    return {name: limit_operator(one, *pair).spectral_radius() - 1 for name, pair in pairs.items()}


def lower_bound_ratios(sizes: Iterable[int], oracle: str = "sample") -> xr.DataArray:
    """Risk over the lower bound on one-hot features with H = I/d, over (d, share = t/d, arm).

    Arms: AcSGD last and averaged, SGD with half the largest step, Kaczmarz (step 1/R2). oracle = "full": exact gradients
    and the step sizes that they allow, outside the span of the seen features (control).
    """
    sizes, shares = list(sizes), (0.5, 1.0, 2.0)
    arms = ("AcSGD last", "AcSGD average", "SGD", "Kaczmarz")
    found = np.empty((len(sizes), len(shares), len(arms)))
    for i, d in enumerate(sizes):
        design = OneHotDesign(np.ones(d) / d)
        used = law("onehot", design.spectrum, oracle=oracle)
        R2, kappa = design.constants if oracle == "sample" else used.constants  # type: ignore[attr-defined]
        at = [int(share * d) for share in shares]
        ac = risks(acsgd_moments(used, *recommended(R2, kappa)), np.eye(d)[0], at)
        half, full = (risks(sgd_moments(used, step / R2), np.eye(d)[0], at)["last"] for step in (0.5, 1.0))
        found[i] = (np.stack([ac["last"], ac["average"], half, full]) / lower_bound(np.array(at), d)).T
    coords = {"d": sizes, "share": list(shares), "arm": list(arms)}
    return xr.DataArray(found, coords=coords, dims=list(coords))


def boundary_errors(sizes: Iterable[int], boundary: str = "exact") -> xr.DataArray:
    """|closed form/linear system - 1| of the largest stable alpha d/beta, over (design, d, spectrum, beta R2).

    boundary = "small-steps" puts the first-order form 2 - beta tr H in the place of Q = 1 (control).
    """
    if boundary not in ("exact", "small-steps"):
        raise ValueError(f"boundary must be one of exact, small-steps, got {boundary!r}")
    coords = {
        "design": list(DESIGNS),
        "d": list(sizes),
        "spectrum": list(BOUNDARY_SPECTRA),
        "beta R2": [1 / 3, 1 / 12, 1 / 48],
    }
    found = xr.DataArray(np.empty([len(values) for values in coords.values()]), coords=coords, dims=list(coords))
    for index in np.ndindex(*found.shape):
        design, d, name, beta_R2 = (values[k] for values, k in zip(coords.values(), index, strict=True))
        h = named_spectrum(name, d)
        beta = beta_R2 / DESIGNS[design](h).constants.R2
        closed = critical_ratio(h, beta, design) if boundary == "exact" else small_step_ratio(h, beta)
        found[index] = abs(closed / solved_ratio(h, beta, design) - 1)
    return found


def growth_beside_boundary(
    d: int, factors: tuple[float, float], beta_R2: float = 1 / 3, oracle: str = "sample"
) -> list[float]:
    """risk(4000)/risk(2000) of AcSGD on h_i = 1/i at these multiples of the critical alpha, Gaussian, noiseless."""
    h = named_spectrum("power1", d)
    beta = beta_R2 / DESIGNS["gauss"](h).constants.R2
    critical = critical_ratio(h, beta) * beta / d
    growth = []
    for factor in factors:
        last = risks(acsgd_moments(law("gauss", h, oracle=oracle), factor * critical, beta), np.ones(d), [2000, 4000])
        growth.append(float(last["last"][1] / last["last"][0]))
    return growth


def stability_map(d: int, ratios: Iterable[float], betas: Iterable[float], design: str = "gauss") -> xr.DataArray:
    """Q on h_i = 1/i over (beta R2, alpha d/beta): below 1 AcSGD is mean-square stable. Gaussian where no Q is known."""
    design = design if design in DESIGNS else "gauss"
    h = named_spectrum("power1", d)
    R2 = DESIGNS[design](h).constants.R2
    betas, ratios = list(betas), list(ratios)
    values = [[noise_share(h, c * b / R2 / d, b / R2, design).Q for c in ratios] for b in betas]
    return xr.DataArray(
        values,
        coords={"beta_R2": betas, "ratio": ratios},
        dims=["beta_R2", "ratio"],
        attrs={"long_name": "$Q$"},
    )
