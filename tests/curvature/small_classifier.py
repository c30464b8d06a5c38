"""A small classifier, its data, and its losses as plain functions."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

X = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def mlp(*between, dtype=torch.float64):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), *(between or (nn.Tanh(),)), nn.Linear(5, 3)).to(dtype)


def named(model):
    return {name: entry.detach() for name, entry in model.named_parameters() if entry.requires_grad}


def one(p, x, y):
    return functional.cross_entropy(torch.func.functional_call(MODEL, p, (x[None],)), y[None])


def batch_loss(p, x, y):
    return functional.cross_entropy(torch.func.functional_call(MODEL, p, (x,)), y)


MODEL = mlp()
DATA = TensorDataset(X, Y)
