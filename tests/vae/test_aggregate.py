"""Parts of the divergence from minibatches against closed forms, and the gap against quadrature."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.families import DiagonalGaussian, Gaussian
from jensen.vae import (
    ConstantWeights,
    StratifiedWeights,
    TotalCorrelationElbo,
    aggregate_parts,
    fit_linear,
    linear_vae,
    mutual_information_gap,
    row_target,
)


def test_stratified_weights_average_to_the_aggregate_density():
    """Over all minibatches of three of five rows that hold the drawn one: exact."""
    rng = np.random.default_rng(0)
    densities, rows = rng.uniform(0.1, 1, 5), 5
    weights = np.exp(StratifiedWeights().log_weights(3, rows))
    found = [weights[0] @ densities[[0, *rest]] for rest in itertools.combinations(range(1, rows), 2)]
    np.testing.assert_allclose(np.mean(found), densities.mean(), rtol=1e-12)
    np.testing.assert_allclose(StratifiedWeights().log_weights(rows, rows), -np.log(rows), rtol=1e-12)
    np.testing.assert_allclose(np.exp(ConstantWeights().log_weights(3, rows)).sum(1), 1 / rows, rtol=1e-12)


@pytest.mark.optimised
def test_total_correlation_of_a_known_gaussian():
    """q(z) = N(0, C): TC = -1/2 log det C. Five standard errors and the bias of a log of 1,000 rows; constant weights
    miss it by (d - 1) log N."""
    d, rows, batch, noise = 4, 5000, 1000, 0.15
    cov = 0.7 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    truth = -0.5 * np.linalg.slogdet(cov)[1]
    rng = np.random.default_rng(1)
    means = rng.multivariate_normal(np.zeros(d), cov - noise * np.eye(d), rows)
    log_scale = jnp.full((batch, d), 0.5 * np.log(noise))

    @jax.jit
    def both(rows_of, key):
        z = rows_of + np.sqrt(noise) * jax.random.normal(key, rows_of.shape)
        prior = jnp.zeros(batch)
        qs = jax.vmap(DiagonalGaussian)(rows_of, log_scale)
        parts = [aggregate_parts(qs, z, prior, w.log_weights(batch, rows)) for w in weights]
        return [jnp.mean(p.total_correlation) for p in parts]

    weights = (StratifiedWeights(), ConstantWeights())
    batches = [jnp.asarray(means[rng.choice(rows, batch, replace=False)]) for _ in range(10)]
    found = np.array([both(b, jax.random.key(i)) for i, b in enumerate(batches)])
    error = found[:, 0].std(ddof=1) / np.sqrt(len(found))
    assert abs(found[:, 0].mean() - truth) < 5 * error + 0.02
    assert 5 * error < 0.1 * truth
    assert abs(found[:, 1].mean() - truth - (d - 1) * np.log(rows)) < 0.5


def test_a_full_rank_density_has_the_parts_of_the_diagonal_one():
    rng = np.random.default_rng(2)
    means, scales = jnp.asarray(rng.normal(size=(6, 2))), jnp.asarray(rng.uniform(0.3, 1, (6, 2)))
    z, log_weights = jnp.asarray(rng.normal(size=(6, 2))), StratifiedWeights().log_weights(6, 20)
    flat = aggregate_parts(jax.vmap(DiagonalGaussian)(means, jnp.log(scales)), z, jnp.zeros(6), log_weights)
    full = aggregate_parts(jax.vmap(Gaussian)(means, jax.vmap(jnp.diag)(scales)), z, jnp.zeros(6), log_weights)
    for a, b in zip(jax.tree.leaves(flat), jax.tree.leaves(full), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_the_objective_with_unit_weights_is_the_elbo_and_each_weight_moves_its_part():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(20, 3)) @ rng.normal(size=(3, 3))
    model, conditional, _ = fit_linear(*linear_vae(jax.random.key(0), 3, 2), X, steps=20)
    key, rows = jax.random.key(1), jnp.asarray(X[:8])

    @jax.jit
    def losses(*weights):
        objective = TotalCorrelationElbo(*weights)
        return objective.losses(key, conditional, rows, lambda x: row_target(model, x), 20).value

    def direct(x, key):
        z, log_q = conditional.given(x).sample_and_log_prob(key)
        return log_q - row_target(model, x).log_density(z)

    plain = losses(1.0, 1.0, 1.0)
    np.testing.assert_allclose(plain, eqx.filter_jit(jax.vmap(direct))(rows, jax.random.split(key, 8)), rtol=1e-9)
    # linear in each weight: what is added is that part, and the three make the divergence
    moved = losses(2.0, 1.0, 1.0) + losses(1.0, 2.0, 1.0) + losses(1.0, 1.0, 2.0) - 3 * plain
    np.testing.assert_allclose(moved, losses(2.0, 2.0, 2.0) - plain, rtol=1e-8)
    with pytest.raises(InputError, match="total_correlation must not be negative"):
        TotalCorrelationElbo(-1.0)


def test_information_of_a_binary_factor_is_that_by_quadrature():
    """z | v ~ N(v, s^2), v = +-1: I = log 2 - E log(1 + exp(-2 z / s^2)), z ~ N(1, s^2); another knows nothing."""
    scale, draws = 0.8, 20_000
    factors = np.repeat([0, 1], 10)[:, None]
    means = np.stack([2.0 * factors[:, 0] - 1, np.zeros(20)], 1)
    found = mutual_information_gap(
        jax.random.key(0), jnp.asarray(means), jnp.full((20, 2), scale), factors, num_draws=draws
    )
    z, w = np.polynomial.hermite_e.hermegauss(80)
    truth = np.log(2) - np.sum(w * np.log1p(np.exp(-2 * (1 + scale * z) / scale**2))) / np.sqrt(2 * np.pi)
    error = np.log(2) / np.sqrt(draws)  # the summand lies within about one entropy
    assert abs(float(found.information[0, 0]) - truth) < 5 * error
    assert float(found.information[1, 0]) < 1e-9
    np.testing.assert_allclose(found.gap, found.information[0, 0] / np.log(2), rtol=1e-6)


def test_factors_that_are_mixed_have_no_gap():
    """Codes that are the factors score one; two of them turned by 45 degrees score below a tenth."""
    factors = np.array(list(itertools.product(range(8), range(8), range(3))))
    means = factors - factors.mean(0)
    scales = np.full(means.shape, 0.05)
    straight = mutual_information_gap(jax.random.key(0), jnp.asarray(means), jnp.asarray(scales), factors)
    np.testing.assert_allclose(straight.gaps, 1.0, atol=1e-3)
    turned = means.copy()
    turned[:, :2] = np.stack([means[:, 0] + means[:, 1], means[:, 0] - means[:, 1]], 1) / np.sqrt(2)
    mixed = mutual_information_gap(jax.random.key(0), jnp.asarray(turned), jnp.asarray(scales), factors)
    assert np.all(np.asarray(mixed.gaps[:2]) < 0.1)
    assert float(mixed.gaps[2]) > 0.9
    with pytest.raises(InputError, match="one value"):
        mutual_information_gap(jax.random.key(0), jnp.asarray(means), jnp.asarray(scales), 0 * factors)
    with pytest.raises(InputError, match="factors"):
        mutual_information_gap(jax.random.key(0), jnp.asarray(means), jnp.asarray(scales), factors[:5])
