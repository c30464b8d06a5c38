"""The modules: small ones, each for a way in which networks differ from multi-layer perceptrons."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from .modules import (
    Adapted,
    Adjoint,
    Attention,
    Bag,
    Checkpointed,
    ComplexSpectrum,
    DetachedNorm,
    Encoder,
    Experts,
    Heads,
    InputGradient,
    Merged,
    Packed,
    Pairs,
    Prototypes,
    Recurrent,
    Renormed,
    Residual,
    Rounded,
    Scripted,
    Solver,
    Swish,
    Temperature,
    TiedWords,
    TimeFirst,
    TwoOutputs,
    Within,
)

ANIMALS: dict[str, Animal] = {}

Data = Callable[[], tuple[Any, Tensor]]


@dataclass(frozen=True)
class Animal:
    """A module, its data and loss function, and the functions that refuse it by right, each with a word they must use."""

    make: Callable[[], nn.Module]
    data: Data
    loss: Callable[[nn.Module], Callable[[Any, Tensor], Tensor]]
    refused: dict[str, str] = field(default_factory=dict)
    exact: Callable[[], nn.Module] | None = None
    """The same module in double precision throughout, for one that is not."""
    cast: bool = True
    omitted: tuple[str, ...] = ()
    """Functions that have no meaning here."""

    def born(self, dtype: torch.dtype) -> tuple[nn.Module, Callable, Any, Tensor]:
        """The module in eval mode, its loss function, inputs and targets."""
        torch.manual_seed(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = self.make().eval()
        if self.cast:
            module = module.to(dtype)
        torch.manual_seed(0)
        inputs, targets = self.data()
        inputs = _cast(inputs, dtype)
        return module, self.loss(module), inputs, _cast(targets, dtype)


def _cast(data: Any, dtype: torch.dtype) -> Any:
    if isinstance(data, dict):
        return {name: _cast(entry, dtype) for name, entry in data.items()}
    return data.to(dtype) if data.is_floating_point() else data


def _vectors() -> tuple[Tensor, Tensor]:
    return torch.randn(6, 4, dtype=torch.float64), torch.randint(0, 3, (6,))


def _images() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 1, 5, 5, dtype=torch.float64), torch.randint(0, 3, (4,))


def _sequences() -> tuple[Tensor, Tensor]:
    return torch.randn(5, 4, 4, dtype=torch.float64), torch.randint(0, 3, (5,))


def _words() -> tuple[Tensor, Tensor]:
    words = torch.randint(1, 6, (5, 3))
    words[:, 0] = 0
    return words, torch.randint(0, 6, (5,))


def _cross_entropy(_: nn.Module) -> Callable:
    return functional.cross_entropy


def _add(name: str, make: Callable, data: Data = _vectors, loss: Callable = _cross_entropy, **more: Any) -> None:
    ANIMALS[name] = Animal(make, data, loss, **more)


def _mlp(*between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), *(between or (nn.Tanh(),)), nn.Linear(4, 3))


def _cnn(norm: nn.Module) -> nn.Sequential:
    if isinstance(norm, nn.BatchNorm2d):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Tanh(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(4, 3))


def _shared() -> nn.Sequential:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(4, 3))


def _pruned() -> nn.Sequential:
    model = _mlp()
    prune.random_unstructured(model[0], "weight", 0.4)
    return model


def _normed(norm: Callable) -> Callable:
    return lambda: nn.Sequential(norm(nn.Linear(4, 4)), nn.Tanh(), nn.Linear(4, 3))


def _spectral() -> nn.Sequential:
    model = nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 4), n_power_iterations=20), nn.Tanh(), nn.Linear(4, 3))
    model(torch.zeros(1, 4))
    return model


def _mixed() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4).double(), nn.Tanh(), nn.Linear(4, 3).float())


def _penalised(model: nn.Module) -> Callable:
    return lambda outputs, targets: (
        functional.cross_entropy(outputs, targets) + 0.1 * sum((entry**2).sum() for entry in model.parameters())
    )


def _scripted() -> nn.Module:
    model = Scripted()
    functional.cross_entropy(model(torch.randn(6, 4)), torch.randint(0, 3, (6,))).backward()
    model.zero_grad(set_to_none=True)
    return model


def _compiled() -> nn.Module:
    model = _mlp()
    model.compile(backend="aot_eager")
    return model


_GAUSS_NEWTON = ("gauss_newton", "fisher", "decomposition", "outlier_structure")
_NO_SPLIT = (
    *("per_sample_gradients", "per_sample_gradient_norms", "gradient_covariance", "gradient_covariance_spectrum"),
    *("gradient_signal_to_noise", "empirical_fisher", "m_sharpness"),
)
_SECOND = (
    *(
        "hessian_vector_product",
        "hessian",
        "spectrum",
        "top_eigenpairs",
        "sharpness",
        "trace",
        "frobenius_norm",
        "diagonal",
    ),
    *("spectral_density", "quadratic_worst_case", "update_jacobian", "any loss", "MinibatchLoss"),
)


_OTHER_LOSS = {"fisher": "likelihood", "outlier_structure": "cross_entropy"}


def _all(word: str) -> dict[str, str]:
    return {"everything": word}


def _these(names: tuple[str, ...], word: str) -> dict[str, str]:
    return dict.fromkeys(names, word)


_add("MLP", _mlp)
_add("ReLU in place", lambda: _mlp(nn.ReLU(inplace=True)))
_add("LayerNorm", lambda: _mlp(nn.LayerNorm(4), nn.Tanh()))
_add("RMSNorm", lambda: _mlp(nn.RMSNorm(4), nn.Tanh()))
_add("CNN, BatchNorm in eval mode", lambda: _cnn(nn.BatchNorm2d(4)), _images)
_add("CNN, GroupNorm", lambda: _cnn(nn.GroupNorm(2, 4)), _images)
_add("residual CNN", Residual, _images)
_add("weight norm, old", _normed(nn.utils.weight_norm))
_add("weight norm, parametrized", _normed(parametrizations.weight_norm))
_add("spectral norm, old, eval mode", _spectral)
_add("spectral norm, parametrized, eval mode", _normed(parametrizations.spectral_norm))
_add("orthogonal, parametrized", _normed(parametrizations.orthogonal))
_add("pruned", _pruned)
_add("layer used twice", _shared)
_add("scaled dot-product attention", Attention, _sequences)
_add("attention with a learned bias", lambda: Attention(bias=True), _sequences)
_add("TransformerEncoderLayer", Encoder, _sequences)
_add("LSTM", lambda: Recurrent(nn.LSTM), _sequences)
_add("GRU", lambda: Recurrent(nn.GRU), _sequences)
_add("time first", TimeFirst, _sequences)
_add("MultiheadAttention", Heads, _sequences)
_add("packed sequences", Packed, _sequences, refused={"update_jacobian": "torch.func"})
_add("embedding with padding, tied head", TiedWords, _words)
_add("EmbeddingBag", Bag, _words)
_add("distances to prototypes (cdist)", Prototypes)
_add(
    "mixture of experts, balancing loss",
    Experts,
    loss=lambda model: model.loss,
    refused={**_these(_NO_SPLIT, "couples"), **_OTHER_LOSS, **_these(("gauss_newton", "decomposition"), "beside")},
    omitted=("MinibatchLoss",),
)
_add(
    "loss function reads the parameters",
    _mlp,
    loss=_penalised,
    refused={
        **_these(("gauss_newton", "decomposition"), "beside"),
        **_these(("any loss", "MinibatchLoss"), "reads"),
        **_OTHER_LOSS,
    },
)
_add("0-dim parameter", Temperature)
_add("complex parameter", ComplexSpectrum, _sequences, refused=_all("complex"), cast=False)
_add("complex parameter as real pairs", Pairs)
_add("gradient by the inputs inside", InputGradient, refused={"update_jacobian": "torch.func"})
_add("embedding with max_norm", Renormed, _words, refused=_all("in place"))
_FALSE = {**_these(_SECOND, "detached"), **_these(_GAUSS_NEWTON, "detached"), "update_jacobian": "detaches"}
_add("detached norm (DoRA)", DetachedNorm, refused=_FALSE)
_add("straight-through rounding", Rounded, refused=_FALSE)
_add("autograd.Function without setup_context", Swish, refused={"update_jacobian": "autograd.Function"})
_add(
    "adjoint function",
    Adjoint,
    refused={
        **_these(_SECOND, "second derivative"),
        **_these(_GAUSS_NEWTON, "derivative"),
        **_these(("gauss_newton", "fisher", "outlier_structure"), "not differentiable"),
        "update_jacobian": "autograd.Function",
    },
)
_add("TorchScript function, after training", _scripted, refused={"update_jacobian": "TorchScript"})
_add("solver writing in place", Solver)
_add("low-rank layers merged by eval()", Merged, refused=_all("reach"))
_add("frozen base with adapters", Adapted)
_add("checkpointed", lambda: Checkpointed(reentrant=False), refused={"update_jacobian": "checkpoint"})
_add(
    "checkpointed, reentrant",
    lambda: Checkpointed(reentrant=True),
    refused=_all("use_reentrant"),
)
_add("torch.compile'd", _compiled)
_add("mixed dtypes", _mixed, refused=_all("dtype"), cast=False)
_add(
    "two outputs, dict of inputs",
    TwoOutputs,
    lambda: ({"x": _vectors()[0]}, _vectors()[1]),
    lambda model: model.loss,
    refused=_OTHER_LOSS,
)
_add("single precision inside", lambda: _mlp(Within(torch.float32)), exact=lambda: _mlp(Within(torch.float64)))
