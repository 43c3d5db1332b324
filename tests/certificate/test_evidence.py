"""The evidence from draws, against conjugate regression."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.certificate import evidence_from_draws
from jensen.core import InputError
from jensen.families import Affine, Coupling, FlowBuilder, MeanField, gaussian_from_cov
from jensen.targets import from_log_density

D, N = 5, 60
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D))
Y = X @ RNG.normal(size=D) + RNG.normal(size=N)


def regression(beta, x, y):
    return -0.5 * jnp.sum((y - x @ beta) ** 2) - 0.5 * jnp.sum(beta**2) - 0.5 * (N + D) * np.log(2 * np.pi)


TARGET = from_log_density(regression, np.zeros(D), X, Y)
COV = np.linalg.inv(X.T @ X + np.eye(D))
POSTERIOR = gaussian_from_cov(jnp.asarray(COV @ X.T @ Y), jnp.asarray(COV))
GRAM = X @ X.T + np.eye(N)
LOG_Z = float(-0.5 * Y @ np.linalg.solve(GRAM, Y) - 0.5 * np.linalg.slogdet(GRAM)[1] - 0.5 * N * np.log(2 * np.pi))


def draws(key, *shape):
    return POSTERIOR.mean + jax.random.normal(key, (*shape, D)) @ POSTERIOR.scale_tril.T


@pytest.mark.parametrize("shape", [(5000,), (8, 600)], ids=["independent", "chains"])
def test_evidence_of_a_regression(shape):
    """Errors over repetitions are of the size that is reported, and the weights pass."""
    found = [evidence_from_draws(jax.random.key(0), draws(jax.random.key(i), *shape), TARGET) for i in range(8)]
    errors = np.array([e.log_evidence - LOG_Z for e in found])
    reported = np.array([e.standard_error for e in found])
    assert all(e.holds for e in found)
    assert abs(errors.mean()) < 5 * np.sqrt(np.mean(reported**2) / len(errors))
    assert errors.std() < 3 * np.sqrt(np.mean(reported**2))
    assert 5 * reported.max() < 0.15


def test_evidence_by_a_flow():
    family = FlowBuilder(Coupling(Affine(), width=8, depth=1), num_layers=2)
    found = evidence_from_draws(jax.random.key(0), draws(jax.random.key(1), 4000), TARGET, family=family, steps=400)
    assert found.holds
    assert abs(found.log_evidence - LOG_Z) < 5 * found.standard_error
    assert 5 * found.standard_error < 0.3


def test_a_density_wider_than_the_posterior_is_flagged():
    wide = gaussian_from_cov(POSTERIOR.mean, 2.5 * POSTERIOR.cov)
    found = evidence_from_draws(jax.random.key(0), draws(jax.random.key(1), 5000), TARGET, family=wide)
    assert not found.holds
    assert found.ess_share < 0.2


def test_bad_input_is_met_at_the_door():
    z = draws(jax.random.key(0), 100)
    key = jax.random.key(0)
    with pytest.raises(InputError, match="temperature"):
        evidence_from_draws(key, z, TARGET, temperature=1.5)
    with pytest.raises(InputError, match="shape"):
        evidence_from_draws(key, z[:, :2], TARGET)
    with pytest.raises(InputError, match="finite"):
        evidence_from_draws(key, z.at[0, 0].set(jnp.nan), TARGET)
    with pytest.raises(InputError, match="at least 20"):
        evidence_from_draws(key, z[:30], TARGET)
    with pytest.raises(InputError, match="builder of a bijection"):
        evidence_from_draws(key, z, TARGET, family="flow")
    with pytest.raises(InputError, match="not of this target"):
        evidence_from_draws(key, z, from_log_density(lambda b: jnp.log(b[0] - 1e6), np.zeros(D)))
    assert evidence_from_draws(key, z, TARGET, family=MeanField()).ess_share > 0
