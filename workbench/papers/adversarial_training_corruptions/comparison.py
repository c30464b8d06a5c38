"""Rules compared seed by seed: each is trained when a claim first asks for it, and once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.data.preparing import corruptions
from workbench.papers.adversarial_training_corruptions import convolutional, digits
from workbench.papers.adversarial_training_corruptions.evaluation import corrupted_mean
from workbench.papers.adversarial_training_corruptions.rules import STANDARD, Direction, Rule

TRAINED = {"digits": 80.0, "mnist": 80.0, "cifar10": 30.0}
"""The guard: least accuracy in percent on the clean training set. A small network on CIFAR-10 at 16x16 stays near 50."""


@dataclass(frozen=True)
class Arms:
    """The rules that the claims compare, from the card's parameters."""

    standard: Rule
    l2: Rule
    l2_large: Rule
    linf: Rule
    linf_large: Rule
    rlat: Rule
    random: Rule
    gaussian: Rule
    gaussian_half: Rule
    standard_plain: Rule
    l2_plain: Rule
    l2_others: tuple[Rule, ...]

    @classmethod
    def of(cls, p: Any) -> Arms:
        """From `card.parameters(...)`; `direction`, `smallest_radius` and `batch_norm` are switches of the controls."""

        def attack(kind: Any, radius: float, direction: Direction = p.direction) -> Rule:
            return Rule(kind, radius, direction=direction, batch_norm=p.batch_norm)

        chosen = min(radius for radius in p.l2_radii if radius > 0) if p.smallest_radius else p.l2_selected
        l2 = attack("l2", chosen)
        return cls(
            standard=Rule(batch_norm=p.batch_norm),
            l2=l2,
            l2_large=attack("l2", max(p.l2_radii)),
            linf=attack("linf", p.linf_selected),
            linf_large=attack("linf", max(p.linf_radii)),
            rlat=attack("rlat", p.rlat_radii[0]),
            random=attack("l2", chosen, "random"),
            gaussian=Rule("gaussian", p.noise_sigma, p.noise_shares[0], batch_norm=p.batch_norm),
            gaussian_half=Rule("gaussian", p.noise_sigma, p.noise_shares[-1], batch_norm=p.batch_norm),
            standard_plain=STANDARD.without_batch_norm(),
            l2_plain=l2.without_batch_norm(),
            l2_others=tuple(
                attack("l2", radius) for radius in p.l2_radii if 0 < radius < max(p.l2_radii) and radius != chosen
            ),
        )

    @property
    def reversed(self) -> Rule:
        """The judged radius, down the gradient."""
        return replace(self.l2, direction="reversed")

    @property
    def shown(self) -> frozenset[Rule]:
        """Those that are drawn beside the judged ones."""
        return frozenset({self.gaussian, self.gaussian_half, self.reversed, *self.l2_others}) - self.close

    @property
    def close(self) -> frozenset[Rule]:
        """Those of the close comparisons, which need more seeds."""
        return frozenset({self.standard, self.l2, self.l2_large, self.rlat, self.standard_plain, self.l2_plain})


