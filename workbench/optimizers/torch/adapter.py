"""Any rule as a `torch.optim.Optimizer`, for people's own training loops.

Two ways of calling `step`:

    optimizer = as_torch(sam(0.1, rho=0.05), model.parameters())
    optimizer.step(closure)                       # closure returns the loss; calling backward() in it is optional

    optimizer = as_torch(m_sam(0.1, 0.05, m=8), model, loss=torch.nn.functional.cross_entropy)
    optimizer.step(inputs, targets)               # groups of samples vmapped; optionally compiled
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from workbench.compiler import compiler_found, inductor_options
from workbench.optimizers.rule import Rule, State
from workbench.optimizers.schedules import at
from workbench.optimizers.torch.oracles import Batch, ClosureOracle, Packing, SampleOracle, Tape, Transforms
from workbench.parameters import Parameters, concrete


class RuleOptimizer(torch.optim.Optimizer):
    """A rule driving a module's parameters. Parameter groups may each have their own `step_size`.

    The displacement's norm is taken over all groups together. The state (velocity, number of steps) is in `state_dict`.
    """

    def __init__(
        self,
        rule: Rule,
        parameters: torch.nn.Module | Iterable[Any],
        loss: Callable[..., Tensor] | None = None,
        compile: bool = False,
    ) -> None:
        module = parameters if isinstance(parameters, torch.nn.Module) else None
        if (module is None) != (loss is None):
            raise ValueError("give a module together with loss=, or parameters without it")
        if compile and module is None:
            raise ValueError("compile=True needs as_torch(rule, model, loss=..., compile=True)")
        self.rule, self._module, self._loss = rule, module, loss
        self._previous: Batch | None = None
        self._needs_previous = getattr(rule.gradient, "ascent", None) == "previous"
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
        state = self._read_state(tensors)
        if self._module is None:
            if len(arguments) != 1 or not callable(arguments[0]):
                raise ValueError(
                    "step needs a closure that returns the loss: optimizer.step(lambda: loss(model(x), y))"
                )
            return self._packed_step(tensors, state, lambda *known: ClosureOracle(arguments[0], *known))
        if len(arguments) != 2:
            raise ValueError("step needs inputs and targets: optimizer.step(inputs, targets)")
        self._refuse_training_noise()
        if self._compiled is None:
            loss = self._packed_step(
                tensors,
                state,
                lambda packing, _, count: SampleOracle(Tape(self._value, packing), arguments, self._previous, count),
            )
        else:
            home = {name: tensor.detach() for name, tensor in tensors.items()}
            updated, new_state, loss = self._compiled(home, state, arguments, self._previous)
            self._write(tensors, home, updated, state, new_state)
        if self._needs_previous:
            self._previous = arguments
        return loss

    def _packed_step(self, tensors: dict[str, Tensor], state: State, oracle_of: Callable[..., Any]) -> Tensor:
        packing = Packing(tensors)
        home = packing.home()
        if state.velocity is not None:
            state = state._replace(velocity=packing.pack(state.velocity))  # type: ignore[arg-type]
        oracle = oracle_of(packing, home, state.count)
        updated, new_state = self.rule.step(oracle, home, state)
        if new_state.velocity is not None:
            new_state = new_state._replace(velocity=packing.unpack(new_state.velocity))
        self._write(tensors, packing.unpack(home), packing.unpack(updated), state, new_state)
        assert oracle.loss is not None, "the rule has asked for no gradient"
        return oracle.loss

    def _functional_step(
        self, home: Parameters, state: State, batch: Any, previous: Any
    ) -> tuple[Parameters, State, Tensor]:
        oracle = SampleOracle(Transforms(self._value), batch, previous, state.count)
        updated, new_state = self.rule.step(oracle, home, state)
        assert oracle.loss is not None, "the rule has asked for no gradient"
        return updated, new_state, oracle.loss

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

    def _read_state(self, tensors: dict[str, Tensor]) -> State:
        if any(tensor not in self.state for tensor in tensors.values()):
            fresh = self.rule.init({name: tensor.detach() for name, tensor in tensors.items()})
            for name, tensor in tensors.items():
                self.state[tensor] = {"count": fresh.count.clone()}
                if isinstance(fresh.velocity, dict):
                    self.state[tensor]["velocity"] = fresh.velocity[name]
        first = self.state[next(iter(tensors.values()))]
        velocity = {n: self.state[t]["velocity"] for n, t in tensors.items()} if "velocity" in first else None
        return State(first["count"].to(torch.int64), velocity)

    def _write(
        self, tensors: dict[str, Tensor], home: Parameters, updated: Parameters, state: State, new_state: State
    ) -> None:
        assert isinstance(updated, dict) and isinstance(home, dict)
        default = self.rule.step_size
        steps = {id(p): group["step_size"] for group in self.param_groups for p in group["params"]}
        for name, tensor in tensors.items():
            own = steps[id(tensor)]
            if own is not None:
                # The rule is linear in the step size, so a group's own step size rescales its displacement.
                updated[name] = home[name] + (own / at(default, state.count)) * (updated[name] - home[name])
        with torch.no_grad():
            torch._foreach_copy_(list(tensors.values()), list(updated.values()))
            for name, tensor in tensors.items():
                self.state[tensor]["count"] = new_state.count
                if isinstance(new_state.velocity, dict):
                    self.state[tensor]["velocity"] = new_state.velocity[name]


def as_torch(
    rule: Rule,
    parameters: torch.nn.Module | Iterable[Any],
    *,
    loss: Callable[..., Tensor] | None = None,
    compile: bool = False,
) -> RuleOptimizer:
    """The rule as a `torch.optim.Optimizer`.

    parameters: what torch optimizers take (tensors or parameter groups, which may set `step_size`), or a module together
        with `loss(outputs, targets)`, whose minibatch mean it must be; then call `step(inputs, targets)`.
    compile: compile the functional step with `torch.compile` (module form only); without a C++ compiler it is traced
        alone, which still spares groups of samples most of their overhead.
    Raises ValueError for sparse gradients, for closures that do not return a loss, and where a rule needs more than the
    closure can give.
    """
    for name in ("step_size", "beta"):
        value = getattr(rule, name)
        if isinstance(value, Tensor) and concrete(value) is None:
            raise ValueError(
                f"{name} has one value per run; an optimizer drives one module, use wb.sweep for many runs"
            )
    return RuleOptimizer(rule, parameters, loss, compile)
