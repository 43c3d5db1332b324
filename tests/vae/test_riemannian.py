"""The latents' metric against sums, quadrature and straight lines."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.families import DiagonalGaussian
from jensen.vae import LatentMetric, geodesic, latent_metric, riemannian_uniform, sample_metric


class Given(eqx.Module):
    """q(z | x) = N(x, diag(0.2, 0.5)^2)."""

    def given(self, data):
        return DiagonalGaussian(data, jnp.log(jnp.array([0.2, 0.5])))


def metric(key=0, centres=20):
    X = jax.random.normal(jax.random.key(key), (40, 2))
    return latent_metric(jax.random.key(1), Given(), X, centres, fall=0.2, floor=1e-2)


def test_the_diagonal_is_the_sum_over_centres():
    found = metric()
    assert found.means.shape == (20, 2)
    z = np.array([0.3, -0.4])
    means, precisions = np.asarray(found.means), np.asarray(found.precisions)
    near = np.exp(-np.sum(precisions * (z - means) ** 2, 1) / float(found.width) ** 2)
    truth = near @ precisions + 0.01 * np.exp(-0.2 * z @ z)
    np.testing.assert_allclose(found(jnp.asarray(z)), truth, rtol=1e-10)
    assert float(found.log_volume(jnp.asarray(z))) == pytest.approx(0.5 * np.log(truth).sum())
    far = found.log_volume(jnp.array([200.0, 0.0]))  # the determinant underflows, its logarithm does not
    assert float(far) == pytest.approx(np.log(0.01) - 0.2 * 200.0**2)
    squares = np.sum(precisions[0] * (means[:, None] - means) ** 2, 2) + 1e9 * np.eye(20)
    assert float(found.width) == pytest.approx(0.5 * np.sqrt(squares.min(1)).mean())


def test_draws_follow_the_volume_at_each_temperature():
    """Mean log volume by quadrature, for law and its fourth power, to five standard errors over chains."""
    found = eqx.tree_at(lambda m: m.width, metric(), jnp.asarray(3.0))  # wide enough for chains to cross
    line = np.linspace(-9, 9, 361)
    grid = jnp.asarray(np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2))
    log_volume = np.asarray(jax.jit(jax.vmap(found.log_volume))(grid))
    truths = []
    for temperature in (1.0, 0.25):
        share = np.exp((log_volume - log_volume.max()) / temperature)
        truths.append(share @ log_volume / share.sum())
        z = sample_metric(jax.random.key(2), found, 4000, temperature, chains=40, warmup=60)
        assert z.shape == (4000, 2)
        values = np.asarray(jax.jit(jax.vmap(found.log_volume))(z)).reshape(100, 40).mean(0)
        assert abs(values.mean() - truths[-1]) < 5 * values.std(ddof=1) / np.sqrt(40)
    assert truths[1] - truths[0] > 0.5  # the sharper law could not pass for the other


def test_geodesics_are_straight_where_the_metric_is_flat_and_shorter_where_it_is_not():
    start, end = jnp.array([-1.0, 0.0]), jnp.array([1.0, 0.5])
    flat = LatentMetric(jnp.zeros((2, 2)), jnp.full((2, 2), 1e-12), jnp.asarray(1.0), 2.0, 1e-12)
    line = start + jnp.linspace(0, 1, 9)[:, None] * (end - start)
    np.testing.assert_allclose(geodesic(flat, start, end, 9), line, atol=1e-4)
    assert float(flat.length(line)) == pytest.approx(np.sqrt(2.0) * np.linalg.norm(end - start), rel=1e-6)
    assert float(flat.energy(line)) == pytest.approx(0.5 * float(flat.length(line)) ** 2, rel=1e-6)
    hill = LatentMetric(jnp.zeros((2, 2)), jnp.full((2, 2), 4.0), jnp.asarray(1.0), 1.0, 1e-12)
    bent = geodesic(hill, start, jnp.array([1.0, 0.1]), 9)
    straight = start + jnp.linspace(0, 1, 9)[:, None] * (jnp.array([1.0, 0.1]) - start)
    assert float(hill.energy(bent)) < 0.9 * float(hill.energy(straight))


def test_settings_that_cannot_be_are_refused():
    X = jnp.zeros((3, 2))
    refused: list[dict] = [{"centres": 1}, {"centres": 4}, {"fall": 0.0}, {"width": -1.0}]
    for settings in refused:
        with pytest.raises(InputError):
            latent_metric(jax.random.key(0), Given(), X, **settings)
    with pytest.raises(InputError, match="temperature"):
        riemannian_uniform(metric(), 0.0)
    with pytest.raises(InputError, match="3 points"):
        geodesic(metric(), jnp.zeros(2), jnp.ones(2), 2)
