import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import jensen as jn
from jensen.core import InputError
from jensen.gp.deep_kernel_machine import DeepKernelMachine, SparseDeepKernelMachine
from jensen.gp.infinite_width import NNGP, Linear

RNG = np.random.default_rng(0)
X, X_NEW, Y = RNG.normal(size=(5, 7)), RNG.normal(size=(3, 7)), RNG.normal(size=(5, 8))


def best(machine, steps=300):
    start = jn.core.PointPosterior(machine.space, jnp.zeros(machine.space.dimension))
    mode = jn.algorithms.Mode(num_starts=1, tolerance=1e-9)
    fit = jn.run(mode, machine, key=jax.random.key(0), steps=steps, start=start, certify=False, progress=False)
    return fit.posterior.z


def test_optimum_of_linear_layers_is_the_closed_form():
    """G_l = G_0 (G_0^-1 G_y)^{l / (L + 1)}, G_y = Y Y^T / nu, for equal nu and no noise: powers by another library."""
    machine = DeepKernelMachine(X, Y, nu=[8.0] * 3, noise=0.0, activation=Linear(), weight_variance=1.0)
    grams = machine.grams(best(machine))
    first, last = X @ X.T / 7, Y @ Y.T / 8
    for i, gram in enumerate(grams, 1):
        truth = first @ scipy.linalg.fractional_matrix_power(np.linalg.solve(first, last), i / 4).real
        np.testing.assert_allclose(gram, truth, atol=1e-6)


def test_objective_is_the_sum_of_its_terms():
    machine = DeepKernelMachine(X, Y, nu=[2.0, 3.0], noise=0.3)
    z = 0.1 * jnp.asarray(RNG.normal(size=machine.space.dimension))
    g = [X @ X.T / 7, *map(np.asarray, machine.grams(z))]
    kernel = lambda gram: np.asarray(machine._kernel(jnp.asarray(gram)))  # noqa: E731
    total = sum(
        scipy.stats.multivariate_normal(np.zeros(5), kernel(g[2]) + 0.3 * np.eye(5)).logpdf(Y[:, j]) for j in range(8)
    )
    for nu, below, above in ((2.0, g[0], g[1]), (3.0, g[1], g[2])):
        ratio = np.linalg.solve(kernel(below), above)
        total -= nu * 0.5 * (np.trace(ratio) - np.linalg.slogdet(ratio)[1] - 5)
    np.testing.assert_allclose(machine.log_density(z), total, rtol=1e-7)


def test_firm_layers_are_those_of_infinite_width():
    machine = DeepKernelMachine(X, Y, nu=[1e7, 1e7])
    start = jnp.zeros(machine.space.dimension)
    # NNGP begins with w x.x' / d and the machine with x.x' / d: ReLU is homogeneous, so that w is a factor of the whole
    deep = NNGP(depth=2, bias_variance=0.0)(jnp.asarray(X), jnp.asarray(X)) / 2
    np.testing.assert_allclose(machine.grams(start)[1], deep, rtol=1e-8)
    np.testing.assert_allclose(machine.grams(best(machine, 50)), machine.grams(start), atol=1e-4)


def test_sparse_with_the_rows_as_inducing_inputs_is_dense():
    dense = DeepKernelMachine(X, Y, nu=[2.0, 3.0], noise=0.3)
    sparse = SparseDeepKernelMachine(X, Y, X, nu=[2.0, 3.0], noise=0.3)
    z = 0.1 * jnp.asarray(RNG.normal(size=dense.space.dimension))
    np.testing.assert_allclose(sparse.log_density(z), dense.log_density(z), rtol=1e-8)
    for a, b in zip(sparse.predict(z, X_NEW), dense.predict(z, X_NEW), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_predictions_at_the_start_are_those_of_the_nngp():
    machine = DeepKernelMachine(X, Y, nu=[1.0, 1.0], noise=0.3)
    mean, variance = machine.predict(jnp.zeros(machine.space.dimension), X_NEW)
    kernel = NNGP(depth=3, bias_variance=0.0)
    k = lambda a, b: np.asarray(kernel(jnp.asarray(a), jnp.asarray(b))) / 2  # noqa: E731
    weights = np.linalg.solve(k(X, X) + 0.3 * np.eye(5), k(X, X_NEW))
    np.testing.assert_allclose(mean, weights.T @ Y, atol=1e-7)
    np.testing.assert_allclose(variance, np.diag(k(X_NEW, X_NEW) - weights.T @ k(X, X_NEW)) + 0.3, atol=1e-7)


def test_density_at_a_width_is_that_of_wishart_grams():
    """Without data: T of Bartlett, so that E[G] = K and Var(G_ii) = 2 K_ii^2 / N; against scipy's Wishart density."""
    machine = DeepKernelMachine(X[:3], np.zeros((3, 1)), nu=[1.0], noise=0.3)
    n, k = 10.0, np.asarray(machine._kernel(jnp.asarray(X[:3] @ X[:3].T / 7)))
    silent = DeepKernelMachine(X[:3], np.zeros((3, 1)), nu=[1.0], noise=1e12)  # its likelihood is constant

    def density(z):
        gram = machine.grams(z)[0]
        jacobian = jax.jacfwd(lambda z: machine.grams(z)[0][np.tril_indices(3)])(z)
        wishart = scipy.stats.wishart(n, k / n).logpdf(np.asarray(gram))
        return wishart + np.linalg.slogdet(np.asarray(jacobian))[1]

    z = [0.2 * jnp.asarray(RNG.normal(size=6)) for _ in range(3)]
    ours = [float(silent.log_density_at_width(v, n)) for v in z]
    np.testing.assert_allclose(np.diff(ours), np.diff([density(v) for v in z]), rtol=1e-7)


def test_bad_input_is_refused():
    for make, words in [
        (lambda: DeepKernelMachine(X, Y[:4], [1.0]), "rows"),
        (lambda: DeepKernelMachine(X, Y, [1.0, -1.0]), "nu"),
        (lambda: DeepKernelMachine(X, Y, [1.0], noise=-1.0), "noise"),
        (lambda: DeepKernelMachine(np.where(X > 2, np.nan, X * np.nan), Y, [1.0]), "NaN"),
        (lambda: SparseDeepKernelMachine(X, Y, X[:, :2], [1.0]), "columns"),
        (lambda: SparseDeepKernelMachine(X, Y, X, [1.0], noise=0.0), "positive"),
    ]:
        with pytest.raises(InputError, match=words):
            make()
