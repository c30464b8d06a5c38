"""A made-up run store as `workbench run` leaves it: three papers, forty claims, a sweep over rho, a failed job, hostile text."""

import base64
import hashlib
import io
import json
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("agg")
import matplotlib.pyplot as plt

from workbench import figures
from workbench.batch.results.store import write_record
from workbench.claims.recording import record, write_claims
from workbench.claims.verdict import VERDICTS, Verdict, badges, verdict_of
from workbench.claims.written.condition import Condition
from workbench.claims.written.schema import Claim

HOSTILE = "<script>alert('x')</script> \"quoted\" & 'single' ρ→∞ 日本\n</script><b>bold</b>"
DEFAULTS = {"rho": 0.05, "n_seeds": 20, "optimizers": ["gd", "sam"], "seed0": 0, "control": "none"}

# id, statement, statistic, relation, threshold, unit, centre of the samples, their spread, paper's value
STATEMENTS = {
    "understanding-sam": [
        ("one-sam-beats-gd", "1-SAM generalises better than gradient descent",
         "ratio", "<=", 0.8, "", 0.67, 0.2, "ratio ~.12 in Fig. 6"),
        ("n-sam-no-gain", "n-SAM does not help: its test loss is no smaller",
         "ratio", ">=", 0.999, "", 1.12, 0.05, "equal"),
        ("dln-notebook-values", "the public notebook's numbers", "value", "<=", 1e-06, "", 3e-10, 0, "0.0150560442"),
        ("alpha-decay-identity", "effective initialisation follows the integral formula",
         "value", "<=", 0.03, "", 0.0216, 0, "exact in the limit"),
        ("beta-minimises-phi", "the limit minimises the potential of the effective initialisation",
         "median", "<=", 0.003, "", 0.001, 0.3, "exact"),
        ("delta-law", "the decay sums to four times dimension times the integrated loss",
         "ratio", "in", [0.8, 1.25], "", 1.04, 0.1, "1"),
        ("m-continuum", "the gain grows as m falls", "mean", ">", 0.0, "pp", 0.21, 0.6, "qualitative"),
        ("sam-then-erm", "switching back to ERM keeps the gain",
         "share", ">=", 0.95, "", 0.98, 0, "1.25e-4 -> 9.8e-5"),
        ("relu-simpler", "n-SAM gives simpler one-dimensional fits, that is, fewer kinks",
         "ratio", "<", 0.7, "", 0.475, 0.08, "qualitative"),
        ("late-switch", "SAM switched on late still helps, but less",
         "ratio", "<", 1.0, "", 0.94, 0.03, "qualitative"),
        ("finetune-edge", "a converged model gains from SAM only past the edge of stability",
         "ratio", "<=", 0.3, "", 0.14, 1.8, ""),
        ("dln-connected", "ERM and ERM->SAM are linearly connected", "value", "<=", 0.01, "", 0.0011, 0, "~0"),
        ("label-noise", "SAM fits fewer noisy labels", "mean", "<", 0.0, "pp", -9.1, 3.0, "0 vs 9 %"),
        ("m-sharpness-predicts", "sharpness at small m predicts the gain",
         "mean", ">", 0.5, "", 0.31, 0.12, "strong"),
        ("m-sharpness-corrected", "sharpness at the m of training predicts the gain",
         "mean", ">", 0.2, "", 0.31, 0.12, ""),
        ("convergence-bound", "the non-convex bound holds at every horizon",
         "value", "<=", 1.0, "", 0.43, 0, "proved"),
    ],
    "eigenvalue-filtering": [
        ("jacobian-equals-polynomial", "the update map's Jacobian has the predicted spectral radius",
         "value", "<=", 1e-12, "", 4.5e-15, 0, "exact"),
        ("filter-iff-radius", "radius at most 1 exactly when the eigenvalues lie in the pass band",
         "value", "==", 0.0, "mismatches", 0.0, 0, "exact"),
        ("filter-never-violated-sf", "converged runs obey the filter (scalar factorisation)",
         "value", "<=", 1.0, "", 0.9985, 0, "<= 1"),
        ("filter-never-violated-mlp", "converged runs obey the filter (network, every eigenvalue)",
         "value", "<=", 1.0, "", 1.0008, 0, "<= 1"),
        ("edge-attained", "runs stop just below the edge", "mean", ">=", 0.92, "", 0.981, 0.02, ""),
        ("filter-ordering", "GD is sharper than USAM, USAM than two-step USAM",
         "share", ">=", 0.8, "", 0.93, 0, "qualitative"),
        ("momentum-widens", "heavy ball widens the pass band",
         "mean", ">", 0.0, "eigenvalue units", 0.67, 0.5, "strict"),
        ("two-basin-threshold", "the sharp minimum disappears exactly at the threshold",
         "value", "==", 0.0, "", 0.0, 0, "0 above"),
        ("usam-saddle", "USAM converges to a strict saddle iff rho >= 1/|lambda|",
         "share", ">=", 0.9, "", 0.96, 0, "qualitative"),
        ("saddle-linear-rate", "near the saddle the unstable direction grows by a known factor per step",
         "value", "<=", 1e-05, "", 5e-06, 0, "exact"),
        ("accuracy-equal", "test accuracies are about equal", "mean", "==", 0.0, "pp", 0.12, 0.5, "about equal"),
        ("husam-best", "Hessian USAM ends flattest of all", "mean", "<", 0.0, "", 0.02, 0.3, "qualitative"),
        ("digits-order", "minibatch training keeps the order",
         None, ">", 3.0, "standard errors", 0, 0, "3.62 > 2.92"),
    ],
    "unified-sam": [
        ("endpoints", "lambda = 0 and 1 are USAM and SAM", "value", "<=", 1e-12, "", 0.0, 0, "exact"),
        ("hostile", HOSTILE, "mean", "<", 1.0, "<i>m/s</i>", 0.5, 0.1, HOSTILE),
        ("plateau", "the loss settles on the predicted plateau", "ratio", "in", [0.9, 1.1], "", 1.01, 0.03, "1"),
        ("rate", "the rate in T is -1", "mean", "==", -1.0, "", -1.02, 0.04, "-1"),
        ("importance", "importance sampling halves the plateau", "ratio", "<=", 0.6, "", 0.9, 0.05, "0.5"),
        ("nice", "large batches need a larger radius", "mean", ">", 0.0, "", 0.01, 0.2, ""),
        ("diverges", "large radius diverges", "median", ">=", 10.0, "", float("inf"), 0, "infinite"),
        ("smooth", "expected smoothness holds", "value", "<=", 1.0, "", 0.7, 0, ""),
        ("variance", "variance falls as 1/batch", "ratio", "in", [0.9, 1.1], "", 1.2, 0.1, ""),
        ("noise", "noise floor scales with rho squared", "mean", ">", 1.8, "", 2.0, 0.05, "2"),
        ("paper-scale", "ImageNet gains", None, ">", 0.0, "pp", 0, 0, "1.2 pp"),
    ],
}  # fmt: skip


