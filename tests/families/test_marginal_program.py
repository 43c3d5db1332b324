"""Guides with auxiliary sites: bounds in their order, below the evidence, and an exact marginal."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import jensen as jn
from jensen.core import InputError
from jensen.families import marginal, program
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import ImportanceWeighted, NegativeElbo


def model():
    numpyro.sample("x", dist.Normal(0.0, jnp.sqrt(2.0)))


def guide():
    """x ~ N(0, 2), by way of e."""
    e = numpyro.sample("e", dist.Normal(numpyro.param("m", 0.0), 1.0))
    numpyro.sample("x", dist.Normal(e, 1.0))


TARGET = jn.targets.from_numpyro(model)


def bound(num_weights, copies):
    q = marginal(program(guide), num_weights).family(jax.random.key(0), TARGET)
    objective = ImportanceWeighted(copies, Reparameterisation(20_000 // copies))
    estimate = jax.jit(lambda q, key: objective.loss(key, q, TARGET))(q, jax.random.key(num_weights))
    return -float(estimate.value), float(estimate.standard_error)


def test_bounds_rise_with_the_number_of_weights_to_the_evidence():
    """log Z = 0. With one weight the bound is the mean of log N(x; 0, 2) - log N(x; e, 1) = -log(2) / 2, exactly."""
    value, error = bound(1, 1)
    assert abs(value + 0.5 * np.log(2.0)) < 5 * error
    assert 5 * error < 0.1
    several, doubly = bound(10, 1), bound(10, 5)
    assert value + 5 * error < several[0]
    assert several[0] < doubly[0] + 5 * np.hypot(several[1], doubly[1])
    assert doubly[0] < 5 * doubly[1]
    many, error = bound(400, 1)
    assert abs(many) < 0.01 + 5 * error


def test_the_estimated_density_is_unbiased():
    q = marginal(program(guide), 200).family(jax.random.key(0), TARGET)
    z = jnp.array([0.7])
    log_q = jax.jit(jax.vmap(lambda key: q.estimate_log_prob(key, z)))(jax.random.split(jax.random.key(1), 200))
    density = np.exp(np.asarray(log_q))
    truth = np.exp(dist.Normal(0.0, np.sqrt(2.0)).log_prob(0.7))
    assert abs(density.mean() - truth) < 5 * density.std() / np.sqrt(200)
    with pytest.raises(InputError, match="only together with its auxiliary variables"):
        q.log_prob(z)


def test_training_moves_the_parameters():
    algorithm = jn.algorithms.GradientVI(
        family=marginal(program(guide), 3), objective=NegativeElbo(Reparameterisation()), learning_rate=0.05
    )
    shifted = jn.targets.from_numpyro(lambda: numpyro.sample("x", dist.Normal(2.0, jnp.sqrt(2.0))))
    fit = jn.run(algorithm, shifted, key=jax.random.key(0), steps=300, certify=False)
    assert abs(fit.posterior.q.program.parameters["m"] - 2.0) < 0.2
    assert fit.posterior.sample(jax.random.key(1), 10)["x"].shape == (10,)


def test_what_has_no_auxiliary_or_no_noise_is_refused():
    def nothing():
        numpyro.sample("x", dist.Normal(numpyro.param("m", 0.0), 1.0))

    def coin():
        e = numpyro.sample("e", dist.Bernoulli(0.3))
        numpyro.sample("x", dist.Normal(numpyro.param("m", 0.0) + e, 1.0))

    with pytest.raises(InputError, match="no auxiliary site"):
        marginal(program(nothing)).check(TARGET)
    with pytest.raises(InputError, match="Site 'e' of the guide is not reparameterised"):
        marginal(program(coin)).check(TARGET)
    with pytest.raises(InputError, match="num_weights must be at least 1"):
        marginal(program(guide), 0)
    with pytest.raises(InputError, match="marginal takes families"):
        marginal(guide)
