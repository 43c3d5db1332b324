"""Programs for the tests of site estimators, and gradients of expectations under them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.core import Space, Variable
from jensen.families import ProgramFamily, program
from jensen.families.program import initial_parameters


def family(guide) -> ProgramFamily:
    """The family of a guide over its own sites."""
    builder = program(guide)
    space = Space(tuple(Variable(name, site.shape, site.support) for name, site in builder.sites().items()))
    return ProgramFamily(initial_parameters(builder.guide, jax.random.key(0)), builder.guide, space)


def gradients(q, loss, key, n):
    """`n` independent gradients of loss(q, key).surrogate in the parameters: a dict of arrays (n, size)."""
    trainable, rest = q.partition()

    def one(key):
        return jax.grad(lambda t: loss(eqx.combine(t, rest), key).surrogate)(trainable).parameters

    found = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=200))(jax.random.split(key, n))
    return {name: np.asarray(g).reshape(n, -1) for name, g in found.items()}


def assert_mean_is(draws, truth, sees):
    """Means within five standard errors of the truth; `sees`: the relative error that could not hide."""
    largest = max(np.max(np.abs(np.asarray(t))) for t in truth.values())
    for name, g in draws.items():
        exact = np.asarray(truth[name]).reshape(-1)
        error = g.std(0) / np.sqrt(len(g)) + 1e-9
        assert np.all(np.abs(g.mean(0) - exact) < 5 * error), (name, g.mean(0), exact, error)
        assert np.all(5 * error < sees * largest), (name, error, exact)


def total_variance(draws):
    """Sum over all parameters of the variance of a gradient."""
    return float(sum(g.var(0).sum() for g in draws.values()))


def integral(distribution, cost, low, high, num=40_001):
    """E[cost(x)] by the trapezoidal rule, differentiable in the distribution's parameters."""
    x = jnp.linspace(low, high, num)
    return jnp.trapezoid(jnp.exp(distribution.log_prob(x)) * cost(x), x)