def entries(paper: str, rho: float, seed: int = 0) -> list[dict]:
    """Claims of a paper as they stand in claims.json, from samples whose centre moves a little with rho."""
    found = {}
    for name, statement, statistic, relation, threshold, unit, centre, spread, value in STATEMENTS[paper]:
        # crc-like seed: the same claim gets the same noise in every job
        draw = np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()[:4]])
        margin = 0.3 if relation == "==" and statistic not in ("value", None) else None
        condition = Condition(
            quantity=f"{statement.splitlines()[0][:40]}, measured" if name != "hostile" else HOSTILE,
            unit=unit, statistic=statistic or "mean", relation=relation, threshold=threshold, margin=margin,
            tolerance=1e-3 if name.startswith("filter-never") else 0.0,
        )  # fmt: skip
        conditions = [condition]
        if name == "late-switch":
            conditions = [
                condition.model_copy(update={"name": "gain"}),
                condition.model_copy(
                    update={"name": "decreasing", "quantity": "gain lost per doubling", "threshold": 0.99}
                ),
            ]
        claim = Claim(id=name, statement=statement, source="Theorem 2" if statistic == "value" else "Fig. 6",
                      control_none="nothing can" if name == "endpoints" else "",
                      origin="corrected" if name.endswith("corrected") else "printed", paper=value,
                      printed="m-sharpness-predicts" if name.endswith("corrected") else None, condition=conditions)  # fmt: skip
        verdict = Verdict(claim)
        if statistic is not None:
            samples = {one.name: _samples(draw, statistic, centre, spread, rho) for one in conditions}
            verdict = verdict_of(claim, samples)
        found[name] = verdict
    members = sum(one.claim.random for one in found.values())
    return [record(one) for one in badges(found, members).values()]


