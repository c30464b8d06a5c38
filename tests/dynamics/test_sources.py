"""Every source against a plain loop on the same random numbers; alone, in a sweep, traced, and in chunks of any size."""

from dataclasses import dataclass

import pytest
import torch
from dynamics.test_run import BOWL

import workbench as wb
from workbench import draws
from workbench.dynamics.sources import (
    AdditiveNoise,
    Adversarial,
    AllSamples,
    Importance,
    LabelNoise,
    Masked,
    Minibatches,
    Stream,
    Users,
)
from workbench.optimizers import NotProvided, gradient_descent, m_sam, n_sam, previous_sam, random_sam, sam, usam
from workbench.optimizers.rule import Rule
from workbench.problems.base import Problem

D = torch.float64


@dataclass(frozen=True, eq=False)
class Regression(Problem):
    """Least squares with sample losses (x w - y)^2/2."""

    x: torch.Tensor
    y: torch.Tensor

    @property
    def data(self):
        return (self.x, self.y)

    def initial(self, seed):
        return draws.normal(seed, (3,), stream="initial")

    def sample_loss(self, parameters, x, y):
        return 0.5 * (x @ parameters - y) ** 2


X = torch.arange(24, dtype=D).reshape(8, 3).sin()
Y = torch.linspace(-1, 1, 8, dtype=D)
FIT, OTHER = Regression(X, Y), Regression(X.cos(), Y**2)
STEPS, ETA, RHO = 120, 0.1, 0.05
P = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8], dtype=D) / 36


def gradient(w, rows, weights=1.0, targets=Y):
    return X[rows].T @ (weights * (X[rows] @ w - targets[rows])) / len(rows)


ALL = torch.arange(8)


def rows_of(draw, seed):
    return draws.numbers(draw, seed, STEPS)


def importance_rows(seed):
    chance = rows_of(draws.Uniform("importance", (2,)), seed)
    return torch.stack([torch.tensor([int((P.cumsum(0) <= u).sum()) for u in row]) for row in chance])


def attack(problem, parameters, batch):
    x, y = batch
    return x + 0.1 * torch.sign(x @ parameters - y)[:, None] * parameters.sign(), y


def attacked(w):
    x = X + 0.1 * torch.sign(X @ w - Y)[:, None] * w.sign()
    return x.T @ (x @ w - Y) / 8


def noise(seed, shape=(3,), stream="noise"):
    return rows_of(draws.Normal(stream, shape), seed)


MASK = torch.tensor([1.0, 0.0, 1.0], dtype=D)
CASES = {
    "all": (AllSamples(), lambda seed: [lambda w: gradient(w, ALL)] * STEPS),
    "epoch": (
        Minibatches(3),
        lambda seed: [lambda w, r=r: gradient(w, r) for r in rows_of(draws.Epochs("batches", 8, 3), seed)],
    ),
    "replacement": (
        Minibatches(3, "replacement"),
        lambda seed: [lambda w, r=r: gradient(w, r) for r in rows_of(draws.Integers("batches", 8, (3,)), seed)],
    ),
    "tau-nice": (
        Minibatches(3, "tau-nice"),
        lambda seed: [lambda w, r=r: gradient(w, r) for r in rows_of(draws.Subsets("batches", 8, 3), seed)],
    ),
    "importance": (
        Importance(P, 2),
        lambda seed: [lambda w, r=r: gradient(w, r, 1 / (8 * P[r])) for r in importance_rows(seed)],
    ),
    "edges": (
        Importance(P, 2, weighted=False),
        lambda seed: [lambda w, r=r: gradient(w, r) for r in importance_rows(seed)],
    ),
    "additive": (
        AdditiveNoise(0.3),
        lambda seed: [lambda w, z=z: gradient(w, ALL) + 0.3 * z for z in noise(seed)],
    ),
    "labels": (
        LabelNoise(0.3, Minibatches(2, "replacement"), until=50),
        lambda seed: [
            lambda w, r=r, z=z, k=k: X[r].T @ (X[r] @ w - Y[r] - 0.3 * (k < 50) * z) / 2
            for k, (r, z) in enumerate(
                zip(rows_of(draws.Integers("batches", 8, (2,)), seed), noise(seed, (2,), "labels"), strict=True)
            )
        ],
    ),
    "label signs": (
        LabelNoise(0.3, law="signs"),
        lambda seed: [lambda w, z=z: X.T @ (X @ w - Y - 0.3 * z.sign()) / 8 for z in noise(seed, (8,), "labels")],
    ),
    "masked": (Masked(MASK), lambda seed: [lambda w: MASK * gradient(w, ALL)] * STEPS),
    "adversarial": (Adversarial(attack), lambda seed: [attacked] * STEPS),
    "users": (Users((FIT, OTHER)), lambda seed: [lambda w: gradient(w, ALL)] * STEPS),
}


