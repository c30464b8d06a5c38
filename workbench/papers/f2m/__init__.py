"""Room of f2m: bases trained in a box of noise, few-shot sessions clamped to it, measures under noise."""

from workbench.papers.f2m import figures, measures, published, study

__all__ = ["figures", "measures", "published", "study"]
