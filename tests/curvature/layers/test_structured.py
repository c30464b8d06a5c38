"""The Hessian assembled from taps equals the one from Hessian-vector products, whatever the network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from workbench.curvature import empirical_loss, hessian
from workbench.curvature.hessian import hessian_rows
from workbench.curvature.layers.chain import chain_matrix
from workbench.curvature.layers.directional import directional_matrix
from workbench.curvature.layers.structured import block_product, recognised, structured_matrix
from workbench.curvature.products import autograd_operator, hvp_operator

ACTIVATIONS = [nn.Tanh, nn.ReLU, nn.GELU, nn.Softplus]
PROFILE = settings(max_examples=25, deadline=None, derandomize=True)


def generic(loss, parameters):
    rows = hessian_rows(autograd_operator(loss, parameters))
    return (rows + rows.mT) / 2


def in_blocks(loss, parameters):
    """Every row by the products that know the layers."""
    operator = hvp_operator(loss, parameters)
    assert operator.block_product is not None
    return hessian_rows(operator)


def assert_equal(matrix, reference, epsilons=400):
    gap = (matrix - reference).abs().max() / reference.abs().max().clamp_min(1e-30)
    assert gap <= epsilons * torch.finfo(reference.dtype).eps


def with_decay(matrix, loss):
    return matrix + loss.weight_decay * torch.eye(len(matrix), dtype=matrix.dtype)


@st.composite
def perceptrons(draw):
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    parts: list[nn.Module] = []
    torch.manual_seed(draw(st.integers(0, 1000)))
    for before, after in zip(widths, widths[1:] + [3], strict=True):
        parts += [nn.Linear(before, after, bias=draw(st.booleans())), draw(st.sampled_from(ACTIVATIONS))()]
    return nn.Sequential(*parts[:-1]).double(), torch.randn(draw(st.integers(1, 6)), widths[0], dtype=torch.float64)


@st.composite
def convolutions(draw):
    torch.manual_seed(draw(st.integers(0, 1000)))
    channels, parts, size = draw(st.integers(1, 2)), [], 6
    inputs = torch.randn(draw(st.integers(1, 4)), channels, size, size, dtype=torch.float64)
    for _ in range(draw(st.integers(1, 2))):
        after, kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 1))
        parts += [nn.Conv2d(channels, after, kernel, stride, padding, bias=draw(st.booleans()))]
        parts += [draw(st.sampled_from(ACTIVATIONS))()]
        channels = after
    if draw(st.booleans()):
        parts.append(nn.AdaptiveAvgPool2d(1))
    parts.append(nn.Flatten())
    features = nn.Sequential(*parts).double()(inputs).shape[1]
    return nn.Sequential(*parts, nn.Linear(features, 3)).double(), inputs


def losses(draw_loss, model, inputs, decay):
    if draw_loss == "cross_entropy":
        return empirical_loss(model, functional.cross_entropy, inputs, torch.arange(len(inputs)) % 3, decay)
    return empirical_loss(model, functional.mse_loss, inputs, torch.ones(len(inputs), 3, dtype=inputs.dtype), decay)


LOSSES = st.sampled_from(["cross_entropy", "mse"])
DECAYS = st.sampled_from([0.0, 0.3])


@PROFILE
@given(perceptrons(), LOSSES, DECAYS)
def test_perceptrons(network, name, decay):
    loss = losses(name, *network, decay)
    parameters = loss.parameters()
    reference = generic(loss, parameters)
    assert loss.structure.chain
    assert_equal(with_decay(chain_matrix(loss, parameters, "hessian"), loss), reference)
    assert_equal(with_decay(directional_matrix(loss, parameters, "hessian"), loss), reference)
    assert_equal(hessian(loss, parameters), reference)
    assert_equal(in_blocks(loss, parameters), reference)


@PROFILE
@given(convolutions(), LOSSES, DECAYS)
def test_convolutions(network, name, decay):
    loss = losses(name, *network, decay)
    parameters = loss.parameters()
    reference = generic(loss, parameters)
    assert loss.structure is not None
    assert_equal(with_decay(directional_matrix(loss, parameters, "hessian"), loss), reference)
    assert_equal(hessian(loss, parameters), reference)


def two_classes(model, features=4, samples=6):
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    return empirical_loss(model.double(), functional.cross_entropy, inputs, torch.arange(samples) % 2)


class Residual(nn.Module):
    """A skip connection around a layer, a gate (a product of two layers) and pooling over units."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.gate, self.last = nn.Linear(4, 4), nn.Linear(2, 2)

    def forward(self, inputs):
        hidden = torch.tanh(self.first(inputs))
        hidden = hidden + self.second(hidden) * torch.sigmoid(self.gate(inputs))
        return self.last(functional.max_pool1d(hidden[:, None], 2)[:, 0])


