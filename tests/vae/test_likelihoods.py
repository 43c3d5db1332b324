"""Likelihoods: normalised, means and draws of one distribution, starts that fit the margins, values outside refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jensen.core import InputError
from jensen.vae.likelihoods import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogistic,
    Gaussian,
    HeteroscedasticGaussian,
    Multinomial,
    Poisson,
    gaussian,
)

DRAWS = 20_000
RAW = np.array([-30.0, -3.0, -0.11, -0.02, 0.0, 0.09, 0.4, 6.0, 50.0])

# likelihood, raw numbers of two values, all values of a column that carry its mass
DISCRETE = {
    "bernoulli": (Bernoulli(), [[-1.3], [0.4]], np.arange(2)),
    "categorical": (Categorical(4), [[0.1, -1.0, 2.0, 0.3], [0.0, 0.0, 0.0, -3.0]], np.arange(4)),
    "poisson": (Poisson(), [[0.3], [-1.0]], np.arange(40)),
    "discretised logistic": (DiscretisedLogistic(16), [[-0.2, -1.0], [0.95, -4.0]], np.arange(16)),
}
CONTINUOUS = {
    "gaussian": (gaussian(0.7), [[-1.3], [0.4]], (-8, 8)),
    "heteroscedastic": (HeteroscedasticGaussian(), [[-1.3, 0.2], [0.4, -1.0]], (-10, 10)),
    "continuous bernoulli": (ContinuousBernoulli(), [[-3.0], [0.02]], (0, 1)),
}


@pytest.mark.parametrize("name", [*DISCRETE, *CONTINUOUS])
def test_density_sums_to_one_and_draws_and_mean_are_its_own(name):
    """Masses of each of two columns; draws within five standard errors of the first two moments by the density."""
    likelihood, raw, support = (DISCRETE | CONTINUOUS)[name]
    raw = jnp.asarray(raw)
    grid = jnp.asarray(support, float) if name in DISCRETE else jnp.linspace(*support, 20_001)
    log_p = eqx.filter_jit(
        jax.vmap(jax.vmap(lambda x, r: likelihood.log_prob(x[None], r[None]), (0, None)), (None, 0))
    )(grid, raw)
    weights = np.ones(len(grid))
    if name in CONTINUOUS:  # Simpson's rule
        weights = np.ones(len(grid)) * (support[1] - support[0]) / 20_000 / 3
        weights[1:-1:2] *= 4
        weights[2:-1:2] *= 2
    mass = np.exp(log_p) * weights
    np.testing.assert_allclose(mass.sum(1), 1.0, atol=1e-6)
    draws = eqx.filter_jit(jax.vmap(lambda k: likelihood.sample(k, raw)))(jax.random.split(jax.random.key(0), DRAWS))
    for power in (1, 2):
        truth = mass @ np.asarray(grid) ** power
        rows = np.asarray(draws) ** power
        assert np.all(np.abs(rows.mean(0) - truth) < 5 * rows.std(0) / np.sqrt(DRAWS) + 1e-4)
    if name not in ("categorical", "discretised logistic"):  # whose centre is a mode
        np.testing.assert_allclose(likelihood.mean(raw), mass @ np.asarray(grid), atol=1e-5)


def test_continuous_bernoulli_is_stable_at_every_logit_and_its_quantiles_are_right():
    """A(l) and its slope against mpmath-free quadrature at logits from -30 to 50, both sides of the series' edge."""
    x = np.linspace(0, 1, 200_001)
    for logit in RAW:
        top = max(logit, 0.0)
        normaliser = np.log(scipy.integrate.simpson(np.exp(logit * x - top), x=x)) + top
        got = ContinuousBernoulli().log_prob(jnp.asarray([0.3]), jnp.asarray([[logit]]))
        np.testing.assert_allclose(got, 0.3 * logit - normaliser, atol=1e-7)
    slopes = eqx.filter_jit(jax.vmap(jax.grad(lambda r: -ContinuousBernoulli().log_prob(jnp.zeros(1), r[None, None]))))(
        jnp.asarray(RAW)
    )
    np.testing.assert_allclose(slopes, ContinuousBernoulli().mean(jnp.asarray(RAW)[:, None]), atol=1e-7)
    for logit in (-30.0, -0.02, 6.0):
        raw = jnp.full((5000, 1), logit)
        draws = ContinuousBernoulli().sample(jax.random.key(1), raw)
        cdf = lambda x, l=logit: np.expm1(l * x) / np.expm1(l)  # noqa: E731, E741
        assert scipy.stats.kstest(np.asarray(draws), cdf).pvalue > 1e-6


