"""Expectations under mixtures against quadrature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run import drive
from jensen.algorithms import GradientVI
from jensen.core import InputError
from jensen.families import Gaussian, GaussianMixture, Mixture
from jensen.gradient_estimators import Stratified, StratifiedStickingTheLanding
from jensen.objectives import NegativeElbo
from jensen.targets import from_log_density

Q = GaussianMixture(
    jnp.array([0.3, -0.4, 0.1]), jnp.array([[-2.0], [0.5], [1.5]]), jnp.array([[[0.7]], [[0.4]], [[1.2]]])
)
GRID = jnp.linspace(-14.0, 14.0, 20_001)


def log_p(z):
    return -0.5 * z[0] ** 2 / 4 + jnp.cos(z[0])


def exact(q, f):
    """E_q[f(q, z)] by quadrature: the trapezoid rule is exact to rounding for smooth functions that vanish."""
    values = eqx.filter_jit(jax.vmap(lambda x: jnp.exp(q.log_prob(x[None])) * f(q, x[None])))(GRID)
    return jnp.sum(values) * (GRID[1] - GRID[0])


def free_energy(q, z):
    return q.log_prob(z) - log_p(z)


def square(q, z):
    return q.log_prob(z) ** 2 + z[0]


@pytest.mark.parametrize(
    ("estimator", "f"),
    [(Stratified, free_energy), (Stratified, square), (StratifiedStickingTheLanding, free_energy)],
)
def test_value_and_gradient_are_unbiased(estimator, f):
    n = 4000
    truth, slopes = jax.jit(jax.value_and_grad(lambda q: exact(q, f)))(Q)

    @jax.jit
    @jax.vmap
    def one(key):
        gradient, estimate = jax.grad(
            lambda q: (lambda e: (e.surrogate, e))(estimator(2).expectation(key, q, f)), has_aux=True
        )(Q)
        return estimate.value, estimate.standard_error**2, gradient

    values, variances, gradients = one(jax.random.split(jax.random.key(0), n))
    assert abs(jnp.mean(values) - truth) < 5 * jnp.std(values) / np.sqrt(n)
    # the variance of the estimate is the one it reports, on average
    reported = jnp.mean(variances)
    assert abs(reported - jnp.var(values)) < 5 * jnp.std((values - truth) ** 2 - variances) / np.sqrt(n)
    for mine, true in zip(jax.tree.leaves(gradients), jax.tree.leaves(slopes), strict=True):
        error = jnp.std(mine, 0) / np.sqrt(n)
        assert jnp.all(jnp.abs(jnp.mean(mine, 0) - true) < 5 * error + 1e-12)
        assert jnp.all(5 * error < 0.2)


def test_a_mixture_is_recovered_by_gradient_vi():
    """Sticking the landing has no noise in means and scales at the optimum: the divergence falls to nearly nothing."""
    p = GaussianMixture(
        jnp.log(jnp.array([0.7, 0.3])),
        jnp.array([[-2.0, 0.0], [2.0, 1.0]]),
        jnp.stack([0.7 * jnp.eye(2), 0.5 * jnp.eye(2)]),
    )
    target = from_log_density(lambda z, p: p.log_prob(z), np.zeros(2), p)
    start = Mixture(2).build(jax.random.key(1), Gaussian(jnp.zeros(2), 2 * jnp.eye(2)))
    objective = NegativeElbo(StratifiedStickingTheLanding(8))
    fit = drive(GradientVI(start, objective), target, key=jax.random.key(0), steps=1500)
    q = fit.posterior.q
    assert isinstance(q, GaussianMixture)
    assert jnp.allclose(jnp.sort(jnp.exp(q.log_weights)), jnp.array([0.3, 0.7]), atol=0.01)
    assert fit.run.history.objective[-1] < 1e-2


def free(z):
    return -0.5 * z @ z


def test_other_families_are_refused():
    with pytest.raises(InputError, match="has no components"):
        NegativeElbo(Stratified()).loss(
            jax.random.key(0), Gaussian(jnp.zeros(2), jnp.eye(2)), from_log_density(free, np.zeros(2))
        )
    with pytest.raises(InputError, match="num_components"):
        Mixture(0)
    with pytest.raises(InputError, match="width"):
        Mixture(2, width=0.0)
