"""P062: a tutorial on amortised optimisation (Amos 2023).

What is claimed: a network that predicts solutions of a family of problems, refined by a few gradient steps, replaces an
optimiser from scratch; in variational inference the gap of an encoder splits into an approximation gap of the family
and an amortisation gap of the network. Measured here on quadratic problems and on probabilistic PCA, where every part
is known in closed form. `--full` trains longer.
"""

import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen import amortised
from jensen.families import Gaussian, kl_gaussian
from jensen_papers.result import Claim, Result

PAPER = "Amos (2023)"
D, CONDITION = 10, 10.0
LATENT, OBSERVED, NOISE = 2, 5, 0.6


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full` trains 5,000 steps."""
    began = time.perf_counter()
    curves: dict[str, np.ndarray] = {}
    with jax.enable_x64(True):
        claims = [*_quadratic(curves), _implicit(), *_encoder(4000 if full else 600, curves)]
    if figure is not None:
        _draw(curves, figure)
    return Result("P062", "amortised-optimisation", time.perf_counter() - began, tuple(claims))


def _problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A, its eigenvalues, their vectors) of f(y; x) = y^T A y / 2 - b(x)^T y."""
    rng = np.random.default_rng(0)
    values = np.linspace(1.0, CONDITION, D)
    vectors = np.linalg.qr(rng.normal(size=(D, D)))[0]
    return (vectors * values) @ vectors.T, values, vectors


def _rhs(x: Any) -> Any:
    return jnp.sin(jnp.arange(1, D + 1) * x[0] + x[1]) + x[1]


def _quadratic(curves: dict[str, np.ndarray]) -> list[Claim]:
    """A ridge regression on random features as the predictor: amortised by regression on solutions."""
    a, values, vectors = _problem()
    rng = np.random.default_rng(1)
    frequencies, phases = rng.normal(size=(2, 100)), rng.uniform(0, 2 * np.pi, 100)

    def features(x: np.ndarray) -> np.ndarray:
        return np.cos(x @ frequencies + phases)

    x = rng.uniform(-1, 1, (400, 2))
    b = np.asarray(jax.jit(jax.vmap(_rhs))(jnp.asarray(x)))
    train, test = slice(0, 300), slice(300, 400)
    solutions = np.linalg.solve(a, b.T).T
    phi = features(x)
    weights = np.linalg.solve(phi[train].T @ phi[train] + 1e-3 * np.eye(100), phi[train].T @ solutions[train])
    error = (phi @ weights - solutions)[test] @ vectors  # in the coordinates of the eigenvectors
    before = 0.5 * np.mean(error**2 @ values)

    def refined(method: str, steps: int) -> float:
        rate = 1 / CONDITION if method == "plain" else 2 / (1 + CONDITION)
        y = (phi @ weights)[test]
        for _ in range(steps):
            y = y - rate * (y @ a - b[test])
        left = (y - solutions[test]) @ vectors
        return float(0.5 * np.mean(left**2 @ values))

    predicted = 0.5 * np.mean(error**2 @ (values * (1 - values / CONDITION) ** 10)) / before
    measured = refined("plain", 5) / before
    best = refined("best", 5) / before
    newton = (phi @ weights)[test] - np.linalg.solve(a, ((phi @ weights)[test] @ a - b[test]).T).T - solutions[test]
    scratch = 0.5 * np.mean((solutions[test] @ vectors) ** 2 @ (values * (1 - values / CONDITION) ** 10))
    curves["objective gap"] = np.array([refined("plain", k) for k in range(11)])
    where = f"{PAPER}, semi-amortisation; contraction by |I - a A|^K derived"
    off, best, share = float(abs(measured - predicted)), float(best), float(measured * before / scratch)
    exact = float(np.max(np.abs(newton)))
    return [
        Claim(
            "Objective gap left by 5 gradient steps at 1 / L against its spectrum: error",
            where,
            off,
            "< 1e-6",
            None,
            off < 1e-6,
        ),
        Claim("The share that 5 steps at 2 / (L + mu) leave", where, best, "< 0.1", float(measured), best < 0.1),
        Claim("Largest error after one Newton step from the prediction", where, exact, "< 1e-9", None, exact < 1e-9),
        Claim(
            "Gap after 5 steps from the prediction over that from zero",
            f"{PAPER}, a learned start",
            share,
            "< 0.1",
            1.0,
            share < 0.1,
        ),
    ]


def _implicit() -> Claim:
    """dy*/dx = -(d2f/dy2)^-1 d2f/dydx for f = log-cosh of A y minus b(x)^T y, against central differences."""
    a = jnp.asarray(_problem()[0])

    def f(y: Any, x: Any) -> Any:
        return jnp.sum(jnp.logaddexp(a @ y, -a @ y)) + 0.5 * y @ y - _rhs(x) @ y

    @jax.jit
    def solve(x: Any) -> Any:
        def newton(_: Any, y: Any) -> Any:
            return y - jnp.linalg.solve(jax.hessian(f)(y, x), jax.grad(f)(y, x))

        return jax.lax.fori_loop(0, 50, newton, jnp.zeros(D))

    @jax.jit
    def derivative(y: Any, x: Any) -> Any:
        return -jnp.linalg.solve(jax.hessian(f)(y, x), jax.jacfwd(jax.grad(f), 1)(y, x))

    x, h = np.array([0.3, -0.2]), 1e-5
    implicit = np.asarray(derivative(solve(x), x))
    steps = [(np.asarray(solve(x + h * e)) - np.asarray(solve(x - h * e))) / (2 * h) for e in np.eye(2)]
    off = float(np.max(np.abs(implicit - np.stack(steps, 1))))
    where = f"{PAPER}, implicit differentiation of the solution"
    return Claim(
        "Implicit derivative of the solution against differences: largest error", where, off, "< 1e-6", None, off < 1e-6
    )


@eqx.filter_jit
def _gap(conditional: Any, data: Any) -> Any:
    """Mean over rows of `data` of KL(q(. | x) || exact posterior)."""

    def one(x: Any) -> Any:
        q = conditional.given(x)
        return kl_gaussian(Gaussian(q.means[0], q.scale_trils[0]), _exact(x))

    return jnp.mean(jax.vmap(one)(data))


def _loadings() -> Any:
    return jnp.asarray(np.random.default_rng(2).normal(size=(OBSERVED, LATENT)))


def _exact(x: Any) -> Gaussian:
    """N(P^-1 W^T x / s^2, P^-1), P = I + W^T W / s^2: the posterior of probabilistic PCA."""
    w = _loadings()
    precision = jnp.eye(LATENT) + w.T @ w / NOISE**2
    cov = jnp.linalg.inv(precision)
    return Gaussian(cov @ (w.T @ x) / NOISE**2, jnp.linalg.cholesky(cov))


def _encoder(steps: int, curves: dict[str, np.ndarray]) -> list[Claim]:
    w = _loadings()
    simulator = jn.targets.from_simulator(
        lambda key: {"z": jax.random.normal(key, (LATENT,))},
        lambda key, x: _loadings() @ x["z"] + NOISE * jax.random.normal(key, (OBSERVED,)),
    )
    _, data = amortised.simulations(jax.random.key(9), simulator, 2000)
    network = amortised.neural_posterior(
        jax.random.key(0), simulator, amortised.Vector(16, 1, 8), amortised.Mixture(1, 16)
    )
    gaps = [float(_gap(network, data))]
    for part, seed in ((steps // 6, 1), (steps, 1)):
        fit = amortised.amortise(
            simulator, network, key=jax.random.key(seed), steps=part, batch_size=128, learning_rate=5e-3, progress=False
        )
        gaps.append(float(_gap(fit.conditional, data)))
    curves["amortisation gap"] = np.array(gaps)
    # the best diagonal Gaussian has precisions diag(P): its divergence is half of log (prod P_ii / det P)
    precision = np.eye(LATENT) + np.asarray(w.T @ w) / NOISE**2
    closed = 0.5 * (np.sum(np.log(np.diag(precision))) - np.linalg.slogdet(precision)[1])
    exact = _exact(data[0])
    diagonal = Gaussian(exact.mean, jnp.diag(1 / jnp.sqrt(jnp.diag(jnp.asarray(precision)))))
    approximation = float(kl_gaussian(diagonal, exact))
    closed = float(closed)
    where = f"{PAPER}, approximation and amortisation gaps; probabilistic PCA"
    falls = gaps[0] > gaps[1] > gaps[2]
    return [
        Claim(
            "Approximation gap of a diagonal Gaussian less its closed form (nats)",
            where,
            approximation - closed,
            "|.| < 1e-9",
            closed,
            abs(approximation - closed) < 1e-9,
        ),
        Claim(
            "Amortisation gap of a full-covariance encoder at the end (nats)",
            where,
            gaps[2],
            "< 0.05",
            gaps[0],
            gaps[2] < 0.05,
        ),
        Claim(
            "It falls with training, and is never negative: gap after a sixth of it",
            where,
            gaps[1],
            "between",
            gaps[0],
            falls and gaps[2] >= 0,
        ),
    ]


def _draw(curves: dict[str, np.ndarray], path: Path) -> None:
    """The objective gap against gradient steps, and the amortisation gap against training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(curves["objective gap"], "o-")
    left.set(title="refining a prediction", xlabel="gradient steps", ylabel="mean objective gap")
    right.semilogy([0, 1, 6], curves["amortisation gap"], "o-")
    right.set(title="an encoder's gap", xlabel="sixths of the training", ylabel="amortisation gap (nats)")
    figure.savefig(path)
