"""Each operation's rule, and compositions of them, against double backward in double precision."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from workbench.curvature.model import plain_kernels
from workbench.curvature.recorded import Recorded
from workbench.curvature.recorded.rules import General


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weighed(values):
    """A curved function of all entries, each with its own weight: no symmetry hides a wrong one."""
    weights = torch.linspace(0.5, 1.5, values.numel(), dtype=values.dtype).reshape(values.shape)
    return (weights * values * (1 + 0.3 * values)).sum()


def by_double_backward(loss, leaves, vector):
    gradients = torch.autograd.grad(loss(leaves), leaves, create_graph=True)
    flat = torch.cat([entry.reshape(-1) for entry in gradients])
    products = torch.autograd.grad(flat, leaves, vector, allow_unused=True)
    filled = [torch.zeros_like(leaf) if p is None else p for leaf, p in zip(leaves, products, strict=True)]
    return flat.detach(), torch.cat([entry.reshape(-1) for entry in filled])


def compare(loss, points):
    """Gradient and products along all leaves and along one leaf alone, whose zeros elsewhere are skipped."""
    leaves = [point.clone().requires_grad_() for point in points]
    sizes = [leaf.numel() for leaf in leaves]
    whole = normal(sum(sizes), seed=9)
    parts = [
        torch.cat([one * (at == number) for at, one in enumerate(whole.split(sizes))]) for number in range(len(sizes))
    ]
    with plain_kernels():
        recorded = Recorded(loss, leaves)
        pairs = [(vector, *by_double_backward(loss, leaves, vector)) for vector in (whole, *parts, whole)]
    for vector, gradient, product in pairs:
        found = recorded.product(vector)
        assert (found - product).abs().max() <= 1e-12 * product.abs().max()
        assert (recorded.gradient - gradient).abs().max() <= 1e-12 * gradient.abs().max()
    assert not recorded.product(torch.zeros_like(whole)).any()
    return recorded


MASK = normal(3, 4) > 0
INDEX = torch.tensor([[0, 2, 1], [1, 1, 0]])
CONSTANT = normal(3, 4, seed=5)
OF_A_MATRIX = {
    "relu": torch.relu,
    "leaky relu": lambda x: functional.leaky_relu(x, 0.1),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "gelu, tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "softplus": functional.softplus,
    "elu": functional.elu,
    "exp": torch.exp,
    "log": lambda x: torch.log(x.square() + 1),
    "power": lambda x: x**3,
    "root": lambda x: (x.square() + 1).sqrt(),
    "reciprocal root": lambda x: torch.rsqrt(x.square() + 1),
    "clamped": lambda x: x.clamp(-0.5, 0.7),
    "sin": torch.sin,
    "erf": torch.erf,
    "softmax": lambda x: torch.softmax(x, -1),
    "softmax over columns": lambda x: torch.softmax(x, 0),
    "log softmax": lambda x: torch.log_softmax(x, -1),
    "layer norm": lambda x: functional.layer_norm(x, (4,)),
    "layer norm over all": lambda x: functional.layer_norm(x, (3, 4)),
    "sum": lambda x: x.sum(0),
    "mean of rows": lambda x: x.mean(-1),
    "mean of columns, kept": lambda x: x.mean(0, keepdim=True),
    "cumulative sum": lambda x: x.cumsum(1),
    "transposed": lambda x: x.t() * CONSTANT.t(),
    "permuted view": lambda x: x.reshape(3, 2, 2).permute(2, 0, 1).reshape(2, 6),
    "expanded": lambda x: x[:, None].expand(3, 5, 4),
    "parts": lambda x: torch.cat([x[:1] * x[1:2], x[:, 1:3].sum(0)[None].repeat(1, 2)]),
    "split": lambda x: torch.mul(*x.split(2, 1)),
    "stacked with a constant": lambda x: torch.stack([x, CONSTANT]),
    "rolled": lambda x: x.roll(1, 0) * x,
    "where": lambda x: torch.where(MASK, x, CONSTANT),
    "masked": lambda x: x.masked_fill(MASK, -2.0),
    "gathered": lambda x: x.gather(1, INDEX),
    "less a constant": lambda x: 2.0 - (CONSTANT - x) / 3,
    "with itself": lambda x: x + x * x - x.t().t(),
    "divided": lambda x: CONSTANT / (x.square() + 1),
    "padded": lambda x: functional.pad(x, (1, 2), value=0.4),
    "variance": lambda x: x.var(0),
    "largest": lambda x: x.amax(1),
    "norm": lambda x: x.norm(dim=1),
    "in place": lambda x: (x.sin() + 1).mul_(CONSTANT).tanh_(),
}


@pytest.mark.parametrize("name", OF_A_MATRIX)
def test_operations_of_a_matrix(name):
    compare(lambda leaves: weighed(OF_A_MATRIX[name](leaves[0])), [normal(3, 4)])


OF_TWO = {
    "sum, broadcast": (lambda a, b: torch.add(a, b, alpha=-0.5), (3, 4), (4,)),
    "difference": (lambda a, b: a - b, (3, 1), (3, 4)),
    "product": (lambda a, b: a * b, (3, 4), (3, 4)),
    "product, broadcast": (lambda a, b: a * b, (3, 4), (3, 1)),
    "quotient": (lambda a, b: a / (b.square() + 1), (3, 4), (4,)),
    "matrices": (lambda a, b: a @ b, (3, 4), (4, 2)),
    "matrix and vector": (lambda a, b: a @ b, (3, 4), (4,)),
    "batches of matrices": (lambda a, b: a @ b, (2, 3, 4), (2, 4, 3)),
    "einsum": (lambda a, b: torch.einsum("bij,bkj->bik", a, b), (2, 3, 4), (2, 5, 4)),
    "powers": (lambda a, b: (a.square() + 1) ** b, (3, 4), (3, 4)),
    "larger ones": (torch.maximum, (3, 4), (3, 4)),
    "outer, of the same": (lambda a, b: (a @ a.t()) @ b, (3, 4), (3, 2)),
}


@pytest.mark.parametrize("name", OF_TWO)
def test_operations_of_two(name):
    operation, first, second = OF_TWO[name]
    compare(lambda leaves: weighed(operation(*leaves)), [normal(*first), normal(*second, seed=1)])
    # Either may be constant.
    compare(lambda leaves: weighed(operation(leaves[0], normal(*second, seed=1))), [normal(*first)])
    if "same" not in name:
        compare(lambda leaves: weighed(operation(normal(*first), leaves[0])), [normal(*second, seed=1)])


CONVOLUTIONS = {
    "plain": {"padding": 1},
    "strided": {"stride": 2, "padding": 1},
    "dilated": {"dilation": 2},
    "in groups": {"groups": 2},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions(name, bias):
    settings = CONVOLUTIONS[name]
    weight = normal(6, 4 // settings.get("groups", 1), 3, 3, seed=1)
    points = [normal(2, 4, 7, 7), weight, *([normal(6, seed=2)] if bias else [])]
    recorded = compare(lambda leaves: weighed(functional.conv2d(*leaves, **settings)), points)
    assert not any(isinstance(step.rule, General) for step in recorded.steps[:1])


def test_convolutions_of_other_kinds():
    compare(lambda p: weighed(functional.conv1d(*p, padding=1)), [normal(2, 3, 5), normal(4, 3, 3, seed=1)])
    compare(lambda p: weighed(functional.conv2d(*p, stride=(2, 3))), [normal(2, 3, 7, 7), normal(4, 3, 1, 1, seed=1)])
    transposed = [normal(2, 3, 4, 4), normal(3, 2, 3, 3, seed=1), normal(2, seed=2)]
    compare(lambda p: weighed(functional.conv_transpose2d(*p, stride=2)), transposed)


POOLS = {
    "max": lambda x: functional.max_pool2d(x, 2),
    "average": lambda x: functional.avg_pool2d(x, 3, 2, 1),
    "adaptive": lambda x: functional.adaptive_avg_pool2d(x, 2),
    "global": lambda x: x.mean((2, 3)),
    "upsampled": lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear"),
}


@pytest.mark.parametrize("name", POOLS)
def test_pooling(name):
    compare(lambda leaves: weighed(POOLS[name](leaves[0])), [normal(2, 3, 6, 6)])


LOSSES = {
    "cross entropy": lambda x, t: functional.cross_entropy(x, t),
    "class weights": lambda x, t: functional.cross_entropy(x, t, torch.tensor([1.0, 2.0, 0.5], dtype=x.dtype)),
    "label smoothing": lambda x, t: functional.cross_entropy(x, t, label_smoothing=0.1),
    "ignored targets": lambda x, t: functional.cross_entropy(x, torch.where(t == 1, -100, t)),
    "squares": lambda x, t: functional.mse_loss(x, functional.one_hot(t, 3).to(x.dtype)),
    "absolute": lambda x, t: functional.l1_loss(x.tanh(), functional.one_hot(t, 3).to(x.dtype)),
    "smooth": lambda x, t: functional.smooth_l1_loss(x, functional.one_hot(t, 3).to(x.dtype)),
    "logistic": lambda x, t: functional.binary_cross_entropy_with_logits(x, functional.one_hot(t, 3).to(x.dtype)),
    "multi-margin": lambda x, t: functional.soft_margin_loss(x, 2.0 * functional.one_hot(t, 3).to(x.dtype) - 1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    targets = torch.tensor([0, 2, 1, 1, 0])
    compare(lambda leaves: LOSSES[name](leaves[0] * (1 + leaves[0]), targets), [normal(5, 3)])


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.second, self.again = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.skip, self.head = nn.Conv2d(3, 3, 1, 2), nn.Linear(3, 2)

    def forward(self, images):
        hidden = torch.relu(self.norm(self.first(images)))
        return self.head(torch.relu(self.skip(hidden) + self.again(self.second(hidden))[..., ::2, ::2]).mean((2, 3)))


class Attentive(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(6, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, 0.0, "gelu", batch_first=True)
        self.head = nn.Linear(4, 6)
        self.head.weight = self.words.weight  # shared

    def forward(self, tokens):
        return self.head(self.layer(self.words(tokens)).mean(1))


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.norm, self.head = nn.Embedding(6, 4, padding_idx=0), nn.GroupNorm(2, 4), nn.Linear(4, 2)

    def forward(self, tokens):
        return self.head(self.norm(self.words(tokens).mean(1)))


MODULES = {
    "residual, BatchNorm in evaluation mode": (Residual, (4, 1, 6, 6), False),
    "residual, BatchNorm in training mode": (Residual, (4, 1, 6, 6), True),
    "attention, shared weights": (Attentive, (3, 5), False),
    "padding row, group norm": (Padded, (3, 5), False),
    "perceptron": (lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Dropout(0.5)), (4, 3), False),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name):
    make, shape, training = MODULES[name]
    torch.manual_seed(0)
    module = make().double().train(training)
    tokens = len(shape) == 2 and name != "perceptron"
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randint(0, 6, shape, generator=generator) if tokens else normal(*shape, seed=3)
    if not training:
        for entry in module.modules():
            if isinstance(entry, nn.BatchNorm2d):
                entry.running_mean, entry.running_var = normal(3) * 0.1, normal(3).abs() + 0.5
    names = [name for name, _ in module.named_parameters()]
    buffers = {key: entry.clone() for key, entry in module.named_buffers()}

    def loss(leaves):
        state = {**buffers, **dict(zip(names, leaves, strict=True))}
        outputs = torch.func.functional_call(module, state, (inputs,), tie_weights=True)
        return functional.cross_entropy(outputs, torch.arange(len(outputs)) % 2)

    compare(loss, [entry.detach() for entry in module.parameters()])
