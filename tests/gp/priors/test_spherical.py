import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError, Sites, divergence
from jensen.gp.kernels import Matern52
from jensen.gp.kernels.zonal import Chord, Zonal, zonal_series
from jensen.gp.priors import Dense, Inducing
from jensen.gp.priors.decoupled import Joined, OrthogonallyDecoupled
from jensen.gp.priors.spherical import SphericalHarmonics, SphericalUnits

KERNEL = Zonal(Chord(Matern52()), bias=0.8, variance=1.4)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(25, 2)))
SITES = Sites(jnp.asarray(RNG.normal(size=(25, 1))), jnp.asarray(RNG.uniform(0.1, 4.0, size=(25, 1, 1))))
UNITS = SphericalUnits(RNG.normal(size=(6, 3)), jax.nn.relu, 6)
Z = X[:5] + 0.1


def test_harmonics_give_the_kernel_cut_at_their_degree():
    features = SphericalHarmonics(2, 5)
    across = features.cross(KERNEL, X)
    r, v = KERNEL.lifted(X)
    truth = jnp.outer(r, r) * zonal_series(KERNEL.spectrum(3, 5), 3, v @ v.T)
    assert across.shape == (36, 25)
    np.testing.assert_allclose(across.T @ across, truth, atol=1e-7)


def test_units_lie_in_the_span_of_the_harmonics():
    harmonic, unit = (Inducing(KERNEL, X, f).design().residual[:, 0, 0] for f in (SphericalHarmonics(2, 6), UNITS))
    assert jnp.all(unit > harmonic - 1e-9)
    assert jnp.max(unit - harmonic) > 0.01


def test_units_covary_as_functionals_of_the_process():
    # <f, g>_H has covariance <g, h>_H, so that Kuu is the cross-covariance at f's own representer: degree by degree
    s, ratio = UNITS.coefficients(KERNEL)
    np.testing.assert_allclose(ratio * KERNEL.spectrum(3, 6), s**2, atol=1e-12)
    assert np.linalg.eigvalsh(UNITS.covariance(KERNEL)).min() > 0
    assert float(s[3]) == pytest.approx(0, abs=1e-12)


def test_the_decoupled_posterior_is_the_best_product():
    prior = OrthogonallyDecoupled(KERNEL, X, UNITS, Z, mean=lambda x: 0.3 * x[:, 0])
    joint = Inducing(KERNEL, X, Joined(UNITS, Z), mean=lambda x: 0.3 * x[:, 0])
    found, wide = prior.condition(SITES), joint.condition(SITES)
    np.testing.assert_allclose(found.mean, wide.mean, atol=1e-8)
    np.testing.assert_allclose(found.residual, wide.residual, atol=1e-8)
    design = jax.jacobian(lambda z: prior.from_white(z)[0][:, 0])(jnp.zeros(prior.dimension))
    weight = SITES.precision[:, 0, 0]
    precision = jnp.eye(11) + (design.T * weight) @ design
    blocks = jax.scipy.linalg.block_diag(jnp.linalg.inv(precision[:6, :6]), jnp.linalg.inv(precision[6:, 6:]))
    inner = jnp.einsum("nd,de,ne->n", design, blocks, design)
    np.testing.assert_allclose((found.cov - found.residual)[:, 0, 0], inner, atol=1e-9)
    centre = 0.3 * X[:, 0]
    mean = jnp.linalg.solve(precision, design.T @ (SITES.linear[:, 0] - weight * centre))
    truth = 0.5 * (jnp.trace(blocks) + mean @ mean - 11 - jnp.linalg.slogdet(blocks)[1])
    np.testing.assert_allclose(divergence(SITES, found), truth, atol=1e-8)


def test_the_bounds_are_in_order():
    single = Inducing(KERNEL, X, UNITS).condition(SITES)
    product = OrthogonallyDecoupled(KERNEL, X, UNITS, Z).condition(SITES)
    joint = Inducing(KERNEL, X, Joined(UNITS, Z)).condition(SITES)
    exact = Dense(KERNEL, X).condition(SITES)
    weight = SITES.precision[:, 0, 0]
    bounds = [m.log_normaliser - 0.5 * weight @ m.residual[:, 0, 0] for m in (single, product, joint, exact)]
    assert np.all(np.diff(bounds) > 0)


def test_predictions_at_the_sites_are_the_marginals():
    for prior in (OrthogonallyDecoupled(KERNEL, X, UNITS, Z), Inducing(KERNEL, X, SphericalHarmonics(2, 3))):
        found, (mean, cov) = prior.condition(SITES), prior.predict(SITES, X)
        np.testing.assert_allclose(mean, found.mean, atol=1e-10)
        np.testing.assert_allclose(cov, found.cov, atol=1e-10)


def test_inducing_points_may_be_the_first_group():
    prior = OrthogonallyDecoupled(KERNEL, X, X[5:12], Z)
    assert prior.dimension == 12
    np.testing.assert_allclose(
        prior.condition(SITES).mean,
        Inducing(KERNEL, X, jnp.concatenate([X[5:12], Z])).condition(SITES).mean,
        atol=1e-7,
    )


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match="take fewer"):
        SphericalHarmonics(10, 12)
    with pytest.raises(InputError, match="degree must be 1"):
        SphericalUnits(np.ones((2, 3)), degree=0)
