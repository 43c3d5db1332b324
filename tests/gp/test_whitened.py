"""Whitened products and their derivatives against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.gp._linalg import solve_lower
from jensen.gp._whitened import whitened_products


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def test_values_gradients_and_curvature_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    m, n = 5, 12
    tril = jnp.asarray(np.tril(rng.normal(size=(m, m))) + 3 * np.eye(m))
    cross, y = jnp.asarray(rng.normal(size=(m, n))), jnp.asarray(rng.normal(size=n))
    weights, line = jnp.asarray(rng.normal(size=(m, m))), jnp.asarray(rng.normal(size=m))

    def defined(tril, cross, y):
        a = solve_lower(tril, cross)
        return a @ a.T, a @ y

    def through(products, scale):
        square, pulled = products(tril * (1 + scale * weights), cross * scale, y * scale)
        return jnp.sum(weights * square) + jnp.sum((line * pulled) ** 2)

    for found, truth in zip(jax.jit(whitened_products)(tril, cross, y), defined(tril, cross, y), strict=True):
        np.testing.assert_allclose(found, truth, atol=1e-12)

    def total(products):
        return lambda *args: jnp.sum(weights * products(*args)[0]) + jnp.sum(line * products(*args)[1])

    slopes = [jax.jit(jax.grad(total(p), (0, 1, 2)))(tril, cross, y) for p in (whitened_products, defined)]
    for found, truth in zip(*slopes, strict=True):
        np.testing.assert_allclose(found, truth, atol=1e-11)
    second = [
        jax.jit(jax.hessian(lambda s, p=p: through(p, s)))(jnp.asarray(0.7)) for p in (whitened_products, defined)
    ]
    np.testing.assert_allclose(*second, rtol=1e-9)
