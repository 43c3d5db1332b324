"""Charts: exact inverses, the loss in its parts, and descent against what is known in closed form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from jensen.core import InputError
from jensen.vae import AtlasLoss, NoEncoder, SoftBox, descend, fit_atlas, initial_atlas, latent_rows

PLANE = np.array([[1.0, 0.5], [0.2, -1.0], [0.7, 0.3]])
OFFSET = np.array([1.0, 2.0, 3.0])


def plane(num_charts=1):
    """Affine charts (flows at the identity) of a plane in space."""
    rng = np.random.default_rng(0)
    X = OFFSET + rng.uniform(-1, 1, (60, 2)) @ PLANE.T
    return X, initial_atlas(jax.random.key(0), X, 2, num_charts, num_layers=2, width=4)


def bent(atlas):
    """The same with flows away from the identity."""
    leaves, tree = jax.tree.flatten(atlas.partition()[0])
    keys = jax.random.split(jax.random.key(1), len(leaves))
    moved = [a + 0.3 * jax.random.normal(k, a.shape) for k, a in zip(keys, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, moved), atlas.partition()[1])


def test_encoders_invert_decoders():
    atlas = bent(plane(2)[1])
    z = jax.random.uniform(jax.random.key(2), (50, 2, 2), minval=-2, maxval=2)

    @jax.jit
    def back(z):
        return jax.vmap(lambda z: jax.vmap(lambda c, z: c.encode(c.decode(z)))(atlas.charts, z))(z)

    np.testing.assert_allclose(back(z), z, atol=1e-9)
    flat = np.asarray(plane()[1].decode(z[:, :1].reshape(-1, 2)[:1])[0])
    assert np.abs(np.linalg.det(np.column_stack([PLANE, flat - OFFSET]))) < 1e-9  # on the plane


def test_a_soft_box_is_a_density_and_its_draws_follow_it():
    box = SoftBox(1, 1.5)
    total, _ = quad(lambda z: float(jnp.exp(box.log_prob(jnp.asarray([z])))), -4, 4, points=(-1.5, 1.5))
    assert total == pytest.approx(1, abs=1e-6)
    draws = np.asarray(eqx.filter_jit(jax.vmap(box.sample))(jax.random.split(jax.random.key(0), 20_000)))
    outside = np.mean(np.abs(draws) > 1.5)
    share = (1 / 20) / (1 + 1 / 20)
    assert abs(outside - share) < 5 * np.sqrt(share * (1 - share) / 20_000)
    assert abs(np.mean(draws)) < 5 * draws.std() / np.sqrt(20_000)


def test_descent_on_a_plane_ends_at_the_orthogonal_projection():
    X, atlas = plane()
    goal = jnp.asarray(OFFSET + 0.3 * PLANE[:, 0] - 0.2 * PLANE[:, 1] + 0.4 * np.cross(PLANE[:, 0], PLANE[:, 1]))
    found = descend(atlas, lambda x: jnp.sum((x - goal) ** 2), jnp.asarray(X[0]), 1.0, 20)
    weights, *_ = np.linalg.lstsq(PLANE, np.asarray(goal) - OFFSET, rcond=None)
    np.testing.assert_allclose(found.path[-1], OFFSET + PLANE @ weights, atol=1e-8)
    assert np.all(np.diff(found.value) <= 0)


def test_the_loss_is_that_of_the_nearest_chart_or_of_all_by_responsibility():
    X, atlas = plane(2)
    atlas = eqx.tree_at(lambda a: a.logits, bent(atlas), jnp.asarray([0.3, -0.4]))
    x, key = jnp.asarray(X[5]), jax.random.key(3)
    target = latent_rows(atlas, x[None])

    @eqx.filter_jit
    def value(objective):
        return objective.losses(key, NoEncoder(2), x[None], lambda row: target.local(target.theta, row), 1).value[0]

    z = atlas.encode(x)
    noisy = z + atlas.spread * jax.random.normal(jax.random.split(key, 1)[0], z.shape)
    joint = np.asarray(atlas.misfits(x, noisy) - 2 * jnp.log(atlas.spread) - atlas.log_weights())
    near = int(np.argmin(np.sum((np.asarray(atlas.charts.centre) - X[5]) ** 2, 1)))
    assert float(value(AtlasLoss(assigned=1.0))) == pytest.approx(joint[near], rel=1e-9)
    shares = np.exp(-joint - np.logaddexp.reduce(-joint))
    assert float(value(AtlasLoss())) == pytest.approx(shares @ joint, rel=1e-9)
    rough = np.sum(np.asarray(atlas.decode(z) - atlas.decode(noisy)) ** 2, 1) / float(atlas.noise) ** 2
    assert float(value(AtlasLoss(1.0, 2.0))) == pytest.approx(joint[near] + 2 * rough[near], rel=1e-9)


def test_bad_input_is_refused_at_the_door():
    X, _ = plane()
    key = jax.random.key(0)
    with pytest.raises(InputError, match="dimension of 1 to 2"):
        initial_atlas(key, X, 3, 1)
    with pytest.raises(InputError, match="at least one chart and 120 rows"):
        initial_atlas(key, X, 2, 20)
    with pytest.raises(InputError, match="finite"):
        initial_atlas(key, np.where(X > 3, np.nan, X), 2, 1)
    with pytest.raises(InputError, match="overlap"):
        fit_atlas(key, X, 2, 1, overlap=0.5)
