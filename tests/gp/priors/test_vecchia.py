import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError, Sites, divergence
from jensen.gp.kernels.stationary import Matern12, Matern32
from jensen.gp.priors._neighbours import maximin
from jensen.gp.priors.dense import Dense
from jensen.gp.priors.vecchia import Vecchia, nearest_neighbours, neighbours_from, neighbours_within

condition = eqx.filter_jit(lambda prior, sites: prior.condition(sites))
predict = eqx.filter_jit(lambda prior, sites, x: prior.predict(sites, x))
roots = eqx.filter_jit(lambda prior: jax.jacobian(lambda z: prior.from_white(z)[0][:, 0])(jnp.zeros(prior.dimension)))
covariance = eqx.filter_jit(lambda kernel, a, b: kernel(a, b))


def sites(n, seed=0):
    rng = np.random.default_rng(seed)
    return Sites(jnp.asarray(rng.normal(size=(n, 1))), jnp.asarray(rng.uniform(0.1, 9.0, size=(n, 1, 1))))


def plane(n, seed=1):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=(n, 2)))


def between(x, order):
    """The nearest earlier neighbours on the left and on the right of each point of a line."""
    parents = []
    for i, place in enumerate(order):
        earlier = x[order[:i]]
        left, right = np.flatnonzero(earlier < x[place]), np.flatnonzero(earlier > x[place])
        parents.append(
            ([int(left[np.argmax(earlier[left])])] if len(left) else [])
            + ([int(right[np.argmin(earlier[right])])] if len(right) else [])
        )
    return parents


def agree(found, truth, tolerance=1e-8):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


def test_all_earlier_points_as_parents_are_the_dense_prior():
    x, kernel = plane(40), Matern32(lengthscale=jnp.array([0.2, 0.4]), variance=1.7)
    pattern = nearest_neighbours(x, 39, kernel.lengthscale, radius=np.inf)
    prior, exact, terms = Vecchia(kernel, x, pattern), Dense(kernel, x), sites(40)
    found, truth = condition(prior, terms), condition(exact, terms)
    agree(found, truth)
    np.testing.assert_allclose(divergence(terms, found), divergence(terms, truth), atol=1e-8)


def test_a_chain_is_exact_with_two_neighbours():
    x = np.sort(np.random.default_rng(0).uniform(0, 10, 60))
    kernel = Matern12(lengthscale=1.3)
    order, _ = maximin(x[:, None])
    prior = Vecchia(kernel, x, neighbours_from(x, order, between(x, order)))
    terms = sites(60)
    agree(condition(prior, terms), condition(Dense(kernel, x), terms))


def test_a_new_input_leans_on_its_nearest_sites():
    x, new, kernel = plane(30), plane(6, 2), Matern32(lengthscale=0.4)
    prior, terms = Vecchia(kernel, x, nearest_neighbours(x, 5, radius=np.inf)), sites(30)
    q = eqx.filter_jit(lambda p, t: p.posterior(t))(prior, terms)
    tree = prior.neighbours.elimination
    root = eqx.filter_jit(lambda q: jax.vmap(lambda u: q.factor.drawn(tree, u))(jnp.eye(30)))(q)
    ordered = x[prior.neighbours.order]
    means, variances = predict(prior, terms, new)
    for i, point in enumerate(new):
        near = jnp.argsort(jnp.linalg.norm(ordered - point, axis=1))[:5]
        inner, cross = covariance(kernel, ordered[near], ordered[near]), covariance(kernel, ordered[near], point[None])
        weights = np.linalg.solve(inner, cross[:, 0])
        left = 1.0 - weights @ cross[:, 0]
        np.testing.assert_allclose(means[i, 0], weights @ q.mean[near], atol=1e-7)
        np.testing.assert_allclose(variances[i, 0, 0], left + jnp.sum((root[:, near] @ weights) ** 2), atol=1e-7)


def test_white_coordinates_have_the_prior_covariance():
    x, kernel = plane(25), Matern32(lengthscale=0.3)
    prior = Vecchia(kernel, x, nearest_neighbours(x, 24, radius=np.inf), mean=lambda x: x[:, 0])
    root = roots(prior)
    np.testing.assert_allclose(root @ root.T, kernel(x, x), atol=1e-8)
    np.testing.assert_allclose(prior.from_white(jnp.zeros(25))[0][:, 0], x[:, 0], atol=1e-12)


@eqx.filter_jit
def _factor(prior):
    return prior.factor()


