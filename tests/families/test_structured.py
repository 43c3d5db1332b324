import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen._run import drive
from jensen.algorithms import GradientVI
from jensen.core import InputError, sample_many
from jensen.families import (
    Gaussian,
    Structured,
    StructuredGaussian,
    eliminate,
    gaussian_from_cov,
    kl_gaussian,
    sparsity,
)
from jensen.targets import from_log_density, from_numpyro


def arrow(groups=6, shared=2):
    """A precision of `groups` independent coordinates that all meet the last `shared` ones."""
    d = groups + shared
    precision = np.diag(np.linspace(2.0, 5.0, d))
    precision[:groups, groups:] = np.random.default_rng(0).normal(size=(groups, shared)) * 0.5
    precision = np.tril(precision.T) + np.tril(precision.T, -1).T
    precision[groups:, groups:] += 3.0 + np.eye(shared)
    return precision


def chain(d=9):
    return np.diag(np.full(d, 2.2)) + np.diag(np.full(d - 1, -1.0), 1) + np.diag(np.full(d - 1, -1.0), -1)


def shuffled(precision):
    order = np.random.default_rng(1).permutation(len(precision))
    return precision[np.ix_(order, order)]


PRECISIONS = {
    "arrow": arrow(),
    "arrow in any order": shuffled(arrow()),
    "chain": chain(),
    "chain in any order": shuffled(chain()),
    "ring": chain() - 0.5 * (np.eye(9, k=8) + np.eye(9, k=-8)),
    "diagonal": np.diag([1.0, 4.0]),
    "one": np.array([[4.0]]),
}
each = pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)


def gaussian_of(precision):
    return gaussian_from_cov(jnp.linspace(-1.0, 1.0, len(precision)), jnp.linalg.inv(jnp.asarray(precision)))


@each
def test_a_gaussian_whose_precision_has_the_pattern_is_met_exactly(precision):
    key = jax.random.key(0)
    p = gaussian_of(precision)
    q = Structured(precision != 0).build(key, p)
    assert jnp.allclose(q.mean_and_cov()[1], p.cov, atol=1e-10)
    z = 3 * jax.random.normal(key, (20, p.dimension))
    assert jnp.allclose(jax.jit(jax.vmap(q.log_prob))(z), eqx.filter_jit(jax.vmap(p.log_prob))(z), atol=1e-9)
    assert jnp.allclose(q.entropy(), p.entropy(), atol=1e-10)
    u = z[0]
    jacobian = jax.jit(jax.jacfwd(lambda u: q.transform(u)[0]))(u)
    assert jnp.allclose(jnp.linalg.slogdet(jacobian)[1], q.transform(u)[1], atol=1e-10)
    assert jnp.allclose(q.inverse(q.transform(u)[0]), u, atol=1e-10)


@each
def test_derivatives_of_a_draw_are_those_of_a_dense_solve(precision):
    key = jax.random.key(0)
    q = Structured(precision != 0).build(key, gaussian_of(precision))
    d = q.dimension
    parents = np.asarray(q.elimination.parents)

    def dense(coefficients, scale, u):
        full = jnp.eye(d)
        for i in range(d):
            for n, j in enumerate(parents[i]):
                full = full.at[i, j].add(coefficients[i, n]) if j < d else full
        return jnp.sum(jnp.sin(jnp.linalg.solve(full, jnp.exp(scale) * u)))

    def sparse(coefficients, scale, u):
        moved = StructuredGaussian(jnp.zeros(d), scale, coefficients, q.elimination)
        return jnp.sum(jnp.sin(moved.transform(u)[0]))

    u = jax.random.normal(key, (d,))
    mine = jax.jit(jax.grad(sparse, (0, 1, 2)))(q.coefficients, q.log_scale, u)
    exact = jax.jit(jax.grad(dense, (0, 1, 2)))(q.coefficients, q.log_scale, u)
    for a, b in zip(mine, exact, strict=True):
        assert jnp.allclose(a, b, atol=1e-10)


def test_draws_have_its_moments(key):
    q, n = Structured(arrow() != 0).build(key, gaussian_of(arrow())), 20_000
    z = sample_many(key, q, n)
    mean, cov = q.mean_and_cov()
    assert jnp.all(jnp.abs(jnp.mean(z, 0) - mean) < 5 * jnp.sqrt(jnp.diagonal(cov) / n))
    variance = jnp.outer(jnp.diagonal(cov), jnp.diagonal(cov)) + cov**2
    assert jnp.all(jnp.abs(jnp.cov(z.T) - cov) < 5 * jnp.sqrt(variance / n))


