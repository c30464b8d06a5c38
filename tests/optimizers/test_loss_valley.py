"""SWAD's window against the algorithm read line by line, and the running average against the window."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.optimizers import SWAD
from workbench.optimizers.averaging.loss_valley import loss_valley

CURVES = {
    "A": [5, 4, 3, 2, 1.5, 1.2, 1, 1.05, 1.1, 1.1, 1.2, 1.3, 1.25, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2, 2.1],
    "B": [3, 2, 1.5, 1.1, 1.08, 1.05, 1, 1.05, 1.1, 1.1, 1.2, 1.3, 1.5, 1.6, 1.7, 1.8, 1.9, 2, 2.1, 2.2],
    "C": [1, 1.1, 1.2, 1.1, 1, 1.2, 1.25, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 2, 2],
    "never closes": [5, 4, 3, 2, 1.5, 1.2, 1, 1.05, 1.1, 1.1, 1.2, 1.2, 1.25, 1.2, 1.1],
    "never converges": [5, 4, 3, 2, 1, 0.9, 0.8, 0.7, 0.6],
}
BROKEN = [math.nan, math.inf]
losses = st.lists(st.sampled_from([0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0] + BROKEN), min_size=6, max_size=40)
pytestmark = pytest.mark.filterwarnings("ignore:the validation loss")
rules = st.tuples(st.integers(1, 6), st.integers(1, 8), st.sampled_from([1.05, 1.2, 1.5]))


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def by_the_book(curve, n_s, n_e, r):
    """Algorithm 1, evaluation by evaluation."""
    start, threshold = None, None
    for i in range(len(curve)):
        if threshold is None:
            recent = curve[i - n_s + 1 : i + 1]
            if i >= n_s - 1 and all(map(math.isfinite, recent)) and recent[0] == min(recent):
                start, threshold = i - n_s + 1, r / n_s * sum(recent)
        elif i >= n_e - 1 and not any(loss <= threshold for loss in curve[i - n_e + 1 : i + 1]):
            return start, i - n_e
    return (start, len(curve) - 1) if start is not None else (len(curve) - 1, len(curve) - 1)


def released_queue(curve, n_s, n_e, r):
    """The published code's queues, with the segments added counted by index."""
    counts, queue, start, threshold, dead = [0] * len(curve), [], None, None, False
    for i in range(len(curve)):
        if dead:
            break
        queue = [*queue, i][-n_e:]
        if threshold is None:
            recent = list(range(i - n_s + 1, i + 1))
            if i < n_s - 1 or not all(math.isfinite(curve[j]) and curve[recent[0]] <= curve[j] for j in recent):
                continue
            start, threshold = recent[0], r * sum(curve[j] for j in recent) / n_s
            if n_e < n_s:
                for j in recent[1 : 1 + n_s - n_e]:
                    counts[j] += 1
            elif n_e > n_s:
                early = queue[: n_e - n_s + 1]
                above = [k for k, j in enumerate(early) if not curve[j] <= threshold]
                for j in early[(above[-1] + 1 if above else 0) + 1 :]:
                    counts[j] += 1
        elif queue[0] >= start:
            if not any(curve[j] <= threshold for j in queue):
                dead = True
            else:
                counts[queue[0]] += 1
    if threshold is None:
        return [0.0] * (len(curve) - 1) + [1.0]
    while not dead and len(queue) > 1 and any(curve[j] <= threshold for j in queue[1:]):
        queue = queue[1:]
        counts[queue[0]] += 1
    if not sum(counts):
        counts[start] = 1
    return [count / sum(counts) for count in counts]


@pytest.mark.parametrize(
    ("name", "window"),
    [("A", (6, 12)), ("B", (6, 11)), ("C", (0, 8)), ("never closes", (6, 14)), ("never converges", (8, 8))],
)
def test_known_windows(name, window):
    found = loss_valley(tensor(CURVES[name]), 3, 6, 1.3)
    assert (int(found.start), int(found.end)) == window
    assert bool(found.converged) == (name != "never converges")
    assert bool(found.closed) == (not name.startswith("never"))
    assert (found.weights > 0).nonzero().flatten().tolist() == list(range(window[0], window[1] + 1))


@given(losses, rules)
def test_the_window_is_that_of_the_algorithm(curve, rule):
    found = loss_valley(tensor(curve), *rule)
    assert (int(found.start), int(found.end)) == by_the_book(curve, *rule)
    assert found.weights.sum() == pytest.approx(1)


@given(losses, rules)
def test_the_released_weights_are_those_of_the_queues(curve, rule):
    found = loss_valley(tensor(curve), *rule, variant="released")
    torch.testing.assert_close(found.weights, tensor(released_queue(curve, *rule)))


def on_the_way(curve, rule):
    """The average of SWAD over a run of three steps per segment, and whether it closed."""
    swad = SWAD(*rule)
    state = swad.init(torch.zeros(3, dtype=torch.float64))
    for loss, segment in zip(curve, segments(len(curve)), strict=True):
        for offset in (-0.25, 0.0, 0.25):
            state = swad.update(segment + offset, state)
        state = swad.observe(loss, state)
    return swad.value(state), state.closed


