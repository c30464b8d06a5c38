"""Update rules as pure functions: gradient descent, heavy ball and Nesterov around any effective gradient."""

from workbench.optimizers.adam import Adam, adam
from workbench.optimizers.averaging.accumulators import (
    EMA,
    LAWA,
    AveragedRule,
    SegmentMean,
    UniformMean,
)
from workbench.optimizers.averaging.loss_valley import LossValley, loss_valley
from workbench.optimizers.averaging.swad import SWAD
from workbench.optimizers.inner_maximisation import (
    BestOf,
    FullMaximisation,
    PowerIteration,
    sa_gd,
)
from workbench.optimizers.pass_band import (
    admissible_set,
    curvature_polynomial,
    filter_ratio,
    max_sharpness,
    stability_constant,
    update_radius,
)
from workbench.optimizers.rule import Oracle, Plain, Rule, State, gradient_descent, heavy_ball, nesterov
from workbench.optimizers.schedules import LinearDecay, StepDecay, SwitchOn
from workbench.optimizers.sharpness_aware import (
    MSAM,
    GradientPenalty,
    HessianUSAM,
    MultiStepSAM,
    NestedUSAM,
    TwoStepUSAM,
    UnifiedSAM,
    by_name,
    gradient_penalty,
    hessian_usam,
    m_sam,
    multi_step_sam,
    nested_usam,
    sam,
    two_step_usam,
    unified_sam,
    usam,
)
from workbench.optimizers.torch.adapter import as_torch
from workbench.optimizers.torch.batch_norm import recompute_batch_norm

__all__ = [
    "EMA",
    "LAWA",
    "MSAM",
    "SWAD",
    "Adam",
    "AveragedRule",
    "BestOf",
    "FullMaximisation",
    "GradientPenalty",
    "HessianUSAM",
    "LinearDecay",
    "LossValley",
    "MultiStepSAM",
    "NestedUSAM",
    "Oracle",
    "Plain",
    "PowerIteration",
    "Rule",
    "SegmentMean",
    "State",
    "StepDecay",
    "SwitchOn",
    "TwoStepUSAM",
    "UnifiedSAM",
    "UniformMean",
    "adam",
    "admissible_set",
    "as_torch",
    "by_name",
    "curvature_polynomial",
    "filter_ratio",
    "gradient_descent",
    "gradient_penalty",
    "heavy_ball",
    "hessian_usam",
    "loss_valley",
    "m_sam",
    "max_sharpness",
    "multi_step_sam",
    "nested_usam",
    "nesterov",
    "recompute_batch_norm",
    "sa_gd",
    "sam",
    "stability_constant",
    "two_step_usam",
    "unified_sam",
    "update_radius",
    "usam",
]
