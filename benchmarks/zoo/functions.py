"""Every public curvature function on one animal, against an independent computation in float64."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

import workbench as wb

from .animals import Animal

cur = wb.curvature

_RHO, _STEPS = 0.1, 5


class Truth:
    """What plain torch says about an animal: gradients of its own parameters, and central differences of these."""

    def __init__(self, animal: Animal) -> None:
        exact = animal if animal.exact is None else replace(animal, make=animal.exact)
        self.model, self.function, self.inputs, self.targets = exact.born(torch.float64)
        self.own = [entry for entry in self.model.parameters() if entry.requires_grad]
        self.start = self.vector()

    def vector(self) -> Tensor:
        return torch.cat([entry.detach().reshape(-1) for entry in self.own])

    def move(self, values: Tensor) -> None:
        with torch.no_grad():
            for entry, piece in zip(self.own, values.split([entry.numel() for entry in self.own]), strict=True):
                entry.copy_(piece.reshape(entry.shape))

    def loss(self, rows: slice = slice(None)) -> Tensor:
        part = {name: entry[rows] for name, entry in self.inputs.items()} if isinstance(self.inputs, dict) else None
        outputs = self.model(**part) if part is not None else self.model(self.inputs[rows])
        return self.function(outputs, self.targets[rows])

    def gradient(self, at: Tensor | None = None, rows: slice = slice(None)) -> Tensor:
        self.move(self.start if at is None else at)
        value = self.loss(rows)
        for entry in self.own:
            entry.grad = None
        value.backward()
        found = [torch.zeros_like(entry) if entry.grad is None else entry.grad for entry in self.own]
        for entry in self.own:
            entry.grad = None
        self.move(self.start)
        return torch.cat([entry.reshape(-1) for entry in found])

    def value(self, at: Tensor) -> Tensor:
        self.move(at)
        with torch.no_grad():
            value = self.loss()
        self.move(self.start)
        return value

    @cached_property
    def hessian(self) -> Tensor:
        unit = 1e-5 * torch.eye(len(self.start), dtype=torch.float64)
        rows = torch.stack([(self.gradient(self.start + e) - self.gradient(self.start - e)) / 2e-5 for e in unit])
        return (rows + rows.mT) / 2

    @cached_property
    def rows(self) -> Tensor:
        return torch.stack([self.gradient(rows=slice(i, i + 1)) for i in range(len(self.targets))])

    @cached_property
    def jacobian_product(self) -> Tensor:
        """J' L J by differences of the outputs, L by double backward of the loss function alone."""

        def outputs() -> tuple[list[Tensor], Any]:
            with torch.no_grad():
                found = self.model(**self.inputs) if isinstance(self.inputs, dict) else self.model(self.inputs)
            return (list(found.values()), list(found)) if isinstance(found, dict) else ([found], None)

        def at(point: Tensor) -> Tensor:
            self.move(point)
            values, _ = outputs()
            self.move(self.start)
            return torch.cat([entry.reshape(-1) for entry in values])

        # Of fourth order: a square root of its error stays in the product.
        unit = 1e-3 * torch.eye(len(self.start), dtype=torch.float64)
        columns = [
            (8 * (at(self.start + e) - at(self.start - e)) - at(self.start + 2 * e) + at(self.start - 2 * e)) / 12e-3
            for e in unit
        ]
        jacobian = torch.stack(columns, 1)
        values, names = outputs()

        def loss(flat: Tensor) -> Tensor:
            pieces = [p.reshape(v.shape) for p, v in zip(flat.split([v.numel() for v in values]), values, strict=True)]
            return self.function(dict(zip(names, pieces, strict=True)) if names else pieces[0], self.targets)

        flat = torch.cat([entry.reshape(-1) for entry in values])
        return jacobian.mT @ torch.autograd.functional.hessian(loss, flat) @ jacobian

    def worst(self) -> Tensor:
        """Ascent from the parameters themselves, as worst_case documents it."""
        base = best = self.value(self.start)
        displacement = torch.zeros_like(self.start)
        for _ in range(_STEPS):
            gradient = self.gradient(self.start + displacement)
            best = torch.maximum(best, self.value(self.start + displacement))
            displacement = displacement + 0.1 * _RHO * gradient / gradient.norm()
            displacement = displacement * min(1.0, _RHO / float(displacement.norm()))
        return torch.maximum(best, self.value(self.start + displacement)) - base

    def average(self) -> Tensor:
        normal = wb.draws.normal(0, (8, len(self.start)), stream="flatness", dtype=torch.float64)
        moves = _RHO * normal / normal.norm(dim=1, keepdim=True)
        rises = [(self.value(self.start + move) + self.value(self.start - move)) / 2 for move in moves]
        return torch.stack(rises).mean() - self.value(self.start)

    def quadratic(self) -> Tensor:
        values, vectors = torch.linalg.eigh(self.hessian)
        squares = (self.gradient() @ vectors).square()
        multipliers = float(values[-1].clamp(min=0)) + torch.logspace(-12, 4, 200_000, dtype=torch.float64)
        return ((squares / (multipliers[:, None] - values)).sum(1) + multipliers * _RHO**2).min() / 2


