"""The methods of the trial. An own one is a line: `Method("mine", lambda step_size, strength, steps: mine(step_size, rho))`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench import optimizers as o
from workbench.optimizers.rule import Rule
from workbench.papers.sam_atlas.trial import Decayed, Method

BETA = 0.9
"""Heavy ball around every rule that has no velocity of its own."""


def _around(constructor: Callable[..., Rule], *own: Any) -> Callable[[Any, Any, int], Rule]:
    return lambda step_size, rho, steps: constructor(step_size, rho, *own, beta=BETA)


def _plain(step_size: Any, strength: Any, steps: int) -> Rule:
    return o.heavy_ball(step_size, BETA)


METHODS = {
    method.name: method
    for method in (
        Method("sgd", _plain, has_strength=False),
        Method("sgd_half", _plain, share=0.5, has_strength=False),
        Method("sgd_wd", lambda step_size, decay, steps: o.heavy_ball(step_size, BETA, Decayed(decay))),
        Method("random_sam", _around(o.random_sam), share=0.5),
        Method("sam", _around(o.sam)),
        Method("usam", _around(o.usam)),
        Method("asam", _around(o.asam)),
        Method("gsam", _around(o.gsam)),
        Method("vasso", _around(o.vasso)),
        Method("f_sam", _around(o.f_sam)),
        Method("m_sam", _around(lambda a, r, beta: o.m_sam(a, r, 5, beta=beta))),
        Method("look_sam", _around(o.look_sam)),
        Method("momentum_sam", lambda step_size, rho, steps: o.momentum_sam(step_size, rho, BETA)),
        Method("sampa", lambda step_size, rho, steps: o.sampa(step_size, rho)),
        Method("wsam", _around(o.wsam)),
        Method("stable_sam", _around(o.stable_sam)),
    )
}
"""`sgd_half` and `random_sam` take SAM's number of steps: SAM with radius 0, and with a random direction."""


def known(method: str | Method) -> Method:
    """A method by its name, or as it is. Raises ValueError with the names."""
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, or a Method, got {method!r}")
    return METHODS[method]
