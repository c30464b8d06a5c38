"""Statistics recomputed are those of the data; whatever fails leaves the module as it was."""

import pytest
import torch
from torch import nn

from workbench.optimizers import recompute_batch_norm


def test_batch_norm_statistics_are_those_of_the_data():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2), nn.BatchNorm1d(2))
    network.train()
    batches = [torch.randn(8, 4) + shift for shift in (0.0, 1.0, 4.0)]
    recompute_batch_norm(network, batches)
    hidden = [network[0](batch) for batch in batches]
    torch.testing.assert_close(network[1].running_mean, torch.stack([h.mean(0) for h in hidden]).mean(0))
    torch.testing.assert_close(network[1].running_var, torch.stack([h.var(0) for h in hidden]).mean(0))
    assert network.training and network[1].momentum == 0.1


def test_batch_norm_without_statistics_needs_no_data():
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))
    recompute_batch_norm(network, [])
    with pytest.raises(ValueError, match="batches is empty"):
        recompute_batch_norm(nn.BatchNorm1d(3), [])


class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.calls = nn.BatchNorm1d(4), 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 2:
            raise MemoryError
        return self.norm(x)


def test_whatever_a_loader_gives_is_normalised_and_whatever_fails_leaves_everything_as_it_was():
    torch.manual_seed(0)
    plain, paired, named = (nn.Sequential(nn.BatchNorm1d(4)) for _ in range(3))
    batches = [torch.randn(8, 4) for _ in range(3)]
    recompute_batch_norm(plain, batches)
    recompute_batch_norm(paired, [(batch, torch.zeros(8)) for batch in batches])
    recompute_batch_norm(named, [{"input": batch} for batch in batches])
    for other in (paired, named):
        assert all(torch.equal(a, b) for a, b in zip(plain.buffers(), other.buffers(), strict=True))

    def broken():
        yield torch.randn(8, 4)
        raise KeyError("no more files")

    for module, loader, error in (
        (Broken(), batches, MemoryError),
        (Broken(), [], ValueError),
        (nn.Sequential(nn.BatchNorm1d(4)), [batches[0], {"images": batches[0]}], ValueError),
        (nn.Sequential(nn.BatchNorm1d(4)), [["text"]], AttributeError),
        (nn.Sequential(nn.BatchNorm1d(4)), broken(), KeyError),
    ):
        norm = next(part for part in module.modules() if isinstance(part, nn.BatchNorm1d))
        norm(torch.randn(8, 4) + 3)
        norm.eval()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        with pytest.raises(error):
            recompute_batch_norm(module, loader)
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
        assert module.training and not norm.training and norm.momentum == 0.1
