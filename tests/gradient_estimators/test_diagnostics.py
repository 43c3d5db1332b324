import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.families import DiagonalGaussian, Gaussian, kl_gaussian
from jensen.gradient_estimators import Reparameterisation, StickingTheLanding, bound_gap, gradient_noise
from jensen.objectives import Cubo, ImportanceWeighted, NegativeElbo
from jensen.targets import from_log_density

D, NUM = 3, 20_000
Q = DiagonalGaussian(jnp.array([0.5, -1.0, 0.2]), jnp.array([0.1, -0.3, 0.4]))
STANDARD = from_log_density(lambda z: -0.5 * z @ z, jnp.zeros(D))


def test_noise_of_the_mean_in_closed_form():
    """One draw of the ELBO of N(m, s^2) against N(0, I), sticking the landing: g_m = z - (z - m) / s^2."""
    noise = gradient_noise(jax.random.key(0), NegativeElbo(StickingTheLanding(1)), Q, STANDARD, NUM)
    s = jnp.exp(Q.log_scale)
    variance = (s - 1 / s) ** 2
    error = variance * jnp.sqrt(2 / NUM)  # of the variance of a normal variable
    assert jnp.all(jnp.abs(noise.variance.mean - variance) < 5 * error)
    assert jnp.all(jnp.abs(noise.mean.mean - Q.mean) < 5 * jnp.sqrt(variance / NUM))
    np.testing.assert_allclose(noise.signal_to_noise.mean, jnp.abs(noise.mean.mean) / jnp.sqrt(noise.variance.mean))
    total = sum(jnp.sum(v) for v in jax.tree.leaves(noise.variance))
    np.testing.assert_allclose(noise.total_variance, total)
    second = sum(jnp.sum(m**2) for m in jax.tree.leaves(noise.mean)) + (1 - 1 / NUM) * total
    np.testing.assert_allclose(noise.squared_norm, second, rtol=1e-9)
    assert noise.squared_norm_error > 0


def test_gap_of_the_elbo_is_the_divergence(key):
    q, p = Gaussian(jnp.zeros(2), 0.9 * jnp.eye(2)), Gaussian(jnp.array([0.3, 0.0]), jnp.eye(2))
    target = from_log_density(lambda z, p: 4.0 + p.log_prob(z), jnp.zeros(2), p)
    gap = bound_gap(key, NegativeElbo(Reparameterisation(64)), q, target)
    assert abs(gap.bound - (4.0 - kl_gaussian(q, p))) < 5 * gap.standard_error
    assert abs(gap.gap - kl_gaussian(q, p)) < 0.02
    assert abs(gap.log_evidence - 4.0) < 0.02
    closer = bound_gap(key, ImportanceWeighted(16, Reparameterisation(16)), q, target)
    assert closer.gap < gap.gap
    assert 0.5 < gap.ess <= 1


def test_inputs():
    key = jax.random.key(0)
    with pytest.raises(InputError, match="num_replicates"):
        gradient_noise(key, NegativeElbo(), Q, STANDARD, 1)
    with pytest.raises(InputError, match="declares no lower bound"):
        bound_gap(key, Cubo(), Q, STANDARD)
    with pytest.raises(InputError, match="typed JAX key"):
        gradient_noise(0, NegativeElbo(), Q, STANDARD)
