"""The edge of stability of a rule at a point of its run: where a quadratic with the Hessian of the loss would be unstable.

| rule                               | eigenvalues of    | threshold                       | source           |
|------------------------------------|-------------------|---------------------------------|------------------|
| gradient descent                   | H                 | 2/eta                           | arXiv 2103.00065 |
| heavy ball                         | H                 | (2 + 2 beta)/eta                | arXiv 2103.00065 |
| Nesterov                           | H                 | (2 + 2 beta)/((1 + 2 beta) eta) | arXiv 2103.00065 |
| Adam; RMSProp is Adam with beta 0  | P^-1/2 H P^-1/2   | (2 + 2 beta)/((1 - beta) eta)   | arXiv 2207.14484 |
| SAM, USAM and mixtures around them | H                 | 2b/(1 + sqrt(1 + 4 b r))        | arXiv 2309.12488 |

b is the threshold of the momentum scheme without an ascent, r the ascent's length over the gradient's: rho/|g| of SAM, whose
edge moves with the gradient, rho of USAM. P = (1 - beta^t) diag(sqrt(v) + epsilon), v the corrected mean of squares with the
gradient of this point, as the next step uses it. Weight decay lowers a threshold by itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from workbench.optimizers.adam import Adam
from workbench.optimizers.momentum import Descent, HeavyBall, Nesterov
from workbench.optimizers.rule import Decayed, EffectiveGradient, Plain, Remembered, Rule
from workbench.optimizers.sam.sam import UnifiedSAM
from workbench.optimizers.schedules import at
from workbench.parameters import Parameters, Scalar, norm, tree_map


class Edge(NamedTuple):
    """Training is unstable along an eigenvector of root (H + shift) root whose eigenvalue exceeds the threshold.

    `root` is the inverse square root of a diagonal preconditioner, as the parameters are; None where there is none.

    >>> import torch, workbench as wb
    >>> rule, x = wb.optimizers.adam(0.1, beta=0.0, epsilon=0.0), torch.zeros(2)
    >>> here = wb.optimizers.edge(rule, rule.init(x), torch.tensor([4.0, 0.25]))
    >>> here.threshold, [round(float(entry) ** 2, 4) for entry in here.root]  # at first P is |g|
    (20.0, [0.25, 4.0])
    """

    threshold: Scalar
    root: Parameters | None = None
    shift: Scalar = 0.0


def edge(rule: Rule, state: Any, gradient: Parameters, step: int | Int[Tensor, ""] = 0) -> Edge:
    """Where the rule's next step is at the edge of stability.

    state: the rule's, as a run's `checkpoint` has it.
    gradient: of the loss on all samples at the parameters (SAM's ascent and Adam's second moment depend on it).
    step: how many steps the rule has taken, for its schedules and Adam's corrections.

    Raises ValueError for rules whose edge is not known in closed form.

    >>> import torch, workbench as wb
    >>> gradient = torch.tensor([3.0, 4.0])
    >>> wb.optimizers.edge(wb.optimizers.heavy_ball(0.1, beta=0.5), None, gradient).threshold
    30.0
    >>> sam = wb.optimizers.sam(0.5, rho=5.0)  # |g| = 5, r = 1: lambda (1 + lambda) = 2/eta = 4
    >>> round(float(wb.optimizers.edge(sam, None, gradient).threshold), 4)
    1.5616
    """
    step = torch.as_tensor(step)
    if isinstance(rule, Adam):
        return _of_adam(rule, Remembered.parts(state)[0], gradient, step)
    if not isinstance(rule, Descent):
        raise ValueError(_unknown(rule))
    step_size = at(rule.step_size, step)
    return Edge(_of_gradient(rule, rule.gradient, constant(rule, step) / step_size, gradient, step))


def constant(rule: Descent, step: Tensor) -> Scalar:
    """eta times the threshold of the momentum scheme around the plain gradient."""
    if not isinstance(rule, HeavyBall):
        return 2.0
    beta = at(rule.beta, step)
    return 2 * (1 + beta) / (1 + 2 * beta) if isinstance(rule, Nesterov) else 2 * (1 + beta)


def _of_gradient(rule: Rule, ascent: EffectiveGradient, bound: Scalar, gradient: Parameters, step: Tensor) -> Scalar:
    if isinstance(ascent, Plain):
        return bound
    if isinstance(ascent, Decayed):
        return _of_gradient(rule, ascent.gradient, bound - ascent.weight_decay, gradient, step)
    if isinstance(ascent, UnifiedSAM):
        rho, lam = at(ascent.rho, step), at(ascent.lam, step)
        # The root of l (1 + r l) = bound without the difference of near numbers; 0 where the gradient is.
        ratio = rho * (1 - lam) + (rho * lam / norm(gradient) if not isinstance(lam, (int, float)) or lam else 0.0)
        return 2 * bound / (1 + torch.sqrt(torch.as_tensor(1 + 4 * bound * ratio)))
    raise ValueError(_unknown(rule))


def _of_adam(rule: Adam, state: Any, gradient: Parameters, step: Tensor) -> Edge:
    if not isinstance(rule.gradient, Plain):
        raise ValueError(_unknown(rule))
    beta, beta_square = at(rule.beta, step), at(rule.beta_square, step)
    exponent = (step + 1).to(torch.float64)
    first, second = 1 - beta**exponent, 1 - beta_square**exponent

    def root(square: Tensor, g: Tensor) -> Tensor:
        moment = (beta_square * square.double() + (1 - beta_square) * g.double().square()) / second
        return (first * (moment.sqrt() + rule.epsilon)).rsqrt().to(g.dtype)

    bound = (2 + 2 * beta) / ((1 - beta) * at(rule.step_size, step))
    return Edge(bound, tree_map(root, state.square, gradient))


def _unknown(rule: Rule) -> str:
    return (
        f"the edge of stability of {rule.name} is not known in closed form; known are gradient descent, heavy ball and Nesterov, "
        "alone, with weight decay or around SAM, USAM and their mixtures, and Adam around the plain gradient. Record the "
        "sharpness itself, or take update_jacobian of the step"
    )
