"""Autoregressive likelihoods by enumeration, and the flow prior by change of variables and quadrature."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jensen.core import InputError
from jensen.families import DiagonalGaussian, Pushforward
from jensen.vae import (
    AutoregressiveBernoulli,
    AutoregressivePrior,
    CausalLinear,
    autoregressive_prior,
    causal_linear,
    causal_perceptron,
    window,
)


def shaken(tree, key, scale):
    """With noise added to all that is trained."""
    trainable, rest = tree.partition()
    flat, build = ravel_pytree(trainable)
    return eqx.combine(build(flat + scale * jax.random.normal(key, flat.shape)), rest)


def causal_maps():
    linear = causal_linear((2, 3), 1)
    weight = jax.random.normal(jax.random.key(0), (6, 6))
    yield CausalLinear(weight, linear.mask)
    perceptron = causal_perceptron(jax.random.key(1), 6, 9)
    out = jax.random.normal(jax.random.key(2), (6, 9))
    yield eqx.tree_at(lambda c: c.weights[1], perceptron, out)


def test_windows_look_back_alone():
    seen = window((3, 4), 1)
    assert set(np.flatnonzero(seen[5])) == {0, 1, 2, 4}  # row 1, column 1
    assert not np.any(np.triu(seen))
    assert np.array_equal(window((3, 4), None), np.tri(12, k=-1, dtype=bool))
    with pytest.raises(InputError, match="radius"):
        window((3, 4), -1)


def test_rows_of_all_values_have_a_mass_of_one_and_draws_follow_it():
    rows = jnp.asarray(list(itertools.product([0.0, 1.0], repeat=6)))
    raw = jax.random.normal(jax.random.key(3), (6, 1))
    for causal in causal_maps():
        likelihood = AutoregressiveBernoulli(causal)
        slope = np.asarray(eqx.filter_jit(jax.jacfwd(causal))(rows[21] + 0.3))
        assert np.all(np.triu(slope) == 0)
        assert np.any(slope[4] != 0)
        mass = np.exp(eqx.filter_jit(jax.vmap(lambda x, f=likelihood: f.log_prob(x, raw)))(rows))
        assert mass.sum() == pytest.approx(1.0)
        n = 20_000
        keys = jax.random.split(jax.random.key(4), n)
        draws = np.asarray(jax.jit(jax.vmap(lambda k, f=likelihood: f.sample(k, raw)))(keys))
        counts = np.bincount((draws @ 2 ** np.arange(5, -1, -1)).astype(int), minlength=64)
        assert np.all(np.abs(counts / n - mass) < 5.5 * np.sqrt(mass * (1 - mass) / n) + 5 / n)
    apart = AutoregressiveBernoulli(causal_linear((2, 3), 0))
    np.testing.assert_allclose(apart.mean(raw), jax.nn.sigmoid(raw[:, 0]))


def test_the_mask_is_kept_in_training():
    trainable, rest = AutoregressiveBernoulli(causal_linear((2, 2), None)).partition()
    assert [leaf.shape for leaf in jax.tree.leaves(trainable)] == [(4, 4)]
    assert len(jax.tree.leaves(rest)) == 1


def test_a_prior_flow_is_the_same_as_a_posterior_flow_in_its_noise():
    """log q(z) - log p(z) = log g(q)(e) - log N(e), draw by draw, with g(q) by the sequential inverse."""
    prior = shaken(autoregressive_prior(jax.random.key(0), 4, 3), jax.random.key(1), 0.1)
    q = DiagonalGaussian(jnp.array([0.3, -1.0, 0.5, 0.0]), jnp.array([-0.5, -1.0, 0.2, 0.0]))

    @eqx.filter_jit
    def both(key, prior, q):
        z, log_q = q.sample_and_log_prob(key)
        noise = prior.g.transform(z)[0]
        behind = Pushforward(q, prior.g).log_prob(noise)
        return log_q - prior.log_prob(z), behind + 0.5 * (noise @ noise + 4 * math.log(2 * math.pi))

    for seed in range(3):
        ours, theirs = both(jax.random.key(10 + seed), prior, q)
        assert float(ours) == pytest.approx(float(theirs), abs=1e-9)


def test_the_prior_integrates_to_one_and_its_draws_have_its_moments():
    prior = shaken(autoregressive_prior(jax.random.key(0), 2, 2), jax.random.key(2), 0.1)
    line = jnp.linspace(-12, 12, 481)
    grid = jnp.stack(jnp.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    mass = np.exp(np.asarray(jax.jit(jax.vmap(prior.log_prob))(grid))) * float(line[1] - line[0]) ** 2
    assert mass.sum() == pytest.approx(1.0, abs=1e-3)
    z = np.asarray(jax.jit(jax.vmap(prior.sample))(jax.random.split(jax.random.key(3), 20_000)))
    truth = mass @ np.asarray(grid)
    assert np.all(np.abs(z.mean(0) - truth) < 5 * z.std(0) / math.sqrt(len(z)) + 1e-3)
    again = AutoregressivePrior.from_config(prior.config())
    assert jax.tree.structure(again) == jax.tree.structure(prior)
    with pytest.raises(InputError, match="1 or more"):
        autoregressive_prior(jax.random.key(0), 0)
