import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.families import Gaussian, Planar, PlanarFlow, Radial, RadialFlow, round_trip_errors

G = Gaussian(jnp.array([0.5, -1.0, 0.2]), jnp.array([[1.0, 0.0, 0.0], [0.3, 0.7, 0.0], [-0.2, 0.1, 1.5]]))


def shaken(builder, gaussian=G, size=1.0, seed=0):
    """A flow whose layers are random, so that none is the identity."""
    trained, rest = builder.build(jax.random.key(seed), gaussian).partition()
    leaves, treedef = jax.tree.flatten(trained)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    leaves = [a + size * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    q = eqx.combine(jax.tree.unflatten(treedef, leaves), rest)
    return eqx.tree_at(lambda q: (q.mean, q.scale_tril), q, (gaussian.mean, gaussian.scale_tril))


both = pytest.mark.parametrize("builder", [Planar(5), Radial(5)], ids=["planar", "radial"])


@both
def test_begins_at_the_gaussian(builder, key):
    u = jax.random.normal(key, (3,))
    z, log_det = builder.build(key, G).transform(u)
    assert jnp.allclose(z, G.transform(u)[0], atol=1e-12)
    assert jnp.allclose(log_det, G.transform(u)[1], atol=1e-12)


@both
def test_determinant_inverse_and_their_derivatives(builder):
    @eqx.filter_jit
    @eqx.filter_vmap(in_axes=(eqx.if_array(0), 0))
    def evaluate(q, u):
        z, log_det = q.transform(u)
        exact = jnp.linalg.slogdet(jax.jacfwd(lambda u: q.transform(u)[0])(u))
        slope = jax.jacfwd(q.inverse)(z) @ jax.jacfwd(lambda u: q.transform(u)[0])(u)
        return log_det - exact[1], exact[0], q.inverse(z) - u, slope - jnp.eye(3)

    many = [shaken(builder, seed=2 * i) for i in range(40)]
    q = jax.tree.map(lambda *a: jnp.stack(a) if eqx.is_array(a[0]) else a[0], *many)
    gap, sign, trip, slope = evaluate(q, 2 * jax.random.normal(jax.random.key(9), (40, 3)))
    assert jnp.max(jnp.abs(gap)) < 1e-9
    assert jnp.all(sign == 1)
    assert jnp.max(jnp.abs(trip)) < 1e-8
    assert jnp.max(jnp.abs(slope)) < 1e-6


@both
def test_gradient_of_the_density_in_the_parameters_is_that_of_finite_differences(builder):
    q, z = shaken(builder), jnp.array([0.3, -0.4, 1.0])
    trained, rest = q.partition()
    log_prob = eqx.filter_jit(lambda t: eqx.combine(t, rest).log_prob(z))
    slopes = eqx.filter_jit(jax.grad(lambda t: log_prob(t)))(trained)
    for at, slope in enumerate(jax.tree.leaves(slopes)):
        direction = jnp.ones_like(slope)

        def moved(step, at=at, direction=direction):
            leaves, treedef = jax.tree.flatten(trained)
            leaves[at] = leaves[at] + step * direction
            return log_prob(jax.tree.unflatten(treedef, leaves))

        assert np.isclose(jnp.sum(slope), (moved(1e-5) - moved(-1e-5)) / 2e-5, rtol=1e-4, atol=1e-5)


@both
def test_the_density_integrates_to_one(builder):
    plane = Gaussian(jnp.zeros(2), jnp.eye(2))
    q = shaken(builder, plane, 0.7)
    axis = np.linspace(-12.0, 12.0, 601)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2))
    total = jnp.sum(jnp.exp(eqx.filter_jit(lambda q, z: jax.vmap(q.log_prob)(z))(q, grid))) * (axis[1] - axis[0]) ** 2
    # the density bends in places no wider than a few cells
    assert abs(total - 1) < 5e-3


def test_inverse_keeps_its_digits_in_deep_flows():
    assert jnp.max(round_trip_errors(jax.random.key(0), shaken(Planar(32), size=0.5), 100)) < 1e-7


@pytest.mark.parametrize(("q", "cls"), [(shaken(Planar(2)), PlanarFlow), (shaken(Radial(2)), RadialFlow)])
def test_rebuilt_from_plain_data(q, cls):
    again = cls.from_config(q.config())
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, q)


@pytest.mark.parametrize("builder", [Planar, Radial])
def test_no_layer_is_an_error(builder):
    with pytest.raises(InputError, match="num_layers"):
        builder(0)
