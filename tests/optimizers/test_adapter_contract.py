"""The torch optimizer keeps torch's contract: groups, schedulers, state, copies, scalers, and parameters that come later."""

import copy
import math
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import workbench as wb
from workbench.optimizers import (
    EMA,
    LinearDecay,
    UniformMean,
    adam,
    as_torch,
    gradient_descent,
    heavy_ball,
    nesterov,
    sam,
)

torch.manual_seed(0)
INPUTS, TARGETS = torch.randn(8, 4, dtype=torch.float64), torch.randint(0, 3, (8,))
LOSS = nn.functional.cross_entropy
MULTI_STEP = wb.optimizers.multi_step_sam


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def vector(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def steps(optimizer, model, number=1):
    for _ in range(number):
        loss = optimizer.step(lambda: LOSS(model(INPUTS), TARGETS))
    return loss


def theirs_steps(optimizer, model, number=1):
    for _ in range(number):
        optimizer.zero_grad()
        LOSS(model(INPUTS), TARGETS).backward()
        optimizer.step()


def pairs():
    sgd, theirs = torch.optim.SGD, torch.optim.Adam
    return {
        "sgd": (gradient_descent(0.1), lambda p: sgd(p, 0.1)),
        "momentum": (heavy_ball(0.1, 0.9), lambda p: sgd(p, 0.1, momentum=0.9)),
        "adam": (adam(0.1), lambda p: theirs(p, 0.1)),
    }


PAIRS = pairs()
SCHEDULERS = {
    "steps": lambda o: torch.optim.lr_scheduler.StepLR(o, 2),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 6),
    "warm-up": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda k: k / 4),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.2, total_steps=9, cycle_momentum=False),
    "average": lambda o: torch.optim.swa_utils.SWALR(o, 0.02, 3),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", PAIRS)
