import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import Sites
from jensen.gp.kernels import HidaMatern, Matern12, Matern32
from jensen.gp.priors import Dense, StateSpace
from jensen.gp.state_space import expected_periodogram, flat, hann, periodogram, posterior_draw, whittle


def test_the_expected_periodogram_is_that_of_the_covariance():
    n, gap = 31, 0.2
    t = gap * np.arange(n)
    for kernel, taper in ((Matern12(0.7), flat(n)), (HidaMatern(1, 1.0, 4.0, 2.0), hann(n))):
        waves = np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n) * np.asarray(taper)
        covariance = np.asarray(kernel(jnp.asarray(t), jnp.asarray(t)))
        truth = np.einsum("wi,ij,wj->w", waves, covariance, waves.conj()).real
        np.testing.assert_allclose(expected_periodogram(kernel, gap, taper), truth, rtol=1e-9, atol=1e-15)


def test_the_true_kernel_has_the_largest_expected_likelihood():
    # E over data of the Whittle likelihood is largest where S is the truth: it has no bias
    for taper in (flat(40), hann(41)):
        truth = expected_periodogram(Matern32(0.5), 0.1, taper)

        def likelihood(s, taper=taper, truth=truth):
            return whittle(Matern32(s[0], s[1]), truth, 0.1, taper)

        np.testing.assert_allclose(jax.grad(likelihood)(jnp.array([0.5, 1.0])), 0.0, atol=1e-9)


def test_white_noise_is_an_exact_case():
    x = jnp.asarray(np.random.default_rng(0).normal(size=50))
    kernel = Matern12(1e-3, 1.7)  # values 1 apart are independent
    exact = -0.5 * jnp.sum(x**2 / 1.7 + jnp.log(1.7))
    np.testing.assert_allclose(whittle(kernel, periodogram(x, flat(50)), 1.0, flat(50)), exact, rtol=1e-10)


def test_draws_of_the_posterior_have_its_moments():
    rng = np.random.default_rng(1)
    t, n = np.sort(rng.uniform(0, 3, 6)), 6
    kernels = [Matern32(1.0), Matern12(0.5, 2.0)]
    half = rng.normal(size=(n, 2, 2))
    sites = Sites(jnp.asarray(rng.normal(size=(n, 2))), jnp.asarray(half @ half.transpose(0, 2, 1)))
    prior, count = StateSpace(kernels, t), 20_000
    draws = jax.jit(jax.vmap(lambda key: posterior_draw(key, prior, sites)))(jax.random.split(jax.random.key(0), count))
    truth = Dense(kernels, t).condition(sites)
    variance = np.diagonal(truth.cov, axis1=1, axis2=2)
    assert np.all(np.abs(draws.mean(0) - truth.mean) < 5 * np.sqrt(variance / count))
    products = np.einsum("snk,snl->snkl", draws - truth.mean, draws - truth.mean)
    error = np.sqrt((variance[:, :, None] * variance[:, None] + truth.cov**2) / count)
    assert np.all(np.abs(products.mean(0) - truth.cov) < 5 * error)