def _samples(draw, statistic: str, centre: float, spread: float, rho: float) -> np.ndarray:
    n, shift = 20, 1.0 - 0.35 * np.log10(rho / 0.05)
    if statistic == "value":
        return np.array(centre)
    if statistic == "share":
        return draw.uniform(size=n) < centre
    if statistic in ("ratio", "median"):
        return centre ** (2 - shift if centre > 1 else 1.0) * shift * np.exp(spread * draw.standard_normal(n))
    return centre * shift + spread * draw.standard_normal(n)


def write_job(
    store: Path,
    paper: str,
    *,
    preset: str = "laptop",
    ended: str = "2026-03-01T08:00:00Z",
    error: dict | None = None,
    claims: list[dict] | None = None,
    notebook: dict | None = None,
    **parameters,
) -> Path:
    """Write one complete job folder and return it."""
    values = {**DEFAULTS, **parameters}
    key = hashlib.sha256(json.dumps([paper, preset, values, ended]).encode()).hexdigest()[:12]
    folder = store / paper / key
    folder.mkdir(parents=True)
    if error is None:
        claims = entries(paper, values["rho"]) if claims is None else claims
        verdicts = [claim["verdict"] for claim in claims]
        counts = {name: verdicts.count(name) for name in VERDICTS}
        content = {
            "paper": paper,
            "preset": preset,
            "parameters": values,
            "claims": claims,
            "summary": counts,
            "family": 9,
        }
        write_claims(folder / "claims.json", content)
    else:
        (folder / "stderr.txt").write_text("Traceback <most recent> call last\n")
    (folder / "notebook.ipynb").write_text(json.dumps(notebook or executed(paper)), encoding="utf-8")
    (folder / "notebook.html").write_text("<html></html>")
    origin = {
        "git": {"commit": "0123456789abcdef0123", "dirty": paper == "unified-sam"},
        "packages": {"python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6"},
        "machine": {"system": "Linux", "architecture": "x86_64", "cpu": "Some CPU @ 2.5 GHz", "cores": 2, "gpu": None},
        "finished": ended, "wall_seconds": 31.4, "cpu_seconds": 29.9,
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(origin))
    files = {p.name: [p.stat().st_size, hashlib.sha256(p.read_bytes()).hexdigest()] for p in folder.iterdir()}
    content = {
        "status": "failed" if error else "finished",
        "paper": paper,
        "preset": preset,
        "parameters": values,
        "key": key,
    }
    content |= {"format": 2, "hash": key, **({"error": error} if error else {}), "files": files}
    write_record(folder / "job.json", content)
    return folder


