"""Parts of the ported models against second routes to the same numbers. Needs no data."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, stats

from jensen.targets._posteriordb.models._forward_mode import by_forward_mode
from jensen.targets._posteriordb.models._poisson import PoissonLog
from jensen.targets._posteriordb.models.hidden_markov import log_evidence
from jensen.targets._posteriordb.models.lotka_volterra import log_populations
from jensen.targets._posteriordb.models.time_series import discounted_sum


def test_hmm_evidence_is_the_sum_over_paths(key):
    theta_key, emission_key = jax.random.split(key)
    theta = np.asarray(jax.random.dirichlet(theta_key, jnp.ones(2), (2,)))
    emission = np.asarray(jax.random.normal(emission_key, (9, 2))) * 3
    weights = []
    for path in itertools.product(range(2), repeat=9):
        emitted = np.exp(sum(emission[t, s] for t, s in enumerate(path)))
        weights.append(emitted * np.prod([theta[a, b] for a, b in itertools.pairwise(path)]))
    np.testing.assert_allclose(log_evidence(jnp.log(theta), jnp.asarray(emission)), np.log(np.sum(weights)), rtol=1e-12)


def test_discounted_sum_is_its_power_series(key):
    x, rate = jax.random.normal(key, (40,)), 0.7
    expected = [sum(rate ** (t - s) * float(x[s]) for s in range(t + 1)) for t in range(40)]
    np.testing.assert_allclose(discounted_sum(x, jnp.asarray(rate)), expected, rtol=1e-11, atol=1e-12)


def test_poisson_by_log_rate(key):
    log_rate, k = 2 * jax.random.normal(key, (20,)), jnp.arange(20)
    np.testing.assert_allclose(
        PoissonLog(log_rate).log_prob(k), stats.poisson.logpmf(k, np.exp(np.asarray(log_rate))), rtol=1e-10
    )
    draws = np.asarray(PoissonLog(log_rate).sample(key, (4000,)))
    rate = np.exp(np.asarray(log_rate))
    assert np.all(np.abs(draws.mean(0) - rate) < 5 * np.sqrt(rate / 4000))
    assert np.isfinite(jax.grad(lambda f: PoissonLog(f).log_prob(jnp.asarray(0)))(jnp.asarray(-2000.0)))


def test_populations_solve_the_equations(key):
    theta = np.array([0.55, 0.028, 0.80, 0.024]) * np.exp(0.2 * np.asarray(jax.random.normal(key, (4,))))
    start, times = np.log([34.0, 5.9]), np.arange(1.0, 21.0)
    rates = lambda t, z: [theta[0] - theta[1] * np.exp(z[1]), -theta[2] + theta[3] * np.exp(z[0])]  # noqa: E731
    truth = integrate.solve_ivp(rates, (0.0, 20.0), start, "DOP853", times, rtol=1e-11, atol=1e-12).y.T
    ours = jax.jit(log_populations)(jnp.asarray(theta), jnp.asarray(start), jnp.asarray(times))
    # Local errors of 1e-6 add up over some 100 steps.
    np.testing.assert_allclose(ours, truth, atol=1e-4)


def test_forward_mode_gives_every_derivative(key):
    def plain(x):
        return jnp.stack([jnp.sin(x).sum(), jnp.prod(x), x[0] ** 3 * jnp.exp(x[1])])

    def looped(x):
        # A loop of traced length, which JAX refuses to differentiate in reverse.
        state = jax.lax.while_loop(lambda s: s[0] < 1 + 0 * x[0], lambda s: (s[0] + 1, plain(x)), (0.0, 0 * plain(x)))
        return state[1]

    x, wrapped = jax.random.normal(key, (3,)), by_forward_mode(looped)
    scalar = lambda f: lambda x: (f(x) ** 2).sum()  # noqa: E731
    np.testing.assert_allclose(wrapped(x), plain(x), rtol=1e-12)
    for derive in (jax.jacfwd, jax.jacrev, lambda f: jax.hessian(scalar(f)), lambda f: jax.jacrev(jax.grad(scalar(f)))):
        np.testing.assert_allclose(jax.jit(derive(wrapped))(x), derive(plain)(x), rtol=1e-9, atol=1e-10)
