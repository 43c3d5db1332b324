"""Network kernels against closed forms, against each other, and against networks of finite width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from jensen.core import InputError
from jensen.gp.infinite_width import (
    IID,
    NNGP,
    BlockSparse,
    Erf,
    FixedRank,
    Linear,
    LowRank,
    Orthogonal,
    RandomNetwork,
    ReLU,
    ResidualDepthLimit,
    ResidualNetwork,
    ResidualNNGP,
    ScaledByPrior,
    Smooth,
    draw_networks,
    gram_of_gram,
)

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
KERNELS = {
    "relu": NNGP(depth=3, bias_variance=0.1),
    "erf": NNGP(Erf(), depth=2, bias_variance=0.2),
    "tanh": NNGP(Smooth(jnp.tanh), depth=2, weight_variance=1.5, bias_variance=0.2),
    "residual": ResidualNNGP(depth=5),
    "depth limit": ResidualDepthLimit(),
}


@pytest.mark.parametrize("name", KERNELS)
def test_gram_is_positive_definite_and_its_diagonal_that_of_pairs(name):
    gram = KERNELS[name](X, X)
    np.testing.assert_allclose(jnp.diagonal(gram), KERNELS[name](X), rtol=1e-9)
    np.testing.assert_allclose(gram, gram.T, rtol=1e-9)
    assert jnp.linalg.eigvalsh(gram)[0] > 0


@pytest.mark.parametrize("name", KERNELS)
def test_gradients_in_the_settings_are_finite_at_equal_inputs(name):
    kernel, twice = KERNELS[name], jnp.concatenate([X, X])
    for leaf in jax.tree.leaves(jax.grad(lambda k: jnp.sum(jnp.sin(k(twice, twice))))(kernel)):
        assert jnp.all(jnp.isfinite(leaf))


def test_one_layer_of_relu_is_the_arc_cosine_kernel():
    from jensen.gp.infinite_width.kernels import mean_products

    a, b, c = mean_products(X[0], X[1])
    angle = np.arccos(c / np.sqrt(a * b))
    truth = np.sqrt(a * b) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi  # He: w = 2
    np.testing.assert_allclose(NNGP(depth=1, bias_variance=0.0)(X, X)[0, 1], 2 * truth, rtol=1e-12)


def test_linear_networks_of_any_depth_have_the_linear_kernel():
    np.testing.assert_allclose(
        NNGP(Linear(), depth=7, weight_variance=1.0, bias_variance=0.0)(X, X), X @ X.T / 3, rtol=1e-12
    )


def test_gram_of_gram_is_a_layer():
    deep, shallow = (NNGP(depth=d, bias_variance=0.0)(X, X) for d in (2, 1))
    np.testing.assert_allclose(2 * gram_of_gram(ReLU(), shallow), deep, rtol=1e-10)


def test_depth_limit_solves_the_equation_of_the_correlation():
    """dr/dt = (f(r) - r) / 2 with f(r) = (r asin r + sqrt(1 - r^2)) / pi + r / 2, and q(1) = e^{1/2} q(0) for ReLU."""
    a, b = X[0], X[1]
    q = (jnp.mean(a * a), jnp.mean(b * b))
    start = float(jnp.mean(a * b) / jnp.sqrt(q[0] * q[1]))
    rate = lambda _, r: 0.5 * ((r * np.arcsin(r) + np.sqrt(1 - r**2)) / np.pi - 0.5 * r)  # noqa: E731
    r = scipy.integrate.solve_ivp(rate, (0, 1), [start], rtol=1e-12, atol=1e-13).y[0, -1]
    kernel = ResidualDepthLimit()
    np.testing.assert_allclose(kernel(X[:2]), np.exp(0.5) * np.array(q), rtol=1e-9)
    np.testing.assert_allclose(kernel(X[:2], X[:2])[0, 1], np.exp(0.5) * np.sqrt(q[0] * q[1]) * r, rtol=1e-8)
    errors = [abs(ResidualNNGP(depth=n)(X, X) - kernel(X, X)).max() for n in (50, 100)]
    assert 1.9 < errors[0] / errors[1] < 2.1  # of order 1 / L


@pytest.mark.parametrize(
    "ensemble", [IID(), Orthogonal(), LowRank(0.5), FixedRank(3), BlockSparse(4), ScaledByPrior(shape=9.0, rate=8.0)]
)
def test_entries_of_weights_have_their_variance_and_no_correlation(ensemble, key):
    """W itself is W applied to the identity: first and second moments within five standard errors."""
    w = jax.jit(lambda keys: jax.lax.map(lambda k: ensemble.apply(k, jnp.eye(8), 4), keys, batch_size=100))(
        jax.random.split(key, 20_000)
    )
    flat = np.asarray(w).reshape(len(w), -1)
    # of products of two entries: their mean, and their standard deviation from the mean of their squares
    mean = flat.T @ flat / len(w)
    error = np.sqrt(np.maximum((flat**2).T @ flat**2 / len(w) - mean**2, 0) / len(w))
    assert np.all(np.abs(flat.mean(0)) < 5 * flat.std(0) / np.sqrt(len(w)))
    assert np.all(np.abs(mean - np.eye(32) / 8) < 5 * error + 1e-12)
    assert np.all(5 * error < 0.1)


def test_square_orthogonal_weights_are_orthogonal():
    w = Orthogonal().apply(jax.random.key(0), jnp.eye(6), 6)
    np.testing.assert_allclose(w @ w.T, jnp.eye(6), atol=1e-12)


def test_block_sparse_weights_have_their_zeros():
    w = BlockSparse(4).apply(jax.random.key(0), jnp.eye(8), 8)
    assert np.all(np.sum(np.abs(np.asarray(w)) > 1e-12, axis=1) == 2)
    with pytest.raises(InputError, match="do not divide"):
        BlockSparse(3).apply(jax.random.key(0), jnp.eye(8), 8)


@pytest.mark.parametrize("ensemble", [IID(), Orthogonal(), LowRank(0.5), BlockSparse(4)])
@pytest.mark.parametrize("seed", range(2))
def test_wide_networks_have_the_covariance_of_the_limit(ensemble, seed):
    key = jax.random.key(seed)
    network = RandomNetwork(Erf(), ensemble, width=128, depth=2, weight_variance=2.0, bias_variance=0.2)
    f = np.asarray(jax.jit(lambda k: draw_networks(k, network, X, 2000))(key))[..., 0]
    products = f[:, :, None] * f[:, None, :]
    error = products.std(0) / np.sqrt(len(f))
    truth = NNGP(Erf(), depth=2, weight_variance=2.0, bias_variance=0.2)(X, X)
    # the bias of finite width is of order 1 / n
    assert np.all(np.abs(products.mean(0) - truth) < 5 * error + 4 / 128)


def test_residual_networks_have_the_covariance_of_the_limit(key):
    """For ReLU the second moment is exact at any width: E q_l = (1 + 1 / (2 L)) E q_{l-1}."""
    y = np.asarray(jax.jit(lambda k: draw_networks(k, ResidualNetwork(width=32, depth=10), X, 2000))(key))
    squares = np.mean(y**2, axis=2)
    error = squares.std(0) / np.sqrt(len(y))
    assert np.all(np.abs(squares.mean(0) - ResidualNNGP(depth=10)(X)) < 5 * error)
    assert np.all(5 * error < 0.1 * squares.mean(0))


def test_bad_sizes_are_refused():
    for make in (lambda: NNGP(depth=-1), lambda: ResidualNNGP(depth=0), lambda: ResidualDepthLimit(steps=0)):
        with pytest.raises(InputError):
            make()
    for make in (
        lambda: RandomNetwork(width=0),
        lambda: LowRank(0.0),
        lambda: FixedRank(0),
        lambda: ResidualNetwork(depth=0),
    ):
        with pytest.raises(InputError):
            make()
