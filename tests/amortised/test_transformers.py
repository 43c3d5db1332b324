"""What the two transformers cannot learn but must have: who sees whom, and where they begin."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen.amortised import distribution_transformer, prior_fitted_network
from jensen.amortised._layers import transformer
from jensen.families import GaussianMixture


def stirred(tree, seed=0):
    """The network with weights away from zero, so that nothing is blind by accident."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    moved = [
        a + 0.3 * jax.random.normal(k, a.shape, a.dtype) if a.ndim > 1 else a for a, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def test_a_token_sees_what_the_mask_says():
    net = stirred(transformer(jax.random.key(0), 8, 2, 2))
    x = jax.random.normal(jax.random.key(1), (4, 8))
    mask = jnp.eye(4, dtype=bool).at[0, 1].set(True)
    jacobian = eqx.filter_jit(jax.jacfwd(lambda x: net(x, mask)))(x)
    influence = np.abs(np.asarray(jacobian)).sum((1, 3)) > 1e-12
    np.testing.assert_array_equal(influence, np.asarray(mask))


def test_a_transformer_begins_as_the_identity():
    x = jax.random.normal(jax.random.key(1), (4, 8))
    np.testing.assert_array_equal(transformer(jax.random.key(0), 8, 3, 2)(x, jnp.ones((4, 4), bool)), x)


def test_queries_see_the_context_and_not_one_another():
    data = {
        "x": jax.random.normal(jax.random.key(0), (5, 1)),
        "y": jax.random.normal(jax.random.key(1), (5,)),
        "mask": jnp.array([True, True, True, False, False]),
        "query": jnp.array([[0.1], [0.6]]),
    }
    many = jax.tree.map(lambda a: jnp.stack([a] * 10), data)
    z = jax.random.normal(jax.random.key(2), (200, 2))
    net = stirred(prior_fitted_network(jax.random.key(3), z, many, bars=8, width=8, blocks=2, heads=2))
    logits = net.given(data).logits
    assert logits.shape == (2, 8)
    other_query = net.given(data | {"query": data["query"].at[1].set(3.0)}).logits
    np.testing.assert_allclose(other_query[0], logits[0], atol=1e-12)
    assert np.max(np.abs(other_query[1] - logits[1])) > 1e-6
    masked = net.given(data | {"y": data["y"].at[4].set(9.0), "x": data["x"].at[3].set(9.0)}).logits
    np.testing.assert_allclose(masked, logits, atol=1e-12)
    assert np.max(np.abs(net.given(data | {"y": data["y"].at[0].set(2.0)}).logits - logits)) > 1e-6
    empty = net.given(data | {"mask": jnp.zeros(5, bool)}).logits
    assert np.all(np.isfinite(empty))


def mixture(seed, d=2, k=3):
    keys = jax.random.split(jax.random.key(seed), 2)
    tril = jnp.eye(d) + jnp.tril(0.3 * jax.random.normal(keys[0], (k, d, d)))
    return GaussianMixture(jnp.log(jnp.array([0.2, 0.3, 0.5])), jax.random.normal(keys[1], (k, d)), tril)


def test_a_distribution_transformer_is_equivariant_and_begins_near_the_prior():
    data = {"prior": mixture(0), "observed": jax.random.normal(jax.random.key(1), (4, 2))}
    many = jax.tree.map(lambda *a: jnp.stack(a), *[data | {"prior": mixture(i)} for i in range(6)])
    first = distribution_transformer(jax.random.key(2), many, width=8, blocks=2, heads=2)
    flat = jax.tree.map(lambda a: 0 * a, first.out)
    unchanged = type(first)(
        first.inputs, first.observations, first.embed_component, first.embed_observation, first.transformer, flat, 2
    ).given(data)
    np.testing.assert_allclose(unchanged.means, data["prior"].means, atol=1e-9)
    np.testing.assert_allclose(unchanged.scale_trils, data["prior"].scale_trils, atol=1e-9)
    np.testing.assert_allclose(unchanged.log_weights, data["prior"].log_weights, atol=1e-9)
    net = stirred(first)
    out = net.given(data)
    swap = jnp.array([2, 0, 1])
    prior = jax.tree.map(lambda a: a[swap], data["prior"])
    moved = net.given({"prior": prior, "observed": data["observed"][::-1]})
    np.testing.assert_allclose(moved.means, out.means[swap], atol=1e-9)
    np.testing.assert_allclose(moved.scale_trils, out.scale_trils[swap], atol=1e-9)
    assert np.all(np.diagonal(out.scale_trils, axis1=1, axis2=2) > 0)
