"""The court on trial: how often a verdict is wrong where the truth is known.

    python -m benchmarks.court [--runs 4000] [--write]     # --write puts the tables into docs/court-rates.md

Rates are in per cent of all runs and per side, nominal 2.5; a cell of R runs has a standard error of about
sqrt(2.5 x 97.5 / R), and a worst cell of many reads some tenths too high. The same functions with few runs are a test.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special, stats

from workbench.claims.judging import family
from workbench.claims.judging.family import Pair
from workbench.claims.statistics import counts, mean, pairs
from workbench.claims.statistics.bounded import bounded
from workbench.claims.statistics.evidence import LEVEL, Evidence
from workbench.claims.verdict import verdict_along
from workbench.claims.written.condition import Condition
from workbench.claims.written.schema import Claim

Draw = Callable[[np.random.Generator, int], np.ndarray]
DOCS = Path(__file__).parents[1] / "docs" / "court-rates.md"


@dataclass(frozen=True)
class Law:
    """A distribution to draw samples from, with its mean."""

    draw: Draw
    mean: float


def _scipy(distribution) -> Law:
    return Law(lambda rng, n: distribution.rvs(n, random_state=rng), float(distribution.mean()))


def _mixed(share: float, one: Draw, other: Draw, average: float) -> Law:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.where(rng.random(n) < share, one(rng, n), other(rng, n))

    return Law(draw, average)


def _normal(centre: float, sd: float = 1.0) -> Draw:
    return lambda rng, n: rng.normal(centre, sd, n)


LAWS: dict[str, dict[str, Law]] = {
    "near normal": {
        "normal": _scipy(stats.norm()),
        "t3": _scipy(stats.t(3)),
        "uniform": _scipy(stats.uniform()),
        "bimodal": _mixed(0.5, _normal(-2.0), _normal(2.0), 0.0),
        "outliers": _mixed(0.9, _normal(0.0), _normal(0.0, 5.0), 0.0),
        "difference of betas": Law(lambda rng, n: rng.beta(8, 2, n) - rng.beta(8, 2, n), 0.0),
    },
    "moderate skew": {
        "beta(2, 5)": _scipy(stats.beta(2, 5)),
        "beta(8, 1.5)": _scipy(stats.beta(8, 1.5)),
        "gamma(4)": _scipy(stats.gamma(4)),
        "lognormal .5": _scipy(stats.lognorm(0.5)),
    },
    "strong skew": {"exponential": _scipy(stats.expon()), "lognormal 1": _scipy(stats.lognorm(1.0))},
    "lognormal 1.5": {"lognormal 1.5": _scipy(stats.lognorm(1.5))},
    "ties": {
        "grid of five": Law(lambda rng, n: rng.integers(0, 5, n).astype(float), 2.0),
        "half zeros": Law(lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, rng.exponential(1.0, n)), 0.5),
        "plus or minus 1": Law(lambda rng, n: rng.choice([-1.0, 1.0], n), 0.0),
    },
    "rare part": {"rare part": _mixed(0.9, _normal(0.0), _normal(5.0), 0.5)},
}
SIZES = (5, 8, 10, 15, 20, 30, 50)


def misses(
    make: Callable[[np.random.Generator], Evidence], truth: float, runs: int, seed: int = 0
) -> tuple[float, float]:
    """Per cent of runs in which the test for "above" (below) passes at 2.5 % although the truth is exactly the bound."""
    rng, found = np.random.default_rng(seed), np.zeros(2)
    for _ in range(runs):
        one = make(rng)
        if not one.refused and not one.constant:  # a constant sample is judged as the number it is, and says so
            found += (one.above(truth, False) <= LEVEL, one.below(truth, False) <= LEVEL)
    return float(100 * found[0] / runs), float(100 * found[1] / runs)


def worst_of_mean(laws: dict[str, Law], n: int, runs: int, *, symmetric: bool = False) -> float:
    """The worse side of the worst law, for the mean of n samples."""
    rates = [
        misses(lambda rng, law=law: mean.mean(law.draw(rng, n), symmetric=symmetric), law.mean, runs)
        for law in laws.values()
    ]
    return max(map(max, rates))


def other_statistics(n: int, runs: int) -> dict[str, float]:
    """The worse side of ratio, pooled, median, share, bounded, correlation, slope at their truth."""
    lognormal = stats.lognorm(1.0)
    covariance = [[1.0, 0.5], [0.5, 1.0]]

    def cases() -> Iterator[tuple[str, Callable[[np.random.Generator], Evidence], float]]:
        yield "ratio (lognormal 1)", lambda rng: mean.ratio(lognormal.rvs(n, random_state=rng)), 1.0
        yield (
            "ratio (exponential)",
            lambda rng: mean.ratio(rng.exponential(1.0, n)),
            math.exp(float(special.psi(1))),
        )
        yield (
            "pooled (lognormal 1)",
            lambda rng: pairs.pooled(lognormal.rvs(n, random_state=rng), lognormal.rvs(n, random_state=rng)),
            1.0,
        )
        yield "median (exponential)", lambda rng: counts.median(rng.exponential(1.0, n)), math.log(2)
        yield "share (.9)", lambda rng: counts.share((rng.random(n) < 0.9).astype(float)), 0.9
        yield "bounded (.1)", lambda rng: bounded((rng.random(n) < 0.1).astype(float), 0.0, 1.0), 0.1
        yield "bounded (beta)", lambda rng: bounded(rng.beta(2, 5, n), 0.0, 1.0), 2 / 7
        yield (
            "slope",
            lambda rng: mean.slope([1, 2, 4, 8], np.array([1, 2, 4, 8])[:, None] ** 0.5 * rng.lognormal(0, 1, (4, n))),
            0.5,
        )
        if n >= 10:
            yield (
                "correlation (.5)",
                lambda rng: pairs.correlation(*rng.multivariate_normal([0, 0], covariance, n).T),
                2 / math.pi * math.asin(0.5),
            )

    return {name: max(misses(make, truth, runs)) for name, make, truth in cases()}


# ------------------------------------------------------------------------------------------------ families


def correlated(rng: np.random.Generator, kind: str, runs: int, m: int) -> np.ndarray:
    """Standard normal z[run, claim] with a dependence between the claims."""
    z, common = rng.standard_normal((runs, m)), rng.standard_normal((runs, 1))
    signs = np.where(np.arange(m) % 2, 1.0, -1.0)
    if kind == "half correlated":
        return math.sqrt(0.5) * (z + common)
    if kind == "nearly the same":
        return math.sqrt(0.1) * z + math.sqrt(0.9) * common
    if kind == "opposed":
        return math.sqrt(0.1) * z + math.sqrt(0.9) * common * signs
    if kind == "negative":
        return (z - z.mean(1, keepdims=True)) * math.sqrt(m / (m - 1)) if m > 1 else z
    if kind == "blocks":
        return math.sqrt(0.5) * (z + rng.standard_normal((runs, -(-m // 3))).repeat(3, 1)[:, :m])
    return z


DEPENDENCES = ("independent", "half correlated", "nearly the same", "opposed", "negative", "blocks")
TRUTHS = ("all at the boundary", "half", "a quarter", "one", "boundary from either side")


def family_rates(m: int, runs: int, kind: str, truth: str, effect: float = 2.8) -> tuple[float, float]:
    """Per cent of families with any wrong verdict, and of true claims that are decided (alone: 80 % at effect 2.8).

    A claim at the boundary is wrong whichever way it is decided there ("holds" is closed: only *contradicted* would be).
    """
    rng = np.random.default_rng([m, DEPENDENCES.index(kind), TRUTHS.index(truth)])
    z, index = correlated(rng, kind, runs, m), np.arange(m)
    if truth == "boundary from either side":
        true = np.zeros(m, bool)
    else:
        step = {"all at the boundary": m + 1, "half": 2, "a quarter": 4, "one": m}[truth]
        true = (index % step == step - 1) if truth != "all at the boundary" else np.zeros(m, bool)
    holds = index % 2 == 0 if truth == "boundary from either side" else np.zeros(m, bool)
    p = special.ndtr(-(z + effect * true))
    wrong = decided = 0
    for row in p:
        verdicts = [one for one, _ in family.ladder([Pair(float(a), float(1 - a)) for a in row])]
        # At the boundary exactly one verdict is false: *reproduced* of a claim that just fails, else *contradicted*.
        false = ["contradicted" if t or h else "reproduced" for t, h in zip(true, holds, strict=True)]
        wrong += any(v == f for v, f in zip(verdicts, false, strict=True))
        decided += sum(v == "reproduced" for v, t in zip(verdicts, true, strict=True) if t)
    return 100 * wrong / runs, 100 * decided / max(runs * int(true.sum()), 1)


def whole_procedure(m: int, n: int, runs: int, laws: Sequence[Law]) -> float:
    """Per cent of families of m means over n seeds with any wrong verdict; half of the claims lie at the boundary."""
    rng, wrong = np.random.default_rng([m, n]), 0
    spreads = [float(np.std(law.draw(np.random.default_rng(1), 100_000))) for law in laws]
    # At the boundary one verdict is false: *reproduced* of every other claim (it just fails), *contradicted* of the rest.
    false = ["reproduced" if claim % 2 and claim < m // 2 else "contradicted" for claim in range(m)]
    for _ in range(runs):
        found = []
        for claim in range(m):
            law = laws[claim % len(laws)]
            x = law.draw(rng, n)
            bound = law.mean if claim < m // 2 else law.mean - spreads[claim % len(laws)]
            one = mean.mean(x)
            undecided = bool(one.refused) or one.constant
            found.append(family.UNDECIDED if undecided else Pair(one.above(bound, False), one.below(bound, True)))
        wrong += any(one == f for (one, _), f in zip(family.ladder(found), false, strict=True))
    return 100 * wrong / runs


# ------------------------------------------------------------------------------------------------ along a size

TESTED = (4, 8, 16, 32, 64, 128, 256)
"""Sizes of the planted statements "the quantity stays below 1"."""

PLANTED: dict[str, tuple[bool, Callable[[float], float]]] = {
    "constant .8": (True, lambda n: 0.8),
    "constant .9": (True, lambda n: 0.9),
    "falls as 1/n": (True, lambda n: 0.6 + 1.0 / n),
    "falls slowly": (True, lambda n: 0.9 - 0.02 * math.log2(n)),
    "saturates at .9": (True, lambda n: 0.9 - 0.8 / n),
    "saturates at .85 as 1/sqrt n": (True, lambda n: 0.85 - 0.3 / math.sqrt(n)),
    "a hump in the middle": (True, lambda n: 0.6 + 0.25 * math.exp(-((math.log2(n) - 4) ** 2))),
    "grows, far from the end": (True, lambda n: 0.3 + 0.02 * math.log2(n)),
    "alternates": (True, lambda n: 0.75 + 0.05 * (-1) ** int(math.log2(n))),
    "drops late": (True, lambda n: 0.85 if n < 64 else 0.6),
    "leaves at 96": (False, lambda n: 0.5 + 0.5 * math.log(n / 4) / math.log(24)),
    "leaves at 200": (False, lambda n: 0.5 + 0.5 * math.log(n / 4) / math.log(50)),
    "leaves at 300": (False, lambda n: 0.5 + 0.5 * math.log(n / 4) / math.log(75)),
    "leaves at 450": (False, lambda n: 0.5 + 0.5 * math.log(n / 4) / math.log(112)),
    "power law, leaves at 400": (False, lambda n: (n / 400) ** 0.3),
    "power law, leaves at 300": (False, lambda n: (n / 300) ** 0.15),
    "iterated logarithm": (False, lambda n: 0.2 + 0.46 * math.log(n) ** 0.33),
    "late counterexample": (False, lambda n: 0.6 if n < 200 else 1.3),
    "counterexample in the middle": (False, lambda n: 1.2 if n == 64 else 0.7),
    "accelerates": (False, lambda n: 0.5 + 0.45 * (n / 256) ** 0.8),
}


def planted(name: str, noise: float, seeds: int = 20) -> str:
    """The verdict on a planted statement along a size: exact (noise 0) or the mean over seeds."""
    _, truth = PLANTED[name]
    rng = np.random.default_rng(list(name.encode()))
    condition = Condition(quantity="q", statistic="mean" if noise else "value", relation="<", threshold=1)
    claim = Claim(id="c", statement="s", source="planted", origin="derived", along="n", condition=[condition])
    samples = {n: truth(n) + noise * rng.standard_normal(seeds) if noise else truth(n) for n in TESTED}
    return verdict_along(claim, {"value": samples}).verdict


def along_counts(noise: float) -> dict[str, int]:
    """How many of the ten true statements raise an alarm, and how many of the ten false ones are not reproduced."""
    found = {name: planted(name, noise) for name in PLANTED}
    return {
        "true, not reproduced": sum(found[name] != "reproduced" for name, (true, _) in PLANTED.items() if true),
        "false, not reproduced": sum(found[name] != "reproduced" for name, (true, _) in PLANTED.items() if not true),
    }


# ------------------------------------------------------------------------------------------------ the tables


def tables(runs: int) -> str:
    """Everything above as Markdown."""
    lines = [f"*Rates in % of {runs} runs a cell, per side, nominal 2.5.*", "", "**Mean, worst law and side**", ""]
    lines += [_row(["n", *SIZES]), _row(["---"] * (len(SIZES) + 1))]
    for group, laws in LAWS.items():
        lines.append(_row([group, *(f"{worst_of_mean(laws, n, runs):.1f}" for n in SIZES)]))
    symmetric = {name: LAWS["near normal"][name] for name in ("normal", "t3", "uniform", "bimodal")}
    cells = (f"{worst_of_mean(symmetric, n, runs, symmetric=True):.1f}" for n in SIZES)
    lines.append(_row(["near normal, `shape = symmetric`", *cells]))
    few = (6, 10, 20, 50)
    found = [other_statistics(n, runs) for n in few]
    lines += ["", "**Other statistics, worse side**", "", _row(["n", *few]), _row(["---"] * (len(few) + 1))]
    lines += [_row([name, *(f"{one[name]:.1f}" if name in one else "refused" for one in found)]) for name in found[-1]]
    lines += ["", "**Families: any wrong verdict, and power of a claim that has 80 % alone**", ""]
    lines += [_row(["m", "worst of 6 dependences x 5 truths", "power, half true, independent"]), _row(["---"] * 3)]
    for m in (2, 5, 10, 20):
        rates = [family_rates(m, runs, kind, truth)[0] for kind in DEPENDENCES for truth in TRUTHS]
        lines.append(_row([m, f"{max(rates):.1f}", f"{family_rates(m, runs, 'independent', 'half')[1]:.0f}"]))
    lines += ["", "**The whole procedure: any wrong verdict in a family of 10 means, half at the boundary**", ""]
    lines += [_row(["laws", "n = 10", "n = 20"]), _row(["---"] * 3)]
    for group in ("near normal", "moderate skew", "strong skew"):
        few_runs = max(runs // 4, 200)
        laws = list(LAWS[group].values())
        lines.append(_row([group, *(f"{whole_procedure(10, n, few_runs, laws):.1f}" for n in (10, 20))]))
    lines += [
        "",
        "**Along a size: ten true statements, ten whose margin shrinks to nothing within or just beyond**",
        "",
    ]
    lines += [_row(["samples", "true: alarms", "false: not reproduced"]), _row(["---"] * 3)]
    for label, noise in (("exact", 0.0), ("20 seeds, sd .05", 0.05)):
        one = along_counts(noise)
        lines.append(_row([label, one["true, not reproduced"], one["false, not reproduced"]]))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000, help="runs a cell")
    parser.add_argument("--write", action="store_true", help=f"replace {DOCS.name}")
    options = parser.parse_args()
    text = tables(options.runs)
    print(text)
    if options.write:
        DOCS.write_text(text, encoding="utf-8")
