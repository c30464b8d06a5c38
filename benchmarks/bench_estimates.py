"""Eigenpairs, spectral density and trace of an MLP 64-64-10 on the 1,797 digits (P = 4,810), per-sample gradients of a CNN."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

import workbench as wb
from benchmarks.measure import available, compare, row
from benchmarks.networks import CNN, cnn
from workbench.curvature.products import hvp_operator

REPEATS = 5
PROBES, STEPS = 8, 80
PRODUCTS = 64
Contender = Callable[[], object]


def rows() -> list[dict[str, object]]:
    """Top 10 at equal residual, density at equal products, trace at equal products, per-sample gradients."""
    return [*_eigenpairs(), *_density(), *_trace(), *_per_sample()]


class Digits:
    """A trained network, as every contender wants it: outlying eigenvalues, and none of them by chance."""

    def __init__(self, dtype: torch.dtype) -> None:
        images, labels = load_digits(return_X_y=True)
        self.inputs, self.targets = torch.tensor(images / 16, dtype=dtype), torch.tensor(labels)
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)).to(dtype)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.5)
        for _ in range(200):
            optimizer.zero_grad()
            functional.cross_entropy(self.model(self.inputs), self.targets).backward()
            optimizer.step()
        self.loss = wb.curvature.empirical_loss(self.model, functional.cross_entropy, self.inputs, self.targets)
        self.parameters = self.loss.parameters()
        self.operator = hvp_operator(self.loss, self.parameters)

    def curvlinops(self):
        """The peer's Hessian, or None."""
        if not available("curvlinops"):
            return None
        from curvlinops import HessianLinearOperator

        return HessianLinearOperator(
            self.model,
            nn.CrossEntropyLoss(),
            list(self.model.parameters()),
            [(self.inputs, self.targets)],
            check_deterministic=False,
        )

    def eigenthings(self):
        """The peer's Hessian, or None."""
        if not available("hessian_eigenthings"):
            return None
        from hessian_eigenthings import HessianOperator, supervised_loss

        return HessianOperator(self.model, [(self.inputs, self.targets)], supervised_loss(functional.cross_entropy))


def _eigenpairs() -> list[dict[str, object]]:
    digits = Digits(torch.float64)
    size = digits.operator.size

    def scipy(operator: LinearOperator) -> Contender:
        start = np.random.default_rng(0).standard_normal(size)
        return lambda: eigsh(operator, k=10, which="LA", tol=1e-6, v0=start)[1].T

    own = LinearOperator((size, size), lambda v: digits.operator(torch.from_numpy(v.ravel())).numpy(), dtype=np.float64)
    curvlinops, eigenthings = digits.curvlinops(), digits.eigenthings()
    contenders: dict[str, Contender | None] = {
        "workbench": lambda: wb.curvature.top_eigenpairs(digits.loss, digits.parameters, 10, rtol=1e-6).vectors,
        "scipy eigsh on workbench's products": scipy(own),
        "curvlinops + scipy eigsh": scipy(curvlinops.to_scipy()) if curvlinops is not None else None,
        "hessian-eigenthings, tol 1e-6": _eigenthings_pairs(eigenthings, 1e-6),
        "hessian-eigenthings, its default tol 1e-4": _eigenthings_pairs(eigenthings, 1e-4),
    }

    def error(vectors: object) -> str:
        found = torch.as_tensor(np.array(vectors), dtype=torch.float64)
        images = digits.operator(found)
        values = (found * images).sum(1)
        return f"largest residual / eigenvalue {float(((images - values[:, None] * found).norm(dim=1) / values).max()):.0e}"

    return _table("top 10 eigenpairs, float64, rtol 1e-6", contenders, error)


def _eigenthings_pairs(operator, tolerance: float) -> Contender | None:
    if operator is None:
        return None
    from hessian_eigenthings import lanczos

    return lambda: lanczos(operator, k=10, tol=tolerance, which="LA", seed=0).eigenvectors


def _density() -> list[dict[str, object]]:
    digits = Digits(torch.float32)
    curvlinops, eigenthings = digits.curvlinops(), digits.eigenthings()

    def by_curvlinops() -> object:
        from curvlinops import LanczosApproximateSpectrumCached

        torch.manual_seed(0)
        return LanczosApproximateSpectrumCached(curvlinops, STEPS).approximate_spectrum(num_repeats=PROBES)

    def by_eigenthings() -> object:
        from hessian_eigenthings import spectral_density

        return spectral_density(eigenthings, num_runs=PROBES, lanczos_steps=STEPS, num_grid_points=512, seed=0)

    contenders: dict[str, Contender | None] = {
        "workbench": lambda: wb.curvature.spectral_density(digits.loss, digits.parameters, probes=PROBES, steps=STEPS),
        "curvlinops": by_curvlinops if curvlinops is not None else None,
        "hessian-eigenthings": by_eigenthings if eigenthings is not None else None,
        "JAX, jitted, probes batched": _jax_density(digits) if available("jax") else None,
    }
    return _table(f"spectral density, {PROBES} probes x {STEPS} steps, float32", contenders)


