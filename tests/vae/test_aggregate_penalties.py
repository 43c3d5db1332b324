"""Penalties on the aggregate posterior against closed forms and quadrature; the objective that adds them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.algorithms import AmortisedVI
from jensen.core import InputError
from jensen.families import DiagonalGaussian, Gaussian
from jensen.vae import (
    AggregateElbo,
    BetaElbo,
    DensityGap,
    FreeBits,
    KernelSteinDiscrepancy,
    MaximumMeanDiscrepancy,
    StandardNormal,
    latent_rows,
    linear_vae,
)

ROWS, D = 40, 2
PRIOR = StandardNormal(D)


def same_rows(mean, variance):
    means = jnp.broadcast_to(jnp.asarray(mean), (ROWS, D))
    return jax.vmap(DiagonalGaussian)(means, jnp.full((ROWS, D), 0.5 * np.log(variance)))


def other_prior():
    return DiagonalGaussian(jnp.zeros(D), jnp.ones(D))


def repeated(penalty, qs, repeats=2000):
    keys = jax.random.split(jax.random.key(0), repeats)
    values = np.asarray(jax.jit(jax.vmap(lambda k: penalty.penalty(k, qs, PRIOR)))(keys))
    return values.mean(), values.std(ddof=1) / np.sqrt(repeats)


def test_mmd_has_the_mean_of_its_closed_form_and_is_zero_at_the_prior():
    h, s, m = 1.5, 0.4, np.array([0.5, -0.2])

    def f(v, u):
        return (h / (h + v)) ** (D / 2) * np.exp(-u / (2 * (h + v)))

    truth = f(2 * s, 0) + f(2, 0) - 2 * f(s + 1, m @ m)
    found, error = repeated(MaximumMeanDiscrepancy(h), same_rows(m, s))
    assert abs(found - truth) < 5 * error
    assert 5 * error < ((1 - f(2 * s, 0)) + (1 - f(2, 0))) / ROWS  # the bias of keeping the diagonal would be seen
    found, error = repeated(MaximumMeanDiscrepancy(h), same_rows(np.zeros(D), 1.0))
    assert abs(found) < 5 * error


def test_the_stein_discrepancy_is_that_of_the_score_difference_and_zero_at_the_prior():
    """Truth: E k(z, z') (s_p - s_q)(z) . (s_p - s_q)(z') for z, z' ~ q, by a second set of draws with q's score."""
    h, s, m = 1.5, 0.4, np.array([0.5, -0.2])
    found, error = repeated(KernelSteinDiscrepancy(h), same_rows(m, s))
    rng = np.random.default_rng(1)
    a, b = (m + np.sqrt(s) * rng.normal(size=(400_000, D)) for _ in range(2))
    apart = [-z + (z - m) / s for z in (a, b)]
    values = np.exp(-0.5 * np.sum((a - b) ** 2, 1) / h) * np.sum(apart[0] * apart[1], 1)
    truth, its_error = values.mean(), values.std() / np.sqrt(len(values))
    assert abs(found - truth) < 5 * np.hypot(error, its_error)
    assert truth > 20 * its_error
    found, error = repeated(KernelSteinDiscrepancy(h), same_rows(np.zeros(D), 1.0))
    assert abs(found) < 5 * error


def test_the_density_gap_is_the_divergence_of_each_margin():
    rng = np.random.default_rng(2)
    means, scales = rng.normal(size=(ROWS, D)), np.exp(0.3 * rng.normal(size=(ROWS, D)) - 1)
    grid = np.linspace(-8, 8, 4001)
    truth = 0.0
    for j in range(D):
        parts = np.exp(-0.5 * ((grid[:, None] - means[:, j]) / scales[:, j]) ** 2) / scales[:, j]
        density = parts.mean(1) / np.sqrt(2 * np.pi)
        gap = np.log(density + 1e-300) + 0.5 * grid**2 + 0.5 * np.log(2 * np.pi)
        truth += np.sum(density * gap) * (grid[1] - grid[0])
    found, error = repeated(DensityGap(8), jax.vmap(DiagonalGaussian)(jnp.asarray(means), jnp.log(scales)), 400)
    assert abs(found - truth) < 5 * error
    assert 5 * error < 0.2 * truth


def test_free_bits_cost_nothing_below_their_level_and_are_the_divergence_without_it():
    """Truth: the mean over rows of each unit's divergence, by hand; one of two units lies below the level."""
    means = jnp.asarray(np.random.default_rng(4).normal(size=(ROWS, D)) * np.array([0.1, 2.0]))
    log_scales = jnp.full((ROWS, D), jnp.log(jnp.array([0.9, 0.3])))
    qs = jax.vmap(DiagonalGaussian)(means, log_scales)
    units = np.mean(0.5 * (np.asarray(means) ** 2 + np.exp(2 * np.asarray(log_scales)) - 1) - np.asarray(log_scales), 0)
    assert units[0] < 0.5 < units[1]

    def value(nats, means):
        moved = eqx.tree_at(lambda q: q.mean, qs, means)
        return FreeBits(nats).penalty(jax.random.key(0), moved, PRIOR)

    for nats, truth in ((0.0, units.sum()), (0.5, 0.5 + units[1]), (9.0, 18.0)):
        np.testing.assert_allclose(value(nats, means), truth, rtol=1e-12)
    slope = np.asarray(jax.grad(lambda m: value(0.5, m))(means))
    assert np.all(slope[:, 0] == 0)
    np.testing.assert_allclose(slope[:, 1], np.asarray(means)[:, 1] / ROWS, rtol=1e-12)


