"""The SAM family: effective gradients that are gradients at a displaced point, and the rules made of them.

In all of them a zero gradient means no displacement and no move: nothing is added to a norm before dividing by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from workbench.optimizers.rule import EffectiveGradient, Momentum, Oracle, Plain, Rule, refuse_outside
from workbench.optimizers.schedules import HyperParameter, at
from workbench.parameters import Parameters, add_scaled, norm, normalised, scale, subtract, tree_map

Ascent = Literal["own", "full", "previous", "random"]


@dataclass(frozen=True)
class UnifiedSAM:
    """g~(x) = g(x + rho (1 - lam + lam/|g(x)|) g(x)); lam = 1 is SAM, lam = 0 is USAM (arXiv:2503.02225, eq. of Unified SAM).

    Both gradients are of the same minibatch.
    """

    rho: HyperParameter
    lam: HyperParameter = 1.0

    @property
    def name(self) -> str:
        return {0.0: "usam", 1.0: "sam"}.get(self.lam, "unified_sam") if isinstance(self.lam, float) else "unified_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        ascent = _mixed(oracle.gradient(parameters), at(self.lam, oracle.count))
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.count), ascent))


def _mixed(gradient: Parameters, lam: float | Tensor) -> Parameters:
    if isinstance(lam, float) and lam in (0.0, 1.0):
        return normalised(gradient) if lam == 1.0 else gradient
    return add_scaled(scale(1.0 - lam, gradient), lam, normalised(gradient))


@dataclass(frozen=True)
class MSAM:
    """m-SAM: one displacement per group of m samples, or one shared displacement (arXiv:2206.06232, Sec. 3).

    `ascent="own"`: the minibatch is cut into consecutive groups S of m samples;
        g~(x) = mean_S grad l_S(x + rho u(grad l_S(x))), u(g) = g/|g| if `normalize`, else g.
    Otherwise the whole minibatch is displaced along one direction u: that of the gradient over all samples ("full": n-SAM),
    of the previous minibatch ("previous", its surrogate), or of a standard normal vector ("random").
    `m=None` takes the whole minibatch as one group.
    """

    rho: HyperParameter
    m: int | None = None
    ascent: Ascent = "own"
    normalize: bool = True

    @property
    def name(self) -> str:
        if self.ascent == "own":
            return "m_sam" if self.normalize else "m_usam"
        return {"full": "n_sam", "previous": "previous_sam", "random": "random_sam"}[self.ascent]

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        rho = at(self.rho, oracle.count)
        unit = normalised if self.normalize else _same
        if self.ascent == "own" and self.m is not None:
            ascents = torch.func.vmap(unit)(oracle.group_gradients(parameters, self.m))
            displaced = tree_map(lambda x, ascent: x + rho * ascent, parameters, ascents)
            return tree_map(lambda g: g.mean(0), oracle.group_gradients_at(displaced, self.m))
        directions = {
            "own": oracle.gradient,
            "full": oracle.full_gradient,
            "previous": oracle.previous_gradient,
            "random": oracle.random_direction,
        }
        return oracle.gradient(add_scaled(parameters, rho, unit(directions[self.ascent](parameters))))


def _same(x: Parameters) -> Parameters:
    return x


@dataclass(frozen=True)
class TwoStepUSAM:
    """y = x + rho g(x), z = y + rho g(y), g~(x) = g(z) (the successive reading of USAM2, arXiv:2510.09034)."""

    rho: HyperParameter
    name = "usam_two_step"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        rho = at(self.rho, oracle.count)
        once = add_scaled(parameters, rho, oracle.gradient(parameters))
        return oracle.gradient(add_scaled(once, rho, oracle.gradient(once)))


@dataclass(frozen=True)
class NestedUSAM:
    """g~(x) = g(x + rho g(x + rho g(x))) (the nested reading of USAM2, arXiv:2510.09034)."""

    rho: HyperParameter
    name = "usam_nested"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        rho = at(self.rho, oracle.count)
        once = add_scaled(parameters, rho, oracle.gradient(parameters))
        return oracle.gradient(add_scaled(parameters, rho, oracle.gradient(once)))


@dataclass(frozen=True)
class HessianUSAM:
    """g~(x) = g(x + rho H(x) g(x)) (HUSAM, arXiv:2510.09034)."""

    rho: HyperParameter
    name = "hessian_usam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient = oracle.gradient(parameters)
        ascent = oracle.hessian_vector_product(parameters, gradient)
        return oracle.gradient(add_scaled(parameters, at(self.rho, oracle.count), ascent))


@dataclass(frozen=True)
class GradientPenalty:
    """g~(x) = g(x) + rho H(x) g(x), the gradient of f + rho/2 |grad f|^2."""

    rho: HyperParameter
    name = "grad_penalty"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        gradient = oracle.gradient(parameters)
        penalty = oracle.hessian_vector_product(parameters, gradient)
        return add_scaled(gradient, at(self.rho, oracle.count), penalty)


@dataclass(frozen=True)
class MultiStepSAM:
    """SAM with several ascent steps: `ascent_steps` normalised steps of length `step_fraction` rho, each followed by
    projection on the ball of radius rho around x; g~ is the gradient at the end (arXiv:2206.06232, the public code).
    """

    rho: HyperParameter
    ascent_steps: int
    step_fraction: float = 1.0
    name = "multi_step_sam"

    def __call__(self, oracle: Oracle, parameters: Parameters) -> Parameters:
        rho, point = at(self.rho, oracle.count), parameters
        for _ in range(self.ascent_steps):
            point = add_scaled(point, self.step_fraction * rho, normalised(oracle.gradient(point)))
            displacement = subtract(point, parameters)
            length = norm(displacement)
            shrink = torch.where(length > rho, rho / torch.where(length > rho, length, torch.ones_like(length)), 1.0)
            point = add_scaled(parameters, shrink, displacement)
        return oracle.gradient(point)


def _rule(
    gradient: EffectiveGradient, step_size: HyperParameter, beta: HyperParameter, momentum: Momentum | None
) -> Rule:
    refuse_outside("rho", vars(gradient)["rho"], lower=0.0)
    if momentum is None:
        momentum = "none" if isinstance(beta, (int, float)) and beta == 0 else "heavy_ball"
    return Rule(gradient, step_size, momentum, beta)


def sam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Rule:
    """SAM: g~(x) = g(x + rho g(x)/|g(x)|); rho is a length (arXiv:2010.01412). Momentum: heavy ball where beta is given."""
    return _rule(UnifiedSAM(rho, 1.0), step_size, beta, momentum)


def usam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Rule:
    """Unnormalised SAM: g~(x) = g(x + rho g(x)); rho is one over a curvature."""
    return _rule(UnifiedSAM(rho, 0.0), step_size, beta, momentum)


def unified_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    lam: HyperParameter,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Rule:
    """Unified SAM with mixing weight lam in [0, 1] (arXiv:2503.02225): lam = 0 is USAM, lam = 1 is SAM."""
    refuse_outside("lam", lam, lower=0.0, upper=1.0)
    return _rule(UnifiedSAM(rho, float(lam) if isinstance(lam, int) else lam), step_size, beta, momentum)


def m_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    m: int | None = None,
    *,
    ascent: Ascent = "own",
    normalize: bool = True,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Rule:
    """m-SAM and its relatives (see `MSAM`). m must divide the minibatch size; that is checked when the rule is run."""
    if ascent not in get_args(Ascent):
        raise ValueError(f"ascent must be one of {', '.join(get_args(Ascent))}, got {ascent!r}")
    if m is not None and (isinstance(m, bool) or not isinstance(m, int) or m < 1):
        raise ValueError(
            f"m must be an int >= 1 (or None for the whole minibatch), got {m!r}; sweep it with static=['m']"
        )
    return _rule(MSAM(rho, m, ascent, normalize), step_size, beta, momentum)


def two_step_usam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Rule:
    """Two-step USAM, two successive ascents (see `TwoStepUSAM`)."""
    return _rule(TwoStepUSAM(rho), step_size, beta, momentum)


def nested_usam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Rule:
    """Nested USAM (see `NestedUSAM`)."""
    return _rule(NestedUSAM(rho), step_size, beta, momentum)


def hessian_usam(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Rule:
    """Hessian USAM (see `HessianUSAM`). The loss must be twice differentiable: ReLU's kinks are not seen."""
    return _rule(HessianUSAM(rho), step_size, beta, momentum)


