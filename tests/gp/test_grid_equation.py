import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.gp.grid_equation import GridEquation, derivative_gram, even_derivative_gram
from jensen.gp.kernels.spectral import StudentTMixture
from jensen.gp.kernels.stationary import RBF, Matern32, Matern52
from jensen.gp.kronecker import Kronecker


def line(n=40):
    x = jnp.linspace(0.0, 2.0, n)
    known = jnp.asarray([0, n - 1])
    u = jnp.sin(3 * x)
    return x, u, GridEquation((x,), ((2,),), jnp.ones(1), -9 * u, known, u[known], residual_precision=1e4, even=(True,))


def test_a_line_is_solved():
    _, u, equation = line()
    found = equation.solve([RBF(0.5)])
    assert jnp.max(jnp.abs(found.u - u)) < 1e-3
    new = jnp.linspace(0.1, 1.9, 7)
    assert jnp.max(jnp.abs(found.mean([new]) - jnp.sin(3 * new))) < 1e-3


def test_the_profiled_loss_is_the_minimum_over_u():
    x, _, equation = line(12)
    kernel = RBF(0.5)
    found = equation.solve([kernel])
    k = np.asarray(kernel(x, x)) + 1e-6 * np.eye(12)
    second = np.asarray(derivative_gram(kernel, x, 2)) @ np.linalg.inv(k)
    known, values, source = (np.asarray(v) for v in (equation.known, equation.values, equation.source))

    def loss(u):
        off, residual = u[known] - values, second @ u - source
        prior = 0.5 * (np.linalg.slogdet(k)[1] + u @ np.linalg.solve(k, u))
        boundary = 200 * (1e6 * off @ off - 2 * np.log(1e6))
        return prior + 0.5 * (boundary + 1e4 * residual @ residual - 12 * np.log(1e4))

    np.testing.assert_allclose(found.loss, loss(np.asarray(found.u)), rtol=1e-6)
    rng = np.random.default_rng(0)
    assert all(found.loss < loss(np.asarray(found.u) + 1e-3 * rng.normal(size=12)) for _ in range(20))


def test_matern_52_is_one_bump_of_the_student_mixture_at_frequency_0():
    _, _, equation = line()
    matern, bump = (equation.solve([k]) for k in (Matern52(0.5), StudentTMixture([1.0], [2.0], [0.0])))
    np.testing.assert_allclose(matern.u, bump.u, atol=1e-7)
    np.testing.assert_allclose(matern.loss, bump.loss, rtol=1e-7)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("kernel", [RBF(0.5), StudentTMixture([1.0], [0.7], [2.0])])
def test_lags_give_the_same_derivatives_as_pairs(kernel, order):
    x = jnp.linspace(-0.3, 2.0, 9)
    np.testing.assert_allclose(
        even_derivative_gram(kernel, x, order), derivative_gram(kernel, x, order), rtol=1e-9, atol=1e-9
    )


def test_the_gradient_of_the_profiled_loss():
    _, _, equation = line(20)
    loss = jax.jit(lambda t: equation.solve([RBF(jnp.exp(t))]).loss)
    t, h = jnp.log(0.4), 1e-4
    np.testing.assert_allclose(eqx.filter_jit(jax.grad(loss))(t), (loss(t + h) - loss(t - h)) / (2 * h), rtol=1e-3)


def test_a_plane_is_solved_as_by_the_dense_system():
    axes = (jnp.linspace(0.0, 1.0, 12), jnp.linspace(0.0, 1.0, 10))
    x, y = jnp.meshgrid(*axes, indexing="ij")
    u = jnp.sin(3 * x) * jnp.cos(2 * y)
    edge = np.flatnonzero((x == 0) | (x == 1) | (y == 0) | (y == 1))
    equation = GridEquation(
        axes,
        ((2, 0), (0, 2)),
        jnp.ones(2),
        -13 * u,
        jnp.asarray(edge),
        u.ravel()[edge],
        residual_precision=1.0,
        boundary_precision=1e4,
        boundary_weight=1.0,
    )
    kernels = [StudentTMixture([1.0], [1.0], [0.3]), RBF(0.7)]
    found = equation.solve(kernels)
    grams = [np.asarray(k(a, a)) + 1e-6 * np.eye(len(a)) for k, a in zip(kernels, axes, strict=True)]
    derivative = [np.asarray(derivative_gram(k, a, 2)) for k, a in zip(kernels, axes, strict=True)]
    k = np.kron(*grams)
    a = np.kron(derivative[0], grams[1]) + np.kron(grams[0], derivative[1])
    b = k[edge]
    left = k + 1e4 * b.T @ b + a.T @ a
    right = 1e4 * b.T @ np.asarray(u).ravel()[edge] + a.T @ np.asarray(-13 * u).ravel()
    np.testing.assert_allclose(found.u.ravel(), k @ np.linalg.solve(left, right), atol=1e-5)
    assert jnp.max(jnp.abs(found.u - u)) < 1e-2
    assert isinstance(found.prior, Kronecker)


def test_clear_errors():
    x, u, _ = line()
    known, ends = jnp.asarray([0, 39]), u[jnp.asarray([0, 39])]
    with pytest.raises(InputError, match="source"):
        GridEquation((x,), ((2,),), jnp.ones(1), u[:-1], known, ends)
    with pytest.raises(InputError, match="known"):
        GridEquation((x,), ((2,),), jnp.ones(1), u, known[:1], ends)
    with pytest.raises(InputError, match="orders"):
        GridEquation((x,), ((3,),), jnp.ones(1), u, known, ends)
    with pytest.raises(InputError, match="coefficient"):
        GridEquation((x,), ((2,),), jnp.ones(2), u, known, ends)
    with pytest.raises(InputError, match="One kernel an axis"):
        line()[2].solve([])
    with pytest.raises(InputError, match="paths with 1 derivatives"):
        line()[2].solve([Matern32()])
    with pytest.raises(InputError, match="even"):
        GridEquation((x,), ((2,),), jnp.ones(1), u, known, ends, even=(True, True))
