import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError, sample_many
from jensen.families import (
    Affine,
    Autoregressive,
    Coupling,
    DiagonalGaussian,
    Flow,
    FlowBuilder,
    Gaussian,
    Pushforward,
    Spline,
    round_trip_errors,
)

LAYERS = {
    "affine coupling": Coupling(Affine(), width=8, depth=1),
    "spline coupling": Coupling(Spline(4), width=8, depth=1),
    "affine autoregressive": Autoregressive(Affine(), width=8, depth=1),
    "spline autoregressive": Autoregressive(Spline(4), width=8, depth=1),
}


def gaussian(d):
    tril = jnp.tril(0.3 * jax.random.normal(jax.random.key(5), (d, d)), -1) + jnp.diag(jnp.linspace(0.5, 2.0, d))
    return Gaussian(jnp.linspace(-1.0, 1.0, d), tril)


def flow(layer, d=3, bend=0.2):
    """A flow whose trained arrays are shaken, so that no layer is the identity."""
    q = FlowBuilder(layer, num_layers=3).build(jax.random.key(1), gaussian(d))
    trained, rest = q.partition()
    leaves, treedef = jax.tree.flatten(trained)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    leaves = [a + bend * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    return eqx.combine(jax.tree.unflatten(treedef, leaves), rest)


@eqx.filter_jit
def evaluate(q, u):
    """z, log det by the pass, log det by the Jacobian, log q at z, log q at u, T^-1(z) - u, for rows of u."""

    def one(u):
        z, log_det = q.transform(u)
        jacobian = jax.jacfwd(lambda u: q.transform(u)[0])(u)
        exact = jnp.linalg.slogdet(jacobian)[1]
        return z, log_det, exact, q.log_prob(z), q.from_noise_and_log_prob(u)[1], q.inverse(z) - u

    return jax.vmap(one)(u)


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_start_and_agreement_of_all_passes(layer):
    u = 2 * jax.random.normal(jax.random.key(4), (30, 3))
    g = gaussian(3)
    z, _, _, at_z, at_u, _ = evaluate(FlowBuilder(layer, num_layers=3).build(jax.random.key(0), g), u)
    assert jnp.allclose(z, eqx.filter_jit(jax.vmap(g.from_noise))(u), atol=1e-10)  # it starts as its Gaussian
    assert jnp.allclose(at_u, eqx.filter_jit(jax.vmap(g.log_prob))(z), atol=1e-10)
    z, log_det, exact, at_z, at_u, gap = evaluate(flow(layer), u)
    assert jnp.max(jnp.abs(z - eqx.filter_jit(jax.vmap(g.from_noise))(u))) > 0.1  # the shaken one is another
    assert jnp.allclose(log_det, exact, atol=1e-8)
    assert jnp.allclose(at_z, at_u, atol=1e-6)
    assert jnp.max(jnp.abs(gap)) < 1e-7


@pytest.mark.parametrize("layer", [LAYERS["spline coupling"], LAYERS["affine autoregressive"]])
def test_the_integral_of_the_density_over_a_box_is_the_share_of_draws_in_it(layer):
    q, n = flow(layer, d=2), 20_000
    axis = np.linspace(-16.0, 16.0, 801)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2))
    total = jnp.sum(jnp.exp(eqx.filter_jit(lambda q, z: jax.vmap(q.log_prob)(z))(q, grid))) * (axis[1] - axis[0]) ** 2
    z = eqx.filter_jit(sample_many)(jax.random.key(0), q, n)
    share = jnp.mean(jnp.all(jnp.abs(z) < 16, axis=1))
    # a spline's slope may jump at the ends of its reach: the rule is then of first order in the grid width
    assert abs(total - share) < 5 * jnp.sqrt(share * (1 - share) / n) + 2e-3
    assert share > 0.5


def test_one_coordinate():
    for layer in (LAYERS["spline coupling"], LAYERS["affine autoregressive"]):
        q = flow(layer, d=1)
        assert jnp.max(round_trip_errors(jax.random.key(0), q, 50)) < 1e-7


def test_autoregressive_outputs_see_earlier_noise_only():
    layer = LAYERS["affine autoregressive"]
    q = flow(layer, d=4)
    network = jax.tree.map(lambda a: a[0], q.network)
    jacobian = jax.jit(jax.jacfwd(lambda x: layer.transform(network, x)[0]))(jnp.arange(4.0))
    assert jnp.all(jnp.triu(jacobian, 1) == 0)
    assert jnp.all(jnp.diagonal(jacobian) > 0)


def test_rebuilt_from_plain_data_and_compiled_once():
    for layer in LAYERS.values():
        q = flow(layer)
        again = Flow.from_config(q.config())
        assert jax.tree.structure(again) == jax.tree.structure(q)
        assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, q)
    with pytest.raises(InputError, match="part of a flow"):
        Flow.from_config({**q.config(), "layer": {"class": "os.system", "width": 1, "depth": 1}})


def test_whitening_is_not_trained():
    trained, _ = flow(LAYERS["affine coupling"]).partition()
    assert trained.mean is None
    assert trained.scale_tril is None
    assert trained.order is None
    assert trained.shift is not None


def test_pushforward_of_a_gaussian_by_a_gaussian(key):
    base = DiagonalGaussian(jnp.array([0.5, -1.0, 0.0]), jnp.array([0.1, 0.2, -0.3]))
    q = Pushforward(base, gaussian(3))
    tril = jnp.tril(gaussian(3).scale_tril)
    exact = Gaussian(gaussian(3).mean + tril @ base.mean, tril @ jnp.diag(jnp.exp(base.log_scale)))
    z, log_q = q.sample_and_log_prob(key)
    assert jnp.allclose(log_q, exact.log_prob(z))
    assert jnp.allclose(q.log_prob(z), exact.log_prob(z))
    again = Pushforward.from_config(q.config())
    assert jax.tree.structure(again) == jax.tree.structure(q)
    with pytest.raises(InputError, match="not a family"):
        Pushforward.from_config(
            {"base": {"class": "print", "config": {}}, "bijection": {"class": "Gaussian", "config": {}}}
        )
