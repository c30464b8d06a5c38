"""Averages of the weights equal their closed forms, in loops, under vmap and in runs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import workbench as wb
from workbench.optimizers import EMA, LAWA, SegmentMean, UniformMean

N = 23
ITERATES = torch.linspace(-1, 2, N * 3, dtype=torch.float64).reshape(N, 3).sin()
START = torch.full((3,), 7.0, dtype=torch.float64)


def values(average, iterates=ITERATES, start=START):
    """The average after every iterate."""
    state, kept = average.init(start), []
    for iterate in iterates:
        state = average.update(iterate, state)
        kept.append(average.value(state))
    return torch.stack(kept)


def test_dense_mean_is_the_mean_of_all_iterates():
    number = torch.arange(1, N + 1, dtype=torch.float64)[:, None]
    torch.testing.assert_close(values(UniformMean()), ITERATES.cumsum(0) / number)


@given(st.integers(0, 15), st.integers(1, 7))
def test_swa_is_the_mean_of_the_checkpoints_it_took(start, every):
    torch.testing.assert_close(values(UniformMean(start, every))[-1], ITERATES[start::every].mean(0))


@pytest.mark.parametrize("average", [UniformMean(), SegmentMean(N)])
def test_means_have_the_precision_of_the_parameters(average):
    torch.testing.assert_close(values(average)[-1], ITERATES.mean(0), rtol=1e-14, atol=1e-14)


def test_swa_shows_the_latest_iterate_before_its_start():
    torch.testing.assert_close(values(UniformMean(start=10))[:10], ITERATES[:10])


@given(st.floats(0, 0.999))
def test_ema_is_the_geometric_series(decay):
    weights = (1 - decay) * decay ** torch.arange(N - 1, -1, -1, dtype=torch.float64)
    torch.testing.assert_close(values(EMA(decay))[-1], decay**N * START + weights @ ITERATES)


@given(st.integers(1, 8), st.integers(1, 8))
def test_segment_means_are_the_means_between_evaluations(first, every):
    shown = values(SegmentMean(every, first))
    ends = list(range(first, N + 1, every))
    for low, high in zip([0, *ends], ends, strict=False):
        torch.testing.assert_close(shown[high - 1], ITERATES[low:high].mean(0))


@given(st.integers(1, 5), st.integers(1, 6))
def test_lawa_is_the_mean_of_the_last_k_checkpoints(k, every):
    shown = values(LAWA(k, every))
    for step in range(1, N + 1):
        checkpoints = ITERATES[every - 1 : step : every][-k:]
        expected = checkpoints.mean(0) if len(checkpoints) else START
        torch.testing.assert_close(shown[step - 1], expected)
    if N - (k - 1) * every > 0:
        one_copy = UniformMean(start=N - (k - 1) * every - 1, every=every)
        torch.testing.assert_close(values(one_copy)[-1], values(LAWA(k, every, first=(N - 1) % every + 1))[-1])


@pytest.mark.parametrize("average", [EMA(0.9), UniformMean(3, 2), SegmentMean(4), LAWA(3, 2)])
def test_vmapped_averages_are_the_single_ones(average):
    many = torch.stack([ITERATES, 2 * ITERATES, -ITERATES])
    together = torch.func.vmap(lambda iterates: values(average, iterates))(many)
    torch.testing.assert_close(together, torch.stack([values(average, one) for one in many]))


@pytest.mark.parametrize("average", [EMA(0.9), UniformMean(), SegmentMean(4)])
def test_one_copy_of_the_parameters_and_no_tape(average):
    parameters = {"a": torch.randn(5, requires_grad=True), "b": torch.randn(2, 3, requires_grad=True)}
    state = average.update(parameters, average.init(parameters))
    held = list(state.kept.values())
    assert sum(leaf.numel() for leaf in held) == 11
    assert not any(leaf.requires_grad for leaf in held)


AVERAGES = [EMA(0.999), UniformMean(), SegmentMean(5000), LAWA(3000, 1)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("average", AVERAGES)
def test_averages_of_half_precision_weights_are_those_of_the_same_numbers(average, dtype):
    iterates = (1 + torch.arange(1500).sin() / 3).to(dtype)[:, None]
    start = torch.ones(1, dtype=dtype)

    def end(iterates, start):
        state = average.init(start)
        for iterate in iterates.unbind():
            state = average.update(iterate, state)
        return average.value(state)

    torch.testing.assert_close(end(iterates, start).double(), end(iterates.double(), start.double()), rtol=1e-5, atol=0)


@pytest.mark.parametrize("average", [EMA(0.5), UniformMean(1, 2), SegmentMean(2), LAWA(2, 2), wb.optimizers.SWAD(1, 1)])
def test_a_state_dict_is_averaged_whole_its_counters_by_the_latest(average):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).bfloat16()
    network.register_buffer("mask", torch.tensor([True, False]))
    state = average.init(network.state_dict())
    for _ in range(4):
        network(torch.randn(8, 4).bfloat16())
        state = average.update(network.state_dict(), state)
    if isinstance(average, wb.optimizers.SWAD):
        state = average.observe(1.0, state)
        with pytest.warns(UserWarning, match="never left its valley"):
            value = average.value(state)
    else:
        value = average.value(state)
    assert value["1.num_batches_tracked"].dtype == torch.int64 and value["mask"].tolist() == [True, False]
    assert 2 <= int(value["1.num_batches_tracked"]) <= 4
    network.load_state_dict(value)
    assert network[1].running_mean.dtype == torch.bfloat16


def test_runs_carry_averages_without_changing_the_iterates():
    problem = wb.problems.quadratic(torch.tensor([1.0, 3.0], dtype=torch.float64))
    rule = wb.optimizers.heavy_ball(0.2, 0.5)
    plain = wb.run(problem, rule, steps=30, record={"x": lambda x: x}, every=1, progress=False)
    averages = {"ema": EMA(0.9), "mean": UniformMean()}
    record = {"x": lambda x: x, "mean": ("mean", lambda x: x), "loss of mean": ("mean", "train_loss")}
    run = wb.run(problem, rule, steps=30, average=averages, record=record, every=1, progress=False)
    torch.testing.assert_close(run.parameters, plain.parameters, rtol=0, atol=0)
    iterates = plain.records["x"].value[1:]
    torch.testing.assert_close(run.averages["mean"], iterates.mean(0))
    torch.testing.assert_close(run.records["mean"].value[12], iterates[:12].mean(0))
    torch.testing.assert_close(run.records["loss of mean"].value[-1], problem.loss(iterates.mean(0)))


def test_averages_differ_by_run_inside_a_sweep():
    problem = wb.problems.quadratic(torch.tensor([1.0, 3.0], dtype=torch.float64))

    def end(decay, step_size):
        run = wb.run(
            problem, wb.optimizers.gradient_descent(step_size), steps=9, average={"ema": EMA(decay)}, progress=False
        )
        return {"ema": run.averages["ema"]}

    swept = wb.sweep(end, decay=[0.5, 0.9], step_size=[0.1, 0.3], progress=False)
    single = end(0.9, 0.1)["ema"]
    torch.testing.assert_close(torch.from_numpy(swept.ema.sel(decay=0.9, step_size=0.1).values), single)


def test_an_unknown_average_is_named():
    problem = wb.problems.quadratic(torch.tensor([1.0], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"average 'emma'; average= has ema"):
        wb.run(
            problem, wb.optimizers.gradient_descent(0.1), steps=2, average={"ema": EMA(0.9)},
            record={"loss": ("emma", "train_loss")}, progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EMA(1.0), r"decay must be .*, got 1.0"),
        (lambda: UniformMean(every=0), "every must be an int >= 1, got 0"),
        (lambda: SegmentMean(2.5), "every must be an int >= 1, got 2.5"),
        (lambda: LAWA(0, 1), "k must be an int >= 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(make, message, unchecked_shapes):
    with pytest.raises(ValueError, match=message):
        make()


def test_adam_is_torchs_adam():
    problem = wb.problems.circle(4)
    start = problem.initial(3)
    ours = wb.run(problem, wb.optimizers.adam(0.01, 0.8, 0.95), steps=25, start=start, progress=False).parameters
    theirs = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.Adam(theirs.values(), lr=0.01, betas=(0.8, 0.95))
    for _ in range(25):
        optimizer.zero_grad()
        problem.loss(theirs).backward()
        optimizer.step()
    for name in start:
        torch.testing.assert_close(ours[name], theirs[name].detach())
