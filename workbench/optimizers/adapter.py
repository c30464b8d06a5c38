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

from workbench.compiler import compiler_found, options
from workbench.optimizers.rule import Rule, State
from workbench.optimizers.schedules import at
from workbench.parameters import Parameters, concrete, inner, tree_map

Closure = Callable[[], Tensor]
Batch = tuple[Tensor, ...]


class _Packing:
    """A module's parameters as one vector, so that a rule's arithmetic costs a few operations instead of a few per tensor;
    as a dict where they differ in type or device.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        kinds = {(tensor.dtype, tensor.device) for tensor in tensors.values()}
        self._sizes = [tensor.numel() for tensor in tensors.values()] if len(kinds) == 1 else None

    def pack(self, values: dict[str, Tensor]) -> Parameters:
        if self._sizes is None:
            return values
        shapes = [tensor.shape for tensor in self.tensors.values()]
        runs = [value.shape[: value.dim() - len(shape)] for value, shape in zip(values.values(), shapes, strict=True)]
        return torch.cat([value.reshape(*one, -1) for value, one in zip(values.values(), runs, strict=True)], -1)

    def unpack(self, packed: Parameters) -> dict[str, Tensor]:
        if isinstance(packed, dict):
            return packed
        assert self._sizes is not None
        pieces, runs = packed.split(self._sizes, -1), packed.shape[:-1]
        return {n: piece.view(*runs, *t.shape) for (n, t), piece in zip(self.tensors.items(), pieces, strict=True)}

    def home(self) -> Parameters:
        """The parameters' own values."""
        return self.pack({name: tensor.detach() for name, tensor in self.tensors.items()})


class _ClosureOracle:
    """Gradients of whatever the closure computes, at parameters written into the module for the time of the call."""

    def __init__(self, closure: Closure, packing: _Packing, home: Parameters, count: Tensor) -> None:
        self._closure, self._packing, self._at_home, self.count = closure, packing, home, count
        self._tensors = packing.tensors
        self._home = {name: tensor.detach() for name, tensor in self._tensors.items()}
        self.loss: Tensor | None = None

    def gradient(self, parameters: Parameters) -> Parameters:
        loss = self._evaluate(parameters)
        if any(tensor.grad is not None for tensor in self._tensors.values()):
            gradients = [tensor.grad for tensor in self._tensors.values()]
        else:
            gradients = torch.autograd.grad(loss, list(self._tensors.values()), allow_unused=True)
        return self._collect(gradients)

    def hessian_vector_product(self, parameters: Parameters, vector: Parameters) -> Parameters:
        loss, tensors = self._evaluate(parameters), list(self._tensors.values())
        vectors = self._packing.unpack(vector).values()
        try:
            first = torch.autograd.grad(loss, tensors, create_graph=True, allow_unused=True)
            product = sum((g * v).sum() for g, v in zip(first, vectors, strict=True) if g is not None)
            second = torch.autograd.grad(product, tensors, allow_unused=True)  # type: ignore[arg-type]
        except RuntimeError as error:
            raise ValueError(
                "this rule needs Hessian-vector products: let the closure return the loss without calling backward()"
            ) from error
        return self._collect(second)

    def _evaluate(self, parameters: Parameters) -> Tensor:
        displaced = parameters is not self._at_home
        values = self._packing.unpack(parameters) if displaced else self._home
        for name, tensor in self._tensors.items():
            tensor.grad = None
            if displaced:
                # Pointing at the displaced values instead of copying them in and out keeps SAM near two gradients.
                tensor.data = values[name]
        try:
            with torch.enable_grad():
                loss = self._closure()
        finally:
            if displaced:
                for name, tensor in self._tensors.items():
                    tensor.data = self._home[name]
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            raise ValueError(f"the closure must return the loss as a 0-dim tensor, got {type(loss).__name__}")
        if self.loss is None:
            self.loss = loss.detach()
        return loss

    def _collect(self, gradients: Iterable[Tensor | None]) -> Parameters:
        collected = {}
        for (name, tensor), gradient in zip(self._tensors.items(), gradients, strict=True):
            collected[name] = torch.zeros_like(tensor) if gradient is None else _dense(name, gradient).detach()
            tensor.grad = None
        return self._packing.pack(collected)

    def random_direction(self, parameters: Parameters) -> Parameters:
        return tree_map(torch.randn_like, parameters)

    def full_gradient(self, parameters: Parameters) -> Parameters:
        raise ValueError("an ascent along the full training gradient needs all samples; use wb.run, or ascent='own'")

    def previous_gradient(self, parameters: Parameters) -> Parameters:
        raise ValueError("an ascent along the previous minibatch needs as_torch(rule, model, loss=...)")

    def group_gradients(self, parameters: Parameters, size: int) -> Parameters:
        raise ValueError(
            f"m-SAM with m={size} needs the samples of the minibatch: use as_torch(rule, model, loss=...) and "
            "optimizer.step(inputs, targets)"
        )

    group_gradients_at = group_gradients


