"""SAM's bounds: they hold where they are stated to, are attained where they are stated to be, and are refused beyond."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.optimizers import guarantees, sam, usam
from workbench.problems import RippledParabola, quadratic, random_least_squares


def _steady(u, rho, beta):
    parabola = quadratic([beta])
    start = torch.full((1,), 0.7, dtype=torch.float64)
    return parabola.loss(wb.run(parabola, sam(u / beta, rho), start=start, steps=2000).parameters).item()


@pytest.mark.parametrize("beta", [0.3, 1.0, 17.0])
@pytest.mark.parametrize("u", [0.1, 0.6, 1.0, 1.4, 1.95])
def test_sam_ends_on_its_two_cycle(u, beta):
    radius = guarantees.sam_cycle_radius(u / beta, 0.2, beta)
    assert _steady(u, 0.2, beta) == pytest.approx(0.5 * beta * radius**2, rel=1e-9)


@pytest.mark.parametrize("u", [1.0, 1.2, 1.77, 1.93])
def test_strongly_convex_bound_is_attained_at_one_and_fails_by_the_known_factor_beyond(u):
    limit = guarantees.sam_strongly_convex_bound(np.inf, 1.0, u, 0.2, 1.0, 1.0) if u != 1 else 0.5 * 0.2**2
    assert _steady(u, 0.2, 1.0) / limit == pytest.approx(u / (2 - u), rel=1e-8)


@pytest.mark.parametrize("u", [0.07, 0.4, 1.0, 1.35, 1.97])
@pytest.mark.parametrize("rho", [0.05, 2.0])
def test_bounds_hold_on_random_quadratics(u, rho):
    def ratios(seed):
        spectrum = torch.cat([torch.ones(1), wb.draws.uniform(seed, (3,), low=0.02, stream="spectrum")]).double()
        problem = quadratic(5.0 * spectrum, rotation=seed)
        run = wb.run(problem, sam(u / 5.0, rho), seed=seed, steps=300, record=["train_loss"], every=1)
        loss, t = run.records["train_loss"].value, torch.arange(301)
        known = (t, loss[0], u / 5.0, rho, problem.strong_convexity, 5.0)
        return {
            "strong": (loss / guarantees.sam_strongly_convex_bound(*known)).amax(),
            "pl": (loss / guarantees.sam_pl_bound(*known)).amax(),
        }

    result = wb.sweep(ratios, seed=range(6))
    assert result.pl.max() <= 1 + 1e-9
    assert u > 1 or result.strong.max() <= 1 + 1e-9


def test_stationarity_bound_holds_without_convexity():
    problem = RippledParabola(5.0)

    def ratio(start, u):
        eta = u / problem.smoothness
        squares = {"squares": lambda x: problem.gradient(x) ** 2}
        run = wb.run(problem, sam(eta, 0.3), start=start, steps=200, integrate=squares)
        bound = guarantees.sam_stationarity_bound(200, problem.loss(start), eta, 0.3, problem.smoothness)
        return {"ratio": run.integrals["squares"] / (eta * 200 * bound)}

    assert wb.sweep(ratio, start=np.linspace(-7, 7, 40), u=[0.3, 1.1, 1.8]).ratio.max() <= 1


@pytest.mark.parametrize("v", [0.0, 0.45, 0.95])
def test_path_bound_holds(v):
    problem = random_least_squares(5, 6, 15)
    beta, start = problem.smoothness, problem.initial(5)
    rho = v / beta
    rule = usam(guarantees.usam_path_step_size(rho, beta), rho)
    run = wb.run(
        problem, rule, start=start, steps=800,
        integrate={"path": lambda w: problem.gradient(w + rho * problem.gradient(w)).norm()},
    )  # fmt: skip
    assert run.integrals["path"] <= guarantees.usam_path_bound(problem.loss(start), rho, problem.pl_constant, beta)


@pytest.mark.parametrize("u", [2.0, 2.5])
def test_bounds_are_refused_where_they_are_undefined(u):
    with pytest.raises(ValueError, match=r"step_size \* beta must be below 2"):
        guarantees.sam_strongly_convex_bound(1, 1.0, u, 0.1, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"step_size \* beta must be below 2"):
        guarantees.sam_pl_bound(1, 1.0, np.array([0.5, u]), 0.1, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"step_size \* beta must be below 2"):
        guarantees.sam_stationarity_bound(10, 1.0, torch.tensor(u), 0.1, 1.0)
    with pytest.raises(ValueError, match=r"step_size \* beta must be below 2"):
        guarantees.sam_cycle_radius(u, 0.1, 1.0)
    with pytest.raises(ValueError, match=r"rho \* beta must be below 1"):
        guarantees.usam_path_bound(1.0, u, 0.5, 1.0)
