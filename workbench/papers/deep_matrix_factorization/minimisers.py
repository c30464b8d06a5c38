"""Zero-loss minimisers of deep linear networks: generic ones, flat ones, and the same one at another gauge."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from workbench import draws
from workbench.checks import require_nonnegative
from workbench.problems.factorised.deep_linear import Layers, end_to_end, partial_products


def random_minimiser(
    M: Float[Tensor, "out in"],
    widths: Sequence[int],
    layer: int,
    *,
    spread: float = 0.3,
    null_scale: float = 0.5,
    seed: int = 0,
) -> list[Float[Tensor, "out in"]]:
    """All layers N(0, 1/fan-in) times e^(spread N(0,1)); then layer number `layer` (from 0) solves W_L ... W_1 = M.

    W_j = A_j^+ M B_j^+ + Z - A_j^+ A_j Z B_j B_j^+ with Z = null_scale N(0, 1): a generic solution.

    Raises:
        ValueError: where a hidden width is below max(d_0, d_L), so that the equation need not have a solution; for no hidden
            layer, a layer that does not exist, or a negative spread or null_scale.
    """
    _refuse_no_hidden_layer(widths)
    require_nonnegative("spread", spread)
    require_nonnegative("null_scale", null_scale)
    if not 0 <= layer <= len(widths):
        raise ValueError(f"layer must be in 0 ... {len(widths)} at depth {len(widths) + 1}, got {layer!r}")
    out, into = M.shape
    if min(widths) < max(out, into):
        raise ValueError(
            f"widths must be >= max(d_0, d_L) = {max(out, into)} for a random minimiser, got {list(widths)}: "
            "a narrower layer may leave no exact solution"
        )
    sizes = (into, *widths, out)
    layers = []
    for i in range(len(sizes) - 1):
        entries = draws.normal(seed, (sizes[i + 1], sizes[i]), stream=f"layer {i}")
        scale = torch.exp(spread * draws.normal(seed, (), stream=f"scale {i}"))
        layers.append(scale / math.sqrt(sizes[i]) * entries)
    after, before = partial_products(layers)
    a, b = after[layer], before[layer]
    free = null_scale * draws.normal(seed, (sizes[layer + 1], sizes[layer]), stream="null space")
    left, right = torch.linalg.pinv(a), torch.linalg.pinv(b)
    layers[layer] = left @ M @ right + free - left @ a @ free @ b @ right
    return layers


def flat_minimiser(
    M: Float[Tensor, "out in"],
    widths: Sequence[int],
    *,
    seed: int = 0,
    split: str = "random",
    top_split: float = 0.0,
) -> list[Float[Tensor, "out in"]]:
    """A minimiser of least sharpness 2 L |M|^(2 - 2/L), of generic Frobenius norms.

    With M = U diag(s) V^T layer i is Q_i diag(parts_i) Q_{i-1}^T, Q_0 = V, Q_L = U, hidden Q_i random orthonormal; the top
    singular value is split equally, parts_{i,1} = s_1^(1/L), the others as parts_{i,j} = s_1^(1/L) (s_j/s_1)^D_ij with
    D_.j uniform on the simplex over the layers (`split="equal"`: D = 1/L, which balances Frobenius norms too).
    `top_split` unbalances the top value: parts_{1,1} times e^top_split, parts_{L,1} divided by it (no longer flat).

    Raises:
        ValueError: where a hidden width is below the rank of M, or the split is unknown.
    """
    if split not in ("random", "equal"):
        raise ValueError(f'split must be "random" or "equal", got {split!r}')
    _refuse_no_hidden_layer(widths)
    left, values, right = torch.linalg.svd(M, full_matrices=False)
    rank = int((values > 1e-12 * values[0]).sum())
    if min(widths) < rank:
        raise ValueError(f"widths must be >= the rank {rank} of the target, got {list(widths)}")
    depth, top = len(widths) + 1, values[0]
    gamma = -torch.log1p(-draws.uniform(seed, (depth, rank), stream="split"))
    shares = gamma / gamma.sum(0) if split == "random" else torch.full_like(gamma, 1 / depth)
    parts = top ** (1 / depth) * (values[:rank] / top) ** shares
    parts[0, :1] *= math.exp(top_split)
    parts[-1, :1] *= math.exp(-top_split)
    frames = [right[:rank].mT]
    for i, width in enumerate(widths):
        frames.append(torch.linalg.qr(draws.normal(seed, (width, rank), stream=f"frame {i}"))[0])
    frames.append(left[:, :rank])
    return [(frames[i + 1] * parts[i]) @ frames[i].mT for i in range(depth)]


def gauge_transform(layers: Layers, g: float) -> list[Tensor]:
    """W_2 -> g W_2, W_1 -> W_1/g: the same end-to-end matrix, another sharpness."""
    return [layers[0] / g, layers[1] * g, *layers[2:]]


def misaligned_pair(k: float, misalignment: float = 1.0) -> tuple[list[Tensor], Tensor]:
    """W_2 = [1, k, 0], W_1 = [1, 0, k]^T with M = 1: equal spectral norms, excess sharpness lambda_max/(4 |M|) - 1 = k^2.

    `misalignment` scales the parts that do not meet (0: the flat minimum).
    """
    off = k * misalignment
    first = torch.tensor([[1.0], [0.0], [off]], dtype=torch.float64)
    second = torch.tensor([[1.0, off, 0.0]], dtype=torch.float64)
    return [first, second], torch.ones(1, 1, dtype=torch.float64)


def unbalanced_flat_triple(a: float = 1.1) -> tuple[list[Tensor], Tensor]:
    """W_3 = diag(1, .8), W_2 = diag(1, a/.8), W_1 = diag(1, .2/a): flat for a = 1.1 though |A_i| |B_i| are 1.1, 1, 1."""
    diagonals = [(1.0, 0.2 / a), (1.0, a / 0.8), (1.0, 0.8)]
    layers = [torch.diag(torch.tensor(one, dtype=torch.float64)) for one in diagonals]
    return layers, end_to_end(layers)


def _refuse_no_hidden_layer(widths: Sequence[int]) -> None:
    if not len(widths):
        raise ValueError("widths must name at least one hidden layer, got none: at depth 1 there is one minimiser")
