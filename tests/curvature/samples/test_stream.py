"""Loaders give what one tensor gives, whatever their batches and the chunks, in bounded memory."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from workbench import memory
from workbench.curvature import (
    empirical_loss,
    gradient_covariance,
    gradient_covariance_spectrum,
    gradient_signal_to_noise,
    per_sample_gradient_norms,
    per_sample_gradients,
    stream_per_sample_gradients,
)

SAMPLES = 53
GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(SAMPLES, 6, generator=GENERATOR, dtype=torch.float64)
TARGETS = torch.randint(3, (SAMPLES,), generator=GENERATOR)


class Streamed(IterableDataset):
    """Samples without a number."""

    def __iter__(self):
        return zip(INPUTS, TARGETS, strict=True)


LOADERS = {
    "small batches": lambda: DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4),
    "one large batch": lambda: DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=100),
    "a list of batches": lambda: list(zip(INPUTS.split(9), TARGETS.split(9), strict=True)),
    "no number": lambda: DataLoader(Streamed(), batch_size=7),
}


def problem():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    loss = empirical_loss(model, cross_entropy, INPUTS, TARGETS)
    return loss, loss.parameters()


def plain_loss(parameters, x, y):
    hidden = torch.tanh(parameters["0.weight"] @ x + parameters["0.bias"])
    return cross_entropy(parameters["2.weight"] @ hidden + parameters["2.bias"], y)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("chunk", [1, 10, 64])
@pytest.mark.parametrize("by_layers", [True, False])
def test_every_quantity_is_that_of_one_tensor(name, chunk, by_layers):
    network, parameters = problem()
    loss = network if by_layers else plain_loss
    loader = LOADERS[name]()
    whole = per_sample_gradients(loss, parameters, INPUTS, TARGETS)
    torch.testing.assert_close(per_sample_gradients(loss, parameters, loader, chunk=chunk), whole)
    norms = per_sample_gradient_norms(loss, parameters, loader, chunk=chunk)
    torch.testing.assert_close(norms, whole.norm(dim=1))
    blocks = list(stream_per_sample_gradients(loss, parameters, loader, chunk=chunk))
    assert all(len(block) == chunk for block in blocks[:-1]) and len(blocks[-1]) <= chunk
    torch.testing.assert_close(torch.cat(blocks), whole)


@pytest.mark.parametrize("name", LOADERS)
def test_statistics_of_a_loader(name):
    loss, parameters = problem()
    whole = per_sample_gradients(loss, parameters)
    truth = torch.cov(whole.mT, correction=0)
    torch.testing.assert_close(gradient_covariance(loss, parameters, LOADERS[name](), chunk=8), truth)
    noise = gradient_signal_to_noise(loss, parameters, LOADERS[name](), chunk=8)
    torch.testing.assert_close(noise.variance, truth.trace())
    wanted = torch.linalg.eigvalsh(truth)
    spectrum = gradient_covariance_spectrum(loss, parameters, LOADERS[name](), chunk=8)
    torch.testing.assert_close(spectrum, wanted[-len(spectrum) :], rtol=1e-9, atol=1e-13)


def wide():
    """More parameters than samples."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 3)).double()
    loss = empirical_loss(model, cross_entropy, INPUTS, TARGETS)
    return loss, loss.parameters()


@pytest.mark.parametrize("as_loader", [True, False])
def test_a_spectrum_whose_gradients_do_not_fit_is_made_in_stripes(as_loader):
    loss, parameters = wide()
    whole = gradient_covariance_spectrum(loss, parameters)
    size = sum(entry.numel() for entry in parameters.values())
    data = (LOADERS["small batches"](),) if as_loader else ()
    for budget in (1.2, 0.5):
        with memory.sharing(1, budget * SAMPLES * size * 8):
            striped = gradient_covariance_spectrum(loss, parameters, *data, chunk=5)
        torch.testing.assert_close(striped, whole, rtol=1e-9, atol=1e-13)


def test_a_large_common_gradient_does_not_cancel_what_differs():
    shifted = INPUTS + 1e6

    def sample_loss(w, x):
        return (w * x).sum()

    loader = DataLoader(TensorDataset(shifted), batch_size=5)
    truth = torch.linalg.eigvalsh(torch.cov(INPUTS.mT, correction=0))
    found = gradient_covariance_spectrum(sample_loss, torch.ones(6, dtype=torch.float64), loader, chunk=10)
    torch.testing.assert_close(found, truth, rtol=1e-7, atol=0)


def test_no_more_than_a_chunk_of_a_loader_is_held():
    alive = []

    class Watched(torch.utils.data.Dataset):
        def __len__(self):
            return SAMPLES

        def __getitem__(self, index):
            alive.append(index)
            return INPUTS[index], TARGETS[index]

    loss, parameters = problem()
    blocks = stream_per_sample_gradients(loss, parameters, DataLoader(Watched(), batch_size=2), chunk=6)
    seen = [len(alive) for _ in itertools.islice(blocks, 3)]
    assert seen == [6, 12, 18]


def test_refusals():
    loss, parameters = wide()
    with pytest.raises(ValueError, match="no batches"):
        per_sample_gradient_norms(loss, parameters, [])
    with pytest.raises(ValueError, match="only once"):
        per_sample_gradient_norms(loss, parameters, iter(LOADERS["a list of batches"]()))
    with pytest.raises(ValueError, match="chunk=0"):
        stream_per_sample_gradients(loss, parameters, chunk=0)
    dropping = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4, shuffle=True, drop_last=True)
    with pytest.raises(ValueError, match="drops 1 of 53"):
        per_sample_gradients(loss, parameters, dropping)
    shuffled = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4, shuffle=True)
    with memory.sharing(1, 60_000.0), pytest.raises(ValueError, match="it shuffles; use shuffle=False"):
        gradient_covariance_spectrum(loss, parameters, shuffled)
    with memory.sharing(1, 20_000.0), pytest.raises(memory.OutOfBudget, match="smaller matrix of 53 gradients"):
        gradient_covariance_spectrum(loss, parameters)
    with memory.sharing(1, 20_000.0), pytest.raises(memory.OutOfBudget, match="stream_per_sample_gradients"):
        per_sample_gradients(loss, parameters, LOADERS["small batches"]())
