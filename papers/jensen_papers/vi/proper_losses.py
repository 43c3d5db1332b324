"""P171: proper losses for discrete generative models (Kimpara, Frongillo and Waggoner 2023), seen through draws.

What is claimed: a loss of a fixed number of draws is proper if and only if its expectation is a proper polynomial, as
that of the quadratic score is, and the cross-entropy is none; with a random number of draws it can be estimated without
bias. The paper is theory; its statements are checked on laws of a few symbols.
"""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jensen.metrics import log_score, log_score_by_series, quadratic_score
from jensen_papers.result import Claim, Result
from jensen_papers.vi._programs import deviation

PAPER = "Kimpara et al. (2023)"
P = np.array([0.4, 0.3, 0.2, 0.1])
MASSES = (0.05, 0.3, 0.9)


def reproduce(full: bool = False, figure: Path | None = None) -> Result:
    """Measure the claims in double precision, and write a figure to `figure` if given; `full`: ten times the draws."""
    began = time.perf_counter()
    num = 400_000 if full else 40_000
    with jax.enable_x64(True):
        spread: dict[str, list[float]] = {}
        claims = [*_quadratic(num), *_logarithmic(num, spread)]
    if figure is not None:
        _draw(spread, figure)
    return Result("P171", "proper-losses", time.perf_counter() - began, tuple(claims))


def _laws(num: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(4), size=num)


def _quadratic(num: int) -> list[Claim]:
    def score(key: Any, q: Any, n: int, m: int) -> Any:
        key_model, key_data = jax.random.split(key)
        z = jax.random.choice(key_model, 4, (n,), p=q)
        return quadratic_score(z, jax.random.choice(key_data, 4, (m,), p=jnp.asarray(P)))

    def many(n: int, m: int) -> Any:
        return jax.jit(lambda keys, q: jax.vmap(lambda key: score(key, q, n, m))(keys))

    single, pooled, worst, ratio = many(2, 1), many(8, 4), 0.0, 0.0
    for i, q in enumerate(_laws(5)):
        truth = np.sum((q - P) ** 2) - np.sum(P**2)
        keys = jax.random.split(jax.random.key(i), num)
        one = np.asarray(single(keys, jnp.asarray(q)))
        several = np.asarray(pooled(keys[: num // 4], jnp.asarray(q)))
        worst = max(worst, deviation(one, truth), deviation(several, truth))
        ratio = max(ratio, float(several.var() / one.var()))
    best = _minimiser()
    error = float(np.max(np.abs(best - P)))
    return [
        Claim(
            "|z| of the quadratic loss, five random laws, 2 and 8 draws",
            f"{PAPER}: polynomial losses",
            worst,
            "< 4",
            None,
            worst < 4,
        ),
        Claim(
            "Largest difference between p and the law that makes the expected loss smallest",
            f"{PAPER}: strictly proper",
            error,
            "< 1e-8",
            None,
            error < 1e-8,
        ),
        Claim(
            "Variance of the loss over all pairs of 8 and 4 draws, over that of one pair",
            "U-statistics",
            ratio,
            "<= 1",
            1.0,
            ratio <= 1,
        ),
    ]


def _minimiser() -> np.ndarray:
    """argmin |q|^2 - 2 <q, p> over the simplex, q = softmax(l), by Newton steps with the Hessian made invertible."""

    def loss(logits: Any) -> Any:
        q = jax.nn.softmax(logits)
        return jnp.sum(q**2) - 2 * q @ jnp.asarray(P)

    @jax.jit
    def step(logits: Any) -> Any:
        hessian = jax.hessian(loss)(logits)
        values, vectors = jnp.linalg.eigh(hessian)
        slope = vectors.T @ jax.grad(loss)(logits)
        return logits - vectors @ jnp.where(jnp.abs(values) > 1e-9, slope / jnp.maximum(jnp.abs(values), 1e-9), 0.0)

    logits = jnp.zeros(4)
    for _ in range(50):
        logits = step(logits)
    return np.asarray(jax.nn.softmax(logits))


def _logarithmic(num: int, spread: dict[str, list[float]]) -> list[Claim]:
    def draw(q: Any) -> Any:
        return lambda key: jax.random.bernoulli(key, q)

    @jax.jit
    def inverse(keys: Any, q: Any) -> Any:
        return jax.vmap(lambda key: log_score(key, draw(q), True))(keys)

    @jax.jit
    def series(keys: Any, q: Any) -> Any:
        # the row's rule: stop at half the smallest mass
        return jax.vmap(lambda key: log_score_by_series(key, draw(q), True, 0.5 * min(MASSES)))(keys)

    @jax.jit
    def plug_in(keys: Any, q: Any) -> Any:
        hits = jax.vmap(lambda key: jnp.sum(jax.random.bernoulli(key, q, (20,))))(keys)
        return -jnp.log(jnp.maximum(hits, 0.5) / 20)

    worst = {"inverse sampling": 0.0, "random series": 0.0}
    spread |= {name: [] for name in worst}
    for i, q in enumerate(MASSES):
        keys = jax.random.split(jax.random.key(10 + i), num)
        for name, estimator in (("inverse sampling", inverse), ("random series", series)):
            values = np.asarray(estimator(keys, q))
            worst[name] = max(worst[name], deviation(values, -np.log(q)))
            spread[name].append(float(values.var()))
    biased = deviation(np.asarray(plug_in(jax.random.split(jax.random.key(20), num), 0.3)), -np.log(0.3))
    never = float(jax.jit(lambda key: log_score(key, draw(0.0), True, 1000))(jax.random.key(0)))
    where = f"{PAPER}: random numbers of draws"
    return [
        *(
            Claim(f"|z| of -log q by {name}, q = 0.05, 0.3, 0.9", where, z, "< 4", None, z < 4)
            for name, z in worst.items()
        ),
        Claim(
            "|z| of the plug-in -log(count / 20) at q = 0.3: biased, as every loss of a fixed number of draws",
            f"{PAPER}: cross-entropy is no polynomial",
            biased,
            "> 10",
            None,
            biased > 10,
        ),
        Claim(
            "Score of a datum that the model cannot make, after 1,000 draws",
            "derived",
            never,
            "infinite",
            None,
            bool(np.isinf(never)),
        ),
    ]


def _draw(spread: dict[str, list[float]], path: Path) -> None:
    """Variance of both unbiased estimators by the mass of the datum."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, values in spread.items():
        axes.loglog(MASSES, values, marker="o", label=name)
    axes.set(xlabel="mass q(y) of the datum", ylabel="variance of the estimate of -log q(y)")
    axes.legend()
    figure.savefig(path)
