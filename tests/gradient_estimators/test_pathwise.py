import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from jensen.families import DiagonalGaussian, FlowBuilder, Gaussian
from jensen.families.flow import Affine, Coupling
from jensen.gradient_estimators import Reparameterisation, StickingTheLanding
from jensen.objectives import NegativeElbo
from jensen.targets import from_log_density

P = Gaussian(jnp.array([1.0, -2.0]), jnp.array([[1.2, 0.0], [0.5, 0.6]]))
Q = DiagonalGaussian(jnp.array([0.2, -1.0]), jnp.array([-0.3, 0.4]))
ESTIMATORS = [Reparameterisation, StickingTheLanding]


def target_of(p):
    return from_log_density(lambda z, p: p.log_prob(z), jnp.zeros(p.dimension), p)


def kl(q):
    """KL(q || P) for a diagonal q, in closed form."""
    precision = jnp.linalg.inv(P.cov)
    shift = q.mean - P.mean
    trace = jnp.sum(jnp.diagonal(precision) * jnp.exp(2 * q.log_scale))
    return 0.5 * (trace - 2 + shift @ precision @ shift + jnp.linalg.slogdet(P.cov)[1]) - jnp.sum(q.log_scale)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradient_of_the_divergence_is_unbiased(estimator, key):
    objective = NegativeElbo(estimator(num_draws=1))
    gradient = jax.grad(lambda q, key: objective.loss(key, q, target_of(P)).surrogate)
    draws = jax.vmap(lambda k: gradient(Q, k))(jax.random.split(key, 20_000))
    truth = jax.grad(kl)(Q)
    for name in ("mean", "log_scale"):
        values, exact = getattr(draws, name), getattr(truth, name)
        error = jnp.std(values, axis=0) / jnp.sqrt(len(values))
        assert jnp.all(jnp.abs(jnp.mean(values, axis=0) - exact) < 5 * error)
        assert jnp.all(5 * error < 0.25 * jnp.max(jnp.abs(exact)))  # a lost term could not hide


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_value_is_the_divergence(estimator, key):
    estimate = NegativeElbo(estimator(num_draws=20_000)).loss(key, Q, target_of(P))
    assert abs(estimate.value - kl(Q)) < 5 * estimate.standard_error
    assert 5 * estimate.standard_error < 0.1 * kl(Q)


def test_sticking_the_landing_is_exactly_still_at_the_optimum(key):
    def norm(estimator):
        loss = lambda q: NegativeElbo(estimator).loss(key, q, target_of(P)).surrogate  # noqa: E731
        return max(jnp.max(jnp.abs(g)) for g in jax.tree.leaves(jax.grad(loss)(P)))

    assert norm(StickingTheLanding(num_draws=4)) < 1e-12
    assert norm(Reparameterisation(num_draws=4)) > 1e-3  # the plain pathwise gradient keeps the noise of the score


def test_both_see_the_same_draws_and_values(key):
    values = [NegativeElbo(e(num_draws=8)).loss(key, Q, target_of(P)) for e in ESTIMATORS]
    assert jnp.allclose(values[0].value, values[1].value, atol=1e-12)
    assert jnp.allclose(values[0].standard_error, values[1].standard_error, atol=1e-12)


def test_gradients_of_a_flow_agree_in_expectation():
    q = FlowBuilder(Coupling(Affine(), width=4, depth=1), num_layers=2).build(jax.random.key(0), P)
    q = jax.tree.map(lambda a: a + 0.1 if a.ndim == 2 and a.dtype != jnp.int32 else a, q)

    def moments(estimator):
        objective = NegativeElbo(estimator(num_draws=1))

        def loss(shift, key):
            return objective.loss(key, eqx.tree_at(lambda q: q.shift, q, shift), target_of(P)).surrogate

        keys = jax.random.split(jax.random.key(7), 4000)
        values = jax.jit(jax.vmap(lambda k: jax.grad(loss)(q.shift, k)))(keys)
        return jnp.mean(values, 0), jnp.std(values, 0) / jnp.sqrt(4000)

    (first, error), (second, other) = map(moments, ESTIMATORS)
    assert jnp.all(jnp.abs(first - second) < 5 * jnp.hypot(error, other))


@pytest.mark.parametrize("estimator", [Reparameterisation, StickingTheLanding])
def test_a_single_draw_is_the_first_of_its_noise(estimator, key):
    q = DiagonalGaussian(jnp.asarray([0.3, -1.0]), jnp.asarray([0.2, -0.4]))
    noise = q.noise_many(key, 1)[0]

    def by_hand(q):
        z = q.mean + jnp.exp(q.log_scale) * noise
        return jnp.sum(z**3)

    def estimate(q):
        return estimator(num_draws=1).expectation(key, q, lambda _, z: jnp.sum(z**3)).surrogate

    for a, b in zip(*map(jax.tree.leaves, (jax.grad(estimate)(q), jax.grad(by_hand)(q))), strict=True):
        assert jnp.allclose(a, b, rtol=1e-12)