def by_hand(fields, rho, seed):
    w = FIT.initial(seed)
    for field in fields(seed):
        g = field(w)
        w = w - ETA * field(w + rho * g / g.norm())
    return w


@pytest.mark.parametrize("name", CASES)
def test_sam_with_every_source_is_the_plain_loop_alone_traced_and_in_chunks(name):
    source, fields = CASES[name]

    def train(seed, rho, **options):
        return {
            "w": wb.run(FIT, sam(ETA, rho), seed=seed, steps=STEPS, source=source, progress=False, **options).parameters
        }

    expected = torch.stack([torch.stack([by_hand(fields, rho, seed) for rho in (0.0, RHO)]) for seed in (0, 3)])
    found = wb.sweep(train, seed=[0, 3], rho=[0.0, RHO], progress=False)
    # SAM's direction magnifies rounding near a minimum.
    torch.testing.assert_close(torch.tensor(found.w.values), expected, rtol=1e-10, atol=1e-11)
    chunks = wb.sweep(train, seed=[0, 3], rho=[0.0, RHO], chunk_size=1, progress=False)
    torch.testing.assert_close(torch.tensor(chunks.w.values), expected, rtol=1e-10, atol=1e-11)
    plain, traced = (train(3, RHO, **options)["w"] for options in ({"compile": False}, {}))
    assert torch.equal(plain, traced)


def test_fresh_samples_of_a_stream():
    def sample(rows):
        x = rows.normal("inputs", (4, 3))
        return x, x.sum(1) + 0.1 * rows.normal("labels", (4,))

    run = wb.run(FIT, usam(ETA, RHO), seed=2, steps=STEPS, source=Stream(sample))
    w = FIT.initial(2)
    for x, z in zip(noise(2, (4, 3), "inputs"), noise(2, (4,), "labels"), strict=True):

        def g(w, x=x, z=z):
            return x.T @ (x @ w - x.sum(1) - 0.1 * z) / 4

        w = w - ETA * g(w + RHO * g(w))
    torch.testing.assert_close(run.parameters, w, rtol=1e-12, atol=1e-14)


def test_the_probabilities_of_samples_may_be_swept():
    def train(seed, tilt):
        source = Importance(1 + tilt * torch.arange(8, dtype=D), 2)
        return {"w": wb.run(FIT, gradient_descent(0.02), seed=seed, steps=30, source=source).parameters}

    found = wb.sweep(train, seed=range(400), tilt=[0.0, 0.5], progress=False).w.mean("seed")
    full = wb.run(FIT, gradient_descent(0.02), start=torch.zeros(3, dtype=D), steps=30).parameters
    start = wb.sweep(lambda seed: {"w": FIT.initial(seed)}, seed=range(400)).w.mean("seed")
    moved = wb.run(FIT, gradient_descent(0.02), start=torch.tensor(start.values), steps=30).parameters
    for tilt in (0.0, 0.5):
        torch.testing.assert_close(torch.tensor(found.sel(tilt=tilt).values), moved, rtol=0, atol=0.02)
    assert not torch.equal(full, moved)


@dataclass(frozen=True, repr=False)
class Averaging(Rule):
    """Gradient averaging over users with bias correction (arXiv:2111.05968)."""

    step_size: float
    alpha: float
    beta: float

    def init(self, parameters):
        return torch.zeros_like(parameters)

    def step(self, oracle, parameters, state):
        gradients = oracle.users.gradients(parameters)
        own, others = gradients[0], gradients[1:].mean(0)
        along = (1 - self.alpha) * own + self.alpha * (others - state)
        return parameters - self.step_size * along, (1 - self.beta) * state + self.beta * (others - own)


