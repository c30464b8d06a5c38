"""Sharpness-aware minimisation: one file per variant, with its equation, its curvature polynomial and its constructor."""

from workbench.optimizers.sam.dnsam import DNSAM, dnsam
from workbench.optimizers.sam.gradient_penalty import GradientPenalty, gradient_penalty
from workbench.optimizers.sam.hessian_usam import HessianUSAM, hessian_usam
from workbench.optimizers.sam.m_sam import MSAM, m_sam
from workbench.optimizers.sam.multi_step_sam import MultiStepSAM, multi_step_sam
from workbench.optimizers.sam.n_sam import NSAM, n_sam
from workbench.optimizers.sam.nested_usam import NestedUSAM, nested_usam
from workbench.optimizers.sam.previous_sam import PreviousSAM, previous_sam
from workbench.optimizers.sam.random_sam import RandomSAM, random_sam
from workbench.optimizers.sam.sam import UnifiedSAM, sam, unified_sam, usam
from workbench.optimizers.sam.two_step_usam import TwoStepUSAM, two_step_usam

__all__ = [
    "DNSAM",
    "MSAM",
    "NSAM",
    "GradientPenalty",
    "HessianUSAM",
    "MultiStepSAM",
    "NestedUSAM",
    "PreviousSAM",
    "RandomSAM",
    "TwoStepUSAM",
    "UnifiedSAM",
    "dnsam",
    "gradient_penalty",
    "hessian_usam",
    "m_sam",
    "multi_step_sam",
    "n_sam",
    "nested_usam",
    "previous_sam",
    "random_sam",
    "sam",
    "two_step_usam",
    "unified_sam",
    "usam",
]
