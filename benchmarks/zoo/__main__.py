"""Write docs/zoo.md: the table of modules and curvature functions."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from .animals import ANIMALS
from .functions import Finding, examine

PAGE = Path(__file__).parents[2] / "docs" / "zoo.md"

GROUPS = {
    "second derivatives": (
        *("hessian_vector_product", "hessian", "any loss", "MinibatchLoss", "spectrum", "top_eigenpairs", "sharpness"),
        *("trace", "frobenius_norm", "diagonal", "spectral_density", "quadratic_worst_case"),
    ),
    "Gauss-Newton": ("gauss_newton", "fisher", "decomposition", "outlier_structure"),
    "samples": (
        *("per_sample_gradients", "per_sample_gradient_norms", "gradient_covariance", "gradient_covariance_spectrum"),
        *("gradient_signal_to_noise", "empirical_fisher", "m_sharpness"),
    ),
    "values, ascents": ("worst_case", "average_case"),
    "update_jacobian": ("update_jacobian",),
}

TEXT = """# Which modules are right

Every public curvature function on small modules of many kinds, in double and in single precision, compared with an
independent computation: central differences in float64 of plain gradients of the module's own parameters, loops over samples,
ascents written out. A number is the largest relative error of the column's functions, float64 / float32. A word is a refusal:
the function raises a `ValueError` that names the cause, the layer where it can be found, and a remedy. After all calls every
parameter, buffer and attribute of the module is the object that it was.

Columns: {columns}.

{table}

The refusals, in their words:

{refusals}

`python -m benchmarks.zoo` wrote this page (torch {torch}, Python {python}, {machine}); a short version runs with the tests.
Attention runs as it is: its fused kernels have no second derivative, so the mathematical one is chosen inside the calls.
Batch normalisation and dropout in training mode, random losses and losses that drift from call to call are refused
everywhere, and second derivatives of losses whose gradient is not the derivative of their values (detached parts, hooks that
change gradients). Where the gradient is exactly zero, as in the padding row of an embedding, the loss counts as constant.

Tiny models of transformers (GPT-2, BERT, ViT, Llama), peft (LoRA, DoRA), x-transformers, torch_geometric, torchdiffeq and
gpytorch are tried by `tests/curvature/test_packages.py` where `pip install '.[bench]'` has brought them.
"""


def main() -> None:
    rows, refusals, wrong = [], {}, []
    for name, animal in ANIMALS.items():
        single, double = examine(animal, torch.float32), examine(animal, torch.float64)
        wrong += [f"{name}: {finding}" for finding in (*single, *double) if not finding.right]
        cells = [_cell(columns, single, double) for columns in GROUPS.values()]
        rows.append("| " + " | ".join([name, *cells]) + " |")
        for finding in double:
            if finding.words:
                refusals.setdefault((name, finding.words), []).append(finding.function)
    head = "| module | " + " | ".join(GROUPS) + " |\n|" + " --- |" * (len(GROUPS) + 1)
    columns = "; ".join(f"*{name}* is {', '.join(f'`{part}`' for part in parts)}" for name, parts in GROUPS.items())
    words = [
        f"- **{name}**, {', '.join(f'`{part}`' for part in sorted(parts))}: {text}"
        for (name, text), parts in refusals.items()
    ]
    page = TEXT.format(
        columns=columns,
        table="\n".join([head, *rows]),
        refusals="\n".join(words),
        torch=torch.__version__,
        python=platform.python_version(),
        machine=platform.machine(),
    )
    if wrong:
        raise SystemExit("\n".join(["Not right:", *wrong]))
    PAGE.write_text(page)


def _cell(columns: tuple[str, ...], single: list[Finding], double: list[Finding]) -> str:
    errors = []
    for findings in (double, single):
        found = [entry.error for entry in findings if entry.function in columns and entry.error is not None]
        errors.append(f"{max(found):.0e}" if found else "")
    refused = [entry.function for entry in double if entry.function in columns and entry.words]
    parts = [" / ".join(errors)] if any(errors) else []
    if refused:
        parts.append("refused" if not any(errors) else f"{', '.join(f'`{name}`' for name in refused)} refused")
    return "; ".join(parts)


if __name__ == "__main__":
    main()
