"""What does a GradientVI step cost over a bare hand-written scan of the same arithmetic?

Both fit a full-rank Gaussian to a 31-d logistic regression by 2,000 Adam steps of 16 draws, in one process.
Printed: seconds of the first call (compilation included) and of later ones, ours and the scan's, and the ratios:
`step_ratio` is that of the compiled loop alone (goal: at most 1.1), `run_ratio` that of a whole run, with the looks of
the guard every 100 steps, the history and the posterior.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.linalg import solve_triangular

import jensen as jn
from jensen._run import drive
from jensen._run.chunk import advance, begin
from jensen.core import PointPosterior

STEPS, DRAWS, RATE = 2000, 16, 0.02


def data(rows: int = 569, columns: int = 31) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a logistic regression with known coefficients."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, columns))
    y = rng.random(rows) < 1 / (1 + np.exp(-x @ rng.normal(size=columns)))
    return x, y.astype(float)


def log_density(beta, x, y):
    """log p(beta, y | x) with N(0, 1) priors, up to a constant."""
    logits = x @ beta
    return -0.5 * jnp.sum(beta**2) + jnp.sum(y * logits - jax.nn.softplus(logits))


@jax.jit
def bare(key, z0, x, y):
    """The same estimator and schedule written out: sticking the landing, Adam, warm-up and cosine."""
    d = z0.shape[0]
    optimiser = optax.scale_by_adam()

    def loss(q, key):
        mean, tril = q
        eps = jax.random.normal(key, (DRAWS, d))
        z = mean + eps @ jnp.tril(tril).T
        mean, tril = jax.lax.stop_gradient(q)
        u = solve_triangular(tril, (z - mean).T, lower=True)
        log_q = -0.5 * jnp.sum(u**2, axis=0) - jnp.sum(jnp.log(jnp.abs(jnp.diagonal(tril))))
        return jnp.mean(log_q - jax.vmap(lambda z: log_density(z, x, y))(z))

    def step(carry, t):
        q, adam = carry
        value, gradient = jax.value_and_grad(loss)(q, jax.random.fold_in(key, t))
        direction, adam = optimiser.update(gradient, adam)
        past = jnp.clip((t / STEPS - 0.7) / 0.3, 0.0, 1.0)
        rate = RATE * jnp.minimum(1.0, (t + 1) / 20) * 0.5 * (1 + jnp.cos(jnp.pi * past))
        return (jax.tree.map(lambda p, u: p - rate * u, q, direction), adam), value

    q = (z0, 0.1 * jnp.eye(d))
    return jax.lax.scan(step, (q, optimiser.init(q)), jnp.arange(STEPS))


def timed(runs: Sequence[Callable[[Any], Any]], repeats: int = 10) -> list[tuple[float, float]]:
    """(seconds of the first call, best seconds of later ones) of each of `runs`, which take turns."""
    times: list[list[float]] = [[] for _ in runs]
    for i in range(repeats + 1):
        for run, taken in zip(runs, times, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(run(jax.random.key(i)))
            taken.append(time.perf_counter() - began)
    return [(taken[0], min(taken[1:])) for taken in times]


def main(arguments: Sequence[str] = ()) -> int:
    """Run the benchmark and print it as JSON; it takes no arguments."""
    jax.config.update("jax_enable_x64", True)
    x, y = (jnp.asarray(a) for a in data())
    target = jn.targets.from_log_density(log_density, jnp.zeros(x.shape[1]), x, y)
    start = PointPosterior(target.space, jnp.zeros(x.shape[1]))
    algorithm = jn.algorithms.GradientVI(learning_rate=RATE)

    def ours(key):
        return drive(algorithm, target, key=key, steps=STEPS, start=start).state

    def chunk(key):
        return advance.full(algorithm, target, state, key, (zero, total, total), STEPS)

    zero, total = jnp.zeros((), jnp.int32), jnp.asarray(STEPS, jnp.int32)
    state, _, _ = begin(algorithm, target, jax.random.key(0), start)
    times = timed([lambda key: bare(key, start.z, x, y), ours, chunk])
    (scan_first, scan_run), (ours_first, ours_run), (_, chunk_run) = times
    numbers = {
        "scan_first_s": scan_first,
        "ours_first_s": ours_first,
        "scan_run_s": scan_run,
        "ours_run_s": ours_run,
        "chunk_run_s": chunk_run,
        "step_ratio": chunk_run / scan_run,
        "run_ratio": ours_run / scan_run,
        "first_ratio": ours_first / scan_first,
    }
    print(json.dumps({name: round(value, 4) for name, value in numbers.items()}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
