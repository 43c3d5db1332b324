import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jensen._run import drive
from jensen.algorithms import GradientVI
from jensen.core import InputError, sample_many
from jensen.families import Gaussian, HeavyTailed, StudentT
from jensen.targets import from_log_density

Q = StudentT(jnp.array([1.0, -2.0]), jnp.log(jnp.array([0.5, 2.0])), jnp.log(jnp.array([3.0, 30.0])))


def test_density_is_that_of_the_distribution(key):
    z = 3 * jax.random.normal(key, (10, 2))
    truth = scipy.stats.t.logpdf(np.asarray(z), [3.0, 30.0], [1.0, -2.0], [0.5, 2.0]).sum(1)
    assert jnp.allclose(jax.vmap(Q.log_prob)(z), truth, atol=1e-10)


def test_draws_are_of_the_distribution(key):
    z = np.asarray(sample_many(key, Q, 5000))
    for i, (df, loc, scale) in enumerate([(3.0, 1.0, 0.5), (30.0, -2.0, 2.0)]):
        assert scipy.stats.kstest(z[:, i], scipy.stats.t(df, loc, scale).cdf).pvalue > 1e-6


def test_the_gradient_in_the_degrees_of_freedom_is_unbiased():
    """d/d nu E[cos z] against a difference of quadratures."""
    n = 160_000

    def exact(log_df):
        x = np.linspace(-400, 400, 400_001)
        return np.trapezoid(np.cos(x) * scipy.stats.t.pdf(x, np.exp(log_df)), x)

    def value(log_df, key):
        q = StudentT(jnp.zeros(1), jnp.zeros(1), log_df[None])
        return jnp.cos(q.sample(key)[0])

    slopes = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(jnp.log(3.0), jax.random.split(jax.random.key(0), n))
    truth = (exact(np.log(3.0) + 1e-3) - exact(np.log(3.0) - 1e-3)) / 2e-3
    error = jnp.std(slopes) / np.sqrt(n)
    assert abs(jnp.mean(slopes) - truth) < 5 * error
    assert 5 * error < 0.5 * abs(truth)


def test_gradient_vi_recovers_it():
    target = from_log_density(
        lambda z, q: q.log_prob(z), np.zeros(2), StudentT(Q.mean, Q.log_scale, jnp.log(jnp.array([3.0, 5.0])))
    )
    start = HeavyTailed().build(jax.random.key(0), Gaussian(jnp.zeros(2), jnp.eye(2)))
    fit = drive(GradientVI(start), target, key=jax.random.key(0), steps=2000)
    # sticking the landing: no noise at the optimum
    assert abs(fit.run.history.objective[-1]) < 1e-3
    assert jnp.allclose(jnp.exp(fit.posterior.q.log_df), jnp.array([3.0, 5.0]), rtol=0.05)


def test_builder_keeps_the_marginal_variances():
    q = HeavyTailed(6.0).build(jax.random.key(0), Gaussian(jnp.zeros(2), jnp.array([[2.0, 0.0], [1.0, 1.0]])))
    variance = jnp.exp(2 * q.log_scale) * 6.0 / 4.0
    assert jnp.allclose(variance, jnp.array([4.0, 2.0]))
    with pytest.raises(InputError, match="degrees_of_freedom"):
        HeavyTailed(2.0)
    assert jax.tree.map(jnp.shape, StudentT.from_config(q.config())) == jax.tree.map(jnp.shape, q)
