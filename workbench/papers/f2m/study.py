"""The methods that the claims compare, from the card's parameters: bases and sessions, each computed when first asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from workbench.papers.f2m.base import Bases, train_bases
from workbench.papers.f2m.embeddings import Convolutional, Dense, Embedding, Residual
from workbench.papers.f2m.episodes import Episodes, deal, images, protocol_of
from workbench.papers.f2m.measures import gradient_variance, under_noise
from workbench.papers.f2m.sessions import incremental_sessions
from workbench.papers.f2m.settings import FROZEN, BaseTraining, Session

PULL = 0.01
"""Weight of the l1 penalty, the rival of the clamp."""


@dataclass(frozen=True)
class Method:
    """A base and what the sessions do to it; `close` methods take part in comparisons that need all seeds."""

    base: str
    session: Session
    words: str
    close: bool = False


def base_recipes(p: Any) -> dict[str, BaseTraining]:
    """standard: no noise; fm: noise (FM); f2m: noise and PF; wide: FM with uniform noise as wide as the radius of measurement."""
    common: dict[str, Any] = {
        "base_steps": p.base_steps,
        "base_lr": p.base_lr,
        "decay_at": 0.7 if p.dataset == "digits" else 0.75,
    }
    standard = BaseTraining(b=0.0, **common)
    if not p.base_noise:
        return {"standard": standard, "fm": standard, "f2m": standard, "wide": standard}
    noisy: dict[str, Any] = {"m_draws": p.m_draws, "noise": p.noise, "std_weight": p.std_weight} | common
    return {
        "standard": standard,
        "fm": BaseTraining(p.b, 0.0, **noisy),
        "f2m": BaseTraining(p.b, p.lam, pf_gradient=p.pf_gradient, **noisy),
        "wide": BaseTraining(p.radius, 0.0, p.m_draws, **common),
    }


def methods(p: Any) -> dict[str, Method]:
    """What is compared, by name."""
    tuning: dict[str, Any] = {"ft_steps": p.ft_steps, "ft_lr": p.ft_lr, "scale": p.scale}
    free, narrow = Session(**tuning), Session(p.standard_width, **tuning)
    inside = Session(p.clamp_width, **tuning)
    own = inside if p.clamp else free
    return {
        "baseline": Method("standard", FROZEN, "Baseline (standard, frozen)", True),
        "fine-tuned": Method("standard", narrow if p.ft_clamped else free, "standard, fine-tuned", True),
        "clamped": Method("standard", narrow, f"standard, clamped at {p.standard_width:g}", True),
        "pulled": Method("standard", Session(pull=PULL, **tuning), f"standard, l1 pull {PULL:g}", True),
        "clamped wide": Method("standard", inside, f"standard, clamped at {p.clamp_width:g}"),
        "fm": Method("fm", own, "noise without PF, clamped"),
        "frozen": Method("f2m", FROZEN, "F2M, frozen", True),
        "unclamped": Method("f2m", free, "F2M without clamp", True),
        "f2m": Method("f2m", own, "F2M", True),
    }


@dataclass(eq=False)
class Study:
    """Bases, sessions and measures of one set of parameters. A seed that fails the guard is NaN in all it takes part in."""

    p: Any
    network: Embedding
    episodes: Episodes
    methods: dict[str, Method]
    recipes: dict[str, BaseTraining]
    _bases: dict[BaseTraining, Bases] = field(default_factory=dict)
    _sessions: dict[tuple[str, int], xr.Dataset] = field(default_factory=dict)

    @classmethod
    def of(cls, p: Any) -> Study:
        """From `card.parameters(...)`. Missing images are refused here, before any training."""
        protocol = protocol_of(p.dataset, p.n_base, p.way, p.shot, p.shot_draws)
        episodes = deal(images(p.dataset), range(p.seed0, p.seed0 + p.seeds), protocol)
        network: Embedding = (
            Dense() if p.dataset == "digits" else Convolutional() if p.dataset == "cifar10" else Residual()
        )
        return cls(p, network, episodes, methods(p), base_recipes(p))

    def base(self, name: str) -> Bases:
        """The trained bases; those of the close comparisons have all seeds."""
        recipe = self.recipes[name]
        n = {"fm": self.p.ablation_seeds, "wide": self.p.network_seeds}.get(name, self.p.seeds)
        kept = self._bases.get(recipe)
        if kept is None or len(kept.loss) < n:
            kept = train_bases(self.network, recipe, self.episodes.of(0, n), augment=self.p.dataset != "digits")
            self._bases[recipe] = kept
        return kept.part(0, n)

    def good(self, name: str) -> xr.DataArray:
        """The guard, by seed: on photographs no small network reaches the loss that it asks for, only twice chance is asked."""
        bases = self.base(name)
        passed = bases.converged if self.p.dataset == "digits" else bases.learnt
        return xr.DataArray(passed.numpy(), {"seed": list(self.episodes.seeds[: len(passed)])}, ("seed",))

    def sessions(self, name: str) -> xr.Dataset:
        """All sessions of a method, see `incremental_sessions`."""
        method = self.methods[name]
        n = min(len(self.base(method.base).loss), self.p.seeds if method.close else self.p.ablation_seeds)
        if (name, n) not in self._sessions:
            found = incremental_sessions(self.base(method.base).part(0, n), self.episodes.of(0, n), method.session)
            self._sessions[name, n] = found.where(self.good(method.base))
        return self._sessions[name, n]

    def accuracy(self, name: str, group: str = "all", rule: str | None = None) -> xr.DataArray:
        """Accuracy in percent, (seed, session); the rule is `prototype_norm`'s unless given."""
        rule = rule or ("normalised" if self.p.prototype_norm else "euclidean")
        return self.sessions(name).accuracy.sel(group=group, rule=rule, drop=True).transpose("seed", "session")

    def last(self, name: str, group: str = "all", rule: str | None = None) -> xr.DataArray:
        """Accuracy after the last session."""
        return self.accuracy(name, group, rule).isel(session=-1, drop=True)

    def drop(self, name: str) -> xr.DataArray:
        """PD: accuracy of session 0 minus that of the last."""
        curve = self.accuracy(name)
        return curve.isel(session=0, drop=True) - curve.isel(session=-1, drop=True)

    def gain(
        self,
        name: str,
        other: str,
        group: str = "all",
        n: int | None = None,
        *,
        other_rule: str | None = None,
    ) -> xr.DataArray:
        """`name` minus `other` after the last session, seed by seed, over the first n seeds; `other` by its own rule."""
        return (self.last(name, group) - self.last(other, group, other_rule)).isel(seed=slice(n))

    def reach(self, name: str) -> xr.DataArray:
        """How far beyond the box a weight got after any step, in units of the float32 rounding 2^-23 max|phi| of its ends."""
        found = self.sessions(name)
        return (found.farthest - self.p.clamp_width) / (2.0**-23 * found.largest)

    def noise_measures(self, name: str, radii: list[float], n_seeds: int, n: int = 20) -> xr.Dataset:
        """`under_noise` of the first seeds of a base."""
        found = under_noise(self.base(name).part(0, n_seeds), self.episodes.of(0, n_seeds), radii, n)
        return found.where(self.good(name))

    def gradient_variances(self, radius: float, same_noise: bool = False, n_seeds: int = 20) -> xr.DataArray:
        """`gradient_variance` at the F2M bases, (m_draws, seed)."""
        n_seeds = min(n_seeds, self.p.ablation_seeds)
        bases, episodes = self.base("f2m").part(0, n_seeds), self.episodes.of(0, n_seeds)
        return gradient_variance(bases, episodes, radius=radius, same_noise=same_noise).where(self.good("f2m"))

    def width_curve(self, widths: list[float], names: tuple[str, ...] = ("standard", "fm", "f2m")) -> xr.DataArray:
        """Last-session accuracy against the clamp width, (base, width, group, seed); one draw of the shots."""
        n = self.p.ablation_seeds
        episodes = self.episodes.of(0, n).with_draws(1)
        tuning: dict[str, Any] = {"ft_steps": self.p.ft_steps, "ft_lr": self.p.ft_lr, "scale": self.p.scale}
        rows = []
        for name in names:
            bases = self.base(name).part(0, n)
            found = [incremental_sessions(bases, episodes, Session(width, **tuning)) for width in widths]
            last = [one.accuracy.isel(session=-1, drop=True).sel(rule="normalised", drop=True) for one in found]
            rows.append(xr.concat(last, pd.Index(widths, name="width")).where(self.good(name)))
        return xr.concat(rows, pd.Index(names, name="base")).transpose("base", "width", "group", "seed")

    def table(self) -> pd.DataFrame:
        """Every method measured so far, means over seeds in percent; the difference to Baseline with its s.d. over seeds.

        passes: through the minibatch for a step of base training.
        """
        return pd.DataFrame({self.methods[name].words: self._row(name) for name, _ in self._sessions}).T

    def _row(self, name: str) -> dict[str, Any]:
        gain = self.gain(name, "baseline")
        return {
            "seeds": len(gain),
            "passes": self.recipes[self.methods[name].base].passes,
            "last": round(float(self.last(name).mean()), 1),
            "PD": round(float(self.drop(name).mean()), 1),
            "base": round(float(self.last(name, "base").mean()), 1),
            "new": round(float(self.last(name, "new").mean()), 1),
            "- Baseline": round(float(gain.mean()), 2),
            "± s.d.": round(float(np.std(gain, ddof=1)), 1),
            "without PN": round(float(self.last(name, rule="euclidean").mean()), 1),
        }

    def summary(self) -> xr.Dataset:
        """Everything measured by sessions, (method, seed, session, group, rule)."""
        found = list(self._sessions.values())
        return xr.concat(found, pd.Index([name for name, _ in self._sessions], name="method"), join="outer")
