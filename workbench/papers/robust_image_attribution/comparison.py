"""Ways to train compared seed by seed under attacks: each arm is trained, and each attack run, when a claim first asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float

from workbench.papers.robust_image_attribution import comparator, digits, images
from workbench.papers.robust_image_attribution.contrastive import Arm
from workbench.papers.robust_image_attribution.evasion import Attack, survivors
from workbench.papers.robust_image_attribution.pictures import Benign, Trial

LEAST_BENIGN = 90.0
"""The guard: an arm that attributes fewer unattacked benign queries, in percent, has collapsed."""
MOST_LOSS = 0.1
"""The guard: the standard arm's training loss over the last epoch, as a share of chance, log(batch_size)."""
MOST_CHANGE = 1.0
"""The guard: points by which twice the steps may change the mean recall under the margin attack."""


@dataclass(frozen=True)
class Arms:
    """The arms that the claims compare, from the card's parameters."""

    standard: Arm
    noise: Arm
    robust: Arm
    large: Arm
    no_ramp: Arm

    @classmethod
    def of(cls, p: Any) -> Arms:
        """From `card.parameters(...)`: the judged radius is train_radii[1], the large one the last."""
        chosen, largest = p.train_radii[1], p.train_radii[-1]
        robust = Arm(chosen, p.inner_steps, p.direction, p.ramp_share)
        return cls(
            standard=Arm(),
            noise=Arm(chosen, p.inner_steps, "noise", p.ramp_share),
            robust=robust,
            large=replace(robust, radius=largest),
            no_ramp=replace(robust, ramp_share=0.0),
        )

    @property
    def drawn(self) -> dict[str, Arm]:
        """Those of the figures."""
        return {"standard": self.standard, "noise": self.noise, "robust": self.robust}


@dataclass(frozen=True)
class Battles:
    """The attacks that the claims and figures ask for, from the card's parameters."""

    unattacked: Attack
    signs: Attack
    signs_twice: Attack
    away: Attack
    margin: Attack
    margin_twice: Attack
    margin_elsewhere: Attack
    battery: Attack
    benign: Attack
    unseen: Attack
    random_projected: Attack
    random_clipped: Attack
    random_clipped_longer: Attack
    zero_clipped: Attack

    @classmethod
    def of(cls, p: Any) -> Battles:
        """From `card.parameters(...)`."""
        margin = Attack("margin", p.attack_radius, steps=p.attack_steps)
        signs = Attack("signs", p.attack_radius)
        random = replace(margin, start="random")
        clipped = replace(random, clip="inside")
        return cls(
            unattacked=Attack(),
            signs=signs,
            signs_twice=replace(signs, radius=2 * p.attack_radius),
            away=replace(margin, kind="away"),
            margin=margin,
            margin_twice=replace(margin, radius=2 * p.attack_radius),
            margin_elsewhere=replace(margin, aim="elsewhere"),
            battery=replace(margin, kind="battery", starts=p.attack_starts, targets=p.targets),
            benign=replace(margin, queries="benign"),
            unseen=replace(margin, radius=p.l2_radius, norm="l2"),
            random_projected=random,
            random_clipped=clipped,
            random_clipped_longer=replace(clipped, steps=5 * p.attack_steps),
            zero_clipped=replace(clipped, start="zero"),
        )

    def grown(self, size: int) -> Attack:
        """The margin attack with the database, and the attacker's knowledge of it, of another size."""
        return replace(self.margin, database=size)

    def at(self, radius: float) -> Attack:
        """The margin attack of another radius."""
        return replace(self.margin, radius=radius)


