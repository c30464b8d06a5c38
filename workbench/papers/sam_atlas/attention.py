"""One pre-norm attention block on the rows of an image."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class AttentionBlock(nn.Module):
    """Rows [sample, row, pixel] embedded in `width` with learned positions, one block x + attention(norm x), x + mlp(norm x), a
    norm, the mean over rows, and a linear map to the classes.
    """

    def __init__(self, rows: int = 8, pixels: int = 8, width: int = 16, heads: int = 2, inner: int = 32) -> None:
        super().__init__()
        self._heads = heads
        self.embed = nn.Linear(pixels, width)
        self.position = nn.Embedding(rows, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attend, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Float[Tensor, "sample row pixel"]) -> Float[Tensor, "sample class"]:
        hidden = self.embed(images) + self.position.weight
        hidden = hidden + self._attention(self.norm1(hidden))
        hidden = hidden + self.narrow(self.widen(self.norm2(hidden)).tanh())
        return self.head(self.norm3(hidden).mean(1))

    def _attention(self, hidden: Float[Tensor, "sample row width"]) -> Float[Tensor, "sample row width"]:
        samples, rows, width = hidden.shape
        parts = self.attend(hidden).reshape(samples, rows, 3, self._heads, width // self._heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        weights = (query @ key.mT / (width // self._heads) ** 0.5).softmax(-1)
        return self.project((weights @ value).transpose(1, 2).reshape(samples, rows, width))
