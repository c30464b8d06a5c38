"""What is computed stays on the device of the tensors it is computed from.

There is no GPU here; torch's meta device, which has shapes but no values, refuses to be mixed with the CPU as a GPU does.
"""

import dataclasses

import pytest
import torch

import workbench as wb
from workbench.dynamics.iterates import suffix_averages
from workbench.dynamics.update_map import update_map

META = torch.device("meta")
OPTIMIZERS = {
    "sam": wb.optimizers.sam(0.1, 0.05, beta=0.9),
    "two_step_usam": wb.optimizers.two_step_usam(0.1, 0.05),
    "hessian_usam": wb.optimizers.hessian_usam(0.1, 0.05),
    "m_sam": wb.optimizers.m_sam(0.1, 0.05, 5),
    "random": wb.optimizers.random_sam(0.1, 0.05),
    "previous": wb.optimizers.previous_sam(0.1, 0.05),
    "full": wb.optimizers.n_sam(0.1, 0.05),
    "decaying": wb.optimizers.gradient_descent(wb.optimizers.StepDecay(0.3, (2,))),
}


def network():
    layers = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(144, 5)
    return torch.nn.Sequential(*layers).to(META)


def batch():
    return torch.empty(20, 1, 6, 6, device=META), torch.empty(20, dtype=torch.int64, device=META)


def diagonal_network():
    data = wb.problems.sparse_regression(0, 20, 30, 3)
    moved = dataclasses.replace(data, **{name: value.to(META) for name, value in vars(data).items()})
    return wb.problems.diagonal_network(moved, alpha=0.05)


def tensors(thing):
    if isinstance(thing, torch.Tensor):
        return [thing]
    inside = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, tuple) else vars(thing).values()
    return [entry for entry in inside if isinstance(entry, torch.Tensor)]


def test_curvature_of_a_model_without_values_is_refused():
    """What knows layers is proven by values, so that the meta device cannot serve it."""
    with pytest.raises(ValueError, match="meta device"):
        wb.curvature.empirical_loss(network(), torch.nn.functional.cross_entropy, *batch())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("batch_size", [None, 5])
def test_runs_stay_where_the_data_are(name, batch_size):
    if name == "previous" and batch_size is None:
        pytest.skip("every step of a full-batch run sees the same samples")
    run = wb.run(diagonal_network(), OPTIMIZERS[name], steps=3, batch_size=batch_size, progress=False)
    assert run.parameters.device == run.diverged.device == run.diverged_at.device == META


@pytest.mark.parametrize(
    "rule_of",
    [
        lambda value: wb.optimizers.usam(0.1, value),
        lambda value: wb.optimizers.sam(value, 0.05, beta=value),
        lambda value: wb.optimizers.gradient_descent(wb.optimizers.StepDecay(value, (2,))),
        lambda value: wb.optimizers.adam(value),
    ],
)
def test_swept_values_follow_the_data(rule_of):
    """A sweep's values are on the CPU, one per run; tensors with a value per run do not mix with another device."""

    def train(value):
        return wb.run(diagonal_network(), rule_of(value), steps=3, batch_size=5, progress=False).parameters

    assert torch.func.vmap(train)(torch.linspace(0.1, 0.2, 4, dtype=torch.float64)).device == META


@pytest.mark.parametrize("name", ["worst_case", "quadratic_worst_case"])
def test_swept_radii_follow_the_parameters(name):
    problem = diagonal_network()
    measure = getattr(wb.curvature, name)
    radii = torch.linspace(0.1, 0.2, 4, dtype=torch.float64)
    assert torch.func.vmap(lambda rho: measure(problem.loss, problem.initial(0), rho))(radii).device == META


@pytest.mark.parametrize("name", ["sam", "hessian_usam", "m_sam"])
def test_optimizers_stay_where_the_module_is(name):
    loss = wb.optimizers.as_torch(OPTIMIZERS[name], network(), loss=torch.nn.functional.cross_entropy).step(*batch())
    assert loss.device == META


def test_maps_and_averages_stay_where_the_parameters_are():
    problem, rule = diagonal_network(), wb.optimizers.usam(0.1, 0.05)
    (moved,) = update_map(problem, rule)(problem.initial(0))
    assert moved.device == META
    swept = torch.func.vmap(lambda rho: update_map(problem, wb.optimizers.usam(0.1, rho))(problem.initial(0))[0])
    assert swept(torch.linspace(0.1, 0.2, 4, dtype=torch.float64)).device == META
    assert suffix_averages(torch.empty(7, 3, device=META)).device == META
