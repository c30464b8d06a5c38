"""Sharpness along a training loop of the reader's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.checks import require_count
from workbench.curvature.along.tracker import Tracked, Tracker
from workbench.curvature.empirical import EmpiricalLoss
from workbench.curvature.products import hvp_operator
from workbench.draws import Seed
from workbench.dynamics.eigenvalues import sharpness_name
from workbench.dynamics.labelled import data_array
from workbench.optimizers.torch.edges import torch_edge
from workbench.parameters import unravel


class Watch:
    """The largest Hessian eigenvalues at every step of a training loop, and the optimizer's edge of stability beside them.

        watch = wb.Watch(wb.curvature.empirical_loss(model, loss_function, inputs, targets), optimizer)
        for inputs, targets in loader:
            watch()                      # before each step
            ...                          # the step, as ever
        wb.figures.edge_of_stability(ax, watch.dataset())

    loss: of the data that the sharpness is of, made by `empirical_loss` with the model that is trained. It is evaluated in
        evaluation mode (running statistics, no dropout), whatever mode the model is in, which is left as it was.
    optimizer: `torch.optim.SGD`, `Adam`, `AdamW`, `RMSprop`, or one of `as_torch`. The eigenvalues are then those of the
        preconditioned matrix that decides its stability, with weight decay (see `wb.optimizers.edge`); without an optimizer
        those of the Hessian, without a threshold.
    k: how many eigenvalues; every: at which calls (the first, and each so-manieth); seed, check_every: as in
        `wb.curvature.Tracker`.

    Raises ValueError for optimizers whose edge is not known, and for a loss that is no `empirical_loss`.

    >>> import torch, workbench as wb
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> loss = wb.curvature.empirical_loss(model, torch.nn.functional.mse_loss, torch.ones(4, 1), torch.zeros(4, 1))
    >>> watch = wb.Watch(loss, torch.optim.SGD(model.parameters(), lr=0.1))
    >>> watch()
    2.0
    >>> watch.dataset().sharpness_threshold.item()
    20.0
    """

    def __init__(
        self,
        loss: EmpiricalLoss,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        k: int = 1,
        every: int = 1,
        seed: Seed = 0,
        check_every: int = 50,
    ) -> None:
        if not isinstance(loss, EmpiricalLoss):
            raise ValueError(
                f"loss is {type(loss).__name__}; make it with wb.curvature.empirical_loss(model, loss_function, inputs, "
                "targets), which knows the model's parameters"
            )
        require_count("every", every)
        self._loss, self._optimizer, self._every, self._calls = loss, optimizer, int(every), 0
        self._tracker = Tracker(k, seed=seed, check_every=check_every)
        self._steps: list[int] = []
        self._found: list[Tracked] = []
        self._thresholds: list[Tensor] = []
        if optimizer is not None:
            own = self._own()
            torch_edge(optimizer, own, {name: torch.zeros_like(tensor) for name, tensor in own.items()})

    def __call__(self) -> float | None:
        """Look at the model before a step. Returns the largest eigenvalue, None where this call is not one of `every`."""
        self._calls += 1
        if (self._calls - 1) % self._every:
            return None
        with _evaluating(self._loss.model):
            operator = hvp_operator(self._loss, self._loss.parameters())
            root, shift = None, operator.gradient.new_zeros(())
            if self._optimizer is not None:
                own = self._own()
                gradient = unravel(operator.gradient, {name: tensor.detach() for name, tensor in own.items()})
                assert isinstance(gradient, dict)
                # Weight decay in the loss would count twice, but is then the loss's.
                threshold, root, shift = torch_edge(self._optimizer, own, gradient)
                self._thresholds.append(threshold)
            found = self._tracker.of(operator, root, shift)
        self._steps.append(self._calls - 1)
        self._found.append(found)
        return float(found.values[0])

    def dataset(self) -> xr.Dataset:
        """`sharpness`, `sharpness_residual`, `sharpness_products` and (with an optimizer) `sharpness_threshold` over `step`, the
        number of calls before; with k > 1 over `eigenvalue` too.
        """
        if not self._found:
            raise ValueError("nothing was watched yet: call watch() before each step of the loop")
        many = self._tracker.plan.k > 1
        dims = ("step", "eigenvalue") if many else ("step",)
        steps = {"step": np.array(self._steps)}
        coords = {**steps, **({"eigenvalue": np.arange(1, self._tracker.plan.k + 1)} if many else {})}

        def stacked(part: str) -> Tensor:
            values = torch.stack([getattr(found, part) for found in self._found])
            return values if many else values[:, 0]

        long_name = sharpness_name(self._tracker.plan.k, self._optimizer is not None)
        variables = {
            "sharpness": data_array(stacked("values"), dims, coords, long_name=long_name),
            "sharpness_residual": data_array(
                stacked("residuals"), dims, coords, long_name=f"residual of the {long_name}"
            ),
            "sharpness_products": data_array(
                torch.stack([found.products for found in self._found]),
                ("step",),
                steps,
                long_name="Hessian-vector products",
            ),
        }
        if self._thresholds:
            threshold = torch.stack(self._thresholds)
            variables["sharpness_threshold"] = data_array(threshold, ("step",), steps, long_name="edge of stability")
        return xr.Dataset(variables)

    def _own(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in self._loss.model.named_parameters() if name in self._loss.names}


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