def test_discretised_logistic_keeps_its_digits_in_the_tails():
    likelihood = DiscretisedLogistic()
    x = jnp.arange(256.0)
    for raw in ([-20.0, -3.0], [0.3, -6.9], [5.0, 2.0]):
        values = jax.vmap(lambda x, r=raw: likelihood.log_prob(x[None], jnp.asarray([r])))(x)
        assert np.all(np.isfinite(values))
        np.testing.assert_allclose(jax.nn.logsumexp(values), 0.0, atol=1e-8)


def test_multinomial_against_scipy_and_its_draws_hold_the_total():
    likelihood = Multinomial(12)
    raw = jnp.asarray([[0.3], [-1.0], [2.0]])
    p = np.asarray(jax.nn.softmax(raw[:, 0]))
    for x in ([3, 0, 4], [0, 0, 12], [1, 1, 1]):
        truth = scipy.stats.multinomial(sum(x), p).logpmf(x)
        np.testing.assert_allclose(likelihood.log_prob(jnp.asarray(x, float), raw), truth, rtol=1e-10)
    draws = np.asarray(
        eqx.filter_jit(jax.vmap(lambda k: likelihood.sample(k, raw)))(jax.random.split(jax.random.key(0), 4000))
    )
    assert np.all(draws.sum(1) == 12)
    assert np.all(np.abs(draws.mean(0) - 12 * p) < 5 * np.sqrt(12 * p * (1 - p) / 4000))


def test_training_starts_at_the_margins_of_the_columns():
    rng = np.random.default_rng(0)
    cases = [
        (Bernoulli(), rng.integers(0, 2, (200, 3)).astype(float)),
        (ContinuousBernoulli(), rng.beta(2, 3, (200, 3))),
        (Poisson(), rng.poisson(3.0, (200, 3)).astype(float)),
        (Multinomial(10), rng.multinomial(10, [0.2, 0.3, 0.5], 200).astype(float)),
        (gaussian(), rng.normal(size=(200, 3))),
        (HeteroscedasticGaussian(), rng.normal(size=(200, 3))),
    ]
    for likelihood, X in cases:
        likelihood.check(X)
        np.testing.assert_allclose(likelihood.mean(jnp.asarray(likelihood.initial(X))), X.mean(0), atol=0.02)
    labels = rng.integers(0, 3, (3000, 2)).astype(float)
    shares = jax.nn.softmax(jnp.asarray(Categorical(3).initial(labels)), axis=1)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)
    pixels = rng.integers(0, 256, (3000, 2)).astype(float)
    np.testing.assert_allclose(
        DiscretisedLogistic().mean(jnp.asarray(DiscretisedLogistic().initial(pixels))), 128, atol=8
    )


def test_a_scale_that_is_not_trained_is_left_out_of_the_trainable_part():
    assert jax.tree.leaves(gaussian(0.5, trained=False).partition()[0]) == []
    assert len(jax.tree.leaves(gaussian(0.5).partition()[0])) == 1
    assert isinstance(gaussian(0.5), Gaussian)


@pytest.mark.parametrize(
    ("likelihood", "bad", "words"),
    [
        (Bernoulli(), [[0.0, 0.5]], "values 0 and 1.*ranges over .0, 0.5.*continuous_bernoulli"),
        (ContinuousBernoulli(), [[0.0, 255.0]], r"\[0, 1\].*ranges over \[0, 255\].*divide"),
        (Poisson(), [[1.0, -1.0]], "counts.*-1"),
        (Poisson(), [[1.0, 1.5]], "no whole numbers"),
        (Multinomial(3), [[0.0, 0.0]], "no counts"),
        (Categorical(3), [[0.0, 3.0]], "0 .. 2"),
        (DiscretisedLogistic(), [[0.0, 256.0]], "0 .. 255"),
    ],
)
def test_values_outside_the_support_are_refused_with_their_range_and_the_mend(likelihood, bad, words):
    with pytest.raises(InputError, match=words):
        likelihood.check(np.asarray(bad))


@pytest.mark.parametrize("make", [lambda: gaussian(0.0), lambda: Categorical(1), lambda: DiscretisedLogistic(1)])
def test_settings_out_of_range_are_refused(make):
    with pytest.raises(InputError):
        make()
