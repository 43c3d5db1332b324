"""Saved fits: what comes back, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from tests.core.fits import SPACE, D, Q, a_fit

from jensen.core import (
    DensityPosterior,
    DrawsPosterior,
    PointPosterior,
    Reparameterised,
    StopCode,
    StorageError,
    WeightedPosterior,
    storage,
)
from jensen.core.storage import check_folder, load_fit, save_fit
from jensen.core.stored import StoredPosterior
from jensen.families import DiagonalGaussian, Gaussian
from jensen.targets import from_numpyro


def chains(key):
    z = jax.random.normal(key, (4, 50, D))
    return DrawsPosterior(SPACE, z, z[..., 0] > 2)


POSTERIORS = {
    "density": lambda key: DensityPosterior(SPACE, Q),
    "diagonal": lambda key: DensityPosterior(SPACE, DiagonalGaussian(jnp.ones(D), jnp.zeros(D))),
    "chains": chains,
    "particles": lambda key: DrawsPosterior(SPACE, jax.random.normal(key, (1, 90, D)), None, True),
    "weighted": lambda key: WeightedPosterior(SPACE, jax.random.normal(key, (60, D)), jnp.full(60, -jnp.log(60.0)), Q),
    "unproposed": lambda key: WeightedPosterior(SPACE, jax.random.normal(key, (60, D)), jnp.full(60, -jnp.log(60.0))),
    "point": lambda key: PointPosterior(SPACE, jnp.ones(D), jnp.zeros((3, D))),
}


def same(a, b):
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize("make", POSTERIORS.values(), ids=POSTERIORS.keys())
def test_a_posterior_on_a_plain_space_comes_back_bit_for_bit(make, tmp_path):
    key = jax.random.key(1)
    posterior = make(key)
    loaded = load_fit(save_fit(a_fit(posterior), tmp_path / "out")).posterior
    assert type(loaded) is type(posterior)
    before, after = posterior.sample(key, 70), loaded.sample(key, 70)
    assert list(before) == list(after)
    assert same(before, after)
    assert same(posterior, loaded)


def test_all_else_of_a_fit_comes_back(tmp_path):
    fit = a_fit()
    loaded = load_fit(fit.save(tmp_path / "a" / "b"))
    assert repr(loaded.certificate) == repr(fit.certificate)
    assert len(loaded.runs) == 2
    assert repr(loaded.runs[0].certificate) == repr(fit.certificate)
    assert loaded.runs[0].stop is StopCode.PLATEAU
    assert loaded.runs[0].settings == fit.runs[0].settings
    assert (loaded.runs[0].notes, loaded.runs[0].seconds) == (("a note",), 1.25)
    assert same(loaded.history, fit.history)
    assert same(loaded.predictive, fit.predictive)
    assert same(loaded.observed, fit.observed)
    assert loaded.info["seed"] == 3
    assert np.isnan(loaded.info["when"])


def test_saving_a_loaded_fit_writes_the_same_arrays(tmp_path):
    first = a_fit(chains(jax.random.key(0))).save(tmp_path / "one")
    second = load_fit(first).save(tmp_path / "two")
    assert (first / "arrays.npz").read_bytes() == (second / "arrays.npz").read_bytes()


def hierarchical(y):
    low = numpyro.sample("low", dist.Normal(0, 1))
    x = numpyro.sample("x", dist.TruncatedNormal(0.0, 1.0, low=low))
    numpyro.deterministic("gap", x - low)
    numpyro.sample("y", dist.Normal(x, 1), obs=y)


@pytest.mark.parametrize("kind", ["density", "chains"])
def test_a_model_with_deterministic_sites_is_stored_as_draws(kind, tmp_path):
    target = from_numpyro(hierarchical, np.array([0.3, 1.0]))
    key = jax.random.key(2)
    if kind == "density":
        posterior, count = DensityPosterior(target.space, Gaussian(jnp.zeros(2), 0.5 * jnp.eye(2))), 4000
    else:
        posterior, count = (
            DrawsPosterior(target.space, jax.random.normal(key, (3, 40, 2)), jnp.zeros((3, 40), bool)),
            120,
        )
    loaded = load_fit(save_fit(a_fit(posterior), tmp_path / "out")).posterior
    assert isinstance(loaded, StoredPosterior)
    assert loaded.origin == type(posterior).__name__
    assert loaded.z.shape == (count, 2)
    draws, z = loaded.sample(key, 100), loaded.sample_z(key, 100)
    np.testing.assert_allclose(draws["gap"], draws["x"] - draws["low"], atol=1e-12)
    np.testing.assert_array_equal(draws["low"], z[:, 0])
    assert np.all(draws["x"] > draws["low"])
    if kind == "density":
        np.testing.assert_allclose(loaded.log_prob(z), posterior.log_prob(z))
    else:
        assert same(loaded.by_chain()["low"], posterior.chains[..., 0])
    again = load_fit(save_fit(a_fit(loaded), tmp_path / "again")).posterior
    assert same(again, loaded)


class Mine(Reparameterised):
    mean: jax.Array

    @property
    def dimension(self):
        return self.mean.shape[0]

    def noise(self, key):
        return jax.random.normal(key, self.mean.shape)

    def from_noise(self, eps):
        return self.mean + eps

    def log_prob(self, z):
        return -0.5 * jnp.sum((z - self.mean) ** 2)

    @classmethod
    def from_config(cls, config):
        return cls(jnp.zeros(config["dimension"]))


def test_a_family_of_ones_own_is_kept_as_draws(tmp_path):
    path = save_fit(a_fit(DensityPosterior(SPACE, Mine(jnp.full(D, 2.0)))), tmp_path / "out")
    loaded = load_fit(path).posterior
    assert isinstance(loaded, StoredPosterior)
    assert np.all(np.abs(loaded.mean_and_cov()[0] - 2.0) < 5 / np.sqrt(4000))


def test_an_occupied_folder_is_refused_unless_it_is_a_fit_to_be_replaced(tmp_path):
    path = a_fit().save(tmp_path / "out")
    with pytest.raises(StorageError, match="already holds a fit"):
        a_fit().save(path)
    a_fit(info={"seed": 9}).save(path, overwrite=True)
    assert load_fit(path).info == {"seed": 9}
    (path / "thesis.tex").write_text("mine")
    with pytest.raises(StorageError, match=r"thesis\.tex"):
        a_fit().save(path, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    check_folder(other)
    (other / "x").write_text("")
    for overwrite in (False, True):
        with pytest.raises(StorageError, match="holds no fit"):
            a_fit().save(other, overwrite=overwrite)
    with pytest.raises(StorageError, match="is a file"):
        check_folder(other / "x")
    with pytest.raises(StorageError, match="is a file"):
        check_folder(other / "x" / "y")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other", "out"]


def test_a_full_disk_leaves_the_old_fit_and_no_rubbish(tmp_path, monkeypatch):
    path = a_fit().save(tmp_path / "out")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(StorageError, match="no space is left"):
        a_fit(info={}).save(path, overwrite=True)
    assert load_fit(path).info["seed"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match="There is no folder"):
        load_fit(tmp_path / "nowhere")