def segments(total):
    return torch.arange(3 * total, dtype=torch.float64).reshape(total, 3).sin()


@given(losses, rules)
def test_deciding_on_the_way_gives_the_window_mean(curve, rule):
    backwards = curve[::-1]
    together = torch.func.vmap(lambda both: on_the_way(both.unbind(), rule))(tensor([curve, backwards]))
    for index, one in enumerate((curve, backwards)):
        found = loss_valley(tensor(one), *rule)
        for average, closed in (on_the_way(one, rule), (together[0][index], together[1][index])):
            torch.testing.assert_close(average, found.weights @ segments(len(one)))
            assert bool(closed) == bool(found.closed)


def test_vmapped_curves_are_the_single_ones():
    curves = torch.stack([tensor(CURVES["A"])[:9], tensor(CURVES["C"])[:9], tensor(CURVES["never converges"])])
    for variant in ("paper", "released"):
        together = torch.func.vmap(lambda curve, v=variant: loss_valley(curve, 2, 3, 1.2, v).weights)(curves)
        single = torch.stack([loss_valley(curve, 2, 3, 1.2, variant).weights for curve in curves])
        torch.testing.assert_close(together, single)

    def online(curve):
        swad = SWAD(2, 3, 1.2)
        state = swad.init({"w": torch.zeros(2)})
        for step, loss in enumerate(curve.unbind()):
            state = swad.observe(loss, swad.update({"w": torch.full((2,), float(step))}, state))
        return swad.value(state)["w"]

    expected = torch.stack([loss_valley(curve, 2, 3, 1.2).weights @ torch.arange(9.0).double() for curve in curves])
    torch.testing.assert_close(torch.func.vmap(online)(curves)[:, 0].double(), expected, rtol=1e-5, atol=1e-5)


def test_losses_that_are_not_numbers_never_converge():
    found = loss_valley(torch.full((12,), math.nan), 3, 6, 1.3)
    assert not found.converged and found.weights[-1] == 1


@pytest.mark.filterwarnings("error")
def test_a_window_that_never_closes_is_said():
    closed = loss_valley(CURVES["A"])
    assert closed.converged and closed.closed
    for name, words in (("never closes", "never left its valley"), ("never converges", "has not converged")):
        with pytest.warns(UserWarning, match=words):
            found = loss_valley(CURVES[name])
        assert not found.closed and bool(found.converged) == (name == "never closes")
        with pytest.warns(UserWarning, match=words):
            on_the_way(CURVES[name], (3, 6, 1.3))


def test_losses_may_be_a_list_an_array_or_whole_numbers():
    expected = loss_valley(tensor(CURVES["A"])).weights
    for curve in (CURVES["A"], tuple(CURVES["A"]), np.array(CURVES["A"])):
        assert torch.equal(loss_valley(curve).weights, expected)
    whole = [3, 1, 2, 2, 4, 4, 4]
    for curve in (whole, torch.tensor(whole), np.array(whole)):
        assert torch.equal(loss_valley(curve, 3, 2).weights, loss_valley(tensor(whole), 3, 2).weights)
    for curve in ("losses", [[1.0, 2.0], [3.0, 4.0]], 3.0, []):
        with pytest.raises(ValueError, match="losses"):
            loss_valley(curve)


@pytest.mark.parametrize(("n_converge", "copies"), [(1, 3), (2, 3), (3, 3), (5, 5)])
def test_a_running_average_holds_a_few_copies_and_one_beside_the_parameters(n_converge, copies):
    swad = SWAD(n_converge, 6, 1.3)
    state = swad.init({"w": torch.zeros(100, requires_grad=True)})
    for _ in range(2):
        held = [value for field in state for value in (field.values() if isinstance(field, dict) else [field])]
        assert copies * 100 <= sum(value.numel() for value in held) <= copies * 100 + n_converge + 6
        assert not any(value.requires_grad for value in held)
        state = swad.observe(1.0, swad.update({"w": torch.ones(100, requires_grad=True)}, state))


def test_a_step_touches_the_segment_only():
    swad = SWAD(3, 6, 1.3)
    state = swad.init(torch.zeros(5))
    after = swad.update(torch.ones(5), state)
    assert all(
        getattr(after, name) is getattr(state, name) for name in state._fields if name not in ("count", "segment")
    )
    on_device = swad.init(torch.zeros(5, device="meta"))
    assert {name for name in state._fields if getattr(on_device, name).device.type == "meta"} == {"count", "segment"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 6, 1.0), r"tolerance must be .*, got 1.0"),
        ((0, 6, 1.3), "n_converge must be an int >= 1, got 0"),
        ((3, 0, 1.3), "n_tolerance must be an int >= 1, got 0"),
        ((3, 6, 1.3, "printed"), "variant must be one of paper, released, got 'printed'"),
        ((30, 6, 1.3), "21 evaluations, fewer than n_converge=30"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        loss_valley(tensor(CURVES["A"]), *arguments)
