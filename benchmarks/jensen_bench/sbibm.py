"""How close do amortised posteriors come to sbibm's reference posteriors at equal numbers of simulations?

For each task a spline flow is trained once on `--budget` simulations, on a network of the data or on what a regression
leaves, or both (`--estimator best`: the one of the higher held-out density), and given the task's observations; a
classifier tells its draws from the reference's (C2ST: 0.5 is perfect, mean over observations). Beside it stand the
benchmark's own published means over its ten observations: plain NPE (one network for all observations, as here) where
we have them, else the best method's, which spends all simulations on each single observation.

    JENSEN_DATA=... jensen bench sbibm --tasks two_moons slcp --budget 1000 10000
"""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.amortised import Network, Regression, Set, SplineFlow, Vector, amortise
from jensen.core import sample_many

# means over sbibm's ten observations at 1e3, 1e4, 1e5 simulations: (plain NPE or None, best method and its mean)
PUBLISHED: dict[str, tuple[dict[int, float], dict[int, tuple[str, float]]]] = {
    "two_moons": ({1000: 0.73, 10_000: 0.61}, {1000: ("SNPE", 0.64), 10_000: ("SNPE", 0.55)}),
    "slcp": ({1000: 0.98, 10_000: 0.90}, {1000: ("SNLE", 0.92), 10_000: ("SNLE", 0.71)}),
    "gaussian_linear": ({}, {1000: ("SNPE", 0.65), 10_000: ("SNPE", 0.54)}),
    "gaussian_mixture": ({}, {1000: ("SNPE", 0.70), 10_000: ("SNPE", 0.58)}),
    "sir": ({}, {1000: ("SNPE", 0.64), 10_000: ("SNPE", 0.56)}),
    "lotka_volterra": ({}, {1000: ("SNLE", 0.91), 10_000: ("SNLE", 0.74)}),
    "bernoulli_glm": ({}, {1000: ("SNLE", 0.63), 10_000: ("SNLE", 0.55)}),
}


def task_of(name: str) -> tuple[Any, np.ndarray, np.ndarray]:
    """(simulator, observations as it has them, reference draws); of "lotka_volterra" the logarithms of the counts."""
    held = jn.datasets.load(f"sbibm/{name.removesuffix('_raw')}")
    model: Any = jn.targets.sbibm(name)
    observed = held["observation"]
    if name == "bernoulli_glm_raw":
        observed = jn.datasets.load("sbibm/bernoulli_glm_extra")["observation_raw"][: len(held["samples"])]
    if name == "slcp":
        observed = observed.reshape(-1, 4, 2)
    if name == "lotka_volterra":
        counts, observed = model.model, np.log(observed)
        model = jn.targets.from_simulator(
            model.prior, lambda key, x: jnp.log(counts(key, x)), {"theta": jn.core.positive()}
        )
    return model, observed, held["samples"]


@eqx.filter_jit
def draw(key: Any, fit: Any, data: Any, n: int) -> Any:
    """`n` draws of q(. | data) in the task's own coordinates."""
    z = sample_many(key, fit.given(data), n)
    return jax.vmap(lambda z: fit.space.constrain(z)["theta"])(z)


def measure(
    task: str, budget: int, steps: int, draws: int, seed: int, estimator: str = "best"
) -> tuple[list[float], float, float]:
    """(C2ST of each observation, seconds of training, seconds in all)."""
    began = time.perf_counter()
    model, observed, reference = task_of(task)
    encoder: Any = Set(width=32, blocks=1) if task == "slcp" else Vector(width=64, depth=2)
    parts = encoder, SplineFlow(layers=5)
    builders: dict[str, Any] = {"regression": Regression(*parts), "network": Network(*parts)}
    wanted = list(builders.values()) if estimator == "best" else builders[estimator]
    fit = amortise(
        model, wanted, key=jax.random.key(seed + 1), steps=steps, batch_size=128, learning_rate=2e-3, budget=budget
    )
    trained = time.perf_counter() - began
    scores = []
    for i, data in enumerate(observed):
        ours = draw(jax.random.key(seed + 2), fit, jnp.asarray(data), draws)
        accuracy, _ = jn.metrics.c2st(jax.random.key(i), ours, reference[i][:draws])
        scores.append(max(accuracy, 1 - accuracy))
    return scores, trained, time.perf_counter() - began


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(PUBLISHED), choices=jn.targets.sbibm_names())
    parser.add_argument("--budget", nargs="*", type=int, default=[1000, 10_000])
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--estimator", default="best", choices=("best", "regression", "network"))
    options = parser.parse_args(list(arguments))
    head = ("task", "simulations", "C2ST", "range", "NPE", "best published", "train s")
    print("{:18s} {:>11s} {:>6s} {:>12s} {:>5s} {:>15s} {:>8s}".format(*head))
    for task in options.tasks:
        for budget in options.budget:
            scores, trained, _ = measure(task, budget, options.steps, options.draws, options.seed, options.estimator)
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