def test_schedulers_do_what_they_do_to_torchs_own(name, scheduler):
    rule, make = PAIRS[name]
    ours, theirs = network(), network()
    one, other = as_torch(rule, ours.parameters()), make(theirs.parameters())
    plans = [SCHEDULERS[scheduler](one), SCHEDULERS[scheduler](other)]
    for _ in range(6):
        steps(one, ours), theirs_steps(other, theirs)
        for plan in plans:
            plan.step()
    torch.testing.assert_close(vector(ours), vector(theirs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_groups_with_their_own_numbers_are_torchs(name):
    rule, make = PAIRS[name]
    ours, theirs = network(), network()

    def groups(model):
        decayed = {"params": list(model[0].parameters()), "lr": 0.03, "weight_decay": 0.1}
        return [decayed, {"params": list(model[2].parameters()), "weight_decay": 0.0}]

    one, other = as_torch(rule, groups(ours)), make(groups(theirs))
    steps(one, ours, 4), theirs_steps(other, theirs, 4)
    torch.testing.assert_close(vector(ours), vector(theirs), rtol=1e-9, atol=1e-12)


def test_each_group_has_its_own_radius():
    model = network()
    start, first = (
        vector(model),
        [g.detach() for g in torch.autograd.grad(LOSS(model(INPUTS), TARGETS), model.parameters())],
    )
    length = torch.sqrt(sum((g**2).sum() for g in first))
    ahead = copy.deepcopy(model)
    with torch.no_grad():
        for (name, p), g in zip(ahead.named_parameters(), first, strict=True):
            p.add_((0.5 if name.startswith("0") else 0.1) * g / length)
    right = torch.autograd.grad(LOSS(ahead(INPUTS), TARGETS), ahead.parameters())
    groups = [{"params": list(model[0].parameters()), "rho": 0.5}, {"params": list(model[2].parameters())}]
    steps(as_torch(sam(0.2, 0.1), groups), model)
    torch.testing.assert_close(
        vector(model) - start, -0.2 * torch.cat([g.reshape(-1) for g in right]), rtol=1e-9, atol=0
    )


def test_a_group_follows_the_rules_schedule_unless_it_has_a_step_size():
    model = network()
    groups = [{"params": list(model[0].parameters()), "step_size": 0.01}, {"params": list(model[2].parameters())}]
    optimizer = as_torch(sam(LinearDecay(0.1, 2), 0.05), groups)
    shown = []
    for _ in range(3):
        shown.append([group["lr"] for group in optimizer.param_groups])
        before = [layer.weight.detach().clone() for layer in (model[0], model[2])]
        steps(optimizer, model)
    assert shown == [[0.01, 0.1], [0.01, 0.05], [0.01, 0.0]]
    assert not torch.equal(before[0], model[0].weight) and torch.equal(before[1], model[2].weight)
    assert vector(model).isfinite().all()
    with pytest.raises(ValueError, match="schedule of its own"):
        optimizer.param_groups[1]["lr"] = 0.5
        steps(optimizer, model)


def test_nesterov_looks_ahead_with_the_groups_step_size():
    ours, theirs = network(), network()
    one = as_torch(nesterov(0.1, 0.9), [{"params": ours.parameters(), "lr": 0.03}])
    other = as_torch(nesterov(0.03, 0.9), theirs.parameters())
    steps(one, ours, 4), steps(other, theirs, 4)
    torch.testing.assert_close(vector(ours), vector(theirs), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("key", ["momentum", "betas", "nesterov", "eps", "rho ", "maximize", "m", "lam_"])
def test_keys_that_nothing_uses_are_refused(key):
    with pytest.raises(ValueError, match=f"sets {key}=.*does not use"):
        as_torch(sam(0.1, 0.05), [{"params": network().parameters(), key: 0.5}])
    model = network()
    optimizer = as_torch(sam(0.1, 0.05), model.parameters())
    optimizer.param_groups[0][key] = 0.5
    with pytest.raises(ValueError, match="does not use"):
        steps(optimizer, model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", -0.1),
        ("lr", math.nan),
        ("lr", "fast"),
        ("rho", -1.0),
        ("beta", 1.0),
        ("weight_decay", math.inf),
        ("lr", True),
    ],
)
def test_values_out_of_range_are_refused(key, value):
    with pytest.raises(ValueError, match=f"{key}=.*must be a finite number"):
        as_torch(sam(0.1, 0.05, beta=0.5), [{"params": network().parameters(), key: value}])


def test_one_ball_has_one_radius():
    model = network()
    groups = [{"params": list(model[0].parameters()), "rho": 0.5}, {"params": list(model[2].parameters())}]
    with pytest.raises(ValueError, match="use one rho"):
        steps(as_torch(MULTI_STEP(0.1, 0.1, 2), groups), model)


@pytest.mark.parametrize("name", PAIRS)
def test_parameters_that_join_later_start_anew_and_the_others_go_on(name):
    rule, make = PAIRS[name]
    ours, theirs = network(), network()
    for model in (ours, theirs):
        model[0].weight.requires_grad_(False)
    first = [ours[0].weight, ours[2].weight], [theirs[0].weight, theirs[2].weight]
    one, other = as_torch(rule, first[0]), make(first[1])
    steps(one, ours, 3), theirs_steps(other, theirs, 3)
    ours[0].weight.requires_grad_(True), theirs[0].weight.requires_grad_(True)
    (
        one.add_param_group({"params": [ours[2].bias], "lr": 0.05}),
        other.add_param_group({"params": [theirs[2].bias], "lr": 0.05}),
    )
    steps(one, ours, 3), theirs_steps(other, theirs, 3)
    torch.testing.assert_close(vector(ours), vector(theirs), rtol=1e-9, atol=1e-12)
    counts = [int(one.state[p]["count"]) for p in (ours[2].weight, ours[0].weight, ours[2].bias)]
    assert counts == [6, 3, 3]
    ours[2].weight.requires_grad_(False)
    steps(one, ours, 2)
    ours[2].weight.requires_grad_(True)
    steps(one, ours)
    assert [int(one.state[p]["count"]) for p in (ours[2].weight, ours[0].weight)] == [7, 6]


def saved(optimizer, model, tmp_path):
    torch.save({"optimizer": optimizer.state_dict(), "model": model.state_dict()}, tmp_path / "run.pt")
    return torch.load(tmp_path / "run.pt", weights_only=True)


RULES = {
    "sam+heavy_ball": sam(0.1, 0.05, beta=0.9),
    "adam": adam(0.1, gradient=sam(0.1, 0.05).gradient),
    "random": wb.optimizers.random_sam(0.1, 0.05),
    "decaying": gradient_descent(LinearDecay(0.1, 9)),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", RULES)
def test_what_is_saved_goes_on_as_if_nothing_had_happened(name, dtype, tmp_path):
    def made():
        model = network().to(dtype)
        average = {"ema": EMA(0.9), "mean": UniformMean()}
        return model, as_torch(RULES[name], model.parameters(), seed=3, average=average)

    def go(optimizer, model, number):
        for _ in range(number):
            optimizer.step(lambda: LOSS(model(INPUTS.to(dtype)), TARGETS))

    (straight, one), (stopped, two), (resumed, three) = made(), made(), made()
    go(one, straight, 6), go(two, stopped, 3)
    kept = saved(two, stopped, tmp_path)
    resumed.load_state_dict(kept["model"]), three.load_state_dict(kept["optimizer"])
    go(three, resumed, 3)
    assert torch.equal(vector(straight), vector(resumed))
    for average in ("ema", "mean"):
        with one.averaged(average), three.averaged(average):
            assert torch.equal(vector(straight), vector(resumed))
    assert torch.equal(vector(straight), vector(resumed))


@pytest.mark.parametrize("count", [1001, 2**24 + 1, 2**40 + 1])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_counts_are_exact(dtype, count):
    model = network().to(dtype)
    optimizer = as_torch(sam(0.01, 0.05), model.parameters())
    optimizer.step(lambda: LOSS(model(INPUTS.to(dtype)).float(), TARGETS))
    for entries in optimizer.state.values():
        entries["count"] = torch.tensor(count)
    again = as_torch(sam(0.01, 0.05), model.parameters())
    again.load_state_dict(optimizer.state_dict())
    for one in (optimizer, again):
        one.step(lambda: LOSS(model(INPUTS.to(dtype)).float(), TARGETS))
        assert {int(entries["count"]) for entries in one.state.values()} == {count + 1}


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_copies_go_on_with_a_copied_module_and_say_so_without(twin):
    model = network()
    optimizer = as_torch(sam(0.1, 0.05, beta=0.9), model, loss=LOSS)
    for _ in range(2):
        optimizer.step(INPUTS, TARGETS)
    other, copied = twin((model, optimizer))
    for _ in range(2):
        torch.testing.assert_close(optimizer.step(INPUTS, TARGETS), copied.step(INPUTS, TARGETS))
    torch.testing.assert_close(vector(model), vector(other))
    alone = twin(as_torch(sam(0.1, 0.05), model.parameters()))
    with pytest.raises(ValueError, match="load its state_dict"):
        steps(alone, model)


def scaled(model, optimizer, scaler, scale_up=1.0):
    def closure():
        optimizer.zero_grad()
        loss = LOSS(model(INPUTS.float()), TARGETS) * scale_up
        scaler.scale(loss).backward()
        return loss

    closure()
    loss = scaler.step(optimizer, closure)
    scaler.update()
    return loss


def test_a_loss_scaler_changes_nothing_but_the_scale():
    ours, plain = network().float(), network().float()
    one, other = (as_torch(sam(0.1, 0.05, beta=0.9), model.parameters()) for model in (ours, plain))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for _ in range(3):
        scaled(ours, one, scaler)
        other.step(lambda: LOSS(plain(INPUTS.float()), TARGETS))
    torch.testing.assert_close(vector(ours), vector(plain), rtol=1e-5, atol=1e-6)
    before = vector(ours)
    assert scaled(ours, one, scaler, math.inf) is None and torch.equal(vector(ours), before)
    assert scaler.get_scale() == 2.0**9
    scaled(ours, one, scaler)
    assert not torch.equal(vector(ours), before)
    with pytest.raises(ValueError, match="closure"):
        scaler.step(one)
    steps_after = vector(ours)
    one.step(lambda: LOSS(ours(INPUTS.float()), TARGETS))
    assert 0 < float((vector(ours) - steps_after).norm()) < 1


def test_one_that_was_unscaled_by_hand_is_refused():
    model = network().float()
    optimizer, scaler = as_torch(sam(0.1, 0.05), model.parameters()), torch.amp.GradScaler("cpu")
    scaler.scale(LOSS(model(INPUTS.float()), TARGETS)).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(ValueError, match="leave it out"):
        scaler.step(optimizer, lambda: scaler.scale(LOSS(model(INPUTS.float()), TARGETS)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("name", ["sam+heavy_ball", "adam"])
def test_a_gradient_that_is_not_finite_changes_nothing(name, call, value):
    model, calls = network(), []
    optimizer = as_torch(RULES[name], model.parameters())
    steps(optimizer, model)
    before, count = vector(model), int(optimizer.state[model[0].weight]["count"])

    def closure():
        calls.append(1)
        return LOSS(model(INPUTS), TARGETS) * (value if len(calls) == call else 1.0)

    with pytest.warns(UserWarning, match="gradient is not finite"):
        optimizer.step(closure)
    assert torch.equal(vector(model), before) and int(optimizer.state[model[0].weight]["count"]) == count
    steps(optimizer, model)
    assert vector(model).isfinite().all() and not torch.equal(vector(model), before)


def test_averages_are_those_of_the_iterates_and_are_shown_for_a_while():
    model, iterates = network(), []
    optimizer = as_torch(RULES["sam+heavy_ball"], model.parameters(), average={"mean": UniformMean()})
    for _ in range(4):
        steps(optimizer, model)
        iterates.append(vector(model))
    with optimizer.averaged("mean"):
        torch.testing.assert_close(vector(model), torch.stack(iterates).mean(0))
    assert torch.equal(vector(model), iterates[-1])
    with pytest.raises(ValueError, match="unknown average 'ema'"), optimizer.averaged("ema"):
        pass


@pytest.mark.filterwarnings("ignore:compile=True is not used")
def test_a_compiled_step_is_taken_only_where_it_is_right(monkeypatch):
    monkeypatch.setattr("workbench.optimizers.torch.functional.compiler_found", lambda: False)
    for layer, right in ((nn.Tanh(), True), (nn.Dropout(0.5), False), (nn.BatchNorm1d(5), False)):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 5), layer, nn.Linear(5, 3)).double()
        plain = copy.deepcopy(model)
        one, other = as_torch(sam(0.1, 0.5), model, loss=LOSS, compile=True), as_torch(sam(0.1, 0.5), plain, loss=LOSS)
        torch.manual_seed(2)
        one.step(INPUTS, TARGETS)
        torch.manual_seed(2)
        other.step(INPUTS, TARGETS)
        torch.testing.assert_close(vector(model), vector(plain), rtol=1e-9, atol=1e-12)
        assert [*one._functional._verdicts.values()] == [right]
        for a, b in zip(model.buffers(), plain.buffers(), strict=True):
            torch.testing.assert_close(a, b)


def test_the_step_is_called_as_trainers_call_it():
    one, other = network(), network()
    by_name = as_torch(sam(0.1, 0.05), one.parameters())
    by_name.step(closure=lambda: LOSS(one(INPUTS), TARGETS))
    steps(as_torch(sam(0.1, 0.05), other.parameters()), other)
    assert torch.equal(vector(one), vector(other))
    by_name.register_step_pre_hook(lambda optimizer, *_: ((optimizer, lambda: LOSS(one(INPUTS), TARGETS)), {}))
    by_name.step()
    assert not torch.equal(vector(one), vector(other))


def test_what_the_docs_page_says_runs():
    page = (Path(__file__).parents[2] / "docs" / "training-loop.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:5]:
        exec(block, names)
    assert names["optimizer"].state[names["model"].weight]["count"] == 2
