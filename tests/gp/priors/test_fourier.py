import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.gp.priors.rules import by_every_rule
from tinygp.transforms import Subspace

from jensen.core import InputError, Sites
from jensen.gp import Hyperparameters, likelihoods
from jensen.gp.exact import Collapsed, Exact
from jensen.gp.kernels import RBF, Constant, HidaMatern, Matern12, Matern32, Matern52
from jensen.gp.priors import Dense, FourierFeatures, Inducing

RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(0, 3, 30))
Y = np.sin(3 * X) + 0.3 * RNG.normal(size=30)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_their_covariance_is_the_inner_product_of_what_they_represent(order):
    """<g, h>_H = int (L g)(L h) / q + s_g(a)^T P^-1 s_h(a), L = (d/dx + lam)^(p + 1), by quadrature."""
    lengthscale, variance = 0.7, 1.5
    kernel = (Matern12, Matern32, Matern52)[order](lengthscale, variance)
    features = FourierFeatures(-1.0, 2.0, 3)
    lam = math.sqrt(2 * order + 1) / lengthscale
    q = 2 * variance * math.sqrt(math.pi) * math.gamma(order + 1) / math.gamma(order + 0.5) * lam ** (2 * order + 1)
    moments = np.array([[1, 0, -(lam**2) / 3], [0, lam**2 / 3, 0], [-(lam**2) / 3, 0, lam**4]])
    moments = [np.eye(1), np.diag([1, lam**2]), moments][order] * variance
    derivatives = [lambda x: features.cross(kernel, x.reshape(1, 1))[:, 0]]
    for _ in range(order + 1):
        derivatives.append(jax.jacfwd(derivatives[-1]))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    at = jnp.asarray(np.append(0.5 + 1.5 * nodes, -1.0 + 1e-12))

    @jax.jit
    def both():
        return jnp.stack([jax.vmap(f)(at) for f in derivatives]), features.covariance(kernel)

    found, covariance = map(np.asarray, both())  # (p + 2, nodes, M)
    applied = sum(math.comb(order + 1, j) * lam ** (order + 1 - j) * found[j] for j in range(order + 2))[:-1]
    start = found[:-1, -1]
    inner = (applied.T * (1.5 * weights)) @ applied / q + start.T @ np.linalg.solve(moments, start)
    np.testing.assert_allclose(covariance, inner, atol=1e-6)


def test_other_smoothness_and_constants():
    features, x = FourierFeatures(-1.0, 2.0, 3), jnp.asarray([[-1.5], [0.0], [3.0]])
    kernels = HidaMatern(2, 0.7, None, 1.5), Matern52(0.7, 1.5), Matern32(0.7) + Constant(4.0)
    same, plain, level = jax.jit(lambda: [features.cross(k, x) for k in kernels])()
    np.testing.assert_allclose(same, plain, atol=1e-10)
    np.testing.assert_allclose(level[-1], 2.0)
    assert features.covariance(kernels[2]).shape == (12, 12)


@jax.jit
def exact(kernel):
    return Exact(kernel, 0.1, X, Y).log_evidence()


@jax.jit
def bound(kernel, features):
    return Collapsed(kernel, 0.1, X, Y, features).log_evidence()


def test_the_bound_rises_to_the_evidence():
    """On the range of the inputs itself: four times as many frequencies leave out 4^(2 p + 1) times less variance."""
    for p, kernel in enumerate((Matern12(0.7, 1.5), Matern32(0.7, 1.5), Matern52(0.7, 1.5))):
        few, many = (float(exact(kernel) - bound(kernel, FourierFeatures.covering(X, num))) for num in (8, 32))
        assert few > many > -1e-6
        assert few / many > 0.7 * 4 ** (2 * p + 1)
    assert many < 1e-4


