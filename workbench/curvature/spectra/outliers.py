"""Where the outlier eigenvalues of a classifier come from: its classes, and the pairs of them it confuses."""

from __future__ import annotations

import torch
import xarray as xr
from torch import Tensor, nn
from torch.nn import functional

from workbench.curvature import batches
from workbench.curvature.empirical import named
from workbench.curvature.flat import Loss, Parameters, require_finite, require_full_precision, size_of
from workbench.curvature.gauss_newton import fisher
from workbench.curvature.hessian import hessian
from workbench.curvature.layers.structured import recognised
from workbench.curvature.model import Door, substituted

from .spectrum import symmetric_eigenvalues


def outlier_structure(loss: Loss, parameters: Parameters, count: int | None = None) -> xr.Dataset:
    """The Gauss-Newton matrix of a cross-entropy classifier split by class and cross-class means.

    With g[i, c'] the gradient of sample i for target c', weighted by the model's probability p[i, c'] / n, the matrix is
    the second moment of these gradients. Grouping them by the sample's class c and by c' splits it exactly into

    - `same class`: the means over samples for c' = c;
    - `class`: the means over samples and all c' other than c, one outlier each;
    - `cross-class`: the means over samples for each (c, c'), around those of their class;
    - `within class`: what is left.

    Sources: arXiv:1901.08244 (three levels G0 to G3) and arXiv:2008.11865. `loss` is an empirical loss with
    `cross_entropy` on outputs [sample, class] and integer targets; weight decay is left out.

    Returns:
        A dataset with `trace` (component); `class_eigenvalue` (rank) and `cross_class_eigenvalue` (pair_rank), the
        non-zero ones; `gauss_newton_eigenvalue` and `hessian_eigenvalue` (eigenvalue), the `count` largest (one per pair
        of classes unless given); `overlap` (eigenvalue), the share of each Gauss-Newton eigenvector in the span of the
        class means; `weight` (class, target) and `mean_norm` (class, target) of the group means. All descending.

    Raises:
        ValueError: another loss, outputs or targets.

    >>> import torch
    >>> import workbench as wb
    >>> inputs, targets = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    >>> loss = wb.curvature.empirical_loss(torch.nn.Linear(4, 3), torch.nn.functional.cross_entropy, inputs, targets)
    >>> parts = wb.curvature.outlier_structure(loss, loss.parameters())
    >>> whole = wb.curvature.gauss_newton(loss, loss.parameters()).trace().item()
    >>> abs(parts.trace.sum().item() / whole - 1) < 1e-5  # the parts make up the whole
    True
    """
    empirical = recognised(loss)
    function = getattr(empirical, "loss_function", None)
    plain = isinstance(function, nn.CrossEntropyLoss) and function.weight is None and function.label_smoothing == 0
    if empirical is None or not (function is functional.cross_entropy or plain):
        raise ValueError("outlier_structure needs an empirical_loss with cross_entropy, without weights or smoothing")
    if empirical.targets.ndim != 1 or empirical.targets.is_floating_point() or empirical.reduction is None:
        raise ValueError("outlier_structure needs integer targets [sample], none of them ignored")
    require_full_precision(size_of(parameters)[1])
    require_finite(parameters)
    weights, means = _group_means(empirical, parameters)
    classes = weights.shape[0]
    count = min(means.shape[-1], classes**2 if count is None else count)

    others = ~torch.eye(classes, dtype=torch.bool, device=weights.device)
    off = weights * others
    class_weights = off.sum(1)
    class_means = torch.einsum("cd,cdp->cp", off, means) / class_weights.clamp_min(_tiny(weights))[:, None]
    deviations = (means - class_means[:, None])[others]
    same = means.diagonal(dim1=0, dim2=1).mT

    matrix = fisher(empirical, parameters)
    values, vectors = torch.linalg.eigh(matrix)
    full = hessian(empirical, parameters)
    full.diagonal().sub_(empirical.weight_decay)
    basis = torch.linalg.qr(class_means.mT).Q
    parts = {
        "same class": (weights.diagonal() * same.square().sum(-1)).sum(),
        "class": (class_weights * class_means.square().sum(-1)).sum(),
        "cross-class": (off[others] * deviations.square().sum(-1)).sum(),
    }
    total = matrix.diagonal().sum()
    parts["within class"] = total - sum(parts.values())

    def array(value: Tensor) -> object:
        return value.detach().cpu().numpy()

    return xr.Dataset(
        {
            "trace": ("component", [float(value) for value in parts.values()], {"long_name": "trace of the component"}),
            "class_eigenvalue": ("rank", array(_gram_eigenvalues(class_weights, class_means))),
            "cross_class_eigenvalue": ("pair_rank", array(_gram_eigenvalues(off[others], deviations))),
            "gauss_newton_eigenvalue": ("eigenvalue", array(values.flip(0)[:count])),
            "hessian_eigenvalue": ("eigenvalue", array(symmetric_eigenvalues(full).flip(0)[:count])),
            "overlap": (
                "eigenvalue",
                array((basis.mT @ vectors.flip(1)[:, :count]).square().sum(0)),
                {"long_name": "share of the eigenvector in the span of the class means"},
            ),
            "weight": (("class", "target"), array(weights), {"long_name": "total probability of the group"}),
            "mean_norm": (("class", "target"), array(means.norm(dim=-1)), {"long_name": "norm of the group's mean"}),
        },
        coords={"component": list(parts), "class": range(classes), "target": range(classes)},
        attrs={"source": "arXiv:1901.08244, arXiv:2008.11865", "parameters": means.shape[-1]},
    )


def _group_means(loss, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """Weights [class, target] and weighted mean gradients [class, target, parameter] of the groups."""
    door = Door(loss, parameters)
    flat, unflatten = door.flat, door.unflatten
    leaf = flat.detach().requires_grad_()
    tensors = named(unflatten(leaf))
    probe = loss.outputs(parameters, batches.take(loss.inputs, slice(0, 1)))
    if probe.ndim != 2:
        raise ValueError(f"outlier_structure needs outputs [sample, class], got {tuple(probe.shape)} for one sample")
    classes = probe.shape[1]
    weights, means = flat.new_zeros(classes, classes), flat.new_zeros(classes, classes, flat.numel())
    identity = torch.eye(classes, dtype=flat.dtype, device=flat.device)
    for index in range(classes):
        chosen = loss.targets == index
        if not chosen.any():
            continue
        inputs = batches.take(loss.inputs, chosen)
        with door.open(), torch.enable_grad(), substituted(loss.model, tensors):
            outputs = batches.call(loss.model, inputs)
        probabilities = outputs.detach().softmax(-1)
        weight = probabilities * loss.share(1)
        weights[index] = weight.sum(0)
        slopes = (probabilities[None] - identity[:, None]) * weight.mT[:, :, None]
        with door.open(), door.deriving(tensors):
            sums = torch.stack([torch.autograd.grad(outputs, leaf, slope, retain_graph=True)[0] for slope in slopes])
        means[index] = sums / weights[index].clamp_min(_tiny(flat))[:, None]
    return weights, means


def _gram_eigenvalues(weights: Tensor, vectors: Tensor) -> Tensor:
    """Non-zero eigenvalues of a weighted sum of outer products, descending, from the Gram matrix of the vectors."""
    scaled = weights.sqrt()[:, None] * vectors
    return torch.linalg.eigvalsh(scaled @ scaled.mT).flip(0)


def _tiny(like: Tensor) -> float:
    return torch.finfo(like.dtype).tiny
