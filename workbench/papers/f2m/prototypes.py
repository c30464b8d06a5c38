"""Class prototypes and the nearest of them."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def prototypes(embedded: Float[Tensor, "*net class sample feature"]) -> Float[Tensor, "*net class feature"]:
    """p_c, the mean embedding of a class's samples."""
    return embedded.mean(-2)


def ncm_predict(
    embedded: Float[Tensor, "*net sample feature"],
    prototypes: Float[Tensor, "*net class feature"],
    normalise: bool = True,
) -> Int[Tensor, "*net sample"]:
    """The class of the nearest prototype in Euclidean distance to the embedding, which stays as it is.

    normalise: the prototypes are divided by their length first (PN). All have the same length then, so that the nearest is the
    one of the largest cosine.
    """
    centres = functional.normalize(prototypes, dim=-1, eps=0.0) if normalise else prototypes
    # |z - p|^2 less |z|^2, which is the same for every class.
    return (centres.square().sum(-1).unsqueeze(-2) - 2 * embedded @ centres.mT).argmin(-1)


def cosines(
    embedded: Float[Tensor, "*net sample feature"], prototypes: Float[Tensor, "*net class feature"]
) -> Float[Tensor, "*net sample class"]:
    """Cosine of every embedding with every prototype; 0 for an embedding that vanishes."""
    return functional.normalize(embedded, dim=-1) @ functional.normalize(prototypes, dim=-1).mT
