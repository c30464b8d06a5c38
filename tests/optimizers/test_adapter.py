"""The torch optimizer does exactly what the pure rule does, and says no clearly where it cannot."""

import copy
import inspect

import pytest
import torch

import workbench as wb
from workbench.compiler import compiler_found, store_pooled_places
from workbench.draws.table import rows_of
from workbench.dynamics.sources import AllSamples
from workbench.optimizers import Moment, as_torch
from workbench.problems.base import Problem

LOSS = torch.nn.functional.cross_entropy
INPUTS = torch.linspace(-1, 1, 48, dtype=torch.float64).reshape(8, 6).cos()
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)).double()


class Network(Problem):
    """The same network as a problem, for the pure rule."""

    model = network()

    @property
    def data(self):
        return (INPUTS, TARGETS)

    def batch_loss(self, parameters, batch):
        return LOSS(torch.func.functional_call(self.model, parameters, (batch[0],)), batch[1])


def pure(rule, steps):
    problem = Network()
    parameters = {name: p.detach().clone() for name, p in network().named_parameters()}
    state = rule.init(parameters)
    for k in range(steps):
        oracle = AllSamples().oracle(Moment(problem, parameters, torch.tensor(k), rows_of({})))
        parameters, state = rule.step(oracle, parameters, state)
    return parameters


RULES = {
    "gd": wb.optimizers.gradient_descent(0.3),
    "nesterov": wb.optimizers.nesterov(0.3, 0.9),
    "sam+heavy_ball": wb.optimizers.sam(0.3, 0.05, beta=0.9),
    "usam": wb.optimizers.usam(0.3, 0.2),
    "two_step": wb.optimizers.two_step_usam(0.3, 0.1),
    "hessian_usam": wb.optimizers.hessian_usam(0.3, 0.1),
    "penalty": wb.optimizers.gradient_penalty(0.3, 0.1),
    "multi_step": wb.optimizers.multi_step_sam(0.3, 0.1, 3, 0.5),
    "decaying": wb.optimizers.gradient_descent(wb.optimizers.StepDecay(0.3, (2,))),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("form", ["closure", "module"])
def test_equals_the_pure_rule(name, form):
    rule, model = RULES[name], network()
    if form == "closure":
        optimizer = as_torch(rule, model.parameters())
        for _ in range(4):
            optimizer.step(lambda: LOSS(model(INPUTS), TARGETS))
    else:
        optimizer = as_torch(rule, model, loss=LOSS)
        for _ in range(4):
            optimizer.step(INPUTS, TARGETS)
    expected = pure(rule, 4)
    for key, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), expected[key], rtol=1e-11, atol=1e-13)


def test_m_sam_groups_through_the_module_form():
    rule, model = wb.optimizers.m_sam(0.3, 0.05, 2, beta=0.9), network()
    optimizer = as_torch(rule, model, loss=LOSS)
    for _ in range(3):
        optimizer.step(INPUTS, TARGETS)
    expected = pure(rule, 3)
    for key, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), expected[key], rtol=1e-11, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", None])
@pytest.mark.parametrize("rule", [wb.optimizers.sam(0.3, 0.05, beta=0.9), wb.optimizers.m_sam(0.3, 0.05, 2)])
def test_compiled_steps_are_the_plain_ones_with_and_without_a_compiler(rule, compiler, monkeypatch, caplog):
    if compiler is None:
        monkeypatch.setattr("shutil.which", lambda name: None)
    compiler_found.cache_clear()
    plain, fast = network(), network()
    optimizers = [as_torch(rule, plain, loss=LOSS), as_torch(rule, fast, loss=LOSS, compile=True)]
    compiler_found.cache_clear()
    for _ in range(3):
        losses = [optimizer.step(INPUTS, TARGETS) for optimizer in optimizers]
        torch.testing.assert_close(*losses, rtol=1e-10, atol=0)
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)
    assert ("no C++ compiler" in caplog.text) == (compiler is None)