@dataclass(frozen=True, eq=False)
class Judged:
    """An arm's networks ready for attacks: how they embed, what they are tried on, and the database's embeddings."""

    trials: Sequence[tuple[Callable[[torch.Tensor], torch.Tensor], Trial]]
    """One for all seeds (digits), or one per seed."""
    loss: Float[np.ndarray, " seed"]
    """Training loss per query over the last epoch, per seed."""
    batch_size: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """`recall(arm, attack)` in percent per seed. A seed whose networks fail the guards is NaN in everything."""

    judged: Callable[[Arm], Judged]
    seeds: range
    database: int
    reference: Attack
    """The margin attack whose convergence the guard looks at."""
    _networks: dict[Arm, Judged] = field(default_factory=dict)
    _recalls: dict[tuple[Arm, Attack], np.ndarray] = field(default_factory=dict)

    def recall(self, arm: Arm, attack: Attack) -> xr.DataArray:
        """Share of queries still attributed to their own original, dims (seed)."""
        values = self._recall(arm, attack).copy()
        values[~self.sound(arm)] = np.nan
        if attack.kind in ("away", "margin", "battery") and not self.change_with_steps(arm) < MOST_CHANGE:
            values[:] = np.nan
        return xr.DataArray(values, {"seed": list(self.seeds)}, "seed", attrs={"units": "%", "long_name": "recall"})

    def gain(self, arm: Arm, other: Arm, attack: Attack) -> xr.DataArray:
        """Recall of `arm` minus `other`, seed by seed, in percentage points."""
        return self.recall(arm, attack) - self.recall(other, attack)

    def unguarded(self, arm: Arm, other: Arm, attack: Attack) -> xr.DataArray:
        """The same where a collapse is what is claimed, so that the guards may not hide it."""
        return xr.DataArray(self._recall(arm, attack) - self._recall(other, attack), {"seed": list(self.seeds)}, "seed")

    def cost(self, arm: Arm, attack: Attack, other: Attack) -> xr.DataArray:
        """Recall of one arm under `attack` minus under `other`, in percentage points."""
        return self.recall(arm, attack) - self.recall(arm, other)

    def sound(self, arm: Arm) -> np.ndarray:
        """The guards, per seed: no collapse, and the standard arm has learnt."""
        kept = self._recall(arm, Attack(queries="benign")) >= LEAST_BENIGN
        if not arm.radius:
            networks = self.networks(arm)
            kept &= networks.loss < MOST_LOSS * np.log(networks.batch_size)
        return kept

    def change_with_steps(self, arm: Arm) -> float:
        """The guard: by how many points twice the steps change the mean recall under the reference attack."""
        longer = replace(self.reference, steps=2 * self.reference.steps)
        return float(abs(self._recall(arm, longer).mean() - self._recall(arm, self.reference).mean()))

    def dataset(self) -> xr.Dataset:
        """Everything measured so far, dims (measurement, seed)."""
        names = [f"{arm.label} | {words(attack)}" for arm, attack in self._recalls]
        values = xr.DataArray(
            np.array(list(self._recalls.values())).reshape(len(names), len(self.seeds)),
            {"measurement": names, "seed": list(self.seeds)},
            attrs={"units": "%", "long_name": "recall"},
        )
        return xr.Dataset({"recall": values})

    def table(self, arms: dict[str, Arm], attacks: dict[str, Attack]) -> pd.DataFrame:
        """Mean ± standard deviation over seeds of what has been measured; empty where it has not."""

        def cell(arm: Arm, attack: Attack) -> str:
            found = self._recalls.get((arm, attack))
            return "" if found is None else f"{found.mean():.1f} ± {found.std(ddof=1):.1f}"

        return pd.DataFrame(
            {name: [cell(arm, attack) for attack in attacks.values()] for name, arm in arms.items()}, list(attacks)
        )

    def networks(self, arm: Arm) -> Judged:
        """The arm's networks, trained when first asked for."""
        if arm not in self._networks:
            self._networks[arm] = self.judged(arm)
        return self._networks[arm]

    def _recall(self, arm: Arm, attack: Attack) -> np.ndarray:
        key = arm, attack
        if key not in self._recalls:
            found = [
                self._survived(embed, trial, attack).double().mean(-1).reshape(-1)
                for embed, trial in self.networks(arm).trials
            ]
            self._recalls[key] = 100 * torch.cat(found).cpu().numpy()
        return self._recalls[key]

    def _survived(self, embed: Callable, trial: Trial, attack: Attack) -> torch.Tensor:
        size = self.database if attack.database is None else attack.database
        with torch.no_grad():
            database = embed(trial.originals[..., :size, :, :, :])
            elsewhere = embed(trial.elsewhere) if attack.aim == "elsewhere" else None
        return survivors(embed, trial, database, attack, elsewhere)