def gradient_penalty(
    step_size: HyperParameter, rho: HyperParameter, *, beta: HyperParameter = 0.0, momentum: Momentum | None = None
) -> Rule:
    """Descent on f + rho/2 |grad f|^2 (see `GradientPenalty`)."""
    return _rule(GradientPenalty(rho), step_size, beta, momentum)


def multi_step_sam(
    step_size: HyperParameter,
    rho: HyperParameter,
    ascent_steps: int,
    step_fraction: float = 1.0,
    *,
    beta: HyperParameter = 0.0,
    momentum: Momentum | None = None,
) -> Rule:
    """SAM with projected inner ascent of several steps (see `MultiStepSAM`)."""
    if not isinstance(ascent_steps, int) or ascent_steps < 1:
        raise ValueError(f"ascent_steps must be an int >= 1, got {ascent_steps!r}")
    refuse_outside("step_fraction", step_fraction, lower=0.0, open_lower=True)
    return _rule(MultiStepSAM(rho, ascent_steps, step_fraction), step_size, beta, momentum)


RULES = {
    "gd": None,
    "sam": sam,
    "usam": usam,
    "usam_two_step": two_step_usam,
    "usam_nested": nested_usam,
    "hessian_usam": hessian_usam,
    "grad_penalty": gradient_penalty,
}
"""Constructors by the effective gradient's name, as notebooks and cards spell them."""


def by_name(name: str, step_size: HyperParameter, *, rho: HyperParameter = 0.0, beta: HyperParameter = 0.0) -> Rule:
    """The rule called "kind" or "kind+momentum", e.g. "usam+heavy_ball".

    Raises ValueError listing the known names.
    """
    kind, _, momentum = name.partition("+")
    if kind not in RULES or momentum not in ("", "heavy_ball", "nesterov"):
        raise ValueError(
            f"unknown optimizer {name!r}; known are {', '.join(RULES)}, each alone or with '+heavy_ball' or '+nesterov'"
        )
    constructor = RULES[kind]
    chosen: Momentum = momentum or "none"  # type: ignore[assignment]
    if constructor is None:
        return Rule(Plain(), step_size, chosen, beta if momentum else 0.0)
    return constructor(step_size, rho, beta=beta if momentum else 0.0, momentum=chosen)
