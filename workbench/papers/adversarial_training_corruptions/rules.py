"""The training rules: what is done to a minibatch before the update (arXiv:2103.02325, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from workbench.checks import require_count, require_nonnegative

Kind = Literal["standard", "gaussian", "l2", "linf", "rlat"]
Direction = Literal["gradient", "reversed", "random"]


@dataclass(frozen=True)
class Rule:
    """One way to train.

    kind: "standard"; "gaussian", x + radius * z for the last `share` of every minibatch; "l2" and "linf", one gradient step to
    the sphere of this radius; "rlat", the same at the inputs and at hidden layers. direction: where the step goes, for the
    controls "reversed" (down the gradient) and "random" (anywhere, of the same length).
    """

    kind: Kind = "standard"
    radius: float = 0.0
    share: float = 1.0
    direction: Direction = "gradient"
    batch_norm: bool = True

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.direction not in get_args(Direction):
            raise ValueError(f"direction must be one of {', '.join(get_args(Direction))}, got {self.direction!r}")
        require_nonnegative("radius", self.radius)
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")
        if self.kind == "standard" and self.radius:
            raise ValueError(f"standard training has no radius, got {self.radius}")

    @property
    def gradients(self) -> int:
        """Gradients per update: one for the update, one for the attack."""
        attacks = self.kind in ("l2", "linf", "rlat") and self.radius > 0 and self.direction != "random"
        return 2 if attacks else 1

    @property
    def label(self) -> str:
        """For tables and figures."""
        words = {
            "standard": "standard",
            "gaussian": f"Gaussian {100 * self.share:g} %, {self.radius:g}",
            "l2": f"ℓ2 {self.radius:g}",
            "linf": f"ℓ∞ {self.radius:g}",
            "rlat": f"RLAT {self.radius:g}",
        }[self.kind]
        words += {"gradient": "", "reversed": ", reversed", "random": ", random direction"}[self.direction]
        return words if self.batch_norm else f"{words}, no BatchNorm"

    def without_batch_norm(self) -> Rule:
        """The same rule for a network without batch normalisation."""
        return replace(self, batch_norm=False)


STANDARD = Rule()


def rlat_radii(epsilon: float, sizes: Sequence[int]) -> list[float]:
    """Radii of RLAT's layers, epsilon_i = (epsilon/n_0) n_i/(i+1): the released "scaling" and "descending" defaults.

    sizes: n_i, the number of activations of layer i for one image, the input first.

    >>> [round(radius, 4) for radius in rlat_radii(0.08, [3072, 65536, 65536, 32768, 16384, 8192])]
    [0.08, 0.8533, 0.5689, 0.2133, 0.0853, 0.0356]
    """
    require_nonnegative("epsilon", epsilon)
    if not sizes:
        raise ValueError("sizes is empty: give the number of input values, then of activations of each layer")
    for size in sizes:
        require_count("every entry of sizes", size)
    return [epsilon / sizes[0] * size / (index + 1) for index, size in enumerate(sizes)]
