"""Exact expectations of the continuized process on quadratics and least squares, from its second-moment equation.

dM/dt = F_t M + M F_t^T + E[J_t M J_t^T] - M, F_t the flow, J_t the jump (x - gamma g(x), z - gamma'_t g(x)).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from workbench.dynamics.moments import CoordinateMoments, LinearStep, lift
from workbench.optimizers.accelerated import Continuized, ContinuizedConvex
from workbench.parameters import Scalar
from workbench.problems.linear.designs import NoiseLaw

Moments = Float[np.ndarray, "time entry coordinate"]
"""(E x^2, E x z, E z^2) of every coordinate."""
FIRST = 1e-6
"""Where the equation of the convex case starts: eta = power/t is singular at 0, where x = z."""


def jump(law: NoiseLaw, gamma: Scalar, gamma_prime: Scalar) -> CoordinateMoments:
    """The second moments of one gradient step on (x, z)."""
    step = LinearStep(np.eye(2), np.array([[1.0, 0.0]]), np.array([[-float(gamma)], [-float(gamma_prime)]]))
    return CoordinateMoments(step, law, np.ones(2), {"parameters": np.array([1.0, 0.0])})


def flow(eta: Scalar, eta_z: Scalar) -> Float[np.ndarray, "2 2"]:
    """F of (x, z)."""
    return np.array([[-float(eta), float(eta)], [float(eta_z), -float(eta_z)]])


def generator(scheme: Continuized, law: NoiseLaw) -> Float[np.ndarray, "row column"]:
    """The generator of (coordinate, entry) moments, without the additive part of the noise."""
    d = law.spectrum.size
    mixing = lift(flow(scheme.eta, scheme.eta_z), np.eye(2))
    return np.kron(np.eye(d), mixing) + jump(law, scheme.step_size, scheme.z_step).matrix() - np.eye(3 * d)


def rate(scheme: Continuized, law: NoiseLaw) -> float:
    """The exact exponential rate of E |x_t - x*|^2."""
    parts = _parts(scheme, law)
    if scheme.eta == 0:  # x does not see z, which need not decay
        parts = parts[:, ::3, ::3]
    return -float(np.linalg.eigvals(parts).real.max())


def stationary(scheme: Continuized, law: NoiseLaw) -> Float[np.ndarray, "entry coordinate"]:
    """The moments at which noise that does not vanish at x* keeps the process. ValueError where it explodes."""
    if not rate(scheme, law) > 0:
        raise ValueError(f"{scheme!r} is not mean-square stable on this problem: it has no stationary law")
    noise = jump(law, scheme.step_size, scheme.z_step).apply(np.zeros((3, law.spectrum.size)))
    return np.linalg.solve(generator(scheme, law), -noise.T.ravel()).reshape(-1, 3).T


def expected(
    scheme: Continuized, law: NoiseLaw, start: Float[np.ndarray, " coordinate"], times: Float[np.ndarray, " time"]
) -> Moments:
    """Exact moments at the times, from x_0 = z_0 = start (errors x - x*), by the matrix exponential."""
    start, times = np.asarray(start, dtype=np.float64), np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or not (np.diff(times, prepend=0.0) >= 0).all():
        raise ValueError("times must be a list of increasing numbers >= 0")
    parts = _parts(scheme, law)
    size = parts.shape[-1]
    noise = jump(law, scheme.step_size, scheme.z_step).apply(np.zeros((3, start.size))).T.reshape(-1, size)
    # The constant 1 carries the additive noise along.
    whole = np.zeros((len(parts), size + 1, size + 1))
    whole[:, :size, :size], whole[:, :size, size] = parts, noise
    state = np.ones((len(parts), size + 1, 1))
    state[:, :size, 0] = np.repeat(start**2, 3).reshape(-1, size)
    kept, steps = [], {}
    with np.errstate(over="ignore", invalid="ignore"):
        for step in np.diff(times, prepend=0.0):
            nearby = next((known for known in steps if abs(known - step) <= 4 * np.finfo(float).eps * times[-1]), step)
            if nearby not in steps:
                steps[nearby] = expm(step * whole)
            state = steps[nearby] @ state
            kept.append(state[:, :size, 0].reshape(-1, 3).T)
    return np.stack(kept)


def expected_convex(
    scheme: ContinuizedConvex,
    law: NoiseLaw,
    start: Float[np.ndarray, " coordinate"],
    times: Float[np.ndarray, " time"],
    *,
    rtol: float = 1e-9,
) -> Moments:
    """The same for rates that change with time, by solving the moment equation to relative accuracy `rtol`."""
    start, times = np.asarray(start, dtype=np.float64), np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or not times[0] > FIRST or not (np.diff(times) >= 0).all():
        raise ValueError(f"times must be increasing numbers > {FIRST:g}")
    d = start.size
    mixing = lift(flow(1.0, 0.0), np.eye(2))
    # The jump is a polynomial of degree 2 in gamma': three values give it.
    values = [jump(law, scheme.step_size, slope) for slope in (0.0, 1.0, 2.0)]
    parts = [value.parts for value in values]
    blocks = _quadratic([part[0] for part in parts])
    couplings = [(_quadratic([part[1][i][0] for part in parts]), *parts[0][1][i][1:]) for i in range(len(parts[0][1]))]
    noises = _quadratic([part[2] for part in parts])
    identity = np.eye(3)

    def slope(t: float, flat: np.ndarray) -> np.ndarray:
        moments, powers = flat.reshape(3, d), np.array([1.0, scheme.z_slope * t, (scheme.z_slope * t) ** 2])
        local = np.tensordot(powers, blocks, 1) + (scheme.power / t * mixing - identity)
        change = np.einsum("iab,bi->ai", local, moments) + np.tensordot(powers, noises, 1)
        for matrices, u, v in couplings:
            change += np.outer(np.tensordot(powers, matrices, 1) @ (moments @ v), u)
        return change.ravel()

    solved = solve_ivp(
        slope, (FIRST, times[-1]), np.tile(start**2, 3), method="LSODA", t_eval=times, rtol=rtol, atol=1e-30
    )
    if not solved.success:
        raise ValueError(f"the moment equation could not be solved to t = {times[-1]:g}: {solved.message}")
    return solved.y.T.reshape(-1, 3, d)


def jump_ratios(
    scheme: Continuized, h: Float[np.ndarray, " coordinate"], rate: float, steps: int
) -> Float[np.ndarray, "step coordinate"]:
    """E exp(rate T_k) x_k^2/x_0^2 at the jump times k = 1, ..., steps, exact gradients of curvatures h.

    The flow over an Exp(1) waiting time, weighed by exp(rate Delta), is a resolvent: (1 - rate - F)^-1 on moments.
    """
    mixing = lift(flow(scheme.eta, scheme.eta_z), np.eye(2))
    if not rate < 1:
        raise ValueError(f"rate must be < 1, the rate of the gradient steps, got {rate!r}")
    waited = np.linalg.inv((1 - rate) * np.eye(3) - mixing)
    maps = np.stack([lift(np.array([[1 - scheme.step_size * c, 0.0], [-scheme.z_step * c, 1.0]])) for c in h])
    operators, state, kept = maps @ waited, np.ones((len(maps), 3, 1)), []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            state = operators @ state
            kept.append(state[:, 0, 0])
    return np.stack(kept)


def gap(moments: Moments, h: Float[np.ndarray, " coordinate"]) -> Float[np.ndarray, " time"]:
    """E f(x_t) - f* = 1/2 sum h E x^2."""
    return 0.5 * moments[..., 0, :] @ h


def distance2(moments: Moments) -> Float[np.ndarray, " time"]:
    """E |x_t - x*|^2."""
    return moments[..., 0, :].sum(-1)


def _parts(scheme: Continuized, law: NoiseLaw) -> Float[np.ndarray, "part row column"]:
    """The generator, cut into blocks of 3 where coordinates do not influence each other."""
    whole, d = generator(scheme, law), law.spectrum.size
    if law.fourth(0).factors:
        return whole[None]
    blocks = whole.reshape(d, 3, d, 3)
    return blocks[np.arange(d), :, np.arange(d), :]


def _quadratic(values: list[np.ndarray]) -> np.ndarray:
    """Coefficients of the polynomial of degree 2 with these values at 0, 1, 2."""
    first, second, third = values
    return np.stack([first, 2 * second - 1.5 * first - 0.5 * third, 0.5 * (first + third) - second])