@dataclass(frozen=True)
class Subject:
    """An animal as the library sees it."""

    loss: Any
    parameters: dict[str, Tensor]
    model: nn.Module
    function: Callable
    inputs: Any
    targets: Tensor

    def any_loss(self, point: dict[str, Tensor]) -> Tensor:
        keywords = self.inputs if isinstance(self.inputs, dict) else {}
        arguments = () if keywords else (self.inputs,)
        return self.function(torch.func.functional_call(self.model, point, arguments, keywords), self.targets)

    def batch_loss(self, point: dict[str, Tensor], inputs: Any, targets: Tensor) -> Tensor:
        keywords = inputs if isinstance(inputs, dict) else {}
        outputs = torch.func.functional_call(self.model, point, () if keywords else (inputs,), keywords)
        return self.function(outputs, targets)

    def step(self, point: dict[str, Tensor]) -> dict[str, Tensor]:
        slope = torch.func.grad(self.loss)(point)
        return {name: entry - 0.1 * slope[name] for name, entry in point.items()}

    def batches(self) -> list[tuple[Any, Tensor]]:
        def part(rows: slice) -> Any:
            whole = self.inputs
            return {name: entry[rows] for name, entry in whole.items()} if isinstance(whole, dict) else whole[rows]

        return [(part(rows), self.targets[rows]) for rows in (slice(0, 2), slice(2, None))]


