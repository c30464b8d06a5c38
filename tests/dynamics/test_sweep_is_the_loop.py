"""A sweep is the loop over its points: the same numbers and types whatever the axes are, or a refusal that names the axis."""

import itertools
import math
import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from dynamics.test_run import BOWL, LINE
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.problems.base import Problem

D = torch.float64
WHOLE = st.lists(st.integers(-4, 6), min_size=1, max_size=3, unique=True)
REAL = st.lists(st.floats(-2, 2, allow_subnormal=False), min_size=1, max_size=3, unique=True)
AXIS = st.one_of(WHOLE, REAL, WHOLE.map(np.array), REAL.map(lambda values: np.array(values, np.float32)))
STATIC = st.sampled_from([(), ("a",), ("b",), ("a", "b")])


def arithmetic(a, b):
    x = torch.linspace(0.5, 1.5, 4, dtype=D)
    y = torch.ones(3)
    return {
        "powers": Labelled(x**a),
        "ten": 10.0**b,
        "small": 0.1 * a + b / 3,
        "mixed": (a + 2 * b - 1) * x.sum(),
        "single": (0.3 * a) * y.sum(),
        "chosen": torch.where(x.sum() > 3, a * 1.0, x.sum()),
        "count": torch.arange(6)[2] + 0 * y.long()[0],
    }


def Labelled(value):
    return wb.Labelled(value, ("entry",))


@settings(max_examples=25)
@given(a=AXIS, b=AXIS, static=STATIC, chunk=st.sampled_from([None, 1, 2]))
def test_arithmetic_of_axes_of_every_type(a, b, static, chunk):
    found = wb.sweep(arithmetic, a=a, b=b, static=static, chunk_size=chunk, progress=False)
    for i, j in itertools.product(range(len(a)), range(len(b))):
        alone = arithmetic(np.asarray(a)[i].item(), np.asarray(b)[j].item())
        for name, value in alone.items():
            value = value.value if isinstance(value, wb.Labelled) else torch.as_tensor(value, dtype=D)
            got = found[name].isel(a=i, b=j)
            single = name == "single" and got.dtype == np.float32
            np.testing.assert_allclose(got.values, value.numpy(), rtol=1e-6 if single else 1e-12, atol=1e-30)
            if isinstance(alone[name], torch.Tensor):
                assert str(got.dtype) == str(alone[name].dtype).removeprefix("torch."), name


def test_ten_to_an_integer_axis_moves_the_runs_and_numbers_keep_their_digits():
    def train(n, k):
        run = wb.run(BOWL, wb.optimizers.gradient_descent(10.0**n), steps=1, start=torch.ones(2, dtype=D))
        rule = wb.optimizers.sam(0.1, 0.1 * k)
        other = wb.run(
            BOWL, rule, steps=3, start=torch.ones(2, dtype=D), record={"whole": lambda p: torch.tensor(2**24 + 1)}
        )
        return {"x": run.parameters, "y": other.parameters, "pi": math.pi, **other.records}

    found = wb.sweep(train, n=[-2, -1], k=[1, 3])
    for n, k in itertools.product((-2, -1), (1, 3)):
        alone, got = train(n, k), found.sel(n=n, k=k)
        np.testing.assert_allclose(got.x.values, alone["x"].numpy(), rtol=1e-14)
        np.testing.assert_allclose(got.y.values, alone["y"].numpy(), rtol=1e-14)
    assert found.pi[0, 0] == math.pi and (found.whole == 2**24 + 1).all()


def test_an_integer_axis_says_where_as_well_as_how_much():
    table = torch.linspace(0, 1, 5, dtype=D)

    def look(seed, k):
        return {
            "entry": 0.2 * table[k - 1] + k / 2,
            "row": wb.Labelled(torch.eye(5)[seed - 3], ("entry_",)),
            "selected": table.index_select(0, torch.as_tensor(k).reshape(1))[0],
            "here": torch.where(torch.arange(5) == k, table, 0.0).sum(),
        }

    found = wb.sweep(look, seed=[3, 5], k=[1, 4], progress=False)
    for seed, k in itertools.product((3, 5), (1, 4)):
        for name, value in look(seed, k).items():
            value = value.value if isinstance(value, wb.Labelled) else value
            np.testing.assert_array_equal(found[name].sel(seed=seed, k=k).values, value.numpy())


