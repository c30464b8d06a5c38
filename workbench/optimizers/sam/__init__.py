"""Sharpness-aware minimisation: one file per rule, with its equation, what is known of it, and its constructor.

Here the rules with one displaced gradient; `ascents` have another ascent, `mixtures` mix the gradients here and there, `samples`
choose the samples of each, `memory` remembers. `atlas` is the table of all.
"""

from workbench.optimizers.sam.ascents.asam import ASAM, asam
from workbench.optimizers.sam.ascents.eigen_sam import EigenSAM, eigen_sam
from workbench.optimizers.sam.ascents.fisher_sam import FisherSAM, fisher_sam
from workbench.optimizers.sam.ascents.le_sam import LESAM, le_sam
from workbench.optimizers.sam.ascents.rsam import RSAM, rsam
from workbench.optimizers.sam.ascents.sam_on import SAMON, sam_on
from workbench.optimizers.sam.ascents.ssam import SSAM, ssam
from workbench.optimizers.sam.ascents.tilted_sam import TiltedSAM, tilted_sam
from workbench.optimizers.sam.ascents.zsharp import ZSharp, zsharp
from workbench.optimizers.sam.atlas import ROWS, Row
from workbench.optimizers.sam.dnsam import DNSAM, dnsam
from workbench.optimizers.sam.gradient_penalty import GradientPenalty, gradient_penalty
from workbench.optimizers.sam.hessian_usam import HessianUSAM, hessian_usam
from workbench.optimizers.sam.memory.ae_sam import AESAM, ae_sam
from workbench.optimizers.sam.memory.bsam import BSAM, bsam
from workbench.optimizers.sam.memory.f_sam import FSAM, f_sam
from workbench.optimizers.sam.memory.look_sam import LookSAM, look_sam
from workbench.optimizers.sam.memory.lookbehind_sam import LookbehindSAM, lookbehind_sam
from workbench.optimizers.sam.memory.momentum_sam import MomentumSAM, momentum_sam
from workbench.optimizers.sam.memory.s2_sam import S2SAM, s2_sam
from workbench.optimizers.sam.memory.sampa import SAMPa, sampa
from workbench.optimizers.sam.memory.vasso import VaSSO, vasso
from workbench.optimizers.sam.mixtures.cr_sam import CRSAM, cr_sam
from workbench.optimizers.sam.mixtures.functional_sam import FunctionalSAM, functional_sam
from workbench.optimizers.sam.mixtures.gam import GAM, gam
from workbench.optimizers.sam.mixtures.gsam import GSAM, gsam
from workbench.optimizers.sam.mixtures.stable_sam import StableSAM, stable_sam
from workbench.optimizers.sam.mixtures.wsam import WSAM, wsam
from workbench.optimizers.sam.mixtures.xsam import XSAM, xsam
from workbench.optimizers.sam.multi_step_sam import MultiStepSAM, multi_step_sam
from workbench.optimizers.sam.nested_usam import NestedUSAM, nested_usam
from workbench.optimizers.sam.random_sam import RandomSAM, random_sam
from workbench.optimizers.sam.sam import UnifiedSAM, sam, unified_sam, usam
from workbench.optimizers.sam.samples.esam import ESAM, esam
from workbench.optimizers.sam.samples.k_sam import KSAM, k_sam
from workbench.optimizers.sam.samples.m_sam import MSAM, m_sam
from workbench.optimizers.sam.samples.n_sam import NSAM, n_sam
from workbench.optimizers.sam.samples.previous_sam import PreviousSAM, previous_sam
from workbench.optimizers.sam.two_step_usam import TwoStepUSAM, two_step_usam

__all__ = [
    "AESAM",
    "ASAM",
    "BSAM",
    "CRSAM",
    "DNSAM",
    "ESAM",
    "FSAM",
    "GAM",
    "GSAM",
    "KSAM",
    "LESAM",
    "MSAM",
    "NSAM",
    "ROWS",
    "RSAM",
    "S2SAM",
    "SAMON",
    "SSAM",
    "WSAM",
    "XSAM",
    "EigenSAM",
    "FisherSAM",
    "FunctionalSAM",
    "GradientPenalty",
    "HessianUSAM",
    "LookSAM",
    "LookbehindSAM",
    "MomentumSAM",
    "MultiStepSAM",
    "NestedUSAM",
    "PreviousSAM",
    "RandomSAM",
    "Row",
    "SAMPa",
    "StableSAM",
    "TiltedSAM",
    "TwoStepUSAM",
    "UnifiedSAM",
    "VaSSO",
    "ZSharp",
    "ae_sam",
    "asam",
    "bsam",
    "cr_sam",
    "dnsam",
    "eigen_sam",
    "esam",
    "f_sam",
    "fisher_sam",
    "functional_sam",
    "gam",
    "gradient_penalty",
    "gsam",
    "hessian_usam",
    "k_sam",
    "le_sam",
    "look_sam",
    "lookbehind_sam",
    "m_sam",
    "momentum_sam",
    "multi_step_sam",
    "n_sam",
    "nested_usam",
    "previous_sam",
    "random_sam",
    "rsam",
    "s2_sam",
    "sam",
    "sam_on",
    "sampa",
    "ssam",
    "stable_sam",
    "tilted_sam",
    "two_step_usam",
    "unified_sam",
    "usam",
    "vasso",
    "wsam",
    "xsam",
    "zsharp",
]
