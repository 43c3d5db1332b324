"""ArviZ data: groups, chains, labels, and the file."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from jensen.core import DensityPosterior, DrawsPosterior, Fit, Space, Variable, positive
from jensen.core._arviz import write_netcdf
from jensen.core.predictive import posterior_predictive
from jensen.families import Gaussian
from jensen.targets import from_numpyro

SPACE = Space((Variable("a/b", (2,)), Variable("draw", (), positive())))


def test_chains_are_kept(key):
    z = jax.random.normal(key, (3, 20, 3))
    data = DrawsPosterior(SPACE, z, z[..., 0] > 1).to_arviz(key)
    assert dict(data.posterior.sizes)["chain"] == 3
    np.testing.assert_array_equal(data.posterior["a/b"], z[..., :2])
    np.testing.assert_allclose(data.posterior["draw_"], np.exp(z[..., 2]))
    np.testing.assert_array_equal(data.sample_stats["diverging"], z[..., 0] > 1)


def test_labels_predictive_and_the_netcdf_file(tmp_path):
    import arviz

    posterior = DensityPosterior(SPACE, Gaussian(jnp.zeros(3), jnp.eye(3)))
    info = {"seed": 1, "labels": {"a/b": [["Aa", "Bb"]]}}
    fit = Fit(posterior, None, (), info, {"y": np.ones((7, 4))}, {"y": np.arange(4.0)})
    data = fit.to_arviz(num_draws=30)
    assert data.posterior.sizes["draw"] == 30
    assert data.posterior_predictive["y"].shape == (1, 7, 4)
    again = arviz.from_netcdf(str(write_netcdf(data, tmp_path / "posterior.nc")))
    np.testing.assert_array_equal(again.posterior["a_b"], data.posterior["a/b"])
    assert list(again.posterior["a_b level 0"].values) == ["Aa", "Bb"]
    assert [p.name for p in tmp_path.iterdir()] == ["posterior.nc"]


def normal(y):
    mu = numpyro.sample("mu", dist.Normal(0, 10))
    numpyro.sample("y", dist.Normal(mu, 2.0), obs=y)


def test_predictive_draws_have_the_variance_of_posterior_plus_noise(key):
    target = from_numpyro(normal, np.zeros(3))
    posterior = DensityPosterior(target.space, Gaussian(jnp.full(1, 5.0), jnp.full((1, 1), 3.0)))
    n = 4000
    replicated, observed = posterior_predictive(posterior, target, key, n)
    assert replicated["y"].shape == (n, 3)
    np.testing.assert_array_equal(observed["y"], np.zeros(3))
    variance = 3.0**2 + 2.0**2
    assert np.all(np.abs(replicated["y"].mean(0) - 5.0) < 5 * np.sqrt(variance / n))
    assert np.all(np.abs(replicated["y"].var(0) - variance) < 5 * variance * np.sqrt(2 / n))
    data = posterior.to_arviz(key, 50, target)
    assert data.posterior_predictive["y"].shape == (1, 50, 3)
