import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tinygp

from jensen.core import InputError, Sites, divergence, no_sites
from jensen.gp.kernels.dot_product import Constant, Periodic
from jensen.gp.kernels.hida_matern import HidaMatern
from jensen.gp.kernels.stationary import RBF, Matern12, Matern32, Matern52
from jensen.gp.priors.dense import Dense
from jensen.gp.priors.state_space import StateSpace

N = 24
KERNELS = {
    "Matern-1/2": Matern12(1.0, 2.0),
    "Matern-5/2": Matern52(0.7, 1.5),
    "Hida-Matern": HidaMatern(3, 2.0, 1.5, 2.0),
    "sum": Matern12(1.0) + 2.0 * Matern52(3.0) + Constant(0.5),
    "quasi-periodic": Matern32(5.0) * Periodic(4.0, 2.0),
}

condition = eqx.filter_jit(lambda prior, sites: prior.condition(sites))
predict = eqx.filter_jit(lambda prior, sites, x: prior.predict(sites, x))


def irregular(seed=0):
    """Times out of order, some of them repeated."""
    rng = np.random.default_rng(seed)
    return rng.permutation(np.concatenate([rng.uniform(0, 10, N - 4), [1.0, 1.0, 4.0, 4.0 + 1e-7]]))


def some_sites(n=N, k=1, seed=1):
    """Sites of which some say nothing."""
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, k, k)) * (rng.random((n, 1, 1)) < 0.8)
    return Sites(jnp.asarray(rng.normal(size=(n, k))), jnp.asarray(half @ half.transpose(0, 2, 1)))


def agree(ours, dense, sites, tolerance=1e-8):
    new = jnp.asarray(np.concatenate([np.random.default_rng(2).uniform(-2, 12, 9), [1.0, 10.0]]))
    a, b = condition(ours, sites), condition(dense, sites)
    np.testing.assert_allclose(a.mean, b.mean, atol=tolerance)
    np.testing.assert_allclose(a.cov, b.cov, atol=tolerance)
    np.testing.assert_allclose(a.log_normaliser, b.log_normaliser, atol=tolerance)
    for x, y in zip(predict(ours, sites, new), predict(dense, sites, new), strict=True):
        np.testing.assert_allclose(x, y, atol=tolerance)


@pytest.mark.parametrize(("name", "grid"), [*((name, False) for name in KERNELS), ("sum", True)])
def test_it_agrees_with_the_dense_prior(name, grid):
    t = np.linspace(0.0, 10.0, N) if grid else irregular()
    agree(StateSpace(KERNELS[name], t, harmonics=4), Dense(KERNELS[name], t), some_sites())


@pytest.mark.parametrize(("grid", "blocks"), [(True, 5), (False, 1), (False, 5), (False, N)])
def test_blocks_and_the_associative_scan_agree_with_the_dense_prior(blocks, grid):
    t = np.linspace(0.0, 10.0, N) if grid else irregular()
    kernel = Matern32(1.3, 2.0)
    ours = StateSpace(kernel, t, blocks=blocks)
    assert ours.gaps.shape == ((1,) if grid else (N,))
    agree(ours, Dense(kernel, t), some_sites())


def test_several_latent_functions_and_a_mean_function():
    def mean(x):
        return 1.0 + 0.3 * x[:, 0]

    kernels, t = [Matern32(2.0), Matern12(1.0, 0.5), HidaMatern(0, 2.0, 1.0)], irregular()
    agree(StateSpace(kernels, t, mean, blocks=3), Dense(kernels, t, mean), some_sites(k=3))


def test_sites_of_negative_precision():
    t, sites = irregular(), some_sites()
    dented = Sites(sites.linear, sites.precision.at[3].set(-0.1))
    agree(StateSpace(Matern32(1.0), t), Dense(Matern32(1.0), t), dented)


