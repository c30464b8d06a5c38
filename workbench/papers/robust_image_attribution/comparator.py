"""The second model: was this query edited? Standard and robust comparators of digits, attacked (arXiv:2202.12860)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from workbench import draws
from workbench.checks import require_count
from workbench.optimizers.torch.batch_norm import recompute_batch_norm
from workbench.papers.robust_image_attribution import digits, pictures
from workbench.papers.robust_image_attribution.contrastive import Arm, Objective, Parameters, Values, train
from workbench.papers.robust_image_attribution.pictures import Benign, Images
from workbench.problems import attacks
from workbench.problems.networks.batch_norm import batch_norm_cnn, initialise

SIDE_OF_EDIT = 3


@dataclass(frozen=True)
class Setting:
    """Two convolutions on query and original stacked as channels; 1200 pairs to learn from, 597 to be judged on."""

    epochs: int = 40
    batch_size: int = 200
    step_size: float = 0.1
    weight_decay: float = 5e-4
    n_train: int = 1200
    benign: Benign = field(default_factory=Benign)

    def __post_init__(self) -> None:
        require_count("epochs", self.epochs)
        require_count("n_train", self.n_train, 2, digits.IMAGES - 1)
        require_count("batch_size", self.batch_size, 2, self.n_train)


class Pairs(NamedTuple):
    """Queries, their originals, and 1 where the query was edited."""

    queries: Images
    originals: Images
    edited: Float[Tensor, " sample"]


def pairs(originals: Images, benign: Benign, seed: int, stream: str, counter: int = 0) -> Pairs:
    """Every second query with a 3 x 3 square of the next image, then all changed benignly."""
    label = (torch.arange(len(originals)) % 2).to(originals.dtype)
    pasted = pictures.edited(originals, originals.roll(-1, 0), SIDE_OF_EDIT, seed, f"{stream} edit", counter)
    chosen = torch.where(label[:, None, None, None] > 0, pasted, originals)
    return Pairs(benign.apply(chosen, seed, f"{stream} change", counter), originals, label)


def split(seed: int, setting: Setting) -> tuple[Images, Images]:
    """Digits to learn from and to be judged on."""
    order = draws.permutation(seed, digits.IMAGES, stream="comparator split")
    return digits.digits()[order[: setting.n_train]], digits.digits()[order[setting.n_train :]]


def comparator(arm: Arm, seed: int, setting: Setting = Setting()) -> nn.Module:
    """A network whose one output is the logit of "edited", trained by binary cross entropy on the arm's worst queries."""
    learnt = split(seed, setting)[0]
    net = initialise(batch_norm_cnn(1, 2, (16, 32), (1, 2), head="flatten", size=8), seed).train()
    parameters = {name: value.detach() for name, value in net.named_parameters()}
    per_epoch = setting.n_train // setting.batch_size

    def loss(parameters: Parameters, queries: Tensor, others: Tensor) -> Tensor:
        originals, edited = others[:, :1], others[:, 1, 0, 0]
        outputs = torch.func.functional_call(net, parameters, (torch.cat([queries, originals], 1),))
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], edited, reduction="none")

    def attacked(parameters: Parameters, others: Tensor) -> Values:
        return lambda queries: loss(parameters, queries, others)

    def batches():
        for update in range(setting.epochs * per_epoch):
            epoch, k = divmod(update, per_epoch)
            order = draws.permutation(seed, len(learnt), stream="comparator minibatches", counter=epoch)
            some = learnt[order[k * setting.batch_size : (k + 1) * setting.batch_size]]
            made = pairs(some, setting.benign, seed, "comparator", update)
            label = made.edited[:, None, None, None].expand_as(made.originals)
            start = draws.uniform(
                seed, tuple(some.shape), low=-1.0, stream="comparator start", counter=update, dtype=torch.float32
            )
            yield made.queries, torch.cat([made.originals, label], 1), start

    train(
        arm, Objective(attacked, loss), parameters, batches(), setting.epochs * per_epoch,
        step_size=setting.step_size, weight_decay=setting.weight_decay,
    )  # fmt: skip
    with torch.no_grad():
        made = pairs(learnt, setting.benign, seed, "comparator statistics")
        recompute_batch_norm(net, torch.cat([made.queries, made.originals], 1).split(400))
    return net.eval().requires_grad_(False)


def accuracies(
    arm: Arm, seeds: Sequence[int], radii: Sequence[float], steps: int = 20, setting: Setting = Setting()
) -> xr.Dataset:
    """Accuracy in percent under PGD and under random signs, dims (seed, radius), and the mean P(edited) of edited queries."""
    rows = [_accuracies(comparator(arm, seed, setting), seed, radii, steps, setting) for seed in seeds]
    values = np.array(rows)
    names = ("attacked", "signs", "probability")
    variables = {name: (("seed", "radius"), values[:, k], {"units": "%"}) for k, name in enumerate(names)}
    return xr.Dataset(variables, {"seed": list(seeds), "radius": list(radii)})


def _accuracies(net: nn.Module, seed: int, radii: Sequence[float], steps: int, setting: Setting) -> list[list[float]]:
    made = pairs(split(seed, setting)[1], setting.benign, seed, "comparator test")
    truth = made.edited > 0

    def logits(queries: Tensor) -> Tensor:
        return net(torch.cat([queries, made.originals], 1))[:, 0]

    loss: Callable[[Tensor], Tensor] = lambda queries: functional.binary_cross_entropy_with_logits(  # noqa: E731
        logits(queries), made.edited, reduction="none"
    )
    corners = draws.signs(seed, tuple(made.queries.shape), stream="comparator signs", dtype=torch.float32)
    rows: list[list[float]] = [[], [], []]
    for radius in radii:
        worst = attacks.pgd(loss, made.queries, radius, "linf", steps=steps).inputs if radius else made.queries
        blind = (made.queries + radius * corners).clamp(0, 1)
        with torch.no_grad():
            rows[0].append(100 * float(((logits(worst) > 0) == truth).double().mean()))
            rows[1].append(100 * float(((logits(blind) > 0) == truth).double().mean()))
            rows[2].append(100 * float(torch.sigmoid(logits(worst))[truth].double().mean()))
    return rows
