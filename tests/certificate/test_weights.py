"""Importance checks against two Gaussians, where every number has a closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.certificate import certify, weigh
from jensen.certificate._pareto import fit_generalised_pareto
from jensen.core import DensityPosterior, InputError, WeightedPosterior
from jensen.families import Gaussian, gaussian_from_cov, kl_gaussian
from jensen.targets import from_log_density

LOG_Z = 3.0
P = gaussian_from_cov(jnp.array([1.0, -2.0, 0.5]), jnp.array([[2.0, 0.6, 0.0], [0.6, 0.5, 0.1], [0.0, 0.1, 1.0]]))


def _log_p(z, p):
    return p.log_prob(z) + LOG_Z


TARGET = from_log_density(_log_p, jnp.zeros(3), P)


@pytest.mark.parametrize("seed", range(5))
def test_elbo_is_log_evidence_minus_divergence(seed):
    q = gaussian_from_cov(P.mean + 0.2, 1.2 * P.cov)
    w = weigh(jax.random.key(seed), q, TARGET)
    assert abs(w.elbo - (LOG_Z - kl_gaussian(q, P))) < 5 * w.elbo_error
    assert 5 * w.elbo_error < 0.1
    assert w.bound < LOG_Z + 5 * w.bound_error
    assert abs(w.log_evidence - LOG_Z) < 5 / np.sqrt(float(w.ess))


@pytest.mark.parametrize("seed", range(5))
def test_the_exact_density_passes(seed):
    c = certify(DensityPosterior(TARGET.space, P), TARGET, jax.random.key(seed))
    assert c.passed, str(c)
    assert c.elbo == pytest.approx(LOG_Z, abs=1e-6)
    assert c.ess == pytest.approx(4000, rel=1e-6)
    assert c.evidence_upper is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [0.3, 0.5])
def test_a_too_narrow_density_fails(seed, scale):
    c = certify(DensityPosterior(TARGET.space, Gaussian(P.mean, scale * P.scale_tril)), TARGET, jax.random.key(seed))
    assert not c.passed
    assert c.reasons


@pytest.mark.parametrize("seed", range(5))
def test_a_shifted_density_fails_by_its_moments_yet_its_reweighted_draws_pass(seed):
    q = Gaussian(P.mean, 1.3 * P.scale_tril)  # wide: harmless weights, wrong spread
    w = weigh(jax.random.key(seed), q, TARGET)
    plain = certify(DensityPosterior(TARGET.space, q), TARGET, jax.random.key(100 + seed))
    assert [c.name for c in plain.checks if c.holds is False] == ["moment width"]
    posterior = WeightedPosterior(TARGET.space, jnp.asarray(w.z), jnp.asarray(w.log_weights), q)
    assert certify(posterior, TARGET, jax.random.key(100 + seed)).passed
    mean, cov = posterior.mean_and_cov()
    error = np.sqrt(np.diag(P.cov) / float(w.ess))
    np.testing.assert_array_less(np.abs(mean - P.mean), 5 * error)
    np.testing.assert_allclose(np.diag(cov), np.diag(P.cov), rtol=5 * np.sqrt(2 / float(w.ess)))


@pytest.mark.parametrize("scale", [0.4, 0.6, 0.9, 1.5])
def test_smoothed_weights_agree_with_arviz(scale):
    import arviz

    q = Gaussian(P.mean + 0.3, scale * P.scale_tril)
    for seed in range(3):
        w = weigh(jax.random.key(seed), q, TARGET)
        log_weights, khat = arviz.psislw(np.asarray(w.log_ratio))
        assert w.khat == pytest.approx(float(khat), abs=1e-6)
        if khat > 0.4:  # below, other implementations leave light tails as they are
            np.testing.assert_allclose(w.log_weights, np.asarray(log_weights), atol=1e-6)


@pytest.mark.parametrize("shape", [-0.3, 0.2, 0.5, 0.9])
def test_pareto_fit_recovers_its_shape(shape):
    rng = np.random.default_rng(0)
    fits = []
    for _ in range(50):
        x = np.sort(((1 - rng.random(400)) ** -shape - 1) / shape)
        fits.append(fit_generalised_pareto(x)[0])
    prior = (400 * shape + 5) / 410  # ten observations' worth of 0.5
    assert abs(np.mean(fits) - prior) < 5 * np.std(fits) / np.sqrt(50) + 0.01  # and a bias of order 1 / 400


def test_a_density_where_the_target_is_nan_fails():
    def broken(z):
        return jnp.where(z[0] > 0, jnp.nan, -0.5 * jnp.sum(z**2))

    target = from_log_density(broken, jnp.zeros(2))
    c = certify(DensityPosterior(target.space, Gaussian(jnp.zeros(2), jnp.eye(2))), target, jax.random.key(0))
    assert not c.passed
    assert any("NaN" in reason for reason in c.reasons)


def test_dimension_and_draws_are_checked():
    q = DensityPosterior(TARGET.space, P)
    other = from_log_density(lambda z: -jnp.sum(z**2), jnp.zeros(2))
    with pytest.raises(InputError, match="3 unconstrained coordinates and the target 2"):
        certify(q, other, jax.random.key(0))
    with pytest.raises(InputError, match="multiple of 100"):
        certify(q, TARGET, jax.random.key(0), num_draws=123)
    with pytest.raises(InputError, match="typed JAX key"):
        certify(q, TARGET, 0)