def executed(paper: str) -> dict:
    """An executed notebook with two figures under one heading and one under another."""

    def markdown(text):
        return {"cell_type": "markdown", "metadata": {}, "source": text.splitlines(keepends=True)}

    def code(*pictures):
        outputs = [{"output_type": "display_data", "metadata": {}, "data": {"image/png": p}} for p in pictures]
        return {"cell_type": "code", "metadata": {}, "source": [], "execution_count": 1, "outputs": outputs}

    first = r"Test loss against $\rho$" if paper != "unified-sam" else '</figcaption><img src=x onerror="alert(1)">'
    cells = [
        markdown(f"# {paper}\n\ntext\n\n## {first}\n\nwords"),
        code(picture(0), picture(1)),
        markdown("### *Spectra*"),
        code(picture(2)),
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


_PICTURES: dict[int, str] = {}


def picture(kind: int) -> str:
    """A figure as base64 PNG, with the line break at the end that notebooks have."""
    if kind not in _PICTURES:
        draw = np.random.default_rng(kind)
        with matplotlib.rc_context():
            figures.use_style()
            fig, ax = plt.subplots()
            if kind == 2:
                spectra = [draw.exponential(0.5, 60) for _ in range(3)]
                figures.spectrum_strip(ax, spectra, ["GD", "USAM", "two-step USAM"], band=[(0.0, 2.5)])
            else:
                for k, name in enumerate(["GD", "1-SAM"]):
                    samples = np.exp(-np.arange(40) * (0.05 + 0.05 * k) + 0.3 * draw.standard_normal((8, 40)))
                    figures.band(ax, range(40), samples, name, log=True, xlabel="step", ylabel="test loss")
                ax.legend()
            buffer = io.BytesIO()
            fig.savefig(buffer, format="png")
            plt.close(fig)
        _PICTURES[kind] = base64.b64encode(buffer.getvalue()).decode() + "\n"
    return _PICTURES[kind]


CARD = """
[paper]
slug = "{slug}"
title = "{title}"
authors = ["A. Author", "B. Author"]
year = 2022
venue = "ICML"
arxiv = "2206.06232"
theme = "SAM family"
question = "Why does stepping uphill first generalise better?"
[parameters.rho]
type = "float"
default = 0.05
meaning = "radius"
[parameters.n_seeds]
type = "int"
default = 20
meaning = "number of runs"
[parameters.optimizers]
type = "list[str]"
default = ["gd", "sam"]
meaning = "rules"
[[claim]]
id = "one-sam-beats-gd"
statement = "s"
source = "Fig. 1"
origin = "printed"
seeds = "n_seeds"
[[claim.control]]
name = "no-radius"
set.rho = 0.0
[[claim.condition]]
quantity = "q"
statistic = "mean"
relation = "<"
threshold = 0
"""


def write_cards(folder: Path) -> Path:
    """Cards of two of the three papers, and of one that was never run."""
    titles = {
        "understanding-sam": "Towards Understanding Sharpness-Aware Minimization",
        "eigenvalue-filtering": "Convergence of optimizers implies eigenvalues filtering at equilibrium",
        "swad": "SWAD: Domain Generalization by Seeking Flat Minima",
    }
    for slug, title in titles.items():
        (folder / slug).mkdir(parents=True)
        (folder / slug / "paper.toml").write_text(CARD.format(slug=slug, title=title))
    return folder


def write_store(store: Path) -> Path:
    """The whole store."""
    for day, rho in enumerate((0.02, 0.05, 0.1, 0.2, 0.5)):
        write_job(store, "understanding-sam", rho=rho, ended=f"2026-03-0{day + 2}T08:00:00Z")
    write_job(store, "understanding-sam", preset="smoke", n_seeds=6, ended="2026-03-09T08:00:00Z")
    write_job(store, "eigenvalue-filtering")
    write_job(store, "unified-sam", note=HOSTILE)
    traceback = (
        "ZeroDivisionError                         Traceback (most recent call last)\n----> 1 1 / 0  # <script>\n"
    )
    error = {"kind": "raised", "message": "ZeroDivisionError: division by <zero>", "cell": 3, "traceback": traceback}
    write_job(store, "eigenvalue-filtering", error=error, rho=0.9, ended="2026-03-08T09:00:00Z")
    half = store / "unified-sam" / "abcdefabcdef"
    half.mkdir()
    (half / "claims.json").write_text('{"claims": [')
    (store / ".work").mkdir()
    return store
