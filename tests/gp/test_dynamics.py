import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp.dynamics import CollapsedGPDynamics, GPDynamics
from jensen.gp.kernels import RBF, Matern32

Y = np.random.default_rng(0).normal(size=(6, 1)).cumsum(0)
Z = np.linspace(-2.0, 2.0, 3)


def both(y=Y, inducing=Z, kernel=None):
    kernel = Matern32(1.5, 0.5) if kernel is None else kernel
    return [make(kernel, y, inducing, 0.3, 0.2) for make in (GPDynamics, CollapsedGPDynamics)]


def test_the_collapsed_density_is_the_other_with_u_integrated_by_quadrature():
    free, collapsed = both()
    z = collapsed.start(jax.random.key(1))
    parts = collapsed.space.split(z)
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)

    def joint(u):
        return free.log_density(free.space.join({**parts, "u": u[None]}))

    # quadratic in u, so that 12 nodes about its mode are exact
    zero = jnp.zeros(3)
    precision = -eqx.filter_jit(jax.hessian(joint))(zero)
    mode = jnp.linalg.solve(precision, eqx.filter_jit(jax.grad(joint))(zero))
    root = jnp.linalg.inv(jnp.linalg.cholesky(precision)).T
    grid = jnp.asarray(np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), -1).reshape(-1, 3))
    log_weights = np.log(weights)[np.indices((12, 12, 12)).reshape(3, -1)].sum(0) + 0.5 * np.sum(
        np.asarray(grid) ** 2, 1
    )
    values = eqx.filter_jit(jax.vmap(lambda e: joint(mode + root @ e)))(grid)
    integral = jax.nn.logsumexp(values + log_weights) + jnp.linalg.slogdet(root)[1]
    np.testing.assert_allclose(collapsed.log_density(z), integral, atol=1e-8)


def test_transitions_agree_and_the_trace_term_is_there():
    free, collapsed = both()
    z = collapsed.start(jax.random.key(1))
    parts, x = collapsed.space.split(z), np.array([-1.0, 0.5])

    def joint(u):
        return free.log_density(free.space.join({**parts, "u": u[None]}))

    precision = -eqx.filter_jit(jax.hessian(joint))(jnp.zeros(3))
    mode = jnp.linalg.solve(precision, eqx.filter_jit(jax.grad(joint))(jnp.zeros(3)))
    mean, variance = collapsed.transition(z, x)
    at_mode, left = free.transition(free.space.join({**parts, "u": mode[None]}), x)
    np.testing.assert_allclose(mean, at_mode, atol=1e-8)
    phi, _ = free.features(free.hyperparameters.at(parts["theta"])["kernel"], jnp.asarray(x)[:, None])
    spread = jnp.einsum("nm,mk,nk->n", phi, jnp.linalg.inv(precision), phi)
    np.testing.assert_allclose(variance[:, 0], spread + left, atol=1e-8)
    assert np.all(left > 1e-3)


def test_several_states():
    y = np.random.default_rng(1).normal(size=(5, 2))
    grid = np.random.default_rng(2).normal(size=(4, 2))
    for target in both(y, grid, RBF(1.0)):
        z = target.start(jax.random.key(0))
        assert np.all(np.isfinite(eqx.filter_jit(jax.grad(target.log_density))(z)))
        assert target.transition(z, y)[0].shape == (5, 2)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="at least two"):
        GPDynamics(RBF(1.0), [1.0], Z, 0.1, 0.1)
    with pytest.raises(InputError, match="finite"):
        GPDynamics(RBF(1.0), [1.0, np.nan], Z, 0.1, 0.1)
    with pytest.raises(InputError, match="2 coordinates, the series 1"):
        GPDynamics(RBF(1.0), [1.0, 2.0], np.zeros((3, 2)), 0.1, 0.1)