def test_every_rule_agrees_with_the_dense_prior():
    """Also beyond the interval."""
    kernel, x = Matern52(1.0, 1.2), X[::3]
    counts, new = RNG.poisson(np.exp(np.sin(x))), jnp.asarray([-4.0, 0.4, 2.2, 6.0])[:, None]
    few = Inducing(kernel, x, FourierFeatures.covering(x, 30))
    ours = by_every_rule(few, likelihoods.Poisson(), counts, new)
    theirs = by_every_rule(Dense(kernel, x), likelihoods.Poisson(), counts, new)
    for (evidence, at, (mean, cov)), (truth, dense, (centre, spread)) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(evidence, truth, atol=1e-3)
        np.testing.assert_allclose(at.mean, dense.mean, atol=1e-3)
        np.testing.assert_allclose(at.cov, dense.cov, atol=1e-3)
        np.testing.assert_allclose(mean, centre, atol=1e-3)
        np.testing.assert_allclose(cov, spread, atol=1e-3)


def test_sums_and_products_over_several_inputs():
    first, second = Subspace(0, Matern52(1.0, 1.5)), Subspace((1,), Matern52(1.5, 0.8))
    x = RNG.uniform(size=(20, 2)) * [3.0, 2.0]
    sites = Sites(jnp.asarray(RNG.normal(size=(20, 1))), jnp.asarray(RNG.uniform(0.1, 4.0, size=(20, 1, 1))))
    new = jnp.asarray([[0.1, 0.2], [-2.0, 1.0], [5.0, 4.5]])
    found = eqx.filter_jit(lambda prior: (prior.condition(sites), *prior.joint(sites, new)))
    for kernel, plain, size in (
        (first + second + Constant(0.5), Subspace(0, Matern52(1.0, 1.5)) + Subspace(1, Matern52(1.5, 0.8)) + 0.5, 39),
        (first * second, Subspace(0, Matern52(1.0, 1.5)) * Subspace(1, Matern52(1.5, 0.8)), 19 * 19),
    ):
        prior = Inducing(kernel, x, FourierFeatures.covering(x, 6))
        assert prior.dimension == size
        ours, dense = found(prior), found(Dense(plain, x))
        bounds = [m.log_normaliser - 0.5 * jnp.sum(sites.precision * m.residual) for m, *_ in (ours, dense)]
        assert -0.05 < bounds[0] - bounds[1] < 1e-6
        np.testing.assert_allclose(ours[1], dense[1], atol=0.01)
        np.testing.assert_allclose(ours[2], dense[2], atol=0.01)


def test_the_bound_is_differentiable_in_the_kernel():
    features = FourierFeatures.covering(X, 32)
    slope = eqx.filter_jit(jax.grad(lambda scale: bound(Matern52(scale, 1.5), features)))(0.7)
    step = 1e-5
    truth = (bound(Matern52(0.7 + step, 1.5), features) - bound(Matern52(0.7 - step, 1.5), features)) / (2 * step)
    np.testing.assert_allclose(slope, truth, rtol=1e-5)


def test_the_numbers_of_a_kernel_on_a_column_stay_positive_in_training():
    tree = {"kernel": Subspace(0, Matern52(0.5, 2.0)), "features": FourierFeatures(0.0, 3.0)}
    parts = Hyperparameters(tree)
    assert parts.names == ("kernel.kernel.lengthscale", "kernel.kernel.variance")
    np.testing.assert_allclose(parts.theta, np.log([0.5, 2.0]))


def test_wrong_intervals_and_kernels_are_refused():
    x = np.zeros((3, 2))
    with pytest.raises(InputError, match="lower < upper"):
        FourierFeatures(1.0, 1.0)
    with pytest.raises(InputError, match="One frequency"):
        FourierFeatures(0.0, 1.0, 0)
    with pytest.raises(InputError, match="Subspace"):
        FourierFeatures(0.0, 1.0).cross(Matern32(), jnp.asarray(x))
    with pytest.raises(InputError, match="has no finite state-space form"):
        Inducing(RBF(), X, FourierFeatures(0.0, 3.0)).design()
    with pytest.raises(InputError, match="HidaMatern has no Fourier features"):
        FourierFeatures(0.0, 3.0).covariance(HidaMatern(1, 1.0, 2.0))
    with pytest.raises(InputError, match="column 3"):
        FourierFeatures(0.0, 1.0).cross(Subspace(3, Matern32()), jnp.asarray(x))
