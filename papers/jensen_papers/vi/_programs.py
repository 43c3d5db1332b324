"""Gradients of expectations under programs, many at a time: what the papers on estimators measure."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jensen as jn
from jensen.core import Compiled, in_batches
from jensen.gradient_estimators import PerSite


def family(guide: Any, target: Any, *args: Any) -> Any:
    """The family of a guide over the unknowns of a target."""
    return jn.families.program(guide, *args).family(jax.random.key(0), target)


def gradients(loss: Any, q: Any, num: int, seed: int = 0) -> dict[str, np.ndarray]:
    """`num` independent gradients of `loss(q, key).surrogate` in the guide's parameters, (num, ...) each."""
    return jax.tree.map(np.asarray, _many(loss, q, jax.random.split(jax.random.key(seed), num)))


@partial(Compiled, small=1_000_000)
def _many(loss: Any, q: Any, keys: Any) -> Any:
    trainable, rest = q.partition()

    def one(key: Any) -> Any:
        return jax.grad(lambda t: loss(eqx.combine(t, rest), key).surrogate)(trainable).parameters

    return in_batches(one, keys, 500)


def of_cost(cost: Any, num_draws: int = 1) -> Any:
    """The loss E_q[cost(z)], by `num_draws` runs of the program."""
    return lambda q, key: PerSite(num_draws).expectation(key, q, lambda q, z: cost(z))


def deviation(values: np.ndarray, truth: Any) -> float:
    """Largest |mean - truth| in standard errors of the mean."""
    error = values.std(0) / np.sqrt(len(values))
    return float(np.max(np.abs(values.mean(0) - np.asarray(truth)) / np.maximum(error, 1e-12)))


def with_parameters(q: Any, **values: Any) -> Any:
    """q at other parameters (unconstrained)."""
    parameters = q.parameters | {name: jnp.asarray(v) for name, v in values.items()}
    return eqx.tree_at(lambda q: q.parameters, q, parameters)
