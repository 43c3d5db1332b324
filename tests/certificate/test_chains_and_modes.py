"""Chains with known defects, and modes that draws cannot tell of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.certificate import certify, search
from jensen.certificate.chains import chain_checks, diagnose
from jensen.certificate.modes import evidence_check
from jensen.core import DensityPosterior, DrawsPosterior, PointPosterior, real_space
from jensen.families import Gaussian
from jensen.targets import from_log_density

SPACE = real_space(z=(2,))


def _mixture(z, far):
    left = -0.5 * jnp.sum((z + far) ** 2)
    right = -0.5 * jnp.sum((z - far) ** 2)
    return jnp.logaddexp(left, right)


TWO = from_log_density(_mixture, jnp.zeros(2), jnp.asarray(6.0))
ONE = from_log_density(lambda z: -0.5 * jnp.sum(z**2), jnp.zeros(2))


def _iid(seed, shape=(4, 500, 2)):
    return jax.random.normal(jax.random.key(seed), shape)


def test_independent_draws_pass_at_the_stated_rate():
    passed = [certify(DrawsPosterior(SPACE, _iid(s)), ONE, jax.random.key(s)).passed for s in range(20)]
    assert sum(passed) >= 18  # R-hat of 2,000 iid draws exceeds 1.01 in about 1 of 100


@pytest.mark.parametrize("seed", range(5))
def test_a_chain_elsewhere_fails(seed):
    chains = _iid(seed).at[0].add(1.0)
    c = chain_checks(DrawsPosterior(SPACE, chains))
    assert next(k for k in c.checks if k.name == "rhat").holds is False


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_chain_fails(seed):
    noise = _iid(seed)
    chains = jax.lax.scan(lambda x, e: (0.99 * x + 0.14 * e,) * 2, noise[:, 0], noise.swapaxes(0, 1))[1].swapaxes(0, 1)
    assert not chain_checks(DrawsPosterior(SPACE, chains)).passed


def test_divergences_and_short_or_constant_chains_fail():
    diverging = jnp.zeros((4, 500), bool).at[0, :30].set(True)
    names = {c.name for c in chain_checks(DrawsPosterior(SPACE, _iid(0), diverging)).checks if c.holds is False}
    assert names == {"divergences"}
    assert not chain_checks(DrawsPosterior(SPACE, _iid(0)[:1])).passed
    assert not chain_checks(DrawsPosterior(SPACE, _iid(0).at[..., 1].set(0.0))).passed


def test_rhat_and_ess_agree_with_arviz():
    import arviz

    chains = _iid(3, (4, 400, 1)).at[1].add(0.1)
    rhat, bulk, tail = diagnose(chains)
    x = np.asarray(chains[..., 0])
    assert float(rhat[0]) == pytest.approx(float(arviz.rhat(x)), abs=1e-4)
    assert float(bulk[0]) == pytest.approx(float(arviz.ess(x, method="bulk")), rel=0.02)
    assert float(tail[0]) == pytest.approx(float(arviz.ess(x, method="tail")), rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_density_on_one_of_two_modes_is_not_certified(seed):
    q = Gaussian(jnp.full(2, 6.0), jnp.eye(2))
    c = certify(DensityPosterior(TWO.space, q), TWO, jax.random.key(seed))
    assert c.khat < 0.5  # fresh draws of q see nothing wrong
    failed = [k.name for k in c.checks if k.holds is False]
    assert failed == ["missed modes"]


@pytest.mark.parametrize("seed", range(5))
def test_chains_in_one_of_two_modes_are_not_certified(seed):
    c = certify(DrawsPosterior(TWO.space, 6.0 + _iid(seed)), TWO, jax.random.key(seed))
    assert [k.name for k in c.checks if k.holds is False] == ["missed modes"]


@pytest.mark.parametrize("seed", range(5))
def test_chains_in_both_modes_pass_the_check_of_modes(seed):
    sign = jnp.where(jax.random.bernoulli(jax.random.key(50 + seed), 0.5, (4, 500, 1)), 6.0, -6.0)
    c = certify(DrawsPosterior(TWO.space, sign + _iid(seed)), TWO, jax.random.key(seed))
    assert next(k for k in c.checks if k.name == "missed modes").holds


def test_laplace_mass_of_a_gaussian_is_its_evidence():
    modes = search(jax.random.key(0), from_log_density(lambda z: 1.5 - 2.0 * jnp.sum(z**2), jnp.zeros(3)))
    truth = 1.5 + 1.5 * np.log(np.pi / 2)
    np.testing.assert_allclose(modes.log_mass(), truth, rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_elbo_of_a_climb_is_the_evidence_of_a_gaussian_and_tells_missing_mass(seed):
    modes = search(jax.random.key(seed), from_log_density(lambda z: 1.5 - 2.0 * jnp.sum(z**2), jnp.zeros(3)))
    truth = 1.5 + 1.5 * np.log(np.pi / 2)
    # truth - decrement^2 / 2 at every point of the climb, which ends below a decrement of 1e-3
    assert truth - 5e-7 <= np.max(modes.elbo) <= truth + 1e-9
    assert evidence_check(modes, truth).holds
    assert not evidence_check(modes, truth - 2.1).holds
    assert not evidence_check(modes, -np.inf).holds


def test_a_point_is_never_certified():
    c = certify(PointPosterior(SPACE, jnp.zeros(2)), ONE, jax.random.key(0))
    assert not c.passed
    assert "uncertified" in c.reasons[0]