def test_elimination_of_an_arrow_fills_nothing_in_and_has_few_levels():
    elimination = eliminate(arrow(200, 3) != 0)
    assert elimination.parents.shape == (203, 3)
    assert sum(len(group) for group in elimination.groups) == 4
    q = Structured(arrow(200, 3) != 0).build(jax.random.key(0), gaussian_of(arrow(200, 3)))
    text = str(jax.make_jaxpr(jax.grad(lambda u: jnp.sum(q.transform(u)[0] ** 2)))(jnp.zeros(203)))
    assert "203,203" not in text  # neither a draw nor its derivative forms a square matrix


def test_elimination_of_a_chain_leans_on_one_neighbour():
    assert eliminate(shuffled(chain(50)) != 0).parents.shape == (50, 1)


def test_the_nearest_member_is_the_nearest():
    """KL(g || q) over the family: any step away from what the builder makes is uphill."""
    g = gaussian_of(arrow() + 0.3)  # a dense precision
    q = Structured(arrow() != 0).build(jax.random.key(0), g)

    def divergence(log_scale, coefficients):
        moved = StructuredGaussian(q.mean, log_scale, coefficients, q.elimination)
        return kl_gaussian(g, gaussian_from_cov(*moved.mean_and_cov()))

    slopes = eqx.filter_jit(jax.grad(divergence, (0, 1)))(q.log_scale, q.coefficients)
    assert all(jnp.max(jnp.abs(s)) < 1e-8 for s in slopes)
    assert divergence(q.log_scale, q.coefficients) > 1e-3


def quadratic(z, precision):
    return -0.5 * z @ precision @ z


@each
def test_sparsity_is_that_of_the_precision(precision):
    target = from_log_density(quadratic, np.zeros(len(precision)), precision)
    assert np.array_equal(sparsity(target), precision != 0)


def test_sparsity_of_a_model_follows_its_plates():
    import numpyro
    import numpyro.distributions as dist

    def model(y):
        mu = numpyro.sample("mu", dist.Normal(0, 5))
        tau = numpyro.sample("tau", dist.HalfNormal(3))
        with numpyro.plate("groups", 5):
            theta = numpyro.sample("theta", dist.Normal(mu, tau))
            numpyro.sample("y", dist.StudentT(4.0, theta, 1.0), obs=y)

    pattern = sparsity(from_numpyro(model, jnp.arange(5.0)))
    expected = np.eye(7, dtype=bool)
    shared = [i for i in range(7) if pattern[i].sum() > 3]
    expected[shared] = expected[:, shared] = True
    assert len(shared) == 2
    assert np.array_equal(pattern, expected)


def test_gradient_vi_matches_an_arrow_exactly():
    p = gaussian_of(arrow())
    target = from_log_density(lambda z, p: p.log_prob(z), np.zeros(8), p)
    algorithm = GradientVI(family=Structured(sparsity(from_log_density(quadratic, np.zeros(8), arrow()))))
    q = drive(algorithm, target, key=jax.random.key(0), steps=1500).posterior.q
    assert isinstance(q, StructuredGaussian)
    # sticking the landing has no noise at the optimum, so that no Monte Carlo error is left
    assert kl_gaussian(gaussian_from_cov(*q.mean_and_cov()), p) < 1e-6


def test_rebuilt_from_plain_data():
    q = Structured(arrow() != 0).build(jax.random.key(0), gaussian_of(arrow()))
    again = StructuredGaussian.from_config(q.config())
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, q)
    assert jax.tree.structure(again) == jax.tree.structure(q)


def test_bad_input_is_met_at_the_door():
    with pytest.raises(InputError, match="array of booleans"):
        eliminate(np.eye(3))
    with pytest.raises(InputError, match="symmetric"):
        eliminate(np.tri(3, dtype=bool))
    with pytest.raises(InputError, match="has dimension 8, the target 3"):
        Structured(arrow() != 0).build(jax.random.key(0), Gaussian(jnp.zeros(3), jnp.eye(3)))
    with pytest.raises(InputError, match="not finite"):
        sparsity(from_log_density(lambda z: jnp.nan * jnp.sum(z**2), np.zeros(2)))
