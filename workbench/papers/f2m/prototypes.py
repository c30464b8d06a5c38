"""Classes by their prototypes: samples sorted by class, the nearest prototype with and without normalisation."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.problems.embeddings import class_prototypes, nearest_prototype, normalised


def prototypes(embedded: Float[Tensor, "*net class sample feature"]) -> Float[Tensor, "*net class feature"]:
    """p_c, the mean embedding of the samples of each class."""
    n_classes, count = embedded.shape[-3:-1]
    return class_prototypes(embedded.flatten(-3, -2), sorted_labels(n_classes, count), n_classes)


def sorted_labels(n_classes: int, count: int) -> Int[Tensor, " sample"]:
    """Labels of samples sorted by class, `count` of each."""
    return torch.arange(n_classes).repeat_interleave(count)


def ncm_predict(
    embedded: Float[Tensor, "*net sample feature"],
    prototypes: Float[Tensor, "*net class feature"],
    normalise: bool = True,
) -> Int[Tensor, "*net sample"]:
    """The class of the nearest prototype in Euclidean distance to the embedding, which stays as it is.

    normalise: the prototypes are divided by their length first (PN). All have the same length then, so that the nearest is the
    one of the largest cosine.
    """
    return nearest_prototype(embedded, normalised(prototypes) if normalise else prototypes)


def cosines(
    embedded: Float[Tensor, "*net sample feature"], prototypes: Float[Tensor, "*net class feature"]
) -> Float[Tensor, "*net sample class"]:
    """Cosine of every embedding with every prototype; 0 for an embedding that vanishes."""
    return normalised(embedded) @ normalised(prototypes).mT