@pytest.mark.parametrize("options", [{"epochs": 2}, {"steps": 7}, {"steps": 12, "at": [10]}, {"steps": 7, "every": 2}])
def test_batch_sizes_may_be_swept_with_records(options):
    def train(batch_size, seed):
        rule = wb.optimizers.gradient_descent(0.1)
        return wb.run(LINE, rule, seed=seed, batch_size=batch_size, record=["train_loss"], **options).records

    found = wb.sweep(train, static=["batch_size"], batch_size=np.array([2, 3]), seed=[0, 4], progress=False)
    for size, seed in itertools.product((2, 3), (0, 4)):
        record = train(size, seed)["train_loss"]
        got = found.train_loss.sel(batch_size=size, seed=seed, step=record.coords["step"])
        np.testing.assert_allclose(got.values, record.value.numpy(), rtol=1e-13)
    assert set(found.epoch.dims) == {"batch_size", "step"}


def test_parameters_of_different_sizes_are_filled_up():
    found = wb.sweep(lambda width, x: {"w": {"a": x * torch.ones(width)}}, static=["width"], width=[2, 3], x=[1.0, 2.0])
    assert found.w.shape == (2, 2, 3) and np.isnan(found.w[0, :, 2]).all() and not np.isnan(found.w[1]).any()


def test_one_failing_static_point_is_named_and_the_others_are_kept():
    def train(kind, x):
        if kind == "c":
            raise OSError("no such file")
        return {"y": 2 * x}

    with pytest.raises(OSError, match="no such file") as failed:
        wb.sweep(train, kind=["a", "b", "c", "d"], x=[1.0, 2.0], progress=False)
    assert any("kind='c'" in note for note in failed.value.__notes__)
    assert failed.value.partial.y.sel(kind="d").values.tolist() == [2.0, 4.0]
    assert failed.value.partial.y.sel(kind="c").isnull().all()


def test_what_does_not_fit_is_refused_after_two_points():
    called = []

    def train(kind, x):
        called.append(kind)
        return {"y" if kind == "a" else "z": x}

    with pytest.raises(ValueError, match=r"returns [yz] at some static points, but not at kind="):
        wb.sweep(train, kind=["a", "b", "c", "d"], x=[1.0], progress=False)
    assert called == ["a", "b"]


@dataclass(frozen=True, eq=False)
class Focal(Problem):
    """A problem and a loss of one's own."""

    targets: torch.Tensor

    @property
    def data(self):
        return (self.targets,)

    def initial(self, seed):
        return wb.draws.normal(seed, (2,), stream="initial", dtype=torch.float32)

    def sample_loss(self, parameters, target):
        return (1 - torch.sigmoid(parameters.sum() * target)) ** 2


def test_a_problem_of_ones_own_in_a_sweep():
    problem = Focal(torch.tensor([1.0, -1.0, 1.0, 1.0]))

    def train(seed, rho):
        run = wb.run(problem, wb.optimizers.sam(0.1, rho), seed=seed, epochs=2, batch_size=2, record=["train_loss"])
        return {**run.records, "w": run.parameters}

    found = wb.sweep(train, seed=[0, 5], rho=[0.0, 0.1], progress=False)
    alone = train(5, 0.1)
    assert found.w.dtype == np.float32
    np.testing.assert_allclose(found.w.sel(seed=5, rho=0.1).values, alone["w"].numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda seed, n: {"x": torch.ones(int(n))}, r"int\(\) of a value of the axis n .* static=\['n'\]"),
        (lambda seed, n: {"x": 1.0 if n > 2 else 0.0}, r"static=\['(seed|n)'\]"),
        (lambda seed, n: {"x": [1, 2, 3][n]}, r"static=\['n'\]"),
        (lambda seed, n: {"x": torch.Generator().manual_seed(int(seed))}, r"axis seed .*wb.draws"),
        (lambda seed, n: {"x": torch.randn(3)}, "wb.draws.normal"),
        (lambda seed, n: {"x": np.random.randn()}, r"numpy.random: .*wb.draws.normal"),  # noqa: NPY002
        (lambda seed, n: {"x": random.random()}, r"draws from random: .*wb.draws.normal"),
        (lambda seed, n: {"x": math.sqrt(n)}, "axis n"),
        (lambda seed, n: {"x": "text"}, "numbers and tensors, got x = 'text'"),
        (lambda seed, n: {"x": wb.Labelled(torch.ones(2), ("seed",))}, "'seed', which is an axis"),
    ],
)
def test_what_a_sweep_cannot_do_is_said_in_words(function, words):
    with pytest.raises(ValueError, match=words):
        wb.sweep(function, seed=[0, 1], n=[1, 2], progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"x": [math.nan, math.nan]}, "repeated"),
        ({"x": list(range(3000)) + [5]}, "repeated"),
        ({"x": [1.0], "memory": "1GB"}, "memory"),
        ({"x": [1.0], "memory": math.nan}, "memory"),
        ({"x": [1.0], "chunk_size": 1.5}, "chunk_size"),
    ],
)
def test_bad_sweeps_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        wb.sweep(lambda x: {"y": x}, progress=False, **options)


