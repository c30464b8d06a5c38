"""Room of adversarial-training-corruptions: ways to train compared on corrupted images, and exact models beside them."""

from workbench.papers.adversarial_training_corruptions import (
    comparison,
    detector,
    digits,
    distances,
    expansions,
    figures,
    noise_curves,
    published,
)

__all__ = ["comparison", "detector", "digits", "distances", "expansions", "figures", "noise_curves", "published"]
