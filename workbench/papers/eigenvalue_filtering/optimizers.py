"""The eighteen optimizers of the study: six kinds of gradient times three momentum schemes, their names, their stand-ins."""

from __future__ import annotations

from workbench.optimizers import by_name
from workbench.optimizers.momentum import Descent
from workbench.optimizers.schedules import HyperParameter

KINDS = ("gd", "usam", "two_step_usam", "nested_usam", "hessian_usam", "gradient_penalty")
ALL = tuple(kind + momentum for kind in KINDS for momentum in ("", "+heavy_ball", "+nesterov"))
EXCLUDING = ("two_step_usam", "nested_usam", "hessian_usam")
"""The kinds of SAM whose filters keep negative curvature out."""

_WORDS = {
    "gd": "gradient descent",
    "usam": "USAM",
    "two_step_usam": "Two-step USAM",
    "nested_usam": "nested USAM",
    "hessian_usam": "Hessian USAM",
    "gradient_penalty": "gradient penalty",
}
_MOMENTA = {"": "", "heavy_ball": ", heavy ball", "nesterov": ", Nesterov"}


def label(name: str) -> str:
    """The words for "kind" or "kind+momentum".

    >>> label("two_step_usam+nesterov")
    'Two-step USAM, Nesterov'
    """
    kind, _, momentum = name.partition("+")
    return _WORDS[kind] + _MOMENTA[momentum]


def running(
    name: str,
    step_size: HyperParameter,
    *,
    rho: HyperParameter = 0.0,
    beta: HyperParameter = 0.0,
    run_as: str = "itself",
) -> Descent:
    """The rule that runs where `name` is asked for: itself or, under a control, gradient descent in place of every kind of SAM
    ("gd"), or USAM in place of the kinds that exclude saddles ("usam"). The momentum scheme stays.
    """
    kind, plus, momentum = name.partition("+")
    kind = "gd" if run_as == "gd" else "usam" if run_as == "usam" and kind in EXCLUDING else kind
    return by_name(kind + plus + momentum, step_size, rho=rho, beta=beta)
