"""What autograd's graph of a loss says about its derivatives."""

from __future__ import annotations

from torch import Tensor
from torch.autograd.function import BackwardCFunction

from .operations import WRONG_SECOND


class Graph:
    """The nodes between a loss and the parameters it was evaluated at."""

    def __init__(self, value: Tensor, leaf: Tensor) -> None:
        self._reached = False
        self.others: set[Tensor] = set()
        """Other tensors that require a gradient and that the loss depends on."""
        self._names: set[str] = set()
        self._written: set[str] = set()
        queue, seen = [value.grad_fn], set()
        while queue:
            node = queue.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            name = type(node).__name__
            self._names.add(name)
            if name == "AccumulateGrad":
                variable = node.variable  # pyrefly: ignore[missing-attribute]
                if variable is leaf:
                    self._reached = True
                else:
                    self.others.add(variable)
            elif isinstance(node, BackwardCFunction) or "DifferentiableGraph" in node.name():
                self._written.add(
                    name.removesuffix("Backward") if isinstance(node, BackwardCFunction) else "torch.jit.script"
                )
            queue.extend(following for following, _ in node.next_functions)

    @property
    def needs_exact_operations(self) -> bool:
        """Whether torch's second derivative of some node is wrong or missing."""
        return not self._names.isdisjoint(WRONG_SECOND)

    @property
    def unproven(self) -> tuple[str, ...]:
        """Names of hand-written and scripted functions, whose second derivatives torch does not vouch for."""
        return tuple(sorted(self._written))

    def require_dependence(self) -> None:
        """Refuse a loss that no parameter reaches.

        Raises:
            ValueError: the parameters have no path to the loss.
        """
        if not self._reached:
            raise ValueError(
                "no parameter reaches the loss: it does not depend on the tensors it is given (are they detached, is the "
                "model evaluated under torch.no_grad(), or do its layers use merged copies of them, as low-rank adapters do "
                "after eval()?)"
            )
