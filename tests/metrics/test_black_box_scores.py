"""Scores of draws against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.metrics import log_score, log_score_by_series, quadratic_score

Q, P = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])


def test_quadratic_score_is_the_mean_over_all_pairs():
    model, data = jnp.array([0, 1, 1, 2, 0, 0]), jnp.array([0, 2, 1, 0])
    pairs = [model[i] == model[j] for i in range(6) for j in range(6) if i != j]
    across = [z == y for z in model for y in data]
    np.testing.assert_allclose(quadratic_score(model, data), np.mean(pairs) - 2 * np.mean(across), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_unbiased(seed):
    n = 20_000
    keys = jax.random.split(jax.random.key(seed), n)

    def draw(key):
        return jax.random.choice(key, 3, p=jnp.asarray(Q))

    def quadratic(key):
        model, data = jax.random.split(key)
        z = jax.random.choice(model, 3, (4,), p=jnp.asarray(Q))
        return quadratic_score(z, jax.random.choice(data, 3, (2,), p=jnp.asarray(P)))

    truths = {
        quadratic: np.sum(Q**2) - 2 * Q @ P,
        lambda key: log_score(key, draw, 2): -np.log(0.2),
        lambda key: log_score_by_series(key, draw, 2, 0.1): -np.log(0.2),
    }
    for estimate, truth in truths.items():
        values = np.asarray(jax.jit(jax.vmap(estimate))(keys))
        error = values.std() / np.sqrt(n)
        assert abs(values.mean() - truth) < 5 * error
        assert 5 * error < 0.15


def test_an_impossible_datum_scores_infinity():
    assert jnp.isinf(log_score(jax.random.key(0), lambda key: 0, 1, most=50))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="two draws of the model"):
        quadratic_score(jnp.array([1]), jnp.array([1]))
    with pytest.raises(InputError, match="stop must lie between 0 and 1"):
        log_score_by_series(jax.random.key(0), lambda key: 0, 1, 1.0)
    with pytest.raises(InputError, match="most must be at least 1"):
        log_score(jax.random.key(0), lambda key: 0, 1, most=0)