@pytest.mark.slow
@pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")
def test_compiled_steps_of_a_convolutional_network_are_the_plain_ones_at_every_batch_size(monkeypatch):
    def pooled():
        torch.manual_seed(1)
        layers = torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()
        return torch.nn.Sequential(*layers, torch.nn.Linear(64, 3)).double()

    # What other networks of this process had for shapes is forgotten: only the batch size changes here.
    torch.compiler.reset()
    stored = []

    def store(graph):
        before = len(graph.nodes)
        store_pooled_places(graph)
        stored.append(len(graph.nodes) - before)

    monkeypatch.setattr("workbench.compiler.store_pooled_places", store)
    rule, inputs = wb.optimizers.sam(0.3, 0.05), torch.randn(8, 1, 4, 4, dtype=torch.float64)
    plain, fast = pooled(), pooled()
    optimizers = [as_torch(rule, plain, loss=LOSS), as_torch(rule, fast, loss=LOSS, compile=True)]
    with torch._inductor.config.patch(force_disable_caches=True):
        for samples in (8, 8, 4):
            losses = [optimizer.step(inputs[:samples], TARGETS[:samples]) for optimizer in optimizers]
            torch.testing.assert_close(*losses, rtol=1e-10, atol=0)
    for one, other in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)
    # Once for the ascent and once for the descent, in the code for each batch size.
    assert stored == [2, 2]


@pytest.mark.slow
@pytest.mark.skipif(
    "isolate_recompiles" not in inspect.signature(torch.compile).parameters, reason="this torch shares compiled code"
)
def test_the_tenth_optimizer_of_a_process_is_compiled_too(monkeypatch, caplog):
    monkeypatch.setattr("shutil.which", lambda name: None)
    compiler_found.cache_clear()
    for _ in range(10):
        model = torch.nn.Linear(6, 3).double()
        loss = as_torch(RULES["gd"], model, loss=LOSS, compile=True).step(INPUTS, TARGETS)
        assert torch.isfinite(loss)
    compiler_found.cache_clear()
    assert "recompile_limit" not in caplog.text


def forms(rule, model, loss=LOSS):
    """A step in the module form, and the same in a copy by a closure."""
    copied = copy.deepcopy(model)
    by_module, by_closure = as_torch(rule, model, loss=loss), as_torch(rule, copied.parameters())
    for _ in range(2):
        by_module.step(INPUTS, TARGETS)
        by_closure.step(lambda: loss(copied(INPUTS), TARGETS))
    return dict(model.named_parameters()), dict(copied.named_parameters())


class Odd(torch.nn.Module):
    """Tied weights, parameters of two types, one that is not used."""

    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.shift, self.unused = torch.nn.Parameter(torch.ones(6).float()), torch.nn.Parameter(torch.ones(2))
        for p in (*self.first.parameters(), self.second.bias, self.unused):
            p.data = p.data.double()

    def forward(self, x):
        return self.second(self.first(x).tanh()) + self.shift


@pytest.mark.parametrize("name", ["sam+heavy_ball", "penalty"])
def test_tied_unused_and_mixed_parameters_in_both_forms(name):
    torch.manual_seed(0)
    for one, other in zip(*(found.values() for found in forms(RULES[name], Odd())), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6 if one.dtype == torch.float32 else 1e-9, atol=1e-9)
    model = Odd()
    before = model.unused.detach().clone()
    as_torch(wb.optimizers.m_sam(0.3, 0.05, 2), model, loss=LOSS).step(INPUTS, TARGETS)
    assert torch.equal(model.unused, before) and model.second.weight is model.first.weight


def test_a_loss_without_second_derivative_has_none():
    model = torch.nn.Linear(6, 3).double()
    after, expected = forms(wb.optimizers.gradient_descent(0.1), model, lambda outputs, _: outputs.mean())
    assert all(torch.equal(after[name], expected[name]) for name in after)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    penalised = as_torch(wb.optimizers.gradient_penalty(0.1, 0.5), model, loss=lambda outputs, _: outputs.mean())
    penalised.step(INPUTS, TARGETS)
    torch.testing.assert_close(model.bias.detach(), start["bias"] - 0.1 / 3)


