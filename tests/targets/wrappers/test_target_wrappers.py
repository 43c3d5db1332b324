import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest

from jensen._run import drive
from jensen.algorithms import Laplace
from jensen.core import (
    DensityPosterior,
    DrawsPosterior,
    InputError,
    PointPosterior,
    Space,
    UnknownName,
    Variable,
    positive,
)
from jensen.families import Affine, Coupling, FlowBuilder, Gaussian, LowRankGaussian, kl_gaussian
from jensen.targets import from_log_density, from_numpyro
from jensen.targets.wrappers import Conditioned, Tempered, Transformed

P = Gaussian(jnp.array([1.0, -0.5]), jnp.array([[1.0, 0.0], [0.6, 0.8]]))
TARGET = from_log_density(lambda z, p: p.log_prob(z), jnp.zeros(2), P)


def scale_model():
    numpyro.sample("mu", dist.Normal(0, 1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0))
    numpyro.deterministic("double", 2 * sigma)


def flow():
    q = FlowBuilder(Coupling(Affine(), width=4, depth=1), num_layers=2).build(jax.random.key(0), P)
    return jax.tree.map(lambda a: a if a.dtype == jnp.int32 else a + 0.05, q)


def test_whitening_by_the_target_itself_gives_a_standard_normal(key):
    white = Transformed(TARGET, P)
    u = jax.random.normal(key, (2,))
    assert jnp.allclose(white.log_density(u), -0.5 * jnp.sum(u**2) - jnp.log(2 * jnp.pi), atol=1e-12)


def test_density_of_u_is_p_over_q_times_normal(key):
    q = flow()
    u = jax.random.normal(key, (2,))
    z, log_q = q.from_noise_and_log_prob(u)
    normal = -0.5 * jnp.sum(u**2) - jnp.log(2 * jnp.pi)
    assert jnp.allclose(Transformed(TARGET, q).log_density(u), P.log_prob(z) - log_q + normal, atol=1e-10)


def test_draws_are_named_and_constrained_as_in_the_model():
    target = from_numpyro(scale_model)
    seen = Transformed(target, Gaussian(jnp.array([0.3, -0.2]), jnp.array([[1.0, 0.0], [0.5, 0.7]])))
    u = jnp.array([0.4, -1.0])
    z = seen.bijection.from_noise(u)
    got, wanted = seen.space.constrain(u), target.space.constrain(z)
    assert set(got) == {"mu", "sigma", "double"}
    assert all(jnp.allclose(got[k], wanted[k]) for k in wanted)
    assert jnp.allclose(seen.space.unconstrain({k: wanted[k] for k in ("mu", "sigma")}), u)


def test_pull_takes_posteriors_back():
    seen = Transformed(TARGET, P)
    u = jax.random.normal(jax.random.key(0), (2, 7, 2))
    z = seen.pull(DrawsPosterior(seen.space, u)).chains
    assert jnp.allclose(z, P.mean + u @ P.scale_tril.T)
    standard = DensityPosterior(seen.space, Gaussian(jnp.zeros(2), jnp.eye(2)))
    pulled = seen.pull(standard)
    at = jnp.array([[0.5, 0.1], [2.0, -1.0]])
    assert jnp.allclose(pulled.log_prob(at), eqx.filter_jit(jax.vmap(P.log_prob))(at))
    assert pulled.space is TARGET.space
    assert jnp.allclose(seen.pull(PointPosterior(seen.space, jnp.zeros(2))).z, P.mean)


def test_laplace_in_whitened_coordinates():
    outcome = drive(Laplace(), Transformed(TARGET, P), key=jax.random.key(0))
    assert kl_gaussian(outcome.posterior.q, Gaussian(jnp.zeros(2), jnp.eye(2))) < 1e-10


def test_transformed_errors():
    with pytest.raises(InputError, match="no bijection"):
        Transformed(TARGET, LowRankGaussian(jnp.zeros(2), jnp.zeros(2), jnp.ones((2, 1))))
    with pytest.raises(InputError, match="dimension 3"):
        Transformed(TARGET, Gaussian(jnp.zeros(3), jnp.eye(3)))


def test_tempered():
    z = jnp.array([0.3, 0.7])
    assert jnp.allclose(Tempered(TARGET, 0.25).log_density(z), 0.25 * P.log_prob(z))
    q = drive(Laplace(), Tempered(TARGET, 0.25), key=jax.random.key(0)).posterior.q
    assert jnp.allclose(q.cov, 4 * P.cov, rtol=1e-6)


def test_conditioned_normaliser_is_the_density_of_the_fixed_value():
    # p(mu, sigma) = N(mu; 0, 1) HalfNormal(sigma; 2): conditioning on sigma leaves N(mu; 0, 1) times p(sigma)
    target = Conditioned(from_numpyro(scale_model), {"sigma": 1.5})
    assert target.space.names == ("mu",)
    z = jnp.array([0.4])
    exact = dist.Normal(0, 1).log_prob(0.4) + dist.HalfNormal(2.0).log_prob(1.5)
    assert jnp.allclose(target.log_density(z), exact)
    draws = target.space.constrain(z)
    assert jnp.allclose(draws["double"], 3.0)
    assert jnp.allclose(draws["mu"], 0.4)
    assert jnp.allclose(target.space.unconstrain({"mu": jnp.array(0.4)}), z)


def test_conditioned_gaussian_is_the_conditional_gaussian():
    cov, mean = P.cov, P.mean
    target = from_log_density(lambda t, p: p.log_prob(jnp.stack([t["a"], t["b"]])), {"a": 0.0, "b": 0.0}, P)
    q = drive(Laplace(), Conditioned(target, {"b": 0.7}), key=jax.random.key(0)).posterior.q
    assert jnp.allclose(q.mean[0], mean[0] + cov[0, 1] / cov[1, 1] * (0.7 - mean[1]), atol=1e-6)
    assert jnp.allclose(q.cov[0, 0], cov[0, 0] - cov[0, 1] ** 2 / cov[1, 1], atol=1e-6)


def test_conditioned_errors():
    target = from_numpyro(scale_model)
    with pytest.raises(UnknownName, match="sigma"):
        Conditioned(target, {"sigm": 1.0})
    with pytest.raises(InputError, match="shape"):
        Conditioned(target, {"mu": jnp.zeros(3)})
    with pytest.raises(InputError, match="support"):
        Conditioned(target, {"sigma": -1.0})
    with pytest.raises(InputError, match="All unknowns"):
        Conditioned(target, {"mu": 0.0, "sigma": 1.0})
    assert Space((Variable("s", (), positive()),)).dimension == 1
