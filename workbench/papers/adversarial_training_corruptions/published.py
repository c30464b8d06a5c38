"""What the paper's printed tables and released files say, checked against each other. Nothing is measured here."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from workbench.data.preparing import corruptions

BARS = ("standard", "gradreg_0.02", "gaussian100_0.05", "l2_0.1")
"""Columns of the released results behind the four bars of figure 2."""


def group_means(table: pd.DataFrame, grouping: Literal["customary", "paper"]) -> pd.DataFrame:
    """Means of each training over each group of corruptions, frost among them: rows groups, columns trainings."""
    members = corruptions.groups(grouping, frost=True)
    rows = table.set_index("corruption")
    return pd.DataFrame({group: rows.loc[list(names)].mean() for group, names in members.items()}).T


def deviation_from_bars(
    table: pd.DataFrame, bars: pd.DataFrame, grouping: Literal["customary", "paper"]
) -> pd.DataFrame:
    """Released group means minus figure 2's bars, with "all" the mean over the fifteen."""
    means = group_means(table, grouping)[list(BARS)]
    means.loc["all"] = table.set_index("corruption")[list(BARS)].mean()
    printed = bars.set_index("group")[list(BARS)]
    return means.loc[printed.index] - printed


def gain(table: pd.DataFrame, training: str = "l2_0.1", other: str = "standard") -> pd.Series:
    """`training` minus `other`, corruption by corruption."""
    rows = table.set_index("corruption")
    return rows[training] - rows[other]


def without_noise(table: pd.DataFrame, noise: bool = False) -> pd.Series:
    """Mean of every training over the corruptions that are not noise; over all with `noise`."""
    rows = table.set_index("corruption")
    return (rows if noise else rows.drop(list(corruptions.groups()["noise"]), errors="ignore")).mean()


def rlat_gains(pairs: pd.DataFrame) -> pd.Series:
    """What RLAT adds to the corruption accuracy of each augmentation it was combined with."""
    return (pairs.with_rlat - pairs.alone).set_axis(pairs.dataset + " " + pairs.augmentation)
