"""Modules of the zoo that torch has not as such."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class MLP(nn.Module):
    """Two layers, for others to derive from."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def between(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self.a(x)))


class Residual(nn.Module):
    """Two convolutions around a skip, added in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x))
        out = self.norm(self.b(h))
        out += h
        return self.head(torch.tanh(out).mean((2, 3)))


class Attention(nn.Module):
    """One head by scaled_dot_product_attention, with a learned bias if asked; keeps its output to look at."""

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(4, 12), nn.Linear(4, 3)
        self.bias = nn.Parameter(torch.randn(1, 1, 4, 4)) if bias else None
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unsqueeze(1).chunk(3, -1)
        h = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.bias)
        self.last = h.detach()
        return self.head(h[:, 0].mean(1))


class Encoder(nn.Module):
    """A TransformerEncoderLayer as torch writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 5, dropout=0.1, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


class Recurrent(nn.Module):
    """A recurrent layer and a linear one on its last state."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.cells, self.head = kind(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0][:, -1])


class TimeFirst(MLP):
    """Layers applied with time in the first dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x.transpose(0, 1)))).mean(0)


class TiedWords(nn.Module):
    """An embedding with a padding row, whose matrix is the output layer as well."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(6, 4, padding_idx=0), nn.Linear(4, 6, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        kept = (x != 0).to(self.words.weight.dtype)[..., None]
        return self.head(torch.tanh((self.words(x) * kept).sum(1) / kept.sum(1)))


class Bag(nn.Module):
    """Means of embedded words."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(6, 4), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.words(x)))


class Prototypes(nn.Module):
    """Classes by distance."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.prototypes = nn.Linear(4, 2), nn.Parameter(torch.randn(3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return -torch.cdist(self.a(x), self.prototypes)


class Experts(nn.Module):
    """A mixture whose forward pass leaves a balancing loss over the batch in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 3), nn.ModuleList(nn.Linear(4, 3) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        share = self.gate(x).softmax(-1)
        self.balance = 3 * (share.mean(0) ** 2).sum()
        return sum(share[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets) + self.balance


class Temperature(nn.Module):
    """A learned scale without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.layer(x)


class ComplexSpectrum(nn.Module):
    """A spectral layer of a Fourier neural operator."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(3, 4, dtype=torch.cfloat)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.fft.irfft(torch.fft.rfft(x, dim=1) * self.weight, n=4, dim=1).mean(1).to(x.dtype))


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return g * (s * (1 + x * (1 - s)))


class Swish(MLP):
    """A memory-efficient activation as published with EfficientNet."""

    def between(self, x: Tensor) -> Tensor:
        return _Swish.apply(x)


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: nn.Module, x: Tensor, *parameters: Tensor) -> Tensor:  # type: ignore[override]
        ctx.f = f
        ctx.save_for_backward(x, *parameters)
        with torch.no_grad():
            return f(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple:  # type: ignore[override]
        x, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return (None, *torch.autograd.grad(ctx.f(x), [x, *parameters], g, allow_unused=True))


class Adjoint(nn.Module):
    """Runs its layers again in the backward pass, without a graph, as adjoint solvers do."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.o = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 4)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(_Adjoint.apply(self.f, x, *self.f.parameters()))


class Scripted(MLP):
    """An activation under torch.jit.script, a unit of its own per module."""

    def __init__(self) -> None:
        super().__init__()
        self.activation = torch.jit.CompilationUnit(
            "def gelu(x):\n    return x * 0.5 * (1.0 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))\n"
        ).gelu

    def between(self, x: Tensor) -> Tensor:
        return self.activation(x)


class Solver(MLP):
    """Euler steps written into one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Linear(4, 4)

    def between(self, x: Tensor) -> Tensor:
        path = torch.empty(3, *x.shape, dtype=x.dtype)
        path[0] = x
        for i in range(2):
            path[i + 1] = path[i].clone() + 0.3 * torch.tanh(self.field(path[i].clone()))
        return path[-1]


class _LowRank(nn.Linear):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Parameter(torch.randn(2, inputs) / 2), nn.Parameter(torch.randn(outputs, 2) / 2)
        self.merged = False
        self.weight.requires_grad = self.bias.requires_grad = False

    def train(self, mode: bool = True) -> _LowRank:
        super().train(mode)
        if mode == self.merged:
            self.weight.data += (self.up @ self.down).detach() * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        outputs = functional.linear(x, self.weight, self.bias)
        return outputs if self.merged else outputs + x @ self.down.T @ self.up.T


class Merged(MLP):
    """Low-rank layers that eval() merges into frozen weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = _LowRank(4, 4), _LowRank(4, 3)


class Adapted(MLP):
    """Frozen layers with low-rank adapters beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)
        self.down, self.up = nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x) + self.up(self.down(x))))


class Checkpointed(MLP):
    """Its middle runs again in the backward pass."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.middle, self.reentrant = nn.Linear(4, 4), reentrant

    def between(self, x: Tensor) -> Tensor:
        return checkpoint(lambda h: torch.tanh(self.middle(torch.tanh(h))), x, use_reentrant=self.reentrant)


class Within(nn.Module):
    """Root-mean-square normalisation in a precision of its own, as Llama's."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        h = x.to(self.dtype)
        return (h * torch.rsqrt(h.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class TwoOutputs(MLP):
    """A dict of outputs, both used by the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.between(self.a(x))
        return {"logits": self.b(h), "norm": self.c(h)[:, 0]}

    def loss(self, outputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs["logits"], targets) + 0.1 * outputs["norm"].square().mean()


class DetachedNorm(MLP):
    """Directions and lengths learned apart, the norm a constant of the gradient (weight-decomposed adapters, DoRA)."""

    def __init__(self) -> None:
        super().__init__()
        self.length = nn.Parameter(torch.rand(4) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        direction = self.a.weight / self.a.weight.norm(dim=1, keepdim=True).detach()
        return self.b(torch.tanh(functional.linear(x, self.length[:, None] * direction, self.a.bias)))


class Rounded(MLP):
    """Weights rounded in the forward pass, with a straight-through gradient."""

    def forward(self, x: Tensor) -> Tensor:
        rounded = (4 * self.a.weight).round() / 4
        weight = self.a.weight + (rounded - self.a.weight).detach()
        return self.b(torch.tanh(functional.linear(x, weight, self.a.bias)))


class Renormed(nn.Module):
    """An embedding that shortens its long rows as they are read."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(6, 4, max_norm=1.0), nn.Linear(12, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.words(x).flatten(1)))


class Pairs(nn.Module):
    """A spectral layer whose complex weights are pairs of real ones."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(3, 2)), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(torch.fft.irfft(torch.fft.rfft(x) * torch.view_as_complex(self.weight), n=4)))


class InputGradient(MLP):
    """Adds its own derivative by the inputs, as physics-informed networks do."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.clone().requires_grad_()
            outputs = super().forward(x)
            (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
        return outputs + slope[:, :3]


class Heads(nn.Module):
    """torch's attention of several heads."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.heads(x, x, x, need_weights=False)[0].mean(1))


class Packed(nn.Module):
    """A recurrent layer on packed sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(4, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.full((len(x),), 3), batch_first=True)
        return self.head(self.cells(packed)[1][0])
