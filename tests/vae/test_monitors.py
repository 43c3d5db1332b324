"""Monitors of the latents against quadrature, and priors against their densities."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from jensen.core import InputError
from jensen.families import DiagonalGaussian, Gaussian, MeanField, kl_gaussian
from jensen.vae import MixturePrior, StandardNormal, closed_divergence, latent_use, mixture_prior


class Given(eqx.Module):
    """q(z | x) = N(x, diag(s^2)): the row is its own mean."""

    log_scale: Float[Array, " d"]

    def given(self, data):
        return DiagonalGaussian(data, self.log_scale)


def test_the_parts_of_the_divergence_are_those_by_quadrature():
    """Two units, four rows: integrals on a grid, to five standard errors of 20,000 draws."""
    X = np.array([[1.0, 0.8], [-1.0, -0.9], [0.9, 1.1], [-1.1, -0.6]])
    scale = np.array([0.5, 0.4])
    use = latent_use(jax.random.key(0), Given(jnp.log(jnp.asarray(scale))), jnp.asarray(X), 20_000)
    grid = np.linspace(-5, 5, 801)
    units = np.exp(-0.5 * ((grid[:, None, None] - X) / scale) ** 2) / (np.sqrt(2 * np.pi) * scale)  # grid, row, unit
    area = (grid[1] - grid[0]) ** 2
    rows = units[:, None, :, 0] * units[None, :, :, 1]  # grid, grid, row
    joint, apart = rows.mean(2), units.mean(1)[:, None, 0] * units.mean(1)[None, :, 1]
    normal = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi)
    prior = normal[:, None] * normal[None]
    log = lambda a: np.log(np.maximum(a, 1e-300))  # noqa: E731
    truth = {
        "mutual_information": np.mean([np.sum(r * (log(r) - log(joint))) * area for r in np.moveaxis(rows, 2, 0)]),
        "total_correlation": np.sum(joint * (log(joint) - log(apart))) * area,
        "marginals": np.sum(joint * (log(apart) - log(prior))) * area,
        "aggregate": np.sum(joint * (log(joint) - log(prior))) * area,
    }
    for name, value in truth.items():
        error = float(use.errors[name])
        assert abs(float(getattr(use, name)) - value) < 5 * error
        assert 5 * error < 0.05
    total = use.mutual_information + use.total_correlation + use.marginals
    divergence = 0.5 * np.mean(X**2, 0) + 0.5 * (scale**2 - 1) - np.log(scale)
    np.testing.assert_allclose(use.divergence, divergence, rtol=1e-10)
    assert abs(float(total) - divergence.sum()) < 5 * sum(float(e) for e in use.errors.values())


def test_a_unit_that_is_the_prior_is_not_active():
    X = jnp.stack([jnp.linspace(-2, 2, 50), jnp.zeros(50)], 1)
    use = latent_use(jax.random.key(0), Given(jnp.asarray([-1.0, 0.0])), X, 200)
    assert use.active_units == 1
    np.testing.assert_allclose(use.divergence[1], 0.0, atol=1e-12)
    with pytest.raises(InputError, match="two rows"):
        latent_use(jax.random.key(0), Given(jnp.zeros(2)), X[:1])


def test_closed_divergences_are_those_of_two_gaussians():
    p = Gaussian(jnp.zeros(2), jnp.eye(2))
    full = Gaussian(jnp.array([0.3, -1.0]), jnp.array([[0.7, 0.0], [0.4, 1.3]]))
    flat = DiagonalGaussian(jnp.array([0.3, -1.0]), jnp.array([-0.2, 0.5]))
    np.testing.assert_allclose(closed_divergence(full, StandardNormal(2)), kl_gaussian(full, p), rtol=1e-12)
    as_full = Gaussian(flat.mean, jnp.diag(jnp.exp(flat.log_scale)))
    np.testing.assert_allclose(closed_divergence(flat, StandardNormal(2)), kl_gaussian(as_full, p), rtol=1e-12)
    assert closed_divergence(full, mixture_prior(jax.random.key(0), 2, 3)) is None


def test_a_mixture_prior_is_the_mixture_of_its_parts():
    """E_q[p / q] = 1 for a wide q, and its draws have its mean."""
    prior = MixturePrior(jnp.array([0.2, -1.0]), jnp.array([[1.0, 0.0], [-1.0, 2.0]]), jnp.array([[-0.5, 0.0]] * 2))
    wide = MeanField().build(jax.random.key(0), Gaussian(jnp.array([0.5, 0.5]), 2.0 * jnp.eye(2)))
    z = eqx.filter_jit(jax.vmap(wide.sample))(jax.random.split(jax.random.key(1), 50_000))
    weights = np.exp(eqx.filter_jit(jax.vmap(prior.log_prob))(z) - eqx.filter_jit(jax.vmap(wide.log_prob))(z))
    assert abs(weights.mean() - 1) < 5 * weights.std() / np.sqrt(len(weights))
    draws = np.asarray(eqx.filter_jit(jax.vmap(prior.sample))(jax.random.split(jax.random.key(2), 50_000)))
    mean = np.asarray(jax.nn.softmax(prior.logits) @ prior.means)
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * draws.std(0) / np.sqrt(len(draws)))
    with pytest.raises(InputError, match="at least 1"):
        mixture_prior(jax.random.key(0), 2, 0)
