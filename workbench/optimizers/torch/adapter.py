"""Any rule as a `torch.optim.Optimizer`, for people's own training loops (docs/training-loop.md).

Two ways of calling `step`:

    optimizer = as_torch(sam(0.1, rho=0.05), model.parameters())
    optimizer.step(closure)                       # closure returns the loss; calling backward() in it is optional

    optimizer = as_torch(m_sam(0.1, 0.05, m=8), model, loss=torch.nn.functional.cross_entropy)
    optimizer.step(inputs, targets)               # the optimizer sees the samples; optionally compiled
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from workbench.draws.host import Seed
from workbench.draws.table import Table, rows_of
from workbench.optimizers.averaging.accumulators import Average
from workbench.optimizers.oracle import Moment, Needs, NotProvided, Source, needs
from workbench.optimizers.rule import Rule
from workbench.optimizers.torch.functional import Functional, Transforms, compiled_step
from workbench.optimizers.torch.groups import Groups
from workbench.optimizers.torch.minibatches import Batch
from workbench.optimizers.torch.oracles import ClosureSource, ModuleBatch, Seen
from workbench.optimizers.torch.packing import Packing
from workbench.optimizers.torch.passes import Passes
from workbench.optimizers.torch.scaling import scaling
from workbench.optimizers.torch.state import COUNT, States
from workbench.optimizers.torch.transformed import TransformedBatch
from workbench.parameters import Parameters

_COPIED = (
    "defaults", "state", "param_groups", "rule", "_module", "_loss", "_seed", "_average", "_compile", "_previous", "_groups"
)  # fmt: skip


class RuleOptimizer(torch.optim.Optimizer):
    """A rule driving a module's parameters, as `as_torch` makes it.

    The displacement's norm is taken over all groups together. The rule's state and the number of steps are in `state`, by
    parameter, and so in `state_dict`.
    """

    _step_supports_amp_scaling = True
    """torch.amp.GradScaler then hands over its scale instead of unscaling the gradients of one pass."""

    def __init__(
        self,
        rule: Rule,
        parameters: torch.nn.Module | Iterable[Any],
        loss: Callable[..., Tensor] | None = None,
        compile: bool = False,
        seed: Seed | None = None,
        average: Mapping[str, Average] | None = None,
    ) -> None:
        module = parameters if isinstance(parameters, torch.nn.Module) else None
        if (module is None) != (loss is None):
            raise ValueError("give a module together with loss=, or parameters without it")
        if compile and module is None:
            raise ValueError("compile=True needs as_torch(rule, model, loss=..., compile=True)")
        self.rule, self._module, self._loss, self._seed = rule, module, loss, seed
        self._average, self._compile, self._states = dict(average or {}), compile, States()
        self._previous: Batch | None = None
        self._groups = Groups(rule, in_place=compile)
        # A module's frozen parameters too: they may thaw.
        listed: Any = parameters if module is None else list(module.parameters())
        super().__init__(listed, {} if self._groups.default is None else {"lr": self._groups.default})
        self._start()

    def _start(self) -> None:
        """What is not part of a copy: it is found again."""
        self._packing: Packing | None = None
        self._needs: Needs | None = None
        self._table = Table(0, ())
        self._compiled = None
        self._proofs: dict[str, bool] = {}
        self._functional: Functional | None = None
        if self._module is not None:
            # Once, as torch's optimizers do: walking through the modules again would take a tenth of a small network's step.
            self._functional = Functional(self._module, self._loss)  # type: ignore[arg-type]
        if self._compile:
            self._compiled = compiled_step(self._transformed_step)

    @property
    def state(self) -> defaultdict[Tensor, dict[str, Any]]:  # type: ignore[override]
        """By parameter: `count`, the number of its steps, and its share of the state of the rule and of the averages."""
        return self._states.dicts

    @state.setter
    def state(self, state: defaultdict[Tensor, dict[str, Any]]) -> None:
        self._states.dicts = state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """One more group, which may set `lr` and whatever else the rule's step is made with.

        Raises ValueError for keys that nothing uses, values out of range and sharded parameters.
        """
        if isinstance(param_group, dict):
            self._groups.add(param_group, len(self.param_groups))
        super().add_param_group(param_group)
        for tensor in self.param_groups[-1]["params"]:
            if type(tensor).__name__ in ("DTensor", "FlatParameter"):
                raise ValueError(
                    f"a parameter is a {type(tensor).__name__}: sharded parameters are not supported, as lengths are taken over "
                    "all of them; use DistributedDataParallel"
                )

    def step(self, *arguments: Any, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One update: `step(closure)`, or `step(inputs, targets)` for a module with its loss.

        Returns the loss where the rule first asks for a gradient: before the step, but for Nesterov (at the look-ahead
        point) and for ascents along a random direction or the previous minibatch's gradient (at the displaced point).
        A step with a gradient that is not finite changes nothing, and warns (on a GPU, where looking would make it wait, it does
        not warn). Where torch.amp.GradScaler has found one, the step is skipped and None returned.
        """
        try:
            return self._step(arguments if closure is None else (*arguments, closure))
        except BaseException:
            for left in ("grad_scale", "found_inf"):  # what GradScaler takes away after a step that does not raise
                vars(self).pop(left, None)
            raise

    def _step(self, arguments: tuple[Any, ...]) -> Tensor | None:
        scale, skipped = scaling(self, by_closure=self._module is None)
        self._refuse_other(arguments)
        packing, member = self._packed()
        if skipped:
            for tensor in packing.tensors:
                tensor.grad = None
            return None
        home = packing.home()
        state, count, step = self._states.read(packing, lambda: self._fresh(home))
        latest = step.amax() if step.dim() else step
        rule = self._groups.resolved(self.param_groups, packing, member, latest, settle=step.dim() > 0)
        passes = Passes(packing, home, scale, self._proofs)
        source: Any = self._source(passes, arguments)
        self._ask(source, home, latest)
        rows = dict(zip(self._table.requests, self._table.at(count), strict=True)) if self._table.requests else {}
        try:
            if self._compiled is not None and self._compiles(source, passes, arguments, home):
                self._resolved = rule
                found = self._compiled(home, state, step, arguments, self._previous, rows)
            else:
                found = self._moved(rule, source, Moment(self._module, home, step, rows_of(rows)), state)
            updated, state, loss, finite = found
            if home.device.type == "cpu" and not finite:
                warnings.warn(
                    "the gradient is not finite: this step changes nothing (a smaller step size, or a loss scaler, may help)",
                    stacklevel=4,
                )
                passes.put(home)
                if scale is not None:
                    passes.leave_infinite()
                return loss
        except BaseException:
            passes.put(home)
            raise
        passes.put(updated)
        self._states.write(packing, state)
        self._groups.after(self.param_groups, latest + 1)
        if self._needs is not None and self._needs.previous:
            self._previous = arguments
        return loss

    def _moved(self, rule: Rule, source: Any, moment: Moment, state: Any) -> tuple[Tensor, Any, Tensor | None, Tensor]:
        """The new parameters and state, the loss, and whether all is finite: if not, the old ones on a device where looking would
        mean waiting.
        """
        home: Any = moment.parameters
        moved, inner = rule.step(source.oracle(moment), home, state["rule"])
        updated: Any = moved
        averages = {name: one.update(updated, state["averages"][name]) for name, one in self._average.items()}
        new = {"rule": inner, "averages": averages}
        wide = torch.float32 if updated.dtype in (torch.float16, torch.bfloat16) else updated.dtype
        finite = updated.sum(dtype=wide).isfinite()
        if home.device.type != "cpu":
            updated = torch.where(finite, updated, home)
            new = pytree.tree_map(lambda after, before: torch.where(finite, after, before), new, state)
        return updated, new, source.seen.loss, finite

    def _transformed_step(
        self, home: Tensor, state: Any, step: Tensor, batch: Batch, previous: Batch | None, rows: Any
    ) -> tuple[Tensor, Any, Tensor | None, Tensor]:
        assert self._functional is not None and self._packing is not None
        source = TransformedBatch(Transforms(self._functional, self._packing), batch, previous, Seen())
        return self._moved(self._resolved, source, Moment(self._module, home, step, rows_of(rows)), state)

    @contextmanager
    def averaged(self, name: str) -> Generator[None]:
        """Within the block the parameters are the average of that name (`average={"ema": EMA(0.999)}`).

        Statistics of batch normalisations belong to other weights: see `recompute_batch_norm`.
        """
        if name not in self._average:
            raise ValueError(f"unknown average {name!r}; as_torch was given {', '.join(self._average) or 'none'}")
        packing, _ = self._packed()
        home = packing.home()
        state, _, _ = self._states.read(packing, lambda: self._fresh(home))
        packing.put(self._average[name].value(state["averages"][name]))  # type: ignore[arg-type]
        try:
            yield
        finally:
            packing.put(home)

    def standing(self) -> tuple[Rule, Any, Tensor, Packing]:
        """The rule with the values of the groups, its state, the number of steps, and the parameters packed as the state is."""
        packing, member = self._packed()
        home = packing.home()
        state, _, step = self._states.read(packing, lambda: self._fresh(home))
        latest = step.amax() if step.dim() else step
        return (
            self._groups.resolved(self.param_groups, packing, member, latest, settle=True),
            state["rule"],
            latest,
            packing,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, but tensors keep the types they were saved in: counts are exact, whatever the parameters are."""
        super().load_state_dict(state_dict)
        own = [tensor for group in self.param_groups for tensor in group["params"]]
        saved = [index for group in state_dict["param_groups"] for index in group["params"]]
        for tensor, index in zip(own, saved, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, Tensor):
                    self.state[tensor][name] = value.clone() if name == COUNT else value.to(tensor.device, copy=True)
        self._groups.loaded(self.param_groups)
        self._previous = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _COPIED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name != "state"})
        if "_packing" not in vars(self):
            self._states = States()
            self._start()
        self.state = state["state"]

    def _refuse_other(self, arguments: tuple[Any, ...]) -> None:
        if self._module is not None and len(arguments) != 2:
            raise ValueError("step needs inputs and targets: optimizer.step(inputs, targets)")
        if self._module is None and (len(arguments) != 1 or not callable(arguments[0])):
            raise ValueError(
                "step needs a closure that returns the loss: optimizer.step(lambda: loss(model(x), y)); a "
                "trainer that calls step() alone needs a line more, see docs/training-loop.md"
            )

    def _packed(self) -> tuple[Packing, list[int]]:
        """The parameters that require a gradient, packed, and the group of each."""
        listed = [
            (tensor, number)
            for number, group in enumerate(self.param_groups)
            for tensor in group["params"]
            if tensor.requires_grad
        ]
        if not listed:
            raise ValueError("no parameter of this optimizer requires a gradient")
        tensors, member = [tensor for tensor, _ in listed], [number for _, number in listed]
        if self._packing is None or not self._packing.fits(tensors):
            self._packing = Packing(tensors)
        return self._packing, member

    def _fresh(self, home: Parameters) -> dict[str, Any]:
        return {
            "rule": self.rule.init(home),
            "averages": {name: average.init(home) for name, average in self._average.items()},
        }

    def _source(self, passes: Passes, arguments: tuple[Any, ...]) -> Source:
        if self._module is None:
            return ClosureSource(arguments[0], passes)
        return ModuleBatch(self._module, self._loss, passes, self._functional, arguments, self._previous)  # type: ignore[arg-type]

    def _ask(self, source: Source, home: Parameters, step: Tensor) -> None:
        """What the rule asks for, found by one dry step before the first."""
        if self._needs is None:
            found = needs(source, self._module, self.rule, home, step)
            if found.requests and self._seed is None:
                streams = ", ".join(dict.fromkeys(draw.stream for draw, _ in found.requests))
                raise NotProvided(f"random numbers ({streams})", "give as_torch(..., seed=)", self.rule)
            self._needs = found
            self._table = Table(0 if self._seed is None else self._seed, found.requests)

    def _compiles(self, source: ModuleBatch, passes: Passes, batch: Batch, home: Tensor) -> bool:
        assert self._functional is not None and self._needs is not None
        closure = source.closure(batch)
        product = (lambda x, v: passes.product(closure, x, v)) if self._needs.products else None
        right = self._functional.right_for_steps(batch, home, lambda x: passes.gradient(closure, x)[0], passes, product)
        passes.put(home)
        if not right:
            warnings.warn(
                "compile=True is not used: by torch.func this module's gradient would be another one (or random, or none): it "
                "has hooks, dropout, batch normalisation in training mode, a checkpoint, a loss that reads parameters, ...",
                stacklevel=5,
            )
        return right
