"""k-hat row by row: exact posteriors pass, a row whose posterior is missed is found, and the worst speaks for all."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.amortised import Conditional
from jensen.core import InputError
from jensen.families import DiagonalGaussian
from jensen.vae import certify_rows, fit_linear, linear_vae, probabilistic_pca

COLUMNS, K = 5, 2


class Spoiled(Conditional):
    """The posterior of another conditional, narrower by `factor` for rows whose first value is above `above`."""

    conditional: Conditional
    above: float
    factor: float = eqx.field(static=True)

    @property
    def dimension(self):
        return self.conditional.dimension

    def given(self, data):
        q = self.conditional.given(data)
        return DiagonalGaussian(q.mean, q.log_scale + jnp.where(data[0] > self.above, np.log(self.factor), 0.0))


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, K)) @ rng.normal(size=(K, COLUMNS)) + 0.4 * rng.normal(size=(200, COLUMNS))
    model, conditional, _ = fit_linear(*linear_vae(jax.random.key(1), COLUMNS, K), X)
    return X, model, conditional


def test_the_exact_posterior_of_every_row_is_certified(linear):
    X, model, conditional = linear
    rows = jnp.asarray(X[:40])
    found = certify_rows(jax.random.key(2), model, conditional, rows)
    assert found.certificate.passed
    assert found.share == 0
    assert found.worst < 0.5
    exact = eqx.filter_jit(jax.vmap(probabilistic_pca(X, K).log_prob))(rows)
    np.testing.assert_allclose(found.elbo, exact, atol=1e-3)
    assert abs(found.certificate.elbo - float(exact.sum())) < 0.05


def test_rows_that_are_missed_are_found_and_the_worst_speaks_for_all(linear):
    """A q narrower by c has k = 1 - c^2 (ratios of Gaussians): 0.96 for a fifth, in two dimensions at once."""
    X, model, conditional = linear
    rows = jnp.asarray(X[:40])
    above = float(np.sort(X[:40, 0])[-4])  # three rows lie above
    spoiled = Spoiled(conditional, above, 0.2)
    found = certify_rows(jax.random.key(3), model, spoiled, rows, 2000)
    bad = np.asarray(rows[:, 0]) > above
    assert bad.sum() == 3
    assert np.all(found.khat[bad] > 0.7)
    assert np.all(found.khat[~bad] < 0.5)
    assert found.share == 3 / 40
    assert not found.certificate.passed
    assert found.certificate.khat == found.worst == found.khat.max()
    assert any(f"row {int(found.khat.argmax())}" in words for words in found.certificate.reasons)
    assert "7.5% of 40 rows" in " ".join(found.certificate.reasons)


def test_a_row_without_density_is_the_worst(linear):
    X, model, conditional = linear
    rows = jnp.asarray(X[:3]).at[1, 0].set(np.inf)
    found = certify_rows(jax.random.key(4), model, conditional, rows, 200)
    assert found.khat[1] == np.inf
    assert not found.certificate.passed


def test_bad_input_is_met_at_the_door(linear):
    X, model, conditional = linear
    with pytest.raises(InputError, match="at least 100"):
        certify_rows(jax.random.key(0), model, conditional, jnp.asarray(X[:3]), 50)
    with pytest.raises(InputError, match="rows, values"):
        certify_rows(jax.random.key(0), model, conditional, jnp.zeros((0, COLUMNS)))
