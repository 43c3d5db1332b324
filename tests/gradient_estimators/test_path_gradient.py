import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.families import Affine, Autoregressive, Bijective, Coupling, FlowBuilder, Gaussian, Spline
from jensen.gradient_estimators import DoublyReparameterised, PathGradient, Reparameterisation
from jensen.objectives import ImportanceWeighted, NegativeElbo
from jensen.targets import from_log_density

P = Gaussian(jnp.array([1.0, -2.0, 0.3]), jnp.array([[1.2, 0, 0], [0.5, 0.6, 0], [0.1, -0.3, 0.8]]))
COUPLING = Coupling(Affine(), 4, 1)
LAYERS = [COUPLING, Coupling(Spline(4), 4, 1), Autoregressive(Affine(), 4, 1)]


def flow(layer, num_layers=2):
    """A flow some way from its start, with all weights different."""
    q = FlowBuilder(layer, num_layers).build(jax.random.key(0), P)
    trainable, rest = q.partition()
    leaves, tree = jax.tree.flatten(trainable)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [a + 0.1 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, moved), rest)


def target_of(p):
    return from_log_density(lambda z, p: p.log_prob(z), jnp.zeros(p.dimension), p)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_recursion_gives_the_gradient_of_the_density(layer):
    """Against automatic differentiation through the inverse, to rounding."""
    q = flow(layer)
    eps = jax.random.normal(jax.random.key(2), (20, 3))
    by_recursion = jax.jit(jax.vmap(q.from_noise_and_score))(eps)
    by_inverse = jax.jit(jax.vmap(lambda e: Bijective.from_noise_and_score(q, e)))(eps)
    for a, b in zip(by_recursion, by_inverse, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("make", [NegativeElbo, lambda e: ImportanceWeighted(3, e)], ids=["elbo", "importance"])
def test_path_and_doubly_reparameterised_are_one_gradient(make):
    """The same draws, by the recursion and through the inverse."""
    q, target = flow(COUPLING), target_of(P)

    def gradient(estimator):
        trainable, rest = q.partition()
        loss = lambda t: make(estimator).loss(jax.random.key(3), eqx.combine(t, rest), target).surrogate  # noqa: E731
        return jax.jit(jax.grad(loss))(trainable)

    a, b = gradient(PathGradient(4)), gradient(DoublyReparameterised(4))
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9)


def test_it_is_still_where_q_is_p():
    q = flow(COUPLING)
    target = from_log_density(lambda z, q: q.log_prob(z), jnp.zeros(3), q)

    def size(estimator):
        trainable, rest = q.partition()

        def loss(t):
            q = eqx.combine(t, rest)
            return ImportanceWeighted(4, estimator).loss(jax.random.key(4), q, target).surrogate

        return max(jnp.max(jnp.abs(g)) for g in jax.tree.leaves(jax.jit(jax.grad(loss))(trainable)))

    assert size(PathGradient(4)) < 1e-9
    assert size(Reparameterisation(4)) > 1e-2
