"""Room of robust-image-attribution: fingerprints trained on worst-case queries, the attacks that judge them, exact radii."""

from workbench.papers.robust_image_attribution import (
    comparator,
    comparison,
    contrastive,
    digits,
    evasion,
    figures,
    images,
    linear,
    pictures,
)

__all__ = [
    "comparator",
    "comparison",
    "contrastive",
    "digits",
    "evasion",
    "figures",
    "images",
    "linear",
    "pictures",
]