@dataclass(frozen=True, eq=False)
class Comparison:
    """`measured(rule, seeds)` of every rule asked for. Rules of `close` get all seeds, those of `shown` the first `fewest`,
    others the first `few`.

    A seed whose network did not learn its training set (the guard) is NaN in everything it takes part in.
    """

    measured: Callable[[Rule, range], xr.Dataset]
    seeds: range
    few: int
    close: Collection[Rule]
    shown: Collection[Rule] = ()
    fewest: int = 5
    least: float = 80.0
    _kept: dict[Rule, xr.Dataset] = field(default_factory=dict)

    def __getitem__(self, rule: Rule) -> xr.Dataset:
        if rule not in self._kept:
            n = len(self.seeds) if rule in self.close else self.fewest if rule in self.shown else self.few
            found = self.measured(rule, self.seeds[:n])
            self._kept[rule] = found.where(found.train_accuracy >= self.least).assign(
                train_accuracy=found.train_accuracy
            )
        return self._kept[rule]

    def corrupted(self, rule: Rule, group: str | None = None, measure: str = "accuracy") -> xr.DataArray:
        """Mean over corruptions and severities, per seed."""
        return corrupted_mean(self[rule][measure], group)

    def gain(self, rule: Rule, other: Rule, group: str | None = None, measure: str = "accuracy") -> xr.DataArray:
        """`rule` minus `other`, seed by seed, in percentage points; over the seeds that both have."""
        return self.corrupted(rule, group, measure) - self.corrupted(other, group, measure)

    def clean_gain(self, rule: Rule, other: Rule) -> xr.DataArray:
        """The same of the accuracy on clean test images."""
        return self[rule].clean_accuracy - self[other].clean_accuracy

    def excess(self, rule: Rule, sigma: float) -> xr.DataArray:
        """log L(0) - log L(sigma) of the mean test loss under noise, per seed: above 0 where clean images are worse."""
        loss = np.log(self[rule].noise_loss)
        return loss.sel(test_sigma=0.0) - loss.sel(test_sigma=sigma, method="nearest")

    def summary(self) -> xr.Dataset:
        """Every rule trained so far: means over corruptions and severities, dims (rule, seed)."""
        rows = {
            rule.label: xr.Dataset(
                {
                    "clean": found.clean_accuracy,
                    "corrupted": corrupted_mean(found.accuracy),
                    "calibration_error": corrupted_mean(found.calibration_error),
                    "overconfidence": corrupted_mean(found.overconfidence),
                    "train_accuracy": found.train_accuracy,
                }
            )
            for rule, found in self._kept.items()
        }
        return xr.concat(rows.values(), pd.Index(rows, name="rule"), join="outer")

    def table(self) -> pd.DataFrame:
        """Every rule trained so far: means over seeds, in percent."""
        return pd.DataFrame({rule.label: self._row(rule) for rule in self._kept}).T

    def _row(self, rule: Rule) -> dict[str, Any]:
        found, of = self[rule], self.corrupted(rule)
        groups = {
            group: round(float(self.corrupted(rule, group).mean()), 1)
            for group, members in corruptions.groups().items()
            if set(members) & set(found.corruption.values)
        }
        return {
            "seeds": found.sizes["seed"],
            "gradients": rule.gradients,
            "clean": round(float(found.clean_accuracy.mean()), 1),
            "corrupted": round(float(of.mean()), 1),
            "± s.d.": round(float(np.std(of, ddof=1)), 1),
            **groups,
            "ECE": round(float(self.corrupted(rule, measure="calibration_error").mean()), 1),
        }


def on_digits(p: Any) -> digits.Setting:
    """The setting of the digits, from the card's parameters."""
    return digits.Setting(hidden=tuple(p.hidden), **_shared(p))


def _shared(p: Any) -> dict[str, Any]:
    names = ("n_train", "n_test", "epochs", "batch_size", "step_size", "weight_decay")
    return {name: getattr(p, name) for name in names}


def compare(p: Any) -> Comparison:
    """The comparison of the card's parameters on its data set; missing data are refused here, before any training."""
    arms, seeds = Arms.of(p), range(p.seed0, p.seed0 + p.seeds)
    if p.dataset == "digits":
        setting = on_digits(p)

        def measured(rule: Rule, chosen: range) -> xr.Dataset:
            return digits.results(rule, chosen, setting, p.corruptions, p.severities)
    else:
        size = 16 if p.dataset == "cifar10" and p.network == "cnn" else None
        conv = convolutional.Setting(
            p.dataset, channels=tuple(p.hidden), network=p.network, size=size, cifar_c=p.cifar_c, **_shared(p)
        )
        held = convolutional.held_out(conv, p.corruptions, p.severities)
        sigmas = np.linspace(0, 2 * p.noise_sigma, 9).tolist() if p.dataset == "cifar10" else ()

        def measured(rule: Rule, chosen: range) -> xr.Dataset:
            return convolutional.results(rule, chosen, conv, held, sigmas)

    return Comparison(measured, seeds, p.arm_seeds, arms.close, arms.shown, p.shown_seeds, TRAINED[p.dataset])
