"""What parameter groups may set, and the rule with their values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from workbench.optimizers.inner_maximisation import FullMaximisation
from workbench.optimizers.rule import Decayed, EffectiveGradient, Rule
from workbench.optimizers.sam.multi_step_sam import MultiStepSAM
from workbench.optimizers.schedules import at
from workbench.optimizers.torch.packing import Packing
from workbench.parameters import concrete

TORCH_KEYS = {"params", "param_names", "lr", "initial_lr", "max_lr", "min_lr", "swa_lr", "base_lr", "step_size"}
"""Keys that torch and its schedulers keep in a group; `step_size` is another name of `lr`."""


class Groups:
    """Reads and checks what the groups set, at every step.

    in_place: values that differ from the rule's are handed over in tensors that stay the same from step to step, as compiled
        code wants them.
    """

    def __init__(self, rule: Rule, in_place: bool = False) -> None:
        self._rule, self._in_place = rule, in_place
        self._gradient = getattr(rule, "gradient", None)
        self._decays = isinstance(self._gradient, EffectiveGradient)
        self._own = {name: getattr(rule, name) for name in _hyper_parameters(rule)}
        inner = _hyper_parameters(self._gradient) if self._decays else []
        self._inner = {name: getattr(self._gradient, name) for name in inner if name not in self._own}
        self._shown: list[float | None] = []
        """By group: the step size of the rule's schedule as last written into the group, None where the group has its own."""
        self._cached: tuple[Any, Rule] = ((), rule)
        self._held: dict[str, Tensor] = {}

    @property
    def default(self) -> float | None:
        """The `lr` that torch's schedulers find in a group that sets none."""
        value = self._own.get("step_size")
        if value is None:
            return None
        start = at(value, torch.zeros((), dtype=torch.int64))
        return concrete(start) if isinstance(start, Tensor) else float(start)

    def add(self, group: dict[str, Any], number: int) -> None:
        """Check a new group, before defaults are filled in."""
        self.check(group, number)
        follows = callable(self._own.get("step_size")) and group.get("lr") is None
        self._shown.append(self.default if follows else None)

    def check(self, group: dict[str, Any], number: int) -> None:
        """Refuse keys that nothing uses and values out of range; `step_size` becomes `lr`."""
        if "step_size" in group:
            own, other = group.pop("step_size"), group.get("lr")
            if own is not None:
                if other not in (None, own, self.default):
                    raise ValueError(f"group {number} sets step_size={own!r} and lr={other!r}, two names of one number")
                group["lr"] = own
        may = {**self._own, **self._inner, **({"weight_decay": 0.0} if self._decays else {})}
        may |= {"lr": None} if may.pop("step_size", None) is not None else {}
        for name, value in group.items():
            if name in may:
                self._require(name, value, number)
            elif name not in TORCH_KEYS or (name == "lr" and value is not None):
                raise ValueError(
                    f"group {number} sets {name}={value!r}, which {self._rule!r} does not use; a group may set "
                    f"{', '.join(may)} (lr is the rule's step_size)"
                )

    def resolved(
        self, groups: Sequence[dict[str, Any]], packing: Packing, member: list[int], step: Tensor, settle: bool = False
    ) -> Rule:
        """The rule with the values of the groups: a number where all agree, else one entry per parameter.

        member: the group of each of the packing's tensors; settle: give the values that the rule's schedules have at this step.
        """
        key = (tuple(member), settle, *(_key(item) for group in groups for item in group.items()))
        if key == self._cached[0]:
            return self._cached[1]
        for number, group in enumerate(groups):
            self.check(group, number)
            self._refuse_second_schedule(group, number)
        changed, fixed = {}, not settle
        for name, own in {**self._own, **self._inner, "weight_decay": 0.0}.items():
            found = [self._value(groups[number], number, name, own) for number in member]
            if all(value is own for value in found) and not (settle and callable(own)):
                continue
            fixed = fixed and not any(callable(value) for value in found)
            numbers = [float(at(value, step)) for value in found]
            if len(set(numbers)) == 1:
                changed[name] = torch.tensor(numbers[0], dtype=torch.float64)
            else:
                self._refuse_balls(name)
                each = torch.tensor(numbers, dtype=packing.dtype)
                changed[name] = each.repeat_interleave(torch.tensor(packing.sizes)).to(packing.device)
        rule = self._with(changed)
        self._cached = (key, rule) if fixed else ((), rule)
        return rule

    def after(self, groups: Sequence[dict[str, Any]], step: Tensor) -> None:
        """Show the next step's size in the groups that follow the rule's schedule."""
        if any(shown is not None for shown in self._shown):
            now = float(at(self._own["step_size"], step))
            self._shown = [None if shown is None else now for shown in self._shown]
            for shown, group in zip(self._shown, groups, strict=True):
                if shown is not None:
                    group["lr"] = now

    def loaded(self, groups: Sequence[dict[str, Any]]) -> None:
        """Take what a state dict has put into the groups."""
        self._shown = [None if shown is None else group["lr"] for shown, group in zip(self._shown, groups, strict=True)]

    def _value(self, group: dict[str, Any], number: int, name: str, own: Any) -> Any:
        if name != "step_size":
            return group.get(name, own)
        if self._shown[number] is not None:
            return own
        return own if not callable(own) and group["lr"] == self.default else group["lr"]

    def _refuse_second_schedule(self, group: dict[str, Any], number: int) -> None:
        if self._shown[number] is not None and group["lr"] != self._shown[number]:
            raise ValueError(
                f"group {number} got lr={group['lr']!r} during training, while {self._rule!r} has a schedule of its own; give "
                "the rule a constant step_size where a torch scheduler sets lr"
            )

    def _require(self, name: str, value: Any, number: int) -> None:
        if name == "lr" and value is None:
            return
        try:
            known = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, RuntimeError):
            known = math.nan
        high = 1.0 if name in ("beta", "beta_square") else math.inf
        low = -math.inf if name == "lam" else 0.0
        if not (math.isfinite(known) and low <= known < high):
            raise ValueError(
                f"group {number} has {name}={value!r}; it must be a finite number in [{low:g}, {high:g}) (schedules: the rule's "
                "own, or torch.optim.lr_scheduler)"
            )

    def _refuse_balls(self, name: str) -> None:
        if name == "rho" and isinstance(self._gradient, (MultiStepSAM, FullMaximisation)):
            raise ValueError(
                f"groups differ in rho, but {self._rule!r} looks for its maximum in one ball around all parameters; use one rho"
            )

    def _with(self, changed: dict[str, Tensor]) -> Rule:
        if not changed:
            return self._rule
        if self._in_place:
            if {n: v.shape for n, v in changed.items()} == {n: v.shape for n, v in self._held.items()}:
                for name, value in changed.items():
                    self._held[name].copy_(value)
                return self._cached[1]
            self._held = changed
        gradient: Any = self._gradient
        inner = {name: value for name, value in changed.items() if name in self._inner}
        gradient = dataclasses.replace(gradient, **inner) if inner else gradient
        if "weight_decay" in changed:
            gradient = Decayed(gradient, changed["weight_decay"])
        outer: dict[str, Any] = {name: value for name, value in changed.items() if name in self._own}
        if gradient is not self._gradient:
            outer["gradient"] = gradient
        return dataclasses.replace(self._rule, **outer)  # type: ignore[type-var]


def _hyper_parameters(thing: Any) -> list[str]:
    listed = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    kinds = ("HyperParameter", "float")
    return [entry.name for entry in listed if entry.init and any(kind in str(entry.type) for kind in kinds)]


def _key(item: tuple[str, Any]) -> Any:
    name, value = item
    if name in ("params", "param_names"):
        return None
    return (name, float(value)) if isinstance(value, Tensor) else item