def test_the_divergence_from_the_exact_prior_falls_with_the_number_of_neighbours():
    x, kernel = plane(150), Matern32(lengthscale=0.15)
    k = np.asarray(kernel(x, x))
    # KL(N(0, K) || N(0, (U U^T)^-1)) = log det U^-1 - log det K / 2, for the traces agree at the optimum
    half = 0.5 * np.linalg.slogdet(k)[1]
    found = [float(jnp.sum(jnp.log(_factor(Vecchia(kernel, x, num)).scales))) - half for num in (1, 3, 9, 27)]
    assert np.all(np.diff(found) < 0)
    assert found[-1] > -1e-6


def test_few_neighbours_are_close_and_closer_with_more():
    x, kernel = plane(200), Matern32(lengthscale=0.2)
    terms, exact = sites(200), condition(Dense(kernel, x), sites(200))
    errors = []
    for num in (4, 16):
        found = condition(Vecchia(kernel, x, num), terms)
        errors.append([float(jnp.max(jnp.abs(a - b))) for a, b in ((found.mean, exact.mean), (found.cov, exact.cov))])
    assert np.all(np.array(errors[1]) < 0.3 * np.array(errors[0]))


def test_the_mean_is_that_of_the_sparse_prior_and_the_bound_below_its_normaliser():
    x, kernel = plane(80), Matern32(lengthscale=0.3)
    prior, terms = Vecchia(kernel, x, 5), sites(80)
    root = roots(prior)
    k, w = root @ root.T, terms.precision[:, 0, 0]
    found = condition(prior, terms)
    precise = jnp.linalg.inv(jnp.linalg.inv(k) + jnp.diag(w))
    np.testing.assert_allclose(found.mean[:, 0], precise @ terms.linear[:, 0], atol=1e-8)
    inner = terms.linear[:, 0] @ precise @ terms.linear[:, 0]
    log_z = 0.5 * inner - 0.5 * jnp.linalg.slogdet(jnp.eye(80) + k * w)[1]
    assert found.log_normaliser < log_z + 1e-9
    assert found.log_normaliser > log_z - 0.05
    np.testing.assert_allclose(found.cov[:, 0, 0], jnp.diag(precise), atol=0.005)


def test_gradients_reach_the_kernel():
    x, terms = plane(60), sites(60)
    pattern = nearest_neighbours(x, 59, radius=np.inf)

    def evidence(prior, scale):
        kernel = Matern32(lengthscale=scale)
        return eqx.tree_at(lambda p: p.kernel, prior, kernel).condition(terms).log_normaliser

    sparse = jax.jit(jax.grad(lambda s: evidence(Vecchia(Matern32(), x, pattern), s)))(0.3)
    dense = jax.jit(jax.grad(lambda s: Dense(Matern32(lengthscale=s), x).condition(terms).log_normaliser))(0.3)
    np.testing.assert_allclose(sparse, dense, rtol=1e-6)


def test_neighbours_within_a_ball():
    x = plane(50)
    pattern = neighbours_within(x, 1.5)
    points, parents = np.asarray(pattern.points), np.asarray(pattern.elimination.parents)
    for i in range(1, 50):
        away = np.linalg.norm(points[:i] - points[i], axis=1)
        assert set(parents[i][parents[i] < 50]) == set(np.flatnonzero(away <= 1.5 * pattern.lengths[i]))


def test_nearest_neighbours_are_the_nearest_earlier_ones():
    pattern = nearest_neighbours(plane(300), 7)
    points, parents = np.asarray(pattern.points), np.asarray(pattern.elimination.parents)
    for i in (1, 5, 8, 100, 299):
        away = np.linalg.norm(points[:i] - points[i], axis=1)
        assert set(parents[i][parents[i] < 300]) == set(np.argsort(away)[:7])


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="Inputs 1 and 3 coincide"):
        nearest_neighbours(np.array([0.0, 1.0, 2.0, 1.0]))
    with pytest.raises(InputError, match="finite"):
        nearest_neighbours(np.array([0.0, np.nan]))
    with pytest.raises(InputError, match="pattern is of 2 inputs"):
        Vecchia(Matern32(), np.zeros(3), nearest_neighbours(np.arange(2.0)))
    with pytest.raises(InputError, match="neighbour"):
        nearest_neighbours(np.arange(4.0), 0)


def test_one_row():
    x, kernel = np.zeros((1, 2)), Matern32(variance=2.0)
    agree(eqx.filter_jit(Vecchia(kernel, x, 3).condition)(sites(1)), Dense(kernel, x).condition(sites(1)))