def words(attack: Attack) -> str:
    """An attack in a few words."""
    base = {
        "none": "unattacked",
        "signs": f"random signs {attack.radius:g}",
        "away": f"away-{attack.steps} {attack.radius:g}",
        "margin": f"margin-{attack.steps} {attack.radius:g}",
        "battery": f"battery {attack.radius:g}",
    }[attack.kind]
    parts = [base, attack.queries]
    if attack.kind == "margin":
        parts += ["l2"] * (attack.norm == "l2") + ["random start"] * (attack.start == "random")
        parts += ["clipped inside"] * (attack.clip == "inside") + ["aimed elsewhere"] * (attack.aim == "elsewhere")
    return ", ".join(parts + ([f"database {attack.database}"] if attack.database else []))


def setting_of(p: Any) -> digits.Setting | images.Setting:
    """The setting of the card's data set, from its parameters."""
    names = ("n_train", "dimension", "temperature", "epochs", "batch_size", "step_size", "weight_decay", "queries")
    shared = {name: getattr(p, name) for name in (*names, "edit_share")}
    shared["benign"] = Benign(p.rotation, p.scale, p.shift, **p.photometric)
    if p.dataset == "digits":
        return digits.Setting(hidden=tuple(p.hidden), **shared)
    sizes = {"database": p.database_size, "largest_database": max(p.database_size, *p.database_sizes)}
    return images.Setting(p.dataset, channels=tuple(p.hidden), **sizes, **shared)


def compare(p: Any, seeds: int | None = None) -> Comparison:
    """The comparison of the card's parameters on its data set (`seeds` of them, else p.seeds); missing data are refused when
    the first arm is asked for, before it is trained.
    """
    chosen = range(p.seed0, p.seed0 + (p.seeds if seeds is None else seeds))
    setting = setting_of(p)

    def judged(arm: Arm) -> Judged:
        if isinstance(setting, digits.Setting):
            found = digits.fingerprints(arm, chosen, setting)
            return Judged([(found.embed, digits.trial(chosen, setting))], found.loss.numpy(), setting.batch_size)
        nets = [images.fingerprints(arm, seed, setting) for seed in chosen]
        trials = [images.held(seed, setting).trial for seed in chosen]
        loss = np.array([loss for _, loss in nets])
        embeds = [images.embedder(net) for net, _ in nets]
        return Judged(list(zip(embeds, trials, strict=True)), loss, setting.batch_size)

    base = Attack("margin", p.attack_radius, steps=p.attack_steps)
    return Comparison(judged, chosen, p.database_size, base)


def compare_comparators(p: Any) -> dict[str, xr.Dataset]:
    """Standard and robust comparators of the card's parameters, accuracies at radius 0, half and all of comparator_radius."""
    seeds = range(p.seed0, p.seed0 + p.comparator_seeds)
    setting = comparator.Setting(benign=Benign(p.rotation, p.scale, p.shift, **p.photometric))
    most = p.comparator_radius
    robust = Arm(most, p.inner_steps, p.direction, p.ramp_share)
    radii = [0.0, most / 2, most]
    found = {
        name: comparator.accuracies(arm, seeds, radii, p.attack_steps, setting)
        for name, arm in (("standard", Arm()), ("robust", robust))
    }
    if not p.comparator_attacked:
        for one in found.values():
            one["attacked"] = one.attacked.isel(radius=0, drop=True).expand_dims(radius=one.radius, axis=1)
    return found