def test_users_have_samples_of_their_own():
    run = wb.run(FIT, Averaging(0.1, 0.5, 0.2), seed=1, steps=STEPS, source=Users((FIT, OTHER), Minibatches(2)))
    w, c = FIT.initial(1), torch.zeros(3, dtype=D)
    rows = [rows_of(draws.Epochs(f"user{i}/batches", 8, 2), 1) for i in (0, 1)]
    assert not torch.equal(*rows)
    for r0, r1 in zip(*rows, strict=True):
        g0, g1 = gradient(w, r0), OTHER.x[r1].T @ (OTHER.x[r1] @ w - OTHER.y[r1]) / 2
        w, c = w - 0.1 * (0.5 * g0 + 0.5 * (g1 - c)), 0.8 * c + 0.2 * (g1 - g0)
    torch.testing.assert_close(run.parameters, w, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("rule", "options", "words"),
    [
        (previous_sam(0.1, 0.05), {}, "previous step's samples: this run draws none"),
        (m_sam(0.1, 0.05, 2), {"problem": BOWL}, "Bowl has no samples"),
        (m_sam(0.1, 0.05, 4), {"batch_size": 6}, "m must divide the number of samples in a step, 6, got m=4"),
        (m_sam(0.1, 0.05, 2), {"source": Importance(P, 2)}, "its samples are weighted"),
        (Averaging(0.1, 0.5, 0.2), {}, r"give source=Users\(...\)"),
        (gradient_descent(0.1), {"source": Adversarial(attack), "problem": BOWL}, "the problem has none"),
    ],
)
def test_what_a_run_cannot_give_is_refused_before_the_first_step(rule, options, words):
    problem = options.pop("problem", FIT)
    with pytest.raises(NotProvided, match=words) as refused:
        wb.run(problem, rule, steps=3, **options)
    assert repr(rule) in str(refused.value)


def test_one_stream_is_one_draw_and_every_step_draws_alike():
    @dataclass(frozen=True, repr=False)
    class Twice(Rule):
        def step(self, oracle, parameters, state):
            return parameters + oracle.draw(draws.Normal("z", (3,))) + oracle.draw(draws.Uniform("z", (3,))), state

    @dataclass(frozen=True, repr=False)
    class Later(Rule):
        def step(self, oracle, parameters, state):
            if int(oracle.step):
                parameters = parameters + oracle.draw(draws.Normal("z", (3,)))
            return parameters, state

    with pytest.raises(ValueError, match="the stream 'z' is drawn as"):
        wb.run(FIT, Twice(), steps=2)
    with pytest.raises(ValueError, match="its dry step did not ask for"):
        wb.run(FIT, Later(), steps=2)


def test_needs_count_what_a_step_asks_for():
    def asked(rule):
        found = wb.run(FIT, rule, steps=1, batch_size=4).needs[0]
        return found.gradients, found.products, found.groups

    assert asked(sam(0.1, 0.05)) == (2, 0, 1)
    assert asked(wb.optimizers.hessian_usam(0.1, 0.05)) == (2, 1, 1)
    assert asked(m_sam(0.1, 0.05, 2)) == (2, 0, 2)
    assert asked(n_sam(0.1, 0.05)) == (2, 0, 1) and asked(random_sam(0.1, 0.05)) == (1, 0, 1)


@pytest.mark.parametrize("steps", [7, 130])
def test_random_ascents_are_traced_and_equal_the_loop(steps):
    run = wb.run(FIT, random_sam(ETA, RHO, beta=0.5), seed=4, steps=steps, batch_size=4)
    w, v = FIT.initial(4), torch.zeros(3, dtype=D)
    for z, r in zip(
        draws.numbers(draws.Normal("ascent", (3,)), 4, steps),
        draws.numbers(draws.Epochs("batches", 8, 4), 4, steps),
        strict=True,
    ):
        v = 0.5 * v + gradient(w + RHO * z / z.norm(), r)
        w = w - ETA * v
    torch.testing.assert_close(run.parameters, w, rtol=1e-12, atol=1e-14)