class _Transforms:
    """Gradients of `value(parameters, *batch)` by torch.func, which the compiler sees through."""

    def __init__(self, value: Callable[..., Tensor]) -> None:
        self._gradient_and_value = torch.func.grad_and_value(value)

    def gradient(self, parameters: Parameters, batch: Batch) -> tuple[Parameters, Tensor]:
        return self._gradient_and_value(parameters, *batch)

    def groups(self, parameters: Parameters, batches: Batch, shared: bool) -> tuple[Parameters, Tensor]:
        return torch.func.vmap(self._gradient_and_value, (None if shared else 0, 0, 0))(parameters, *batches)

    def product(self, parameters: Parameters, vector: Parameters, batch: Batch) -> Parameters:
        return torch.func.grad(lambda point: inner(self.gradient(point, batch)[0], vector))(parameters)


class _Tape:
    """The same by autograd, with packed parameters: only the forward pass of groups goes through vmap, and each of its
    operations costs a third of what it costs under both transforms.
    """

    def __init__(self, value: Callable[..., Tensor], packing: _Packing) -> None:
        self._value, self._packing = value, packing

    def gradient(self, parameters: Parameters, batch: Batch) -> tuple[Parameters, Tensor]:
        leaves = self._leaves(parameters)
        with torch.enable_grad():
            loss = self._value(leaves, *batch)
        return self._packing.pack(self._derivative(loss, leaves)), loss.detach()

    def groups(self, parameters: Parameters, batches: Batch, shared: bool) -> tuple[Parameters, Tensor]:
        groups = batches[0].shape[0]
        if shared:
            parameters = tree_map(lambda leaf: leaf.expand(groups, *leaf.shape), parameters)
        leaves = self._leaves(parameters)
        with torch.enable_grad():
            losses = torch.func.vmap(self._value)(leaves, *batches)
            total = losses.sum()
        return self._packing.pack(self._derivative(total, leaves)), losses.detach()

    def product(self, parameters: Parameters, vector: Parameters, batch: Batch) -> Parameters:
        leaves, along = self._leaves(parameters), self._packing.unpack(vector)
        with torch.enable_grad():
            first = self._derivative(self._value(leaves, *batch), leaves, create_graph=True)
            slope = inner(first, along)
        return self._packing.pack(self._derivative(slope, leaves))

    def _leaves(self, parameters: Parameters) -> dict[str, Tensor]:
        return {name: value.detach().requires_grad_() for name, value in self._packing.unpack(parameters).items()}

    @staticmethod
    def _derivative(value: Tensor, leaves: dict[str, Tensor], create_graph: bool = False) -> dict[str, Tensor]:
        if not value.requires_grad:
            return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
        tensors = list(leaves.values())
        found = torch.autograd.grad(
            value, tensors, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
        return {name: _dense(name, gradient) for name, gradient in zip(leaves, found, strict=True)}


def _dense(name: str, gradient: Tensor) -> Tensor:
    if gradient.layout != torch.strided:
        raise ValueError(f"parameter {name} of shape {tuple(gradient.shape)} has a sparse gradient; use sparse=False")
    return gradient


class _SampleOracle:
    """Gradients of a module's loss on one minibatch."""

    def __init__(self, gradients: _Transforms | _Tape, batch: Batch, previous: Batch | None, count: Tensor) -> None:
        self._gradients, self._batch, self._previous, self.count = gradients, batch, previous, count
        self.loss: Tensor | None = None

    def gradient(self, parameters: Parameters) -> Parameters:
        gradient, value = self._gradients.gradient(parameters, self._batch)
        self.loss = value if self.loss is None else self.loss
        return gradient

    def previous_gradient(self, parameters: Parameters) -> Parameters:
        return self._gradients.gradient(parameters, self._batch if self._previous is None else self._previous)[0]

    def hessian_vector_product(self, parameters: Parameters, vector: Parameters) -> Parameters:
        return self._gradients.product(parameters, vector, self._batch)

    def random_direction(self, parameters: Parameters) -> Parameters:
        return tree_map(torch.randn_like, parameters)

    def full_gradient(self, parameters: Parameters) -> Parameters:
        raise ValueError("an ascent along the full training gradient needs all samples; use wb.run, or ascent='own'")

    def group_gradients(self, parameters: Parameters, size: int) -> Parameters:
        gradients, values = self._gradients.groups(parameters, self._groups(size), shared=True)
        self.loss = values.mean() if self.loss is None else self.loss
        return gradients

    def group_gradients_at(self, parameters: Parameters, size: int) -> Parameters:
        return self._gradients.groups(parameters, self._groups(size), shared=False)[0]

    def _groups(self, size: int) -> Batch:
        samples = self._batch[0].shape[0]
        if samples % size:
            raise ValueError(f"m must divide the minibatch size {samples}, got m={size}")
        return tuple(tensor.reshape(samples // size, size, *tensor.shape[1:]) for tensor in self._batch)


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
        self._tied = True
        trainable: Any = [p for p in module.parameters() if p.requires_grad] if module is not None else parameters
        super().__init__(trainable, {"step_size": None})
        self._compiled = None
        if compile:
            # Without a C++ compiler the step is still traced, with guards, into a list of plain tensor operations.
            how: Any = {"options": options()} if compiler_found() else {"backend": "aot_eager"}
            if "isolate_recompiles" in inspect.signature(torch.compile).parameters:
                # Optimizers share their code: else the ninth one of a process would silently not be compiled.
                how["isolate_recompiles"] = True
            self._compiled = torch.compile(self._functional_step, **how)

    def step(self, *arguments: Any) -> Tensor:  # type: ignore[override]
        """One update: `step(closure)`, or `step(inputs, targets)` for a module with its loss. Returns the loss before it."""
        tensors = self._tensors()
        state = self._read_state(tensors)
        if self._module is None:
            if len(arguments) != 1 or not callable(arguments[0]):
                raise ValueError(
                    "step needs a closure that returns the loss: optimizer.step(lambda: loss(model(x), y))"
                )
            return self._packed_step(tensors, state, lambda *known: _ClosureOracle(arguments[0], *known))
        if len(arguments) != 2:
            raise ValueError("step needs inputs and targets: optimizer.step(inputs, targets)")
        self._refuse_training_noise()
        previous, self._previous = self._previous, arguments
        if self._compiled is None:
            return self._packed_step(
                tensors,
                state,
                lambda packing, _, count: _SampleOracle(_Tape(self._value, packing), arguments, previous, count),
            )
        home = {name: tensor.detach() for name, tensor in tensors.items()}
        updated, new_state, loss = self._compiled(home, state, arguments, previous)
        self._write(tensors, home, updated, state, new_state)
        return loss

    def _packed_step(self, tensors: dict[str, Tensor], state: State, oracle_of: Callable[..., Any]) -> Tensor:
        packing = _Packing(tensors)
        home = packing.home()
        if state.velocity is not None:
            state = state._replace(velocity=packing.pack(state.velocity))  # type: ignore[arg-type]
        oracle = oracle_of(packing, home, state.count)
        updated, new_state = self.rule.step(oracle, home, state)
        loss = _loss_before(oracle)
        if new_state.velocity is not None:
            new_state = new_state._replace(velocity=packing.unpack(new_state.velocity))
        self._write(tensors, packing.unpack(home), packing.unpack(updated), state, new_state)
        return loss

    def _functional_step(
        self, home: Parameters, state: State, batch: Any, previous: Any
    ) -> tuple[Parameters, State, Tensor]:
        oracle = _SampleOracle(_Transforms(self._value), batch, previous, state.count)
        updated, new_state = self.rule.step(oracle, home, state)
        return updated, new_state, _loss_before(oracle)

    def _value(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        assert self._module is not None and self._loss is not None
        # Looking for tied weights in every call would take a tenth of a small network's step.
        outputs = torch.func.functional_call(self._module, parameters, (inputs,), tie_weights=self._tied)  # type: ignore[arg-type]
        value = self._loss(outputs, targets)
        if value.dim():
            raise ValueError(f"loss must return the minibatch's mean as a 0-dim tensor, got shape {tuple(value.shape)}")
        return value

    def _refuse_training_noise(self) -> None:
        assert self._module is not None
        for name, layer in self._module.named_modules():
            if (
                layer.training
                and isinstance(layer, torch.nn.modules.batchnorm._BatchNorm)
                and layer.track_running_stats
            ):
                raise ValueError(
                    f"layer {name} is BatchNorm in training mode, which torch.func cannot update; use a closure"
                )

    def _tensors(self) -> dict[str, Tensor]:
        if self._module is not None:
            named = [*self._module.named_parameters(remove_duplicate=False)]
            self._tied = len({parameter for _, parameter in named}) < len(named)
            return {name: parameter for name, parameter in self._module.named_parameters() if parameter.requires_grad}
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


def _loss_before(oracle: _ClosureOracle | _SampleOracle) -> Tensor:
    # The rules of the family all look at the undisplaced point first, or (Nesterov) only at the look-ahead point.
    assert oracle.loss is not None, "the rule has asked for no gradient"
    return oracle.loss


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
