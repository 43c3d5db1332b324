"""Draws from the posterior predictive distribution, beside the data that they answer to."""

import math
from typing import Any

import jax
import numpy as np

from jensen.core.batching import in_batches
from jensen.core.compiled import Compiled
from jensen.core.posterior import Posterior
from jensen.core.random import PRNGKey, check_key

_MAX_VALUES = 20_000_000


@Compiled
def _predict_many(target: Any, keys: Any, z: Any) -> dict[str, Any]:
    return in_batches(lambda pair: target.predict(*pair), (keys, z), 100)


def posterior_predictive(
    posterior: Posterior, target: Any, key: PRNGKey, num_draws: int = 200
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(replicated data, observed data): y_rep ~ p(y | z), z from the posterior, with leading axis `num_draws`.

    Both are dicts by the names of the observed sites; both empty where the target cannot generate data. Fewer draws are
    made where there are very many data (at most 2e7 values in all).
    """
    key_draw, key_noise = jax.random.split(check_key(key))
    observed = {name: np.asarray(value) for name, value in target.observed().items()}
    if not observed:
        return {}, {}
    size = max(1, sum(math.prod(value.shape) for value in observed.values()))
    num_draws = max(1, min(num_draws, _MAX_VALUES // size))
    z = posterior.sample_z(key_draw, num_draws)
    drawn = _predict_many(target, jax.random.split(key_noise, num_draws), z)
    replicated = {name: np.asarray(value) for name, value in drawn.items()}
    matched = [
        name for name, value in replicated.items() if name in observed and value.shape[1:] == observed[name].shape
    ]
    return {name: replicated[name] for name in matched}, {name: observed[name] for name in matched}
