"""How often 95 % intervals hold: density, trace, Frobenius norm, diagonal, on networks' spectra and on those of known form."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

import workbench as wb
from workbench.curvature import Estimate

SEEDS = 200
PROBES, STEPS = 8, 80
PRODUCTS = (8, 16, 32)
_FORM = 300


def rows() -> list[dict[str, object]]:
    """A row an estimate and a spectrum: coverage, its binomial standard error, and how wide the interval is."""
    hessians = networks()
    spectra = {name: torch.linalg.eigvalsh(hessian) for name, hessian in hessians.items()}
    matrices = hessians | forms()
    return [
        *_density(spectra),
        *_numbers("trace", wb.curvature.trace, torch.trace, matrices),
        *_numbers("Frobenius norm", wb.curvature.frobenius_norm, torch.linalg.matrix_norm, matrices),
        *_numbers("diagonal, mean over its entries", wb.curvature.diagonal, torch.diagonal, matrices),
    ]


class Encoder(nn.Module):
    """A transformer layer over the rows of a digit."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 12), nn.Linear(12, 10)
        self.layer = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images [sample, 1, 8, 8]."""
        return self.head(self.layer(self.embed(images[:, 0])).mean(1))


def networks() -> dict[str, Tensor]:
    """Hessians of five small networks on 500 digits, one of them untrained."""
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images / 16).reshape(-1, 1, 8, 8)[:500], torch.tensor(labels)[:500]
    torch.manual_seed(0)
    convolutions = [
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 12, 3, padding=1),
        nn.ReLU(),
    ]
    pooled = [nn.AvgPool2d(2), nn.Flatten()]
    deep = [nn.Linear(16, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 10)]
    kinds: dict[str, tuple[nn.Module, float, int]] = {
        "MLP": (nn.Sequential(*pooled, nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 10)), 0.3, 200),
        "untrained MLP": (nn.Sequential(*pooled, nn.Linear(16, 40), nn.ReLU(), nn.Linear(40, 10)), 0.3, 0),
        "deep tanh MLP": (nn.Sequential(*pooled, *deep), 0.3, 600),
        "CNN": (nn.Sequential(*convolutions, nn.MaxPool2d(4), nn.Flatten(), nn.Linear(12, 10)), 0.05, 200),
        "transformer": (Encoder(), 0.05, 200),
    }
    found = {}
    for name, (model, step_size, steps) in kinds.items():
        optimizer = torch.optim.SGD(model.double().parameters(), lr=step_size, momentum=0.9)
        for _ in range(steps):
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
        loss = wb.curvature.empirical_loss(model.eval(), functional.cross_entropy, inputs, targets)
        hessian = wb.curvature.hessian(loss, loss.parameters())
        found[f"{name} ({len(hessian):,})"] = hessian
    return found


def forms() -> dict[str, Tensor]:
    """Matrices with spectra of known form, in a random basis but for the last."""
    shapes = {
        "1/k": 1 / np.arange(1, _FORM + 1),
        "flat on [-1, 1.6]": np.linspace(-1, 1.6, _FORM),
        "exp(-k/10)": np.exp(-np.arange(_FORM) / 10),
        "three outliers and a bulk": np.array([50, 20, -10, *np.linspace(-0.1, 1, _FORM - 3)]),
        "one outlier, all others equal": np.array([100, *np.full(_FORM - 1, 0.01)]),
    }
    normal = torch.randn(_FORM, _FORM, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.linalg.qr(normal)[0]
    turned = {f"{name} ({_FORM})": (basis * torch.as_tensor(values)) @ basis.mT for name, values in shapes.items()}
    return turned | {f"1/k, diagonal ({_FORM})": torch.diag(torch.as_tensor(shapes["1/k"]))}


def _density(spectra: dict[str, Tensor]) -> list[dict[str, object]]:
    """Gaussian probes see no basis: the networks' eigenvalues on a diagonal have the same distribution, at less cost."""
    what, table, pooled = f"density, all points at once, {PROBES} probes x {STEPS} steps", [], []
    for name, values in spectra.items():
        held, areas = [], []
        for seed in range(SEEDS):
            origin = torch.zeros_like(values)
            found = wb.curvature.spectral_density(
                lambda w, values=values: 0.5 * (values * w * w).sum(), origin, probes=PROBES, steps=STEPS, seed=seed
            )
            truth = torch.exp(-0.5 * ((found.grid[:, None] - values) / found.width) ** 2).mean(1)
            truth = truth / (found.width * (2 * torch.pi) ** 0.5)
            rounding = 1e-12 * truth.max()
            held.append(bool(((found.band[:, 0] - rounding <= truth) & (truth <= found.band[:, 1] + rounding)).all()))
            areas.append(float(torch.trapezoid(found.band[:, 1] - found.band[:, 0], found.grid)) / 2)
        pooled += held
        table.append(_row(what, name, held, f"area of the half width {np.median(areas):.3f}"))
    return [*table, _row(what, "pooled", pooled, "")]


def _numbers(
    what: str, estimate: Callable[..., Estimate], exact: Callable[[Tensor], Tensor], matrices: dict[str, Tensor]
) -> list[dict[str, object]]:
    table = []
    for products in PRODUCTS:
        for name, matrix in matrices.items():
            origin, truth = torch.zeros(len(matrix), dtype=matrix.dtype), exact(matrix)

            def one(
                seed: Tensor, matrix: Tensor = matrix, origin: Tensor = origin, products: int = products
            ) -> Estimate:
                return estimate(lambda w: 0.5 * w @ matrix @ w, origin, products=products, seed=seed)

            value, error, interval = torch.func.vmap(one, chunk_size=25)(torch.arange(SEEDS))
            rounding = 1e-12 * matrix.norm()
            held = (interval[..., 0] - rounding <= truth) & (truth <= interval[..., 1] + rounding)
            actual, stated = (value - truth).square().mean().sqrt(), error.square().mean(-1).sqrt().median()
            note = f"root mean square error {float(actual / truth.square().mean().sqrt()):.2g}, stated"
            note += f" {float(stated / truth.square().mean().sqrt()):.2g} (median)"
            shares = held.double().reshape(SEEDS, -1).mean(1)
            table.append(_row(f"{what}, {products} products", name, shares.tolist(), note))
    return table


def _row(what: str, spectrum: str, held: list, note: str) -> dict[str, object]:
    shares = np.asarray(held, dtype=float)
    return {
        "interval": what,
        "spectrum (size)": spectrum,
        "coverage of 95 %": f"{shares.mean():.3f}",
        "its standard error": f"{shares.std(ddof=1) / len(shares) ** 0.5:.3f}",
        "seeds": len(shares),
        "note": note,
    }
