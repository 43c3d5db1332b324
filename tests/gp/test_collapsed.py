"""The collapsed bound in blocks, and its gradient written out, against the dense definition."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jensen.gp import Collapsed, _collapsed
from jensen.gp.kernels import Constant, Linear, Matern52
from jensen.gp.priors import Points

N, SEEN, M = 30, 25, 5


@pytest.fixture(autouse=True)
def _double(monkeypatch):
    monkeypatch.setattr(_collapsed, "BLOCK", 7)  # five blocks of six rows, the last five rows absent
    with jax.enable_x64(True):
        yield


def parts():
    rng = np.random.default_rng(0)
    x, y, z = rng.normal(size=(N, 2)), rng.normal(size=N), rng.normal(size=(M, 2))
    kernel = Matern52([0.7, 1.2], 1.3) + Linear() * Constant(0.5)
    return kernel, Points(z), jnp.asarray(0.3), jnp.asarray(x), jnp.asarray(y)


def mine(parts, used=None):
    used = None if used is None else jnp.asarray(used)
    return _collapsed.collapsed_bound(parts, jnp.arange(N) < SEEN, used)


def dense(parts, repeated=1):
    """log N(y; 0, Q + noise I) - tr(K - Q) / (2 noise) of the present rows, or of every fifth so often."""
    kernel, features, noise, x, y = parts
    x, y = (jnp.concatenate([a[:SEEN:repeated]] * repeated) for a in (x, y))
    inner = features.covariance(kernel)
    inner = inner + 1e-10 * jnp.mean(jnp.diagonal(inner)) * jnp.eye(M)
    cross = features.cross(kernel, x)
    q = cross.T @ jnp.linalg.solve(inner, cross)
    density = jax.scipy.stats.multivariate_normal.logpdf(y, jnp.zeros(len(y)), q + noise * jnp.eye(len(y)))
    return density - jnp.sum(kernel(x) - jnp.diag(q)) / (2 * noise)


def test_values_are_those_of_the_definition_whatever_the_blocks_are():
    assert float(mine(parts())) == pytest.approx(float(dense(parts())), abs=1e-9)
    assert float(mine(parts(), 5)) == pytest.approx(float(dense(parts())), abs=1e-9)
    assert float(mine(parts(), 1)) == pytest.approx(float(dense(parts(), 5)), abs=1e-8)


def test_gradients_in_kernel_points_noise_inputs_and_targets():
    found, truth = (eqx.filter_jit(eqx.filter_grad(f))(parts()) for f in (mine, dense))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    one = eqx.filter_jit(eqx.filter_grad(lambda parts: mine(parts, 1)))(parts())
    repeated = eqx.filter_jit(eqx.filter_grad(lambda parts: dense(parts, 5)))(parts())
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(repeated), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_curvature_is_that_of_the_definition():
    kernel, features, noise, x, y = parts()
    flat, tree = ravel_pytree((kernel.kernel1, noise, features.z))

    def at(bound):
        def value(theta):
            kernel, noise, z = tree(theta)
            return bound((kernel, Points(z), noise, x, y))

        return jax.jit(jax.hessian(value))(flat)

    found, truth = at(lambda parts: mine(parts, 5)), at(dense)
    np.testing.assert_allclose(found, truth, atol=1e-9 * float(jnp.max(jnp.abs(truth))))


def test_predictions_do_not_depend_on_the_blocks(monkeypatch):
    kernel, features, noise, x, y = parts()
    new = np.random.default_rng(1).normal(size=(4, 2))
    blocks = Collapsed(kernel, noise, x, y, features)
    found = [*blocks.predict(new), *blocks.joint(new)]
    few = Collapsed(kernel, noise, x, y, features, blocks=1).predict(new)
    repeated = Collapsed(kernel, noise, *(jnp.tile(a[::5], (5,) + (1,) * (a.ndim - 1)) for a in (x, y)), features)
    for a, b in zip(few, repeated.predict(new), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    monkeypatch.setattr(_collapsed, "BLOCK", 1000)
    whole = Collapsed(kernel, noise, x[::-1], y[::-1], features)  # other leaves: another program
    jax.clear_caches()
    for a, b in zip(found, [*whole.predict(new), *whole.joint(new)], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
