"""Losses over a loader and over two processes: the same numbers as the whole data set in one."""

import multiprocessing

import pytest
import torch
from torch import distributed as processes
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from workbench.curvature import (
    MinibatchLoss,
    hessian,
    hvp_operator,
    sharpness,
    spectral_density,
    spectrum,
    top_eigenpairs,
    trace,
)

FEATURES, CLASSES = 40, 5


def batch_loss(p, inputs, targets):
    return cross_entropy(torch.tanh(inputs @ p["weight"]) + p["bias"], targets) + 0.01 * p["weight"].square().sum()


def problem():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(50, FEATURES, generator=generator, dtype=torch.float64)
    targets = torch.randint(CLASSES, (50,), generator=generator)
    parameters = {
        "weight": 0.3 * torch.randn(FEATURES, CLASSES, generator=generator, dtype=torch.float64),
        "bias": torch.zeros(CLASSES, dtype=torch.float64),
    }
    return inputs, targets, parameters


def measure(loss, p):
    """What the curvature functions say, as plain numbers that can be sent between processes."""
    pairs = top_eigenpairs(loss, p, 3)
    return {
        **{f"eigenvalue {index}": value for index, value in enumerate(pairs.values.tolist())},
        "products": pairs.products,
        "sharpness": float(sharpness(loss, p)),
        "trace": float(trace(loss, p, products=20).value),
        "loss": float(loss(p)),
    }


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_batches_of_unequal_size_are_the_whole(reduction):
    inputs, targets, p = problem()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=16, shuffle=True)
    share = (lambda p, x, y: batch_loss(p, x, y) * len(x)) if reduction == "sum" else batch_loss
    split = MinibatchLoss(share, loader, reduction=reduction)
    whole = lambda p: batch_loss(p, inputs, targets) * (50 if reduction == "sum" else 1)  # noqa: E731
    torch.testing.assert_close(split(p), whole(p))
    gradient = torch.cat([entry.flatten() for entry in torch.func.grad(whole)(p).values()])
    torch.testing.assert_close(split.gradient(p), gradient)
    vectors = torch.randn(3, gradient.numel(), dtype=torch.float64)
    one, other = hvp_operator(split, p), hvp_operator(whole, p)
    torch.testing.assert_close(one(vectors), other(vectors))
    torch.testing.assert_close(one(vectors[0]), other(vectors[0]))
    torch.testing.assert_close(one.gradient, gradient)


def test_estimates_take_a_loss_over_batches():
    inputs, targets, p = problem()
    split = MinibatchLoss(batch_loss, list(zip(inputs.split(20), targets.split(20), strict=True)))
    whole = lambda p: batch_loss(p, inputs, targets)  # noqa: E731
    assert measure(split, p) == pytest.approx(measure(whole, p), rel=1e-9)
    small = {name: entry.clone() for name, entry in p.items()}
    torch.testing.assert_close(sharpness(split, small), sharpness(whole, small))
    torch.testing.assert_close(hessian(split, p), hessian(whole, p))
    torch.testing.assert_close(torch.as_tensor(spectrum(split, p)), torch.as_tensor(spectrum(whole, p)))


def _worker(rank, store, queue):
    torch.set_num_threads(1)
    processes.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    try:
        inputs, targets, p = problem()
        # Shares of different size, in batches of different size.
        mine = slice(0, 18) if rank == 0 else slice(18, 50)
        batches = list(zip(inputs[mine].split(7), targets[mine].split(7), strict=True))
        loss = MinibatchLoss(batch_loss, batches)
        try:
            torch.func.grad(loss)(p)
            refused = False
        except ValueError:
            refused = True
        queue.put((rank, measure(loss, p), refused))
    finally:
        processes.destroy_process_group()


@pytest.mark.skipif(not processes.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_equal_one(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    other = context.Process(target=_worker, args=(1, tmp_path / "store", queue))
    other.start()
    threads = torch.get_num_threads()
    _worker(0, tmp_path / "store", queue)  # this process is the other one: torch's import is half of the time
    torch.set_num_threads(threads)
    results = [queue.get(timeout=60) for _ in range(2)]
    other.join(timeout=60)
    inputs, targets, p = problem()
    alone = measure(lambda p: batch_loss(p, inputs, targets), p)
    assert other.exitcode == 0
    for _, result, refused in results:
        assert refused
        assert result == pytest.approx(alone, rel=1e-9)
    assert results[0][1] == results[1][1]


def test_density_of_a_loss_over_batches():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(30, 600, generator=generator, dtype=torch.float64)
    square = lambda w, x: 0.5 * (x @ w).square().mean()  # noqa: E731
    origin = torch.zeros(600, dtype=torch.float64)
    split = spectral_density(MinibatchLoss(square, [rows[:10], rows[10:]]), origin, probes=4, steps=10)
    whole = spectral_density(lambda w: square(w, rows), origin, probes=4, steps=10)
    torch.testing.assert_close(split.density, whole.density, rtol=1e-7, atol=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="only once"):
        MinibatchLoss(batch_loss, iter([]))
    with pytest.raises(ValueError, match="reduction='max'"):
        MinibatchLoss(batch_loss, [], reduction="max")
    with pytest.raises(ValueError, match="batches is empty"):
        MinibatchLoss(batch_loss, [])(torch.ones(2))