def _jax_density(digits: Digits) -> Contender:
    import jax
    import jax.numpy as jnp
    from jax.flatten_util import ravel_pytree

    jax.config.update("jax_enable_x64", False)
    flat, unravel = ravel_pytree([jnp.asarray(entry.detach().numpy()) for entry in digits.model.parameters()])
    x, y = jnp.asarray(digits.inputs.numpy()), jnp.asarray(digits.targets.numpy())

    def loss(vector):
        first, first_bias, last, last_bias = unravel(vector)
        outputs = jnp.tanh(x @ first.T + first_bias) @ last.T + last_bias
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], axis=1).mean()

    def tridiagonal(start):
        _, product = jax.linearize(jax.grad(loss), flat)

        def step(carry, index):
            basis, vector = carry
            basis = basis.at[index].set(vector)
            image = product(vector)
            centre = vector @ image
            for _ in range(2):
                image = image - (basis @ image) @ basis
            length = jnp.linalg.norm(image)
            return (basis, image / length), (centre, length)

        empty = jnp.zeros((STEPS, flat.size), flat.dtype)
        return jax.lax.scan(step, (empty, start / jnp.linalg.norm(start)), jnp.arange(STEPS))[1]

    @jax.jit
    def rules(starts):
        centres, lengths = jax.vmap(tridiagonal)(starts)
        matrices = jax.vmap(lambda a, b: jnp.diag(a) + jnp.diag(b[:-1], 1) + jnp.diag(b[:-1], -1))(centres, lengths)
        return jnp.linalg.eigh(matrices)

    starts = jax.random.normal(jax.random.PRNGKey(0), (PROBES, flat.size))
    return lambda: jax.block_until_ready(rules(starts))


def _trace() -> list[dict[str, object]]:
    digits = Digits(torch.float64)
    curvlinops, eigenthings = digits.curvlinops(), digits.eigenthings()
    truth = float(wb.curvature.hessian(digits.loss, digits.parameters).diagonal().sum())

    def by_curvlinops() -> object:
        from curvlinops import xtrace

        torch.manual_seed(0)
        return xtrace(curvlinops, PRODUCTS)

    def by_eigenthings() -> object:
        from hessian_eigenthings import trace

        return trace(eigenthings, num_matvecs=PRODUCTS, method="hutch++", seed=0).estimate

    contenders: dict[str, Contender | None] = {
        "workbench": lambda: wb.curvature.trace(digits.loss, digits.parameters, products=PRODUCTS).value,
        "curvlinops xtrace": by_curvlinops if curvlinops is not None else None,
        "hessian-eigenthings hutch++": by_eigenthings if eigenthings is not None else None,
    }
    return _table(
        f"trace, {PRODUCTS} products, float64",
        contenders,
        lambda value: f"error {abs(float(value) / truth - 1):.1e}",  # type: ignore[arg-type]
    )


def _per_sample() -> list[dict[str, object]]:
    images, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels)

    loss = wb.curvature.empirical_loss(cnn(CNN), functional.cross_entropy, inputs, targets)
    parameters = loss.parameters()
    model = cnn(CNN)

    def one_batch() -> Tensor:
        value = functional.cross_entropy(functional_call(model, dict(model.named_parameters()), (inputs,)), targets)
        return torch.autograd.grad(value, list(model.parameters()))[0]

    def loop() -> Tensor:
        rows = torch.empty(len(inputs), sum(entry.numel() for entry in model.parameters()))
        for index in range(len(inputs)):
            value = functional.cross_entropy(model(inputs[index : index + 1]), targets[index : index + 1])
            rows[index] = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])
        return rows

    contenders: dict[str, Contender | None] = {
        "workbench": lambda: wb.curvature.per_sample_gradients(loss, parameters),
        "workbench, norms only (ghost)": lambda: wb.curvature.per_sample_gradient_norms(loss, parameters),
        "opacus": _opacus(cnn(CNN), inputs, targets) if available("opacus") else None,
        "BackPACK": _backpack(cnn(CNN), inputs, targets) if available("backpack") else None,
        "one backward pass per sample": loop,
        "one gradient of the whole batch": one_batch,
    }
    return _table(f"gradients of 1,797 samples, {CNN}, float32", contenders)


def _opacus(model: nn.Sequential, inputs: Tensor, targets: Tensor) -> Contender:
    from opacus import GradSampleModule

    wrapped = GradSampleModule(model)

    def gradients() -> Tensor:
        wrapped.zero_grad()
        functional.cross_entropy(wrapped(inputs), targets, reduction="sum").backward()
        return torch.cat([entry.grad_sample.flatten(1) for entry in wrapped.parameters()], dim=1)

    return gradients


def _backpack(model: nn.Sequential, inputs: Tensor, targets: Tensor) -> Contender:
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad

    extended, function = extend(model), extend(nn.CrossEntropyLoss(reduction="sum"))

    def gradients() -> Tensor:
        with backpack(BatchGrad()):
            function(extended(inputs), targets).backward()
        return torch.cat([entry.grad_batch.flatten(1) for entry in extended.parameters()], dim=1)

    return gradients


def _table(
    what: str, contenders: dict[str, Contender | None], check: Callable[[object], str] = lambda _: ""
) -> list[dict[str, object]]:
    present = {name: call for name, call in contenders.items() if call is not None}
    notes = {name: check(call()) for name, call in present.items()}
    timed = compare(present, REPEATS, warmups=0)
    ours = f"{what} ({notes['workbench']})" if notes["workbench"] else what
    return [
        row(ours, timed["workbench"], name, timed.get(name), notes.get(name, ""))
        for name in contenders
        if name != "workbench"
    ]