def test_a_diverged_run_hands_out_nan_alone():
    def train(step_size):
        rule = wb.optimizers.heavy_ball(step_size, 0.5)
        options = {"integrate": {"area": lambda p: p[0]}, "average": {"ema": wb.optimizers.EMA(0.9)}}
        run = wb.run(BOWL, rule, steps=200, start=torch.ones(2, dtype=D), **options)
        return {"x": run.parameters, "v": run.state, "area": run.integrals["area"], "ema": run.averages["ema"]}

    found = wb.sweep(train, step_size=[0.1, 30.0])
    for name in ("x", "v", "area", "ema"):
        assert found[name].sel(step_size=30.0).isnull().all() and found[name].sel(step_size=0.1).notnull().all()


@pytest.mark.parametrize(
    "place",
    [
        lambda table, k: table[k],
        lambda table, k: table[k - 2],
        lambda table, k: table.select(0, 1) * 0 + torch.index_select(table, 0, torch.as_tensor(k).reshape(1))[0],
        lambda table, k: torch.gather(table, 0, torch.as_tensor(k).reshape(1, 1).expand(1, 3))[0],
    ],
)
def test_a_swept_whole_number_may_be_a_place(place):
    table = torch.arange(15.0).reshape(5, 3) ** 2
    found = wb.sweep(lambda k: {"row": wb.Labelled(place(table, k), ("column",))}, k=[2, 3, 4], progress=False)
    for k in (2, 3, 4):
        assert torch.equal(torch.from_numpy(found.row.sel(k=k).values), place(table, k))


@pytest.mark.parametrize(("dtype", "threads"), [(torch.float32, 1), (torch.float64, 1), (torch.float64, 2)])
def test_trained_networks_are_those_trained_alone_whatever_the_type_threads_and_chunks(dtype, threads):
    data = wb.data.load("digits", train=30)
    problem = wb.problems.classifier(data, hidden=[4], loss="cross_entropy", dtype=dtype)

    def train(seed, rho, batch_size, rule):
        made = wb.optimizers.by_name(rule, 0.2, rho=rho)
        run = wb.run(problem, made, seed=seed, steps=4, batch_size=batch_size, record=["train_loss"], at=[0, 3])
        return {**run.records, "end": run.parameters}

    axes = {"seed": [0, 2**40], "rho": [0.0, 0.05], "batch_size": [5, 30], "rule": ["sam"]}
    before, rtol = torch.get_num_threads(), 1e-5 if dtype == torch.float32 else 1e-12
    torch.set_num_threads(threads)
    try:
        swept = [
            wb.sweep(train, static=["batch_size"], chunk_size=chunk, progress=False, **axes) for chunk in (None, 1)
        ]
    finally:
        torch.set_num_threads(before)
    for found in swept:
        assert found.end.dtype == found.train_loss.dtype == str(dtype).removeprefix("torch.")
        for point in itertools.product(*axes.values()):
            alone, got = train(*point), found.sel(dict(zip(axes, point, strict=True)))
            scale = float(alone["train_loss"].value.abs().max())
            np.testing.assert_allclose(got.train_loss, alone["train_loss"].value, rtol=rtol, atol=rtol * scale)
            np.testing.assert_allclose(got.end, wb.parameters.ravel(alone["end"]), rtol=rtol, atol=rtol)