def test_without_sites_it_is_the_prior():
    prior = StateSpace(Matern52(2.0, 3.0), irregular())
    found = condition(prior, no_sites(N))
    np.testing.assert_allclose(found.mean, 0.0, atol=1e-12)
    np.testing.assert_allclose(found.cov, 3.0, rtol=1e-12)
    np.testing.assert_allclose([found.log_normaliser, divergence(no_sites(N), found)], 0.0, atol=1e-12)


@pytest.mark.parametrize("blocks", [1, 4])
def test_the_gradient_of_the_evidence_is_that_of_the_dense_prior(blocks):
    t, sites = irregular(), some_sites()

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(kernel, prior):
        return eqx.tree_at(lambda p: p.kernels, prior, (kernel,)).condition(sites).log_normaliser

    kernel = Matern32(1.3, 2.0)
    ours = gradient(kernel, StateSpace(kernel, t, blocks=blocks))
    dense = gradient(kernel, Dense(kernel, t))
    np.testing.assert_allclose(jax.tree.leaves(ours), jax.tree.leaves(dense), rtol=1e-6)


def test_white_coordinates_have_the_covariance_of_the_kernel():
    kernels, t = [Matern32(1.3, 2.0), Matern12(0.5)], irregular()
    prior, dense = StateSpace(kernels, t), Dense(kernels, t)
    assert prior.dimension == 3 * N
    map_ = jax.jit(jax.jacobian(lambda z: prior.from_white(z)[0]))(jnp.zeros(prior.dimension))
    for j, kernel in enumerate(kernels):
        np.testing.assert_allclose(map_[:, j] @ map_[:, j].T, kernel(jnp.asarray(t), jnp.asarray(t)), atol=1e-9)
    np.testing.assert_allclose(map_[:, 0] @ map_[:, 1].T, 0.0, atol=1e-12)
    assert dense.num_sites == prior.num_sites == N
    assert dense.num_values == prior.num_values == 2


def test_the_evidence_of_a_long_dense_series_is_that_of_an_independent_route():
    n, noise = 5000, 0.3
    rng = np.random.default_rng(0)
    t, y = np.sort(rng.uniform(0, 5, n)), rng.normal(size=n)
    route = tinygp.GaussianProcess(tinygp.kernels.quasisep.Matern32(scale=1.0, sigma=1.5), jnp.asarray(t), diag=noise)
    truth = route.log_probability(jnp.asarray(y))
    sites = Sites(jnp.asarray(y[:, None] / noise), jnp.full((n, 1, 1), 1 / noise))
    constant = -0.5 * np.sum(y**2) / noise - 0.5 * n * np.log(2 * np.pi * noise)
    found = condition(StateSpace(Matern32(1.0, 2.25), t, blocks=64), sites)
    np.testing.assert_allclose(found.log_normaliser + constant, truth, atol=1e-6)


def test_bad_input_is_refused_at_the_door():
    with pytest.raises(InputError, match="RBF has no finite state-space form"):
        StateSpace(RBF(1.0), np.arange(3.0))
    with pytest.raises(InputError, match="one input, time"):
        StateSpace(Matern32(1.0), np.zeros((3, 2)))
    with pytest.raises(InputError, match="finite"):
        StateSpace(Matern32(1.0), np.array([0.0, np.nan]))
    with pytest.raises(InputError, match="2 dimensions"):
        StateSpace(Matern32(np.ones(2)), np.arange(3.0))
    with pytest.raises(InputError, match="outside compiled functions"):
        jax.jit(lambda t: StateSpace(Matern32(1.0), t).t)(jnp.arange(3.0))
    with pytest.raises(InputError, match="New times"):
        StateSpace(Matern32(1.0), np.arange(3.0)).predict(no_sites(3), np.zeros((4, 2)))
    with pytest.raises(InputError, match="order must be 0 or more"):
        HidaMatern(-1)


def test_one_time_is_enough():
    agree(StateSpace(Matern32(1.0), [4.0]), Dense(Matern32(1.0), [4.0]), some_sites(1))
