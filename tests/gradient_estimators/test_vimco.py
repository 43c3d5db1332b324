"""VIMCO on discrete programs, against the gradient of the objective summed over all tuples of draws."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from tests.gradient_estimators.programs import assert_mean_is, gradients, total_variance

import jensen as jn
from jensen.core import InputError
from jensen.gradient_estimators import VIMCO, ScoreFunction
from jensen.gradient_estimators.vimco import _without_each
from jensen.objectives import ImportanceWeighted, NegativeElbo, Renyi

PRIOR, NUM = jnp.array([0.5, 0.3, 0.2]), 20_000


def model(y):
    a = numpyro.sample("a", dist.Categorical(PRIOR))
    b = numpyro.sample("b", dist.Bernoulli(0.3))
    numpyro.sample("y", dist.Normal(a - 2.0 * b, 0.7), obs=y)


def guide():
    a = numpyro.sample("a", dist.Categorical(logits=numpyro.param("l", jnp.array([0.1, 0.4, -0.3]))))
    numpyro.sample("b", dist.Bernoulli(logits=numpyro.param("m", -0.2) + numpyro.param("w", 0.5) * a))


TARGET = jn.targets.from_numpyro(model, 0.8)
FAMILY = jn.families.program(guide).family(jax.random.key(0), TARGET)


def exact(parameters, objective):
    """The sum over all K-tuples of the six values of (a, b) of their probability times phi of their log weights."""
    a, b = (x.ravel() for x in jnp.meshgrid(jnp.arange(3), jnp.arange(2), indexing="ij"))
    log_q = jax.nn.log_softmax(parameters["l"])[a]
    log_q += dist.Bernoulli(logits=parameters["m"] + parameters["w"] * a).log_prob(b)
    log_p = jnp.log(PRIOR)[a] + dist.Bernoulli(0.3).log_prob(b) + dist.Normal(a - 2.0 * b, 0.7).log_prob(0.8)
    k = objective.num_weights
    tuples = jnp.stack(jnp.meshgrid(*[jnp.arange(6)] * k, indexing="ij"), -1).reshape(-1, k)
    phi = eqx.filter_jit(jax.vmap(objective.phi))((log_p - log_q)[tuples])
    return jnp.sum(jnp.exp(jnp.sum(log_q[tuples], axis=1)) * phi)


@pytest.mark.parametrize("make", [lambda e: ImportanceWeighted(3, e), lambda e: Renyi(2.0, 2, e)])
def test_value_and_gradient_are_those_of_the_sum_over_tuples(make):
    objective = make(VIMCO(num_draws=1))
    draws = gradients(FAMILY, lambda q, key: objective.loss(key, q, TARGET), jax.random.key(0), NUM)
    truth, slope = eqx.filter_jit(jax.value_and_grad(exact))(FAMILY.parameters, objective)
    assert_mean_is(draws, slope, 0.3)
    many = make(VIMCO(num_draws=NUM)).loss(jax.random.key(1), FAMILY, TARGET)
    assert abs(many.value - truth) < 5 * many.standard_error
    assert 5 * many.standard_error < 0.1


def test_its_variance_is_below_that_of_a_baseline_for_all_draws_together():
    """Two estimates of eight weights each: the plain score function's baseline is the other estimate."""
    spread = {}
    for estimator in (VIMCO(num_draws=2), ScoreFunction(num_draws=2)):
        objective = ImportanceWeighted(8, estimator)
        draws = gradients(FAMILY, lambda q, key, o=objective: o.loss(key, q, TARGET), jax.random.key(2), 2000)
        spread[type(estimator)] = total_variance(draws)
    assert spread[VIMCO] < 0.5 * spread[ScoreFunction]


def test_the_baseline_of_a_draw_is_free_of_it_and_finite():
    phi = ImportanceWeighted(3).phi
    log_w = jnp.array([0.3, -1.0, 2.0])
    baseline = _without_each(phi, log_w)
    by_hand = [phi(log_w.at[i].set((log_w.sum() - log_w[i]) / 2)) for i in range(3)]
    np.testing.assert_allclose(baseline, by_hand, rtol=1e-12)
    assert _without_each(phi, log_w.at[1].set(9.0))[1] == baseline[1]
    assert np.all(np.isfinite(_without_each(phi, jnp.array([0.3, -jnp.inf, -jnp.inf]))))


def test_what_it_cannot_compare_is_refused():
    for objective in (NegativeElbo(VIMCO()), ImportanceWeighted(1, VIMCO())):
        with pytest.raises(InputError, match="at least two"):
            objective.loss(jax.random.key(0), FAMILY, TARGET)
    with pytest.raises(InputError, match="num_draws"):
        VIMCO(num_draws=0)
