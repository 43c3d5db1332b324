"""How close do amortised posteriors come to sbibm's reference posteriors at equal numbers of simulations?

For each task a conditional density is trained once on `--budget` simulations, and given the task's observations; a
classifier tells its draws from the reference's (C2ST: 0.5 is perfect, mean over observations). Beside it stand the
benchmark's own published means over its ten observations: plain NPE (one network for all observations, as here) where
we have them, else the best method's, which spends all simulations on each single observation.

    JENSEN_DATA=... jensen bench sbibm --tasks two_moons slcp --budget 1000 10000
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.amortised import Set, SplineFlow, Vector, amortise, neural_posterior
from jensen.core import interval, sample_many

# means over sbibm's ten observations at 1e3, 1e4, 1e5 simulations: (plain NPE or None, best method and its mean)
PUBLISHED: dict[str, tuple[dict[int, float], dict[int, tuple[str, float]]]] = {
    "two_moons": ({1000: 0.73, 10_000: 0.61}, {1000: ("SNPE", 0.64), 10_000: ("SNPE", 0.55)}),
    "slcp": ({1000: 0.98, 10_000: 0.90}, {1000: ("SNLE", 0.92), 10_000: ("SNLE", 0.71)}),
    "gaussian_linear": ({}, {1000: ("SNPE", 0.65), 10_000: ("SNPE", 0.54)}),
    "gaussian_mixture": ({}, {1000: ("SNPE", 0.70), 10_000: ("SNPE", 0.58)}),
}


def uniform(low: float, high: float, d: int) -> tuple[Callable[..., Any], dict[str, Any]]:
    """(prior, supports) of x ~ U(low, high)^d."""
    return (
        lambda key: {"x": jax.random.uniform(key, (d,), minval=low, maxval=high)},
        {"x": interval(jnp.full(d, low), jnp.full(d, high))},
    )


def two_moons(key: Any, x: Any) -> Any:
    """A crescent of radius 0.1, moved by |x_1 + x_2| and x_2 - x_1: the posterior has two."""
    keys, t = jax.random.split(key), x["x"]
    angle = jax.random.uniform(keys[0], minval=-jnp.pi / 2, maxval=jnp.pi / 2)
    radius = 0.1 + 0.01 * jax.random.normal(keys[1])
    moved = jnp.stack([-jnp.abs(t[0] + t[1]), t[1] - t[0]]) / jnp.sqrt(2)
    return jnp.stack([radius * jnp.cos(angle) + 0.25, radius * jnp.sin(angle)]) + moved


def slcp(key: Any, x: Any) -> Any:
    """Four points of a Gaussian whose mean, scales (squares) and correlation (tanh) are five parameters."""
    t = x["x"]
    scale, correlation = t[2:4] ** 2, jnp.tanh(t[4])
    eps = jax.random.normal(key, (4, 2))
    second = correlation * eps[:, 0] + jnp.sqrt(1 - correlation**2) * eps[:, 1]
    return t[:2] + scale * jnp.stack([eps[:, 0], second], axis=1)


def gaussian_linear(key: Any, x: Any) -> Any:
    """y ~ N(x, 0.1 I)."""
    return x["x"] + jnp.sqrt(0.1) * jax.random.normal(key, (10,))


def gaussian_mixture(key: Any, x: Any) -> Any:
    """y ~ 1/2 N(x, I) + 1/2 N(x, 0.01 I)."""
    keys = jax.random.split(key)
    scale = jnp.where(jax.random.bernoulli(keys[0]), 1.0, 0.1)
    return x["x"] + scale * jax.random.normal(keys[1], (2,))


def simulator(task: str) -> Any:
    """The task as a simulator."""
    if task == "gaussian_linear":
        return jn.targets.from_simulator(
            lambda key: {"x": jnp.sqrt(0.1) * jax.random.normal(key, (10,))}, gaussian_linear
        )
    model, bounds = {
        "two_moons": (two_moons, (-1.0, 1.0, 2)),
        "slcp": (slcp, (-3.0, 3.0, 5)),
        "gaussian_mixture": (gaussian_mixture, (-10.0, 10.0, 2)),
    }[task]
    prior, supports = uniform(*bounds)
    return jn.targets.from_simulator(prior, model, supports)


@eqx.filter_jit
def draw(key: Any, fit: Any, data: Any, n: int) -> Any:
    """`n` draws of q(. | data) in the task's own coordinates."""
    z = sample_many(key, fit.given(data), n)
    return jax.vmap(lambda z: fit.space.constrain(z)["x"])(z)


def measure(task: str, budget: int, steps: int, draws: int, seed: int) -> tuple[list[float], float, float]:
    """(C2ST of each observation, seconds of training, seconds in all)."""
    began = time.perf_counter()
    held = jn.datasets.load(f"sbibm/{task}")
    model = simulator(task)
    encoder: Any = Set(width=32, blocks=1) if task == "slcp" else Vector(width=64, depth=2)
    network = neural_posterior(jax.random.key(seed), model, encoder, SplineFlow(layers=5))
    fit = amortise(
        model, network, key=jax.random.key(seed + 1), steps=steps, batch_size=128, learning_rate=2e-3, budget=budget
    )
    trained = time.perf_counter() - began
    scores = []
    for i, observation in enumerate(held["observation"]):
        data = jnp.asarray(observation).reshape(4, 2) if task == "slcp" else jnp.asarray(observation)
        ours = draw(jax.random.key(seed + 2), fit, data, draws)
        accuracy, _ = jn.metrics.c2st(jax.random.key(i), ours, held["samples"][i][:draws])
        scores.append(max(accuracy, 1 - accuracy))
    return scores, trained, time.perf_counter() - began


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(PUBLISHED))
    parser.add_argument("--budget", nargs="*", type=int, default=[1000, 10_000])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(list(arguments))
    head = ("task", "simulations", "C2ST", "range", "NPE", "best published", "train s")
    print("{:18s} {:>11s} {:>6s} {:>12s} {:>5s} {:>15s} {:>8s}".format(*head))
    for task in options.tasks:
        for budget in options.budget:
            scores, trained, _ = measure(task, budget, options.steps, options.draws, options.seed)
            npe, best = PUBLISHED.get(task, ({}, {}))
            name, value = best.get(budget, ("", float("nan")))
            plain = f"{npe[budget]:.2f}" if budget in npe else "-"
            spread = f"{min(scores):.2f}-{max(scores):.2f}"
            print(
                f"{task:18s} {budget:11d} {np.mean(scores):6.3f} {spread:>12s} {plain:>5s} "
                f"{name + f' {value:.2f}':>15s} {trained:8.1f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
