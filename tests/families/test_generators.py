"""Generators of implicit distributions, and the cheaper bound of their determinant, against dense linear algebra."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen._numerics.lanczos import smallest_eigenvector
from jensen.algorithms import GradientVI
from jensen.core import InputError
from jensen.core._pack_posterior import family_classes, unpack_family
from jensen.families import (
    DenseGenerator,
    Gaussian,
    Generator,
    HypernetworkBuilder,
    Implicit,
    ImplicitBuilder,
    linearised_log_det,
    smallest_singular_log_det,
)
from jensen.objectives import LinearisedElbo, SingularValueElbo
from jensen.targets import from_log_density

SIGMA = 1e-2


def dense_bound(jacobian, sigma=SIGMA):
    d, k = jacobian.shape
    n = min(d, k)
    s = jnp.linalg.svd(jacobian, compute_uv=False)[-1]
    return 0.5 * n * jnp.log(s**2 + sigma**2) + (d - n) * jnp.log(sigma)


@pytest.mark.parametrize(("d", "k"), [(6, 6), (12, 5), (3, 7), (4, 1)])
def test_bound_is_that_of_the_smallest_singular_value_and_never_above_the_determinant(d, k):
    rng, n = np.random.default_rng(d), min(d, k)
    jacobians = rng.normal(size=(60, d, k)) * np.exp(2 * rng.normal(size=(60, 1, k)))
    jacobians[-1], jacobians[-2] = np.eye(d, k), 0.0  # a Krylov space of one dimension, and of none
    starts = jnp.asarray(rng.normal(size=(60, n, n)))

    @jax.jit
    @jax.vmap
    def both(jacobian, starts):
        args = (lambda e: jacobian @ e), jnp.zeros(k), SIGMA
        return smallest_singular_log_det(*args, starts), linearised_log_det(*args), dense_bound(jacobian)

    ours, exact, truth = both(jnp.asarray(jacobians), starts)
    assert np.all(ours <= exact + 1e-9 * (1 + np.abs(exact)))
    np.testing.assert_allclose(ours, truth, rtol=1e-7, atol=1e-7)


def bent(theta, e):
    return jnp.tanh(theta["in"] @ e) @ theta["out"] + e.sum()


@pytest.mark.parametrize(("d", "k"), [(7, 4), (3, 5)])
def test_gradient_is_that_of_the_dense_singular_value(d, k):
    rng = np.random.default_rng(0)
    theta = {"in": jnp.asarray(rng.normal(size=(9, k))), "out": jnp.asarray(rng.normal(size=(9, d)))}
    e, starts = jnp.asarray(rng.normal(size=k)), jnp.asarray(rng.normal(size=(min(d, k),) * 2))

    @jax.jit
    @jax.grad
    def ours(theta):
        return smallest_singular_log_det(lambda e: bent(theta, e), e, SIGMA, starts)

    @jax.jit
    @jax.grad
    def truth(theta):
        return dense_bound(jax.jacfwd(lambda e: bent(theta, e))(e))

    for a, b in zip(jax.tree.leaves(ours(theta)), jax.tree.leaves(truth(theta)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
        assert jnp.max(jnp.abs(b)) > 1e-2


def test_recursion_takes_as_many_products_as_steps_and_comes_from_above():
    rng, calls = np.random.default_rng(1), []
    for n in (20, 80):
        roots = rng.normal(size=(2 * n, n))
        gram, found = jnp.asarray(roots.T @ roots), []
        for m in (2, 6, 12):
            calls.clear()

            @jax.jit
            def value(starts, gram=gram):
                def product(v):
                    jax.debug.callback(lambda: calls.append(0))
                    return gram @ v

                v = smallest_eigenvector(product, starts)
                return v @ gram @ v

            found.append(float(value(jnp.asarray(np.random.default_rng(2).normal(size=(12, n)))[:m])))
            jax.effects_barrier()
            assert len(calls) == m
        least = float(jnp.linalg.eigvalsh(gram)[0])
        assert found[0] > found[1] > found[2] > least
        assert found[2] < 2 * least


def test_elbo_by_the_smallest_singular_value_of_an_affine_map():
    """E_q[log p] is that of the draws; the entropy is d/2 (1 + log 2 pi) + d/2 log(s^2 + sigma^2) + log det L."""
    p = Gaussian(jnp.array([0.5, -1.0, 0.0]), jnp.diag(jnp.array([1.0, 0.5, 2.0])))
    target = from_log_density(lambda z, p: p.log_prob(z), np.zeros(3), p)
    builder = ImplicitBuilder(size=3, sigma=0.1, num_auxiliary=0, width=2, depth=1)
    q = builder.build(jax.random.key(0), p)
    linear = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
    q = eqx.tree_at(lambda q: q.generator.linear, q, linear)
    s = jnp.linalg.svd(linear, compute_uv=False)
    entropies = {
        LinearisedElbo: 0.5 * jnp.sum(jnp.log(s**2 + 0.01)),
        SingularValueElbo: 1.5 * jnp.log(s[-1] ** 2 + 0.01),
    }
    cov = linear @ linear.T + 0.01 * jnp.eye(3)  # in coordinates where p is standard normal
    for objective, half in entropies.items():
        # log p + d/2 log 2 pi + log det L is -1/2 |x|^2, of mean -1/2 tr cov
        truth = 0.5 * jnp.trace(cov) - 1.5 - half
        found = eqx.filter_jit(objective(num_draws=4000).loss)(jax.random.key(1), q, target)
        assert abs(found.value - truth) < 5 * found.standard_error
        assert 5 * found.standard_error < 0.3 * abs(entropies[LinearisedElbo] - entropies[SingularValueElbo])


class Bend(Generator):
    """A generator that the library does not know: a parabola."""

    curve: jax.Array

    @property
    def size(self):
        return 1

    def __call__(self, e):
        return jnp.stack([e[0], self.curve * e[0] ** 2])

    def config(self):
        return {}

    @classmethod
    def from_config(cls, config, dimension):
        return cls(jnp.zeros(()))


def test_a_generator_of_your_own_is_trained_and_saved_as_draws(tmp_path):
    def banana(z):
        return -0.5 * z[0] ** 2 - 0.5 * ((z[1] - z[0] ** 2) / 0.2) ** 2

    q = Implicit(jnp.zeros(2), jnp.eye(2), Bend(jnp.asarray(0.2)), jnp.asarray(0.2), 16)
    algorithm = GradientVI(q, LinearisedElbo(), learning_rate=0.05)
    target = from_log_density(banana, np.zeros(2))
    fit = jn.run(algorithm, target, key=jax.random.key(0), steps=300, certify=False, progress=False)
    # at curve c: E log p = -1/2 - (3 (c - 1)^2 / 0.04 + 1) / 2, and log det (J^T J + 0.04) / 2 grows with c by < 1
    assert abs(fit.posterior.q.generator.curve - 1) < 0.1
    fit.save(tmp_path / "fit")
    again = jn.load(tmp_path / "fit").posterior
    z = again.sample(jax.random.key(1), 1000)["z"]
    assert np.corrcoef(z[:, 0] ** 2, z[:, 1])[0, 1] > 0.9


OLD = {
    "dense": {"dimension": 2, "num_auxiliary": 4, "size": 1, "width": 3, "depth": 1},
    "products": {
        "dimension": 3,
        "num_auxiliary": 4,
        "shapes": [[2, 1], [1, 1]],
        "rows": 1,
        "columns": 2,
        "width": 3,
        "depth": 1,
    },
}


@pytest.mark.parametrize("name", OLD)
def test_fits_saved_before_generators_had_names_load(name):
    """Their arrays in the order of the fields of then: mean, L, A if any, b, the network's, sigma."""
    config, rng = OLD[name], np.random.default_rng(3)
    d = config["dimension"]
    middle = {
        "dense": [(2, 1), (2,), (1, 3, 1), (1, 2, 3), (1, 3), (1, 2)],
        "products": [(3,), (3, 1), (2, 3), (3, 1), (1, 3), *[(2, 3), (3, 1)] * 2, (3, 3), (2, 1), (3, 3), (1, 1)],
    }[name]
    leaves = [rng.normal(size=shape) for shape in [(d,), (d, d), *middle, ()]]
    arrays = {f"q/{i}": leaf for i, leaf in enumerate(leaves)}
    spec = {"class": "Implicit", "config": config, "leaves": len(leaves)}
    q = unpack_family(spec, "q", arrays, family_classes(), d)
    e = rng.normal(size=q.generator.size)
    gelu = lambda x: np.asarray(jax.nn.gelu(jnp.asarray(x)))  # noqa: E731
    if name == "dense":
        linear, shift, first, second, one, two = leaves[2:8]
        hidden = gelu(first[0] @ (10 * np.tanh(e / 10)) + one[0])
        truth = shift + linear @ e + second[0] @ hidden + two[0]
        assert isinstance(q.generator, DenseGenerator)
    else:
        shift, left, right, bias = leaves[2], leaves[3:7], leaves[7:11], leaves[11:15]
        x, made = e.reshape(1, 2), []
        for j in (0, 2):
            hidden = gelu(left[j] @ x @ right[j] + bias[j])
            made.append(np.ravel(left[j + 1] @ hidden @ right[j + 1] + bias[j + 1]))
        truth = shift + np.concatenate(made)
    np.testing.assert_allclose(q.generate(jnp.asarray(e)), truth, rtol=1e-10)
    assert q.sigma == leaves[-1]
    assert q.num_auxiliary == 4


def test_bad_settings_are_errors():
    target = from_log_density(lambda z: -0.5 * z @ z, np.zeros(2))
    gaussian = Gaussian(jnp.zeros(2), jnp.eye(2))
    with pytest.raises(InputError, match="num_steps"):
        SingularValueElbo(num_steps=0)
    with pytest.raises(InputError, match="num_draws"):
        SingularValueElbo(num_draws=0)
    with pytest.raises(InputError, match="SingularValueElbo needs an Implicit"):
        SingularValueElbo().loss(jax.random.key(0), gaussian, target)
    q = HypernetworkBuilder(rows=1, columns=2, num_auxiliary=0, width=2).build(jax.random.key(0), gaussian)
    assert {"generator": "matrix products", "rows": 1}.items() <= q.config().items()
