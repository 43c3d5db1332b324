import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.core import InputError
from jensen.gp._weight_space import weight_space
from jensen.gp.kernels.pde import HeatKernel, WaveKernel
from jensen.gp.pde_solutions import Heat, SolutionKernel, Wave, solution_features, solution_model


def points(n, d, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(0.1, 1.5, size=(n, d)))


def residual(k, speed, order):
    """Residual of the equation in the first argument of k, at a pair of points."""
    hessian = jax.hessian(k)
    gradient = jax.grad(k)

    def at(a, b):
        h = hessian(a, b)
        time = gradient(a, b)[-1] if order == 1 else h[-1, -1]
        return time - speed * jnp.trace(h[:-1, :-1])

    return jax.jit(at)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_heat_kernel_solves_the_heat_equation(d):
    a, b = points(2, d + 1)
    kernel = HeatKernel(0.7, 0.3)
    assert abs(residual(kernel.evaluate, 0.3, 1)(a, b)) < 1e-12


def test_wave_kernel_solves_the_wave_equation():
    a, b = points(2, 2)
    assert abs(residual(WaveKernel(0.7, 1.3).evaluate, 1.3**2, 2)(a, b)) < 1e-12


@pytest.mark.parametrize(("equation", "speed", "order"), [(Heat(0.3), 0.3, 1), (Wave(1.3), 1.3**2, 2)])
@pytest.mark.parametrize("p", [1, 2])
def test_every_feature_is_a_solution(equation, speed, order, p):
    w = points(3, p, 1)
    for j in range(solution_features(equation, w, points(2, p + 1)).shape[1]):
        feature = lambda x, _, j=j: solution_features(equation, w, x[None])[0, j]  # noqa: E731
        assert abs(residual(feature, speed, order)(points(1, p + 1)[0], 0.0)) < 1e-11


@pytest.mark.parametrize(("equation", "kernel"), [(Heat(0.3), HeatKernel(0.7, 0.3)), (Wave(1.3), WaveKernel(0.7, 1.3))])
def test_the_closed_kernels_are_the_spectral_integral(equation, kernel):
    # Gauss-Hermite nodes for w ~ N(0, 1 / l^2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    spectral = SolutionKernel(equation, jnp.asarray(nodes[:, None] / 0.7), jnp.asarray(weights / weights.sum()))
    x = points(5, 2)
    np.testing.assert_allclose(spectral(x, x), kernel(x, x), atol=1e-9)


def test_features_and_kernel_agree():
    x, w = points(6, 3), points(4, 2, 1)
    s = jnp.asarray([0.3, 1.0, 0.2, 2.0])
    features = solution_features(Wave(1.0), w, x)
    gram = (features * jnp.repeat(s / 2, 4)) @ features.T
    np.testing.assert_allclose(gram, SolutionKernel(Wave(1.0), w, s)(x, x), atol=1e-12)


def test_weight_space_equals_the_dense_process():
    rng = np.random.default_rng(0)
    phi, y, s, noise = rng.normal(size=(20, 6)), rng.normal(size=20), rng.uniform(0.5, 2, 6), 0.3
    new = rng.normal(size=(4, 6))
    fit = weight_space(jnp.asarray(phi), jnp.asarray(y), jnp.asarray(s), noise)
    c = (phi * s) @ phi.T + noise * np.eye(20)
    np.testing.assert_allclose(
        fit.negative_log_evidence, 0.5 * (y @ np.linalg.solve(c, y) + np.linalg.slogdet(2 * np.pi * c)[1]), rtol=1e-10
    )
    cross = (new * s) @ phi.T
    np.testing.assert_allclose(fit.mean(jnp.asarray(new)), cross @ np.linalg.solve(c, y), rtol=1e-9)
    truth = np.diag((new * s) @ new.T - cross @ np.linalg.solve(c, cross.T))
    np.testing.assert_allclose(fit.variance(jnp.asarray(new)), truth, rtol=1e-9)


def test_learned_frequencies_find_a_wave():
    x = points(40, 2)
    truth = lambda p: jnp.sin(3 * (p[:, 0] - p[:, 1])) + 0.5 * jnp.cos(2 * (p[:, 0] + p[:, 1]))  # noqa: E731
    model = solution_model(Wave(1.0), x, truth(x))
    start = model.unknowns(jax.random.key(0), 6, 0.4)
    fit = jn.run(
        jn.algorithms.Mode(num_starts=2),
        model.target(start),
        key=jax.random.key(1),
        steps=200,
        certify=False,
        progress=False,
    )
    unknowns = {name: value[0] for name, value in fit.posterior.sample(jax.random.key(2), 1).items()}
    found = model.regression(unknowns)
    new = points(50, 2, 3)
    assert jnp.sqrt(jnp.mean((found.mean(new) - truth(new)) ** 2)) < 1e-3
    assert jnp.all(found.variance(new) >= 0)


def test_clear_errors():
    x = points(4, 2)
    with pytest.raises(InputError, match="rows"):
        solution_model(Wave(1.0), x, jnp.zeros(3))
    with pytest.raises(InputError, match="NaN"):
        solution_model(Wave(1.0), x, jnp.asarray([0.0, jnp.nan, 0.0, 0.0]))
