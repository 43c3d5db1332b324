"""Hidden Markov models against the sum over all paths, term by term."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.core import InputError
from jensen.targets import from_hidden_markov
from jensen.targets._hidden_markov import Chain

K, T = 3, 5
Y = jnp.array([0.3, -1.2, 2.1, 1.9, 0.4])
PATHS = jnp.asarray(list(itertools.product(range(K), repeat=T)))


def parts(x, y):
    """Means and logits of transitions are unknown; state 2 never follows state 0."""
    log_transition = jax.nn.log_softmax(x["logits"], axis=1).at[0, 2].set(-jnp.inf)
    log_prior = -0.5 * jnp.sum(x["means"] ** 2) - 0.5 * jnp.sum(x["logits"] ** 2)
    emission = jax.scipy.stats.norm.logpdf(y[:, None], x["means"], 0.8)
    return log_prior, jnp.log(jnp.array([0.5, 0.3, 0.2])), log_transition, emission


EXAMPLE = {"means": np.zeros(K), "logits": np.zeros((K, K))}
TARGET = from_hidden_markov(parts, EXAMPLE, np.asarray(Y))


def path_terms(chain):
    """log p(s, y) of every path."""
    steps = jnp.broadcast_to(chain.log_transition, (T - 1, K, K))

    def one(s):
        moves = steps[jnp.arange(T - 1), s[:-1], s[1:]]
        return chain.log_initial[s[0]] + jnp.sum(moves) + jnp.sum(chain.log_emission[jnp.arange(T), s])

    return eqx.filter_jit(jax.vmap(one))(PATHS)


def test_density_and_slope_are_those_of_the_sum_over_paths():
    z = jax.random.normal(jax.random.key(0), (TARGET.space.dimension,))

    def brute(z):
        log_prior, chain = TARGET.model.at(TARGET.model.space.split(z))
        terms = path_terms(chain)
        return log_prior + jax.nn.logsumexp(jnp.where(jnp.isfinite(terms), terms, -1e9))

    value, slope = jax.jit(jax.value_and_grad(lambda p, z: p.log_density(z), argnums=1))(TARGET, z)
    truth, expected = jax.jit(jax.value_and_grad(brute))(z)
    np.testing.assert_allclose(value, truth, rtol=1e-12)
    np.testing.assert_allclose(slope, expected, rtol=1e-9, atol=1e-12)


def test_paths_have_their_posterior_probabilities_under_any_transitions():
    keys = jax.random.split(jax.random.key(1), 4)
    steps = jax.random.normal(keys[0], (T - 1, K, K)).at[1, 0, 0].set(-jnp.inf)
    chain = Chain(jax.random.normal(keys[1], (K,)), steps, 2.0 * jax.random.normal(keys[2], (T, K)))
    terms = np.asarray(path_terms(chain))
    np.testing.assert_allclose(chain.log_evidence(), np.logaddexp.reduce(terms), rtol=1e-12)
    p, n = np.exp(terms - np.logaddexp.reduce(terms)), 20_000
    drawn = np.asarray(jax.jit(jax.vmap(chain.draw))(jax.random.split(keys[3], n)))
    counts = np.bincount(drawn @ K ** np.arange(T)[::-1], minlength=K**T)
    assert counts[p == 0].sum() == 0
    # Pearson's statistic over paths that are expected ten times, against its mean and five standard deviations
    often = n * p > 10
    statistic = np.sum((counts - n * p)[often] ** 2 / (n * p)[often])
    assert abs(statistic - often.sum()) < 5 * np.sqrt(2 * often.sum())


def test_a_fit_comes_with_paths():
    rng = np.random.default_rng(0)
    hidden = np.repeat([0, 1, 0, 1], 10)
    y = 4.0 * hidden + rng.normal(size=40)

    def two(x, y):
        mean = jnp.stack([x["low"], x["low"] + jnp.exp(x["gap"])])
        stay = jax.nn.log_sigmoid(x["stay"] * jnp.array([[1.0, -1.0], [-1.0, 1.0]]))
        log_prior = -0.5 * ((x["low"] / 5) ** 2 + (x["gap"] - 1) ** 2 + (x["stay"] - 1) ** 2)
        return log_prior, jnp.log(jnp.full(2, 0.5)), stay, jax.scipy.stats.norm.logpdf(y[:, None], mean, 1.0)

    target = from_hidden_markov(two, {"low": 0.0, "gap": 0.0, "stay": 0.0}, y, states="regime")
    fit = jn.fit(target, key=jax.random.key(0))
    assert fit.certificate.passed
    draws = fit.posterior.sample(jax.random.key(1), 400)
    assert draws["regime"].shape == (400, 40)
    assert draws["regime"].dtype == jnp.int32
    assert np.mean((np.asarray(draws["regime"]).mean(0) > 0.5) == hidden) > 0.9
    z = target.space.unconstrain({"low": 0.0, "gap": 1.0, "stay": 1.0})
    assert target.draw_states(jax.random.key(2), z).shape == (40,)


def test_what_is_no_chain_is_refused():
    for bad, words in (
        (lambda x, y: parts(x, y)[:3], "must return a tuple"),
        (lambda x, y: (*parts(x, y)[:2], jnp.zeros((2, 2)), parts(x, y)[3]), "log transitions"),
        (3, "callable"),
    ):
        with pytest.raises(InputError, match=words):
            from_hidden_markov(bad, EXAMPLE, Y)
    with pytest.raises(InputError, match="name of an unknown"):
        from_hidden_markov(parts, EXAMPLE, Y, states="means")