def _direction(size: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.linspace(-1, 1, size, dtype=torch.float64).to(dtype)


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(0)
    return centred.mT @ centred / len(rows)


def _eigenvalues(matrix: Tensor, count: int) -> Tensor:
    return torch.linalg.eigvalsh(matrix)[-count:]


FUNCTIONS: dict[str, tuple[Callable[[Subject], Tensor], Callable[[Truth], Tensor]]] = {
    "hessian_vector_product": (
        lambda s: cur.hessian_vector_product(s.loss, s.parameters, _direction(_size(s), _dtype(s))),
        lambda t: t.hessian @ _direction(len(t.start)),
    ),
    "hessian": (lambda s: cur.hessian(s.loss, s.parameters), lambda t: t.hessian),
    "any loss": (lambda s: cur.hessian(s.any_loss, s.parameters), lambda t: t.hessian),
    "MinibatchLoss": (
        lambda s: cur.hessian(cur.MinibatchLoss(s.batch_loss, s.batches()), s.parameters),
        lambda t: t.hessian,
    ),
    "spectrum": (lambda s: cur.spectrum(s.loss, s.parameters), lambda t: torch.linalg.eigvalsh(t.hessian)),
    "top_eigenpairs": (
        lambda s: cur.top_eigenpairs(s.loss, s.parameters, 2).values,
        lambda t: _eigenvalues(t.hessian, 2).flip(0),
    ),
    "sharpness": (lambda s: cur.sharpness(s.loss, s.parameters), lambda t: _eigenvalues(t.hessian, 1)[0]),
    "trace": (lambda s: cur.trace(s.loss, s.parameters, products=1000).value, lambda t: t.hessian.trace()),
    "frobenius_norm": (
        lambda s: cur.frobenius_norm(s.loss, s.parameters, products=1000).value,
        lambda t: t.hessian.norm(),
    ),
    "diagonal": (lambda s: cur.diagonal(s.loss, s.parameters, products=1000).value, lambda t: t.hessian.diagonal()),
    "spectral_density": (
        lambda s: cur.spectral_density(s.loss, s.parameters).nodes[0],
        lambda t: torch.linalg.eigvalsh(t.hessian),
    ),
    "quadratic_worst_case": (
        lambda s: cur.quadratic_worst_case(s.loss, s.parameters, _RHO),
        lambda t: t.quadratic(),
    ),
    "update_jacobian": (
        lambda s: cur.update_jacobian(s.step, s.parameters),
        lambda t: torch.eye(len(t.start), dtype=torch.float64) - 0.1 * t.hessian,
    ),
    "gauss_newton": (lambda s: cur.gauss_newton(s.loss, s.parameters), lambda t: t.jacobian_product),
    "fisher": (lambda s: cur.fisher(s.loss, s.parameters), lambda t: t.jacobian_product),
    "decomposition": (
        lambda s: cur.decomposition(s.loss, s.parameters).residual,
        lambda t: t.hessian - t.jacobian_product,
    ),
    "outlier_structure": (
        lambda s: torch.tensor(cur.outlier_structure(s.loss, s.parameters).trace.values).sum(),
        lambda t: t.jacobian_product.trace(),
    ),
    "empirical_fisher": (
        lambda s: cur.empirical_fisher(s.loss, s.parameters),
        lambda t: t.rows.mT @ t.rows / len(t.rows),
    ),
    "per_sample_gradients": (lambda s: cur.per_sample_gradients(s.loss, s.parameters), lambda t: t.rows),
    "per_sample_gradient_norms": (
        lambda s: cur.per_sample_gradient_norms(s.loss, s.parameters),
        lambda t: t.rows.norm(dim=1),
    ),
    "gradient_covariance": (
        lambda s: cur.gradient_covariance(s.loss, s.parameters),
        lambda t: _covariance(t.rows),
    ),
    "gradient_covariance_spectrum": (
        lambda s: cur.gradient_covariance_spectrum(s.loss, s.parameters)[-2:],
        lambda t: _eigenvalues(_covariance(t.rows), 2),
    ),
    "gradient_signal_to_noise": (
        lambda s: torch.stack(cur.gradient_signal_to_noise(s.loss, s.parameters)[:2]),
        lambda t: torch.stack([t.rows.mean(0).square().sum(), _covariance(t.rows).trace()]),
    ),
    "worst_case": (
        lambda s: cur.worst_case(s.loss, s.parameters, _RHO, restarts=1, steps=_STEPS),
        lambda t: t.worst(),
    ),
    "m_sharpness": (
        lambda s: cur.m_sharpness(s.loss, s.parameters, m=len(s.targets), rho=_RHO, steps=_STEPS),
        lambda t: t.worst(),
    ),
    "average_case": (
        lambda s: cur.average_case(s.loss, s.parameters, _RHO, directions=8).value,
        lambda t: t.average(),
    ),
}


def _size(subject: Subject) -> int:
    return sum(entry.numel() for entry in subject.parameters.values())


def _dtype(subject: Subject) -> torch.dtype:
    return next(iter(subject.parameters.values())).dtype


@dataclass(frozen=True)
class Finding:
    """One function on one animal: its relative error, or the words in which it refused."""

    function: str
    error: float | None
    words: str = ""
    right: bool = False


def examine(animal: Animal, dtype: torch.dtype, names: list[str] | None = None) -> list[Finding]:
    """What every function does, and whether that is right: within its tolerance, or refused as the animal expects.

    Also compares the module before and after: every parameter must be the very object, with the same values.
    """
    truth = Truth(animal) if "everything" not in animal.refused else None
    model, function, inputs, targets = animal.born(dtype)
    before = [(entry, entry.detach().clone()) for entry in model.parameters()]
    attributes = [dict(vars(module)) for module in model.modules()]
    parameters = {name: entry.detach() for name, entry in model.named_parameters() if entry.requires_grad}
    findings = []
    loss: Any = None
    refusal: Exception | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loss = cur.empirical_loss(model, function, inputs, targets)
        except ValueError as error:
            refusal = error
        subject = Subject(loss, parameters, model, function, inputs, targets)
        for name in names or FUNCTIONS:
            if name in animal.omitted:
                continue
            findings.append(_finding(name, animal, dtype, subject, truth, refusal))
    same = all(
        now is entry and torch.equal(now, value) for now, (entry, value) in zip(model.parameters(), before, strict=True)
    )
    after = [dict(vars(module)) for module in model.modules()]
    same &= all(
        one.keys() == two.keys() and all(one[k] is two[k] for k in one)
        for one, two in zip(attributes, after, strict=True)
    )
    return [*findings, Finding("model left as it was", None, "" if same else "changed", same)]


def _finding(
    name: str, animal: Animal, dtype: torch.dtype, subject: Subject, truth: Truth | None, refusal: Exception | None
) -> Finding:
    ours, theirs = FUNCTIONS[name]
    expected = animal.refused.get(name, animal.refused.get("everything"))
    try:
        if refusal is not None:
            raise refusal
        got = ours(subject).detach().double()
    except ValueError as error:
        words = str(error)
        return Finding(name, None, words, expected is not None and expected.lower() in words.lower())
    except Exception as error:  # a raw error is what must not happen
        return Finding(name, None, f"{type(error).__name__}: {error}")
    assert truth is not None
    right = theirs(truth)
    error = float((got - right).norm() / right.norm().clamp(min=1e-3))
    exact = dtype == torch.float64 and animal.exact is None
    return Finding(name, error, "", error < (1e-6 if exact else 2e-3))
