import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp.likelihoods import Poisson, PoissonReadout

LOADING = np.array([[1.0, 0.2], [-0.5, 0.7], [0.3, 0.0]])
OFFSET = np.array([0.1, -0.4, 0.3])
MEAN, COV = jnp.asarray([0.2, -0.6]), jnp.asarray([[0.5, 0.2], [0.2, 0.3]])


def test_it_is_a_sum_of_poisson_terms_of_the_readouts():
    likelihood, y = PoissonReadout(LOADING, OFFSET, 0.1), jnp.asarray([2.0, 0.0, 1.0])
    poisson = Poisson(0.1)
    at_mean = jnp.asarray(LOADING) @ MEAN + OFFSET
    spread = jnp.einsum("jk,kl,jl->j", LOADING, COV, LOADING)
    pieces = [poisson.log_prob(y[j], at_mean[j : j + 1]) for j in range(3)]
    np.testing.assert_allclose(likelihood.log_prob(y, MEAN), sum(pieces), rtol=1e-12)
    pieces = [poisson.expected(y[j], at_mean[j : j + 1], spread[j].reshape(1, 1)) for j in range(3)]
    np.testing.assert_allclose(likelihood.expected(y, MEAN, COV), sum(pieces), rtol=1e-12)
    pairs = [poisson.predict(at_mean[j : j + 1], spread[j].reshape(1, 1)) for j in range(3)]
    for found, truth in zip(likelihood.predict(MEAN, COV), zip(*pairs, strict=True), strict=True):
        np.testing.assert_allclose(found, truth, rtol=1e-12)


def test_its_expectation_is_that_by_quadrature():
    likelihood, y = PoissonReadout(LOADING, OFFSET), jnp.asarray([2.0, 0.0, 1.0])
    by_quadrature = super(PoissonReadout, likelihood).expected(y, MEAN, COV)
    np.testing.assert_allclose(likelihood.expected(y, MEAN, COV), by_quadrature, rtol=1e-10)


def test_draws_have_its_moments():
    likelihood = PoissonReadout(LOADING, OFFSET)
    draws = eqx.filter_jit(jax.vmap(likelihood.sample, (0, None)))(jax.random.split(jax.random.key(0), 10_000), MEAN)
    mean, variance = likelihood.moments(MEAN)
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * np.sqrt(variance / 10_000))


def test_counts_are_checked():
    likelihood = PoissonReadout(LOADING, OFFSET)
    with pytest.raises(InputError, match="rows of 3 counts"):
        likelihood.check(np.zeros((4, 2)))
    with pytest.raises(InputError, match="not negative"):
        likelihood.check(np.array([[1.0, -1.0, 0.0]]))