def test_a_closure_that_calls_backward_gives_the_same_step_and_the_loss_before_it():
    ends, losses = [], []
    for backward in (True, False):
        model = network()
        optimizer = as_torch(RULES["sam+heavy_ball"], model.parameters())

        def closure(model=model, backward=backward):
            loss = LOSS(model(INPUTS), TARGETS)
            if backward:
                loss.backward()
            return loss

        before = LOSS(model(INPUTS), TARGETS).item()
        losses.append((optimizer.step(closure).item(), before))
        ends.append([p.detach() for p in model.parameters()])
    assert all(returned == before for returned, before in losses)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_state_dict_round_trip_continues_the_same_run():
    rule = RULES["sam+heavy_ball"]
    straight, resumed = network(), network()
    one = as_torch(rule, straight.parameters())
    two = as_torch(rule, resumed.parameters())
    for _ in range(3):
        one.step(lambda: LOSS(straight(INPUTS), TARGETS))
        two.step(lambda: LOSS(resumed(INPUTS), TARGETS))
    three = as_torch(rule, resumed.parameters())
    three.load_state_dict(two.state_dict())
    for _ in range(3):
        one.step(lambda: LOSS(straight(INPUTS), TARGETS))
        three.step(lambda: LOSS(resumed(INPUTS), TARGETS))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_parameter_groups_have_their_own_step_size():
    rule, model = wb.optimizers.sam(0.3, 0.05), network()
    first, second = list(model[0].parameters()), list(model[2].parameters())
    optimizer = as_torch(rule, [{"params": first}, {"params": second, "step_size": 0.03}])
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step(lambda: LOSS(model(INPUTS), TARGETS))
    full = pure(rule, 1)
    for name, value in model.named_parameters():
        factor = 0.1 if name.startswith("2") else 1.0
        torch.testing.assert_close(
            value.detach() - start[name], factor * (full[name] - start[name]), rtol=1e-9, atol=1e-15
        )


def test_frozen_parameters_stay():
    model = network()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    as_torch(RULES["usam"], model, loss=LOSS).step(INPUTS, TARGETS)
    assert torch.equal(model[0].weight, before)


def test_sparse_gradients_are_refused_and_the_parameters_are_untouched():
    table = torch.nn.Embedding(4, 2, sparse=True)
    before = table.weight.detach().clone()
    optimizer = as_torch(RULES["usam"], table.parameters())
    with pytest.raises(ValueError, match="sparse gradient"):
        optimizer.step(lambda: table(torch.tensor([1])).pow(2).sum())
    assert torch.equal(table.weight, before)
    with pytest.raises(ValueError, match="sparse gradient"):
        as_torch(RULES["usam"], table, loss=lambda outputs, _: outputs.pow(2).sum()).step(torch.tensor([1]), TARGETS)


def test_errors_say_what_to_do():
    model = network()
    closure = as_torch(RULES["usam"], model.parameters())
    with pytest.raises(ValueError, match="needs a closure"):
        closure.step()
    with pytest.raises(ValueError, match="0-dim tensor"):
        closure.step(lambda: 3.0)
    with pytest.raises(ValueError, match="inputs and targets"):
        as_torch(RULES["usam"], model, loss=LOSS).step()
    with pytest.raises(ValueError, match="0-dim tensor"):
        as_torch(RULES["usam"], model, loss=lambda outputs, _: outputs).step(INPUTS, TARGETS)
    with pytest.raises(ValueError, match="groups of m = 2 samples: a closure does not show them"):
        as_torch(wb.optimizers.m_sam(0.1, 0.1, 2), model.parameters()).step(lambda: LOSS(model(INPUTS), TARGETS))
    with pytest.raises(ValueError, match="module together with loss"):
        as_torch(RULES["usam"], model)

    def backward():
        loss = LOSS(model(INPUTS), TARGETS)
        loss.backward()
        return loss

    with pytest.raises(ValueError, match="without calling backward"):
        as_torch(RULES["hessian_usam"], model.parameters()).step(backward)
