"""The ported posteriors against posteriordb's reference draws. Needs $JENSEN_DATA."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError, UnknownName
from jensen.datasets import DatasetError
from jensen.targets._posteriordb import flatten, posteriordb, posteriordb_names, reference

CENTRED, NONCENTRED = "eight_schools-eight_schools_centered", "eight_schools-eight_schools_noncentered"
# Curved in whitened coordinates: 10,000 draws see a shift of a quarter of a standard deviation, not of a tenth.
CURVED = {"gp_pois_regr-gp_pois_regr"}


@eqx.filter_jit
def evaluate(target, x):
    """z (n, d), log density (n,), gradient (n, d) at the constrained draws `x`."""
    z = jax.vmap(target.space.unconstrain)(x)
    return z, *jax.vmap(jax.value_and_grad(target.log_density))(z)


def at_reference(name, every=1):
    x = {site: jnp.asarray(draws[::every]) for site, draws in reference(name).latents.items()}
    return [np.asarray(a) for a in evaluate(posteriordb(name), x)]


@pytest.mark.parametrize("name", posteriordb_names())
def test_reference_draws_satisfy_steins_identity(name):
    # For z ~ p: E[grad log p] = 0 and E[(z - m) (grad log p)'] = -I; whitened, so that one scale fits all.
    z, _, gradient = at_reference(name)
    mean, factor = z.mean(0), np.linalg.cholesky(np.cov(z.T))
    whitened, score = np.linalg.solve(factor, (z - mean).T).T, gradient @ factor
    identity = whitened[:, :, None] * score[:, None, :] + np.eye(len(mean))
    size = reference(name).effective_sample_size.min()
    for terms, finest in ((score, 0.1), (identity, 0.1)):
        error = terms.std(0) / np.sqrt(min(size, len(z)))
        assert np.all(np.abs(terms.mean(0)) < 5 * error)
        # So a mean off by a tenth of a standard deviation, or a width by a tenth, cannot hide.
        assert np.all(5 * error < finest) or name in CURVED


def test_centred_eight_schools_is_the_noncentred_one_in_other_coordinates():
    # The score of the centred posterior has no variance, so its density is compared instead: p(theta) = p(eps) / tau^8.
    _, centred, gradient = at_reference(CENTRED)
    _, noncentred, _ = at_reference(NONCENTRED)
    tau = reference(CENTRED).draws["tau"]
    np.testing.assert_allclose(centred, noncentred - 8 * np.log(tau), rtol=1e-9, atol=1e-9)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("name", [*posteriordb_names(), CENTRED])
def test_draws_return_to_posteriordbs_order(name):
    held = reference(name)
    flat = held.flat.reshape(-1, held.flat.shape[-1])
    np.testing.assert_array_equal(flatten(name, held.draws), flat)
    np.testing.assert_allclose(flat.mean(0), held.mean, rtol=1e-5, atol=1e-5 * held.sd.max())
    assert flat.shape == (10_000, len(held.parameters))


@pytest.mark.parametrize("name", ["gp_pois_regr", "garch", "8schools", "low_dim_gauss_mix-low_dim_gauss_mix"])
def test_constrained_draws_hold_every_reference_site(name):
    # Deterministic sites and supports that depend on other sites make the round trip, in single precision of the draws.
    target, held = posteriordb(name), reference(name)
    x = {site: jnp.asarray(draws[:50]) for site, draws in held.latents.items()}
    back = eqx.filter_jit(lambda t, x: jax.vmap(lambda x: t.space.constrain(t.space.unconstrain(x)))(x))(target, x)
    np.testing.assert_allclose(flatten(name, back), held.flat[0, :50], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [*posteriordb_names(), CENTRED])
def test_single_precision_agrees_with_double(name):
    z, value, _ = at_reference(name, every=1000)

    with jax.enable_x64(False):
        target = posteriordb(name)
        single, gradient = jax.jit(jax.vmap(jax.value_and_grad(target.log_density)))(jnp.asarray(z, jnp.float32))
        assert single.dtype == jnp.float32
    assert np.all(np.isfinite(single))
    assert np.all(np.isfinite(gradient))
    # In single precision the process has a nugget of 1e-3 alpha, so that equal f_tilde give another f: no common value.
    if name != "gp_pois_regr-gp_pois_regr":
        # n terms, each with a relative error of 2^-24; the draws' own spread of log density is about sqrt(d / 2).
        np.testing.assert_allclose(single, value, atol=0.02, rtol=1e-4)


def test_unknown_names_and_missing_data(monkeypatch, tmp_path):
    with pytest.raises(UnknownName, match=r"Did you mean.*garch-garch11"):
        posteriordb("garch-garch1")
    with pytest.raises(UnknownName, match="posteriordb posterior"):
        reference("nothing like it")
    with pytest.raises(InputError, match="lack the site 'tau'"):
        flatten("8schools", {"theta": np.zeros((3, 8)), "mu": np.zeros(3)})
    with pytest.raises(InputError, match=r"'theta' must have shape \('n', 8\)"):
        flatten("8schools", {"theta": np.zeros((3, 7)), "mu": np.zeros(3), "tau": np.zeros(3)})
    with pytest.raises(InputError, match="different numbers of draws"):
        flatten("8schools", {"theta": np.zeros((3, 8)), "mu": np.zeros(3), "tau": np.zeros(2)})
    monkeypatch.setenv("JENSEN_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match="stan-dev/posteriordb@28f8d3d"):
        posteriordb("garch")
    monkeypatch.delenv("JENSEN_DATA")
    with pytest.raises(DatasetError, match="JENSEN_DATA"):
        reference("garch")