class Sequence(nn.Module):
    """Layers applied at every position of a sequence, mixed by attention."""

    def __init__(self):
        super().__init__()
        self.query, self.value, self.last = nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(3, 2)

    def forward(self, inputs):
        steps = inputs.reshape(-1, 2, 2)
        query = self.query(steps)
        mixed = (query @ query.mT).softmax(-1) @ self.value(steps)
        return self.last(mixed).mean(1)


class Tied(nn.Module):
    """One weight used by its layer and once more by hand."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, inputs):
        return self.last(torch.tanh(self.first(inputs)) @ self.first.weight)


class Reversed(nn.Module):
    """Layers declared in another order than they run in."""

    def __init__(self):
        super().__init__()
        self.last, self.first = nn.Linear(3, 2), nn.Linear(4, 3)

    def forward(self, inputs):
        return self.last(torch.tanh(self.first(inputs)))


@pytest.mark.parametrize(
    ("model", "structured", "chain"),
    [
        (Residual, True, False),
        (Sequence, True, False),
        (Reversed, True, True),
        (Tied, False, False),
        (lambda: nn.Sequential(*[part := nn.Linear(4, 4), nn.Tanh(), part, nn.Linear(4, 2)]), False, False),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2)), False, False),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1), nn.Linear(3, 2)), True, False),
        (
            lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.BatchNorm1d(3, affine=False), nn.Linear(3, 2)),
            True,
            True,
        ),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)), False, False),
    ],
)
def test_structure_is_recognised_and_never_assumed(model, structured, chain):
    torch.manual_seed(0)
    loss = two_classes(model().eval())
    parameters = loss.parameters()
    assert (loss.structure is not None) == structured
    reference = generic(loss, parameters)
    assert_equal(hessian(loss, parameters), reference)
    if structured:
        assert loss.structure.chain == chain
        assert_equal(hessian_rows(hvp_operator(loss, parameters)), reference)
        assert_equal(directional_matrix(loss, parameters, "hessian"), reference)


def test_frozen_and_reordered_parameters():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    model[0].weight.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    model[4].weight.requires_grad_(False)
    loss = two_classes(model)
    parameters = dict(reversed(loss.parameters().items()))
    assert list(parameters) == ["4.bias", "2.weight", "0.bias"]
    assert loss.structure.chain
    assert_equal(hessian(loss, parameters), generic(loss, parameters))
    assert_equal(in_blocks(loss, parameters), generic(loss, parameters))


def test_convolutions_of_single_pixels_are_a_chain():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 5, 4), nn.Tanh(), nn.Conv2d(5, 3, 1), nn.Softplus(), nn.Conv2d(3, 2, 1), nn.Flatten()
    )
    inputs = torch.randn(7, 1, 4, 4, dtype=torch.float64)
    loss = empirical_loss(model.double(), functional.cross_entropy, inputs, torch.arange(7) % 2)
    assert loss.structure.chain
    assert_equal(hessian(loss, loss.parameters()), generic(loss, loss.parameters()))
    assert_equal(in_blocks(loss, loss.parameters()), generic(loss, loss.parameters()))


def test_unused_parameters_have_zero_rows():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, inputs):
            return self.used(inputs)

    torch.manual_seed(0)
    loss = two_classes(Unused())
    matrix = hessian(loss, loss.parameters())
    assert matrix[10:].abs().max() == 0
    assert_equal(matrix, generic(loss, loss.parameters()))


def test_single_precision_keeps_seven_digits():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 3))
    inputs, targets = torch.randn(300, 8), torch.arange(300) % 3
    single = empirical_loss(model, functional.cross_entropy, inputs, targets)
    matrix, rows = hessian(single, single.parameters()), in_blocks(single, single.parameters())
    double = empirical_loss(model.double(), functional.cross_entropy, inputs.double(), targets)
    reference = generic(double, double.parameters())
    assert (matrix.double() - reference).abs().max() <= 1e-6 * reference.abs().max()
    assert (rows.double() - reference).abs().max() <= 1e-6 * reference.abs().max()


def test_many_samples_are_summed_in_steps(monkeypatch):
    torch.manual_seed(0)
    loss = two_classes(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), samples=23)
    whole = chain_matrix(loss, loss.parameters(), "hessian")
    monkeypatch.setattr("workbench.curvature.layers.chain._TEMPORARY_BYTES", 1)
    monkeypatch.setattr("workbench.curvature.layers.directional._BLOCK_BYTES", 3000)
    monkeypatch.setattr("workbench.curvature.layers.chain_products._TEMPORARY_BYTES", 1)
    monkeypatch.setattr("workbench.curvature.layers.chain_products._POINT_BYTES", 1)
    assert_equal(chain_matrix(loss, loss.parameters(), "hessian"), whole)
    assert_equal(directional_matrix(loss, loss.parameters(), "hessian"), whole)
    assert_equal(in_blocks(loss, loss.parameters()), whole)


@pytest.mark.parametrize("build", [chain_matrix, directional_matrix])
def test_runs_in_a_batch_equal_single_runs(build):
    torch.manual_seed(0)
    loss = two_classes(nn.Sequential(nn.Linear(4, 3), nn.Softplus(), nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)))
    runs = {name: torch.randn(3, *entry.shape, dtype=entry.dtype) for name, entry in loss.parameters().items()}
    together = torch.func.vmap(lambda parameters: build(loss, parameters, "hessian"))(runs)
    for run in range(3):
        assert_equal(together[run], build(loss, {name: entry[run] for name, entry in runs.items()}, "hessian"))


def test_products_with_blocks_in_a_batch_equal_single_ones():
    torch.manual_seed(0)
    loss = two_classes(nn.Sequential(nn.Linear(4, 3), nn.Softplus(), nn.Linear(3, 2)))
    parameters = loss.parameters()
    blocks = torch.randn(5, 3, 23, dtype=torch.float64)
    operator, reference = hvp_operator(loss, parameters), autograd_operator(loss, parameters)
    assert_equal(torch.func.vmap(operator)(blocks), reference(blocks.flatten(0, 1)).reshape(blocks.shape))
    runs = {name: torch.randn(5, *entry.shape, dtype=entry.dtype) for name, entry in parameters.items()}
    together = torch.func.vmap(lambda run, block: hvp_operator(loss, run)(block))(runs, blocks)
    for index in range(5):
        run = {name: entry[index] for name, entry in runs.items()}
        assert_equal(together[index], autograd_operator(loss, run)(blocks[index]))


def test_products_know_the_layers_where_that_holds_and_pays():
    torch.manual_seed(0)
    loss = two_classes(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    parameters = loss.parameters()
    proven = autograd_operator(loss, parameters).product
    assert block_product(loss, parameters, proven) is not None
    followed = {name: entry.clone().requires_grad_() for name, entry in parameters.items()}
    assert block_product(loss, followed, proven) is None
    assert block_product(loss, dict(loss.model.named_parameters()), proven) is not None
    assert block_product(lambda point: loss(point), parameters, proven) is None
    wide = two_classes(nn.Linear(4, 33))
    assert wide.structure.chain
    assert block_product(wide, wide.parameters(), autograd_operator(wide, wide.parameters()).product) is None


def test_products_stay_at_the_point_where_the_operator_was_made():
    torch.manual_seed(0)
    loss = two_classes(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    operator, reference = hvp_operator(loss, loss.parameters()), generic(loss, loss.parameters())
    for entry in loss.parameters().values():
        entry.mul_(2.0)
    assert_equal(hessian_rows(operator), reference)


def test_a_problem_lends_its_structure_to_its_loss():
    class Problem:
        def __init__(self, empirical):
            self.empirical = empirical

        def loss(self, parameters):
            return self.empirical(parameters)

        def other(self, parameters):
            return 2 * self.empirical(parameters)

    problem = Problem(two_classes(nn.Linear(4, 2)))
    assert recognised(problem.loss) is problem.empirical
    assert recognised(problem.other) is None
    parameters = problem.empirical.parameters()
    proven = autograd_operator(problem.loss, parameters).product
    assert structured_matrix(problem.empirical, parameters, "hessian", proven) is not None


def test_the_error_estimate_is_the_distance_to_products():
    torch.manual_seed(0)
    loss = two_classes(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    matrix, error = hessian(loss, loss.parameters(), return_error=True)
    assert torch.equal(matrix, hessian(loss, loss.parameters()))
    assert error < 1e-14


def test_large_feature_maps_are_left_to_products():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
    )
    inputs = torch.randn(4, 1, 12, 12, dtype=torch.float64)
    loss = empirical_loss(model.double(), functional.cross_entropy, inputs, torch.arange(4) % 2)
    assert loss.structure is not None
    proven = autograd_operator(loss, loss.parameters()).product
    assert structured_matrix(loss, loss.parameters(), "hessian", proven) is None
    assert_equal(hessian(loss, loss.parameters()), generic(loss, loss.parameters()))
