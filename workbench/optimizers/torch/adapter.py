"""Any rule as a `torch.optim.Optimizer`, for people's own training loops.

Two ways of calling `step`:

    optimizer = as_torch(sam(0.1, rho=0.05), model.parameters())
    optimizer.step(closure)                       # closure returns the loss; calling backward() in it is optional

    optimizer = as_torch(m_sam(0.1, 0.05, m=8), model, loss=torch.nn.functional.cross_entropy)
    optimizer.step(inputs, targets)               # groups of samples vmapped; optionally compiled
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from workbench.compiler import compiler_found, inductor_options
from workbench.draws.host import Seed
from workbench.draws.table import Table, rows_of
from workbench.optimizers.oracle import Moment, Needs, NotProvided, Source, needs
from workbench.optimizers.rule import Rule
from workbench.optimizers.schedules import at
from workbench.optimizers.torch.oracles import Batch, ClosureSource, ModuleBatch, Packing, Tape, Transforms
from workbench.parameters import Parameters, concrete, leaves


class RuleOptimizer(torch.optim.Optimizer):
    """A rule driving a module's parameters. Parameter groups may each have their own `step_size`.

    The displacement's norm is taken over all groups together. The rule's state and the number of steps are in `state_dict`.
    """

    def __init__(
        self,
        rule: Rule,
        parameters: torch.nn.Module | Iterable[Any],
        loss: Callable[..., Tensor] | None = None,
        compile: bool = False,
        seed: Seed | None = None,
    ) -> None:
        module = parameters if isinstance(parameters, torch.nn.Module) else None
        if (module is None) != (loss is None):
            raise ValueError("give a module together with loss=, or parameters without it")
        if compile and module is None:
            raise ValueError("compile=True needs as_torch(rule, model, loss=..., compile=True)")
        self.rule, self._module, self._loss = rule, module, loss
        self._previous: Batch | None = None
        self._seed, self._table = seed, Table(0, ())
        self._needs: Needs | None = None
        trainable: Any = parameters
        if module is not None:
            trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
            # Once, as torch's optimizers do: walking through the modules again would take a tenth of a small network's step.
            self._named = dict(module.named_parameters())
            self._tied = len([*module.named_parameters(remove_duplicate=False)]) > len(self._named)
            self._batch_norms = {
                name: layer
                for name, layer in module.named_modules()
                if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and layer.track_running_stats
            }
        super().__init__(trainable, {"step_size": None})
        self._compiled = None
        if compile:
            # Without a C++ compiler the step is still traced, with guards, into a list of plain tensor operations.
            how: Any = {"options": inductor_options()} if compiler_found() else {"backend": "aot_eager"}
            if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
                # Optimizers share their code: else the ninth one of a process would silently not be compiled.
                how["isolate_recompiles"] = True
            self._compiled = torch.compile(self._functional_step, **how)

    def step(self, *arguments: Any) -> Tensor:  # type: ignore[override]
        """One update: `step(closure)`, or `step(inputs, targets)` for a module with its loss.

        Returns the loss where the rule first asks for a gradient: before the step, but for Nesterov (at the look-ahead
        point) and for ascents along a random direction or the previous minibatch's gradient (at the displaced point).
        """
        tensors = self._tensors()
        if self._module is None:
            if len(arguments) != 1 or not callable(arguments[0]):
                raise ValueError(
                    "step needs a closure that returns the loss: optimizer.step(lambda: loss(model(x), y))"
                )
            return self._packed_step(tensors, lambda packing, home: ClosureSource(arguments[0], packing, home))
        if len(arguments) != 2:
            raise ValueError("step needs inputs and targets: optimizer.step(inputs, targets)")
        self._refuse_training_noise()
        if self._compiled is None:
            loss = self._packed_step(
                tensors, lambda packing, _: ModuleBatch(Tape(self._value, packing), arguments, self._previous)
            )
        else:
            home: Parameters = {name: tensor.detach() for name, tensor in tensors.items()}
            state, step = self._read_state(home)
            self._asked(ModuleBatch(Transforms(self._value), arguments), home, step)
            rows = self._rows(step)
            updated, new_state, loss = self._compiled(home, state, step, arguments, self._previous, rows)
            self._write(tensors, home, updated, new_state, step)
        if self._needs is not None and self._needs.previous:
            self._previous = arguments
        return loss

    def _packed_step(self, tensors: dict[str, Tensor], source_of: Callable[..., Source]) -> Tensor:
        packing = Packing(tensors)
        home = packing.home()
        state, step = self._read_state(home)
        source = source_of(packing, home)
        self._asked(source, home, step)
        oracle: Any = source.oracle(Moment(self._module, home, step, rows_of(self._rows(step))))
        updated, new_state = self.rule.step(oracle, home, state)
        self._write(tensors, packing.unpack(home), packing.unpack(updated), new_state, step)
        assert oracle.seen is not None, "the rule has asked for no gradient"
        return oracle.seen

    def _functional_step(
        self, home: Parameters, state: Any, step: Tensor, batch: Any, previous: Any, rows: Any
    ) -> tuple[Parameters, Any, Tensor]:
        source = ModuleBatch(Transforms(self._value), batch, previous)
        oracle = source.oracle(Moment(self._module, home, step, rows_of(rows)))
        updated, new_state = self.rule.step(oracle, home, state)
        assert oracle.seen is not None, "the rule has asked for no gradient"
        return updated, new_state, oracle.seen

    def _asked(self, source: Source, home: Parameters, step: Tensor) -> Needs:
        """What the rule asks for, found by one dry step before the first."""
        if self._needs is None:
            found = needs(source, self._module, self.rule, home, step)
            if found.requests and self._seed is None:
                streams = ", ".join(dict.fromkeys(draw.stream for draw, _ in found.requests))
                raise NotProvided(f"random numbers ({streams})", "give as_torch(..., seed=)", self.rule)
            self._needs = found
            self._table = Table(0 if self._seed is None else self._seed, found.requests)
        return self._needs

    def _rows(self, step: Tensor) -> dict:
        requests = self._table.requests
        return dict(zip(requests, self._table.at(int(step)), strict=True)) if requests else {}

    def _value(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        assert self._module is not None and self._loss is not None
        outputs = torch.func.functional_call(self._module, parameters, (inputs,), tie_weights=self._tied)  # type: ignore[arg-type]
        value = self._loss(outputs, targets)
        if value.dim():
            raise ValueError(f"loss must return the minibatch's mean as a 0-dim tensor, got shape {tuple(value.shape)}")
        return value

    def _refuse_training_noise(self) -> None:
        for name, layer in self._batch_norms.items():
            if layer.training:
                raise ValueError(
                    f"layer {name} is BatchNorm in training mode, which torch.func cannot update; use a closure"
                )

    def _tensors(self) -> dict[str, Tensor]:
        if self._module is not None:
            return {name: parameter for name, parameter in self._named.items() if parameter.requires_grad}
        listed = [p for group in self.param_groups for p in group["params"] if p.requires_grad]
        return {str(index): tensor for index, tensor in enumerate(listed)}

    def _read_state(self, home: Parameters) -> tuple[Any, Tensor]:
        """The rule's state and the number of steps taken."""
        if "rule" not in self.state:
            device = leaves(home)[0].device
            zero = torch.zeros((), dtype=torch.int64, device=device)
            self.state["rule"] = {"state": self.rule.init(home), "step": zero}  # type: ignore[index]
        kept: Any = self.state["rule"]  # type: ignore[index]
        return kept["state"], kept["step"]

    def _write(
        self, tensors: dict[str, Tensor], home: Parameters, updated: Parameters, new_state: Any, step: Tensor
    ) -> None:
        assert isinstance(updated, dict) and isinstance(home, dict)
        steps = {id(p): group["step_size"] for group in self.param_groups for p in group["params"]}
        for name, tensor in tensors.items():
            own = steps[id(tensor)]
            if own is not None:
                # The rule is linear in the step size, so a group's own step size rescales its displacement.
                default = at(self.rule.step_size, step)  # type: ignore[attr-defined]
                updated[name] = home[name] + (own / default) * (updated[name] - home[name])
        with torch.no_grad():
            torch._foreach_copy_(list(tensors.values()), list(updated.values()))
        self.state["rule"] = {"state": new_state, "step": step + 1}  # type: ignore[index]


def as_torch(
    rule: Rule,
    parameters: torch.nn.Module | Iterable[Any],
    *,
    loss: Callable[..., Tensor] | None = None,
    compile: bool = False,
    seed: Seed | None = None,
) -> RuleOptimizer:
    """The rule as a `torch.optim.Optimizer`.

    parameters: what torch optimizers take (tensors or parameter groups, which may set `step_size`), or a module together
        with `loss(outputs, targets)`, whose minibatch mean it must be; then call `step(inputs, targets)`.
    compile: compile the functional step with `torch.compile` (module form only); without a C++ compiler it is traced
        alone, which still spares groups of samples most of their overhead.
    seed: of the rule's random numbers, where it asks for any (random ascents).
    Raises ValueError for sparse gradients, for closures that do not return a loss, and where a rule needs more than the
    closure can give.
    """
    for name in (entry.name for entry in dataclasses.fields(rule)):  # type: ignore[arg-type]
        value = getattr(rule, name)
        if isinstance(value, Tensor) and concrete(value) is None:
            raise ValueError(
                f"{name} has one value per run; an optimizer drives one module, use wb.sweep for many runs"
            )
    return RuleOptimizer(rule, parameters, loss, compile, seed)
