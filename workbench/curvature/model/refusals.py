"""What torch says when a derivative is missing, in words that name the layer and a remedy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

_CAUSES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("sparse",),
        "an embedding gives sparse gradients, which have no further derivatives",
        "Make it with sparse=False.",
    ),
    (
        ("use_reentrant",),
        "a reentrant checkpoint has no derivatives beyond the first backward pass",
        "Call torch.utils.checkpoint.checkpoint with use_reentrant=False.",
    ),
    (
        ("torch.utils.checkpoint: ",),
        "a checkpointed part does not run a second time as it did the first",
        "Switch checkpointing off for this call (model.gradient_checkpointing_disable() in transformers).",
    ),
    (
        ("once_differentiable", "does not support double backward", "double backward"),
        "an operation can be differentiated only once",
        "Write its backward pass in differentiable torch operations, without @once_differentiable.",
    ),
    (
        ("setup_context", "saved tensor hooks", "custom autograd", "autograd.Function"),
        "an autograd.Function (or a checkpoint) cannot run inside torch.func's transforms",
        "Call the function outside torch.func.vmap and sweeps, or give the autograd.Function a setup_context and "
        "generate_vmap_rule = True.",
    ),
    (
        ("modified inplace", "modified by an inplace", "in-place operation", "mutate a captured tensor"),
        "an operation writes into a tensor in place (a parameter, a buffer) that the derivative needs as it was",
        "Write that operation out of place, or move it out of the forward pass.",
    ),
    (
        ("requires_grad_()", "have storage", "autograd.functional"),
        "an operation (or a call of torch.autograd inside the model) cannot run inside torch.func's transforms",
        "Use an operation that torch.func knows (torch.func.grad for a derivative inside the model), or another layer there.",
    ),
    (
        ("vmap",),
        "an operation has no batching rule, so torch.func.vmap cannot run it",
        "Call the function outside torch.func.vmap and sweeps: there a loop takes its place.",
    ),
    (
        ("is not implemented", "not differentiable", "forward AD", "ZeroTensors", "not yet implemented"),
        "torch has no such derivative of an operation",
        "Write that operation in elementary torch operations, or use another layer or loss function there.",
    ),
)


# pyrefly: ignore[deprecated]
@contextlib.contextmanager
def in_words(
    purpose: str, models: Sequence[nn.Module] = (), evaluate: Callable[[], object] | None = None
) -> Iterator[None]:
    """Turn torch's errors about derivatives and batching into ValueErrors that name the layer, the cause and a remedy.

    `purpose` says what was computed ("the Hessian"); `evaluate` runs the model once more to look for the layer. Errors of
    other kinds (a shape that does not fit, no memory) pass unchanged.
    """
    try:
        yield
    # pyrefly: ignore[unreachable-except-clause]
    except (RuntimeError, NotImplementedError) as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError):
            raise
        for signs, cause, remedy in _CAUSES:
            if any(sign in text for sign in signs):
                where = _layer(models, evaluate)
                said = text.strip().splitlines()[0][:200]
                raise ValueError(f"{purpose} cannot be computed{where}: {cause} (torch: {said}). {remedy}") from error
        raise


def _layer(models: Sequence[nn.Module], evaluate: Callable[[], object] | None) -> str:
    """ " in layer ..." where a layer without sublayers alone shows a missing second derivative; else an empty string."""
    if evaluate is None:
        return ""
    seen: dict[nn.Module, tuple[str, tuple]] = {}

    def look(path: str, module: nn.Module) -> Callable:
        def hook(_: nn.Module, arguments: tuple) -> None:
            seen.setdefault(module, (path, arguments))

        return hook

    handles = [
        module.register_forward_pre_hook(look(path, module))
        for model in models
        for path, module in model.named_modules()
        if not any(True for _ in module.children())
    ]
    try:
        with torch.no_grad(), contextlib.suppress(Exception):
            evaluate()
    finally:
        for handle in handles:
            handle.remove()
    for module, (path, arguments) in seen.items():
        if not _twice_differentiable(module, arguments):
            return f" in layer {path or 'model'} ({type(module).__name__})"
    return ""


def _twice_differentiable(module: nn.Module, arguments: tuple) -> bool:
    plain = [entry.detach().clone() if isinstance(entry, Tensor) else entry for entry in arguments]
    leaves = [entry.requires_grad_() for entry in plain if isinstance(entry, Tensor) and entry.is_floating_point()]
    leaves += [entry for entry in module.parameters() if entry.requires_grad]
    try:
        with torch.enable_grad():
            output = module(*plain)
            output = output if isinstance(output, Tensor) else output[0]
            first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True, allow_unused=True)
            total = sum(entry.square().sum() for entry in first if entry is not None and entry.requires_grad)
            if isinstance(total, Tensor):
                torch.autograd.grad(total, leaves, allow_unused=True)
    # pyrefly: ignore[unreachable-except-clause]
    except (RuntimeError, NotImplementedError):
        return False
    except Exception:  # whatever else it is, it is not the derivative that is missing
        return True
    return True
