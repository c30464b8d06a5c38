"""What the printed tables say, and an independent run of the released code. Nothing is measured here."""

from __future__ import annotations

import pandas as pd


def gains(table: pd.DataFrame, origin: str) -> pd.Series:
    """Last-session accuracy, F2M minus Baseline, of the comparisons of this origin ("printed" or "rerun"), by data and split."""
    rows = table[table.origin == origin]
    if rows.empty:
        raise ValueError(f"origin must be one of {', '.join(sorted(set(table.origin)))}, got {origin!r}")
    named = rows.set_index(["data", "split"])
    return (named.f2m_last - named.baseline_last).round(2)
