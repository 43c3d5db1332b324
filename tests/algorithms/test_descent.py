"""Adam with clipping and skipped steps, against optax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jensen.algorithms._descent import PATIENCE, begin, descend

RATE, CLIP = jnp.asarray(0.05), jnp.asarray(1e9)
step = jax.jit(descend)


def walk(gradients, trainable, clip=CLIP):
    moments, found = begin(trainable), []
    for g in gradients:
        trainable, moments, _ = step(trainable, g, jnp.zeros(()), moments, RATE, clip)
        found.append((trainable, moments))
    return found


def some(seed, n=6):
    rng = np.random.default_rng(seed)
    return [{"a": jnp.asarray(rng.normal(size=(3, 2))), "b": jnp.asarray(rng.normal(size=4))} for _ in range(n)]


def test_without_clipping_it_is_adam():
    gradients, start = some(0), some(1, 1)[0]
    adam = optax.adam(0.05)
    at, state = start, adam.init(start)
    for (ours, _), g in zip(walk(gradients, start), gradients, strict=True):
        updates, state = adam.update(g, state)
        at = optax.apply_updates(at, updates)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(at), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_a_gradient_that_is_not_finite_leaves_everything_as_it_was():
    gradients, start = some(2), some(3, 1)[0]
    broken = [*gradients[:3], {"a": jnp.full((3, 2), jnp.nan), "b": jnp.ones(4)}, *gradients[3:]]
    whole, holed = walk(gradients, start), walk(broken, start)
    for found, wanted in ((holed[3], holed[2]), (holed[-1], whole[-1])):
        same = jax.tree.map(lambda a, b: np.array_equal(a, b), (found[0], found[1][0]), (wanted[0], wanted[1][0]))
        assert all(jax.tree.leaves(same))
    assert [int(moments[2]) for _, moments in holed] == [0, 0, 0, 1, 0, 0, 0]


def test_ten_in_a_row_are_the_end():
    bad = [{"a": jnp.full((3, 2), jnp.inf), "b": jnp.ones(4)}] * PATIENCE
    found = walk(bad, some(4, 1)[0])
    assert np.all(np.isfinite(found[-2][0]["b"]))
    assert all(np.all(np.isnan(leaf)) for leaf in jax.tree.leaves(found[-1][0]))


def test_a_long_gradient_is_cut_to_the_running_length():
    gradients = some(5, 2)
    long = [gradients[0], jax.tree.map(lambda g: 1e6 * g, gradients[1])]
    lengths = [np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(tree))) for tree in long]
    cut = jax.tree.map(lambda g: g * (2 * lengths[0] / lengths[1]), long[1])
    start = some(6, 1)[0]
    ours, wanted = walk(long, start, jnp.asarray(2.0))[-1][0], walk([long[0], cut], start)[-1][0]
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