def test_the_objective_is_the_bound_plus_the_penalty_on_every_row():
    X = jnp.asarray(np.random.default_rng(3).normal(size=(12, 4)))
    model, conditional = linear_vae(jax.random.key(1), 4, D)
    target, key = latent_rows(model, X), jax.random.key(2)
    penalty = MaximumMeanDiscrepancy(1.5)
    ours = AmortisedVI(conditional, AggregateElbo(penalty, divergence=0.7, weight=3.0))
    found = ours.estimate(key, target.theta, conditional, target)
    key_rows, key_penalty = jax.random.split(key)
    plain = AmortisedVI(conditional, BetaElbo(0.7)).estimate(key_rows, target.theta, conditional, target)
    extra = penalty.penalty(key_penalty, eqx.filter_jit(jax.vmap(conditional.given))(X), model.prior)
    np.testing.assert_allclose(found.value, plain.value + 12 * 3.0 * extra, rtol=1e-10)


def test_bad_input_is_met_at_the_door():
    for make in (MaximumMeanDiscrepancy, KernelSteinDiscrepancy):
        with pytest.raises(InputError, match="bandwidth"):
            make(0.0)
    with pytest.raises(InputError, match="num_draws"):
        DensityGap(0)
    with pytest.raises(InputError, match="negative"):
        AggregateElbo(DensityGap(), divergence=-1.0)
    with pytest.raises(InputError, match="diagonal"):
        DensityGap().penalty(jax.random.key(0), Gaussian(jnp.zeros(D), jnp.eye(D)), PRIOR)
    with pytest.raises(InputError, match="negative"):
        FreeBits(-0.1)
    for q, prior in ((Gaussian(jnp.zeros(D), jnp.eye(D)), PRIOR), (same_rows(np.zeros(D), 1.0), other_prior())):
        with pytest.raises(InputError, match="standard normal"):
            FreeBits().penalty(jax.random.key(0), q, prior)
    one = jax.tree.map(lambda a: a[:1], same_rows(np.zeros(D), 1.0))
    with pytest.raises(InputError, match="two rows"):
        MaximumMeanDiscrepancy().penalty(jax.random.key(0), one, PRIOR)
