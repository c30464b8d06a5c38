"""What every problem offers: a loss of parameters, an initialiser from a seed, and what is known about it in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.draws import Seed
from workbench.parameters import Parameters, norm

Batch = tuple[Tensor, ...]
P = TypeVar("P", bound=Parameters)
"""What a problem's parameters are: `Tensor` or `dict[str, Tensor]`."""


@dataclass(frozen=True)
class Measure:
    """A quantity of the parameters that runs can record by name."""

    function: Callable[[Any], Tensor]
    long_name: str
    unit: str = ""

    def __call__(self, parameters: Any) -> Tensor:
        return self.function(parameters)


class Problem(Generic[P]):
    """Base of all problems. A subclass keeps its tensors in dataclass fields and defines `initial` and either `loss`, or
    `sample_loss` and `data` (the loss is then the mean over the samples).

    Everything is written for one run; inside `wb.sweep` the fields may be different for every run.

    >>> import torch
    >>> import workbench as wb
    >>> from dataclasses import dataclass
    >>> @dataclass(eq=False)
    ... class Valley(wb.problems.Problem):
    ...     curvature: float = 1.0
    ...     def initial(self, seed):
    ...         return wb.draws.normal(seed, (2,))
    ...     def loss(self, x):
    ...         return self.curvature * (x**2).sum() / 2
    >>> wb.run(Valley(2.0), wb.optimizers.gradient_descent(0.25), start=torch.ones(2), steps=1).parameters
    tensor([0.5000, 0.5000])
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A dataclass keeps the __repr__ that it finds, and writes one that prints whole data sets where there is none.
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Problem.__repr__

    def __repr__(self) -> str:
        listed = fields(self) if is_dataclass(self) else ()
        shown = (f"{field.name}={_short(getattr(self, field.name))}" for field in listed if field.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def data(self) -> Batch:
        """Tensors whose leading dimension is sample; empty for a problem without samples."""
        return ()

    @property
    def strata(self) -> tuple[int, ...]:
        """Sizes of consecutive groups of samples (such as domains) of which every minibatch takes equally many; usually ()."""
        return ()

    @property
    def n_samples(self) -> int:
        """Number of samples, 0 for a problem without any."""
        return self.data[0].shape[0] if self.data else 0

    def initial(self, seed: Seed) -> P:
        """Random initial parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no initialiser; pass start= to run")

    def sample_loss(self, parameters: P, *sample: Tensor) -> Float[Tensor, ""]:
        """The loss of one sample."""
        raise ValueError(f"{type(self).__name__} has no samples; leave out batch_size")

    def batch_loss(self, parameters: P, batch: Batch) -> Float[Tensor, ""]:
        """Mean of `sample_loss` over a batch (tensors with leading dimension sample)."""
        in_dims = (None, *(0 for _ in batch))
        return torch.func.vmap(self.sample_loss, in_dims)(parameters, *batch).mean()

    def batch_outputs(self, parameters: P, batch: Batch) -> Tensor:
        """The model's outputs on a batch, where the loss is `output_loss` of them."""
        raise NotImplementedError(f"{type(self).__name__} has no model")

    def output_loss(self, outputs: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """`batch_loss` as a function of the outputs."""
        raise NotImplementedError(f"{type(self).__name__} has no model")

    def loss(self, parameters: P) -> Float[Tensor, ""]:
        """The loss over all samples."""
        return self.batch_loss(parameters, self.data)

    def gradient(self, parameters: P, batch: Batch | None = None) -> P:
        """Gradient of `loss`, or of `batch_loss` where a batch is given."""
        if batch is None:
            return torch.func.grad(self.loss)(parameters)
        return torch.func.grad(self.batch_loss)(parameters, batch)

    def weighted_gradient(self, parameters: P, batch: Batch, weights: Float[Tensor, " sample"]) -> P:
        """Gradient of the mean over a batch of weight times `sample_loss`."""
        in_dims = (None, *(0 for _ in batch))

        def weighted(point: P) -> Tensor:
            return (weights * torch.func.vmap(self.sample_loss, in_dims)(point, *batch)).mean()

        return torch.func.grad(weighted)(parameters)

    @property
    def measures(self) -> Mapping[str, Measure]:
        """What runs on this problem can record by name."""
        return {
            "train_loss": Measure(self.loss, "training loss"),
            "gradient_norm": Measure(lambda parameters: norm(self.gradient(parameters)), "gradient norm"),
        }


def _short(value: Any) -> str:
    """A number as it is, a large tensor by its type and shape, a function by its name."""
    if isinstance(value, Tensor) and value.dim():
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return getattr(value, "__name__", None) or repr(value)
