import jax
import jax.numpy as jnp
import pytest

from jensen.core import InputError, sample_many
from jensen.families import Gaussian, GaussianMixture, LowRank, LowRankGaussian, MeanField, gaussian_from_cov


def low_rank(d=6, r=2):
    keys = jax.random.split(jax.random.key(3), 3)
    return LowRankGaussian(
        jax.random.normal(keys[0], (d,)), 0.3 * jax.random.normal(keys[1], (d,)), jax.random.normal(keys[2], (d, r))
    )


def test_low_rank_density_and_entropy_are_those_of_the_dense_gaussian(key):
    q = low_rank()
    dense = gaussian_from_cov(*q.mean_and_cov())
    z = 3 * jax.random.normal(key, (20, 6))
    assert jnp.allclose(jax.vmap(q.log_prob)(z), jax.vmap(dense.log_prob)(z), atol=1e-9)
    assert jnp.allclose(q.entropy(), dense.entropy(), atol=1e-10)


def test_low_rank_draws_have_its_moments(key):
    q, n = low_rank(), 20_000
    z = sample_many(key, q, n)
    mean, cov = q.mean_and_cov()
    assert jnp.all(jnp.abs(jnp.mean(z, 0) - mean) < 5 * jnp.sqrt(jnp.diagonal(cov) / n))
    variance = jnp.outer(jnp.diagonal(cov), jnp.diagonal(cov)) + cov**2  # of a product of two normals
    assert jnp.all(jnp.abs(jnp.cov(z.T) - cov) < 5 * jnp.sqrt(variance / n))


def test_low_rank_never_forms_a_square_matrix():
    q = LowRankGaussian(jnp.zeros(1000), jnp.zeros(1000), jnp.ones((1000, 3)))
    text = str(jax.make_jaxpr(jax.grad(lambda z: q.log_prob(z)))(jnp.zeros(1000)))
    assert "1000,1000" not in text


def test_builders_begin_at_the_gaussian():
    g = gaussian_from_cov(*low_rank().mean_and_cov())
    fitted = LowRank(2).build(jax.random.key(0), g)
    assert jnp.allclose(jnp.diagonal(fitted.mean_and_cov()[1]), jnp.diagonal(g.cov), rtol=1e-10)
    assert jnp.allclose(MeanField().build(jax.random.key(0), g).mean_and_cov()[1], jnp.diag(jnp.diagonal(g.cov)))
    full = LowRank(6).build(jax.random.key(0), g)
    assert jnp.allclose(full.mean, g.mean)
    with pytest.raises(InputError, match="rank"):
        LowRank(7).build(jax.random.key(0), g)


def mixture():
    trils = jnp.stack([jnp.eye(2), jnp.array([[0.5, 0.0], [0.4, 0.3]])])
    return GaussianMixture(jnp.array([0.0, 1.0]), jnp.array([[-3.0, 0.0], [2.0, 1.0]]), trils)


def test_mixture_density_is_the_weighted_sum():
    q, z = mixture(), jnp.array([0.3, -0.2])
    parts = [Gaussian(q.means[k], q.scale_trils[k]).log_prob(z) for k in range(2)]
    w = jnp.exp(q.log_weights)
    assert jnp.allclose(q.log_prob(z), jnp.log(w[0] * jnp.exp(parts[0]) + w[1] * jnp.exp(parts[1])))


def test_mixture_draws_have_its_moments(key):
    q, n = mixture(), 20_000
    mean, cov = q.mean_and_cov()
    for z in (sample_many(key, q, n), q.stratified(key, n)):
        assert jnp.all(jnp.abs(jnp.mean(z, 0) - mean) < 5 * jnp.sqrt(jnp.diagonal(cov) / n))
        fourth = jnp.mean((z - mean) ** 4, 0)
        assert jnp.all(jnp.abs(jnp.var(z, 0) - jnp.diagonal(cov)) < 5 * jnp.sqrt(fourth / n))


def test_stratified_draws_share_the_components_out(key):
    q = mixture()
    z = q.stratified(key, 1000)
    near_first = jnp.linalg.norm(z - q.means[0], axis=1) < jnp.linalg.norm(z - q.means[1], axis=1)
    # first come the draws of component 0, n w_0 of them up to one
    n0 = 1000 * jnp.exp(q.log_weights[0])
    assert jnp.sum(near_first[: int(n0)]) > 0.95 * n0
    assert jnp.sum(near_first[int(n0) + 1 :]) < 0.05 * 1000


@pytest.mark.parametrize("q", [low_rank(), mixture()], ids=["low rank", "mixture"])
def test_structure_is_rebuilt_from_plain_data(q):
    again = type(q).from_config(q.config())
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, q)
