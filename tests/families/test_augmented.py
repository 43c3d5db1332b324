"""Families that have a density only together with auxiliary variables: their weights must be proper."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen._run import drive
from jensen.algorithms import GradientVI
from jensen.core import InputError, sample_many
from jensen.families import (
    Gaussian,
    Hierarchical,
    HierarchicalBuilder,
    HypernetworkBuilder,
    Implicit,
    ImplicitBuilder,
    Particles,
    gaussian_from_cov,
)
from jensen.gradient_estimators import Reparameterisation
from jensen.objectives import ImportanceWeighted, LinearisedElbo, NegativeElbo
from jensen.targets import from_log_density

G = Gaussian(jnp.array([0.5, -1.0]), jnp.array([[1.0, 0.0], [0.6, 0.8]]))
SMALL = {"num_auxiliary": 4, "width": 8, "depth": 1}


def shaken(builder, gaussian=G, size=0.1):
    """A member whose trained arrays are random, its reverse model widened: its weights then have a variance."""
    trained, rest = builder.build(jax.random.key(1), gaussian).partition()
    leaves, treedef = jax.tree.flatten(trained)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    leaves = [a + size * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    q = eqx.combine(jax.tree.unflatten(treedef, leaves), rest)
    if isinstance(q, Implicit):
        return q
    return eqx.tree_at(lambda q: q.reverse.log_scale, q, q.reverse.log_scale + np.log(1.5))


MEMBERS = {
    "hierarchical": shaken(HierarchicalBuilder(size=1, **SMALL)),
    "hierarchical, more auxiliaries than unknowns": shaken(HierarchicalBuilder(size=3, **SMALL)),
    "hierarchical, auxiliary bound": shaken(HierarchicalBuilder(size=1, num_auxiliary=0, width=8, depth=1)),
    "implicit": shaken(ImplicitBuilder(size=1, sigma=0.5, **SMALL)),
    "hypernetwork": shaken(HypernetworkBuilder(rows=1, columns=2, sigma=0.5, num_auxiliary=4, width=3)),
}
each = pytest.mark.parametrize("q", MEMBERS.values(), ids=MEMBERS)


@each
def test_weights_are_proper(q):
    """E[phi(z) / r] = 1 for every density phi: the identity that every bound on the evidence rests on."""
    n = 20_000
    z, log_r = jax.jit(jax.vmap(q.sample_and_log_prob))(jax.random.split(jax.random.key(0), n))
    mean, cov = jnp.mean(z, 0), jnp.cov(z.T)
    phi = Gaussian(mean, 0.3 * jnp.linalg.cholesky(cov))
    weights = jnp.exp(eqx.filter_jit(jax.vmap(phi.log_prob))(z) - log_r)
    error = jnp.std(weights) / np.sqrt(n)
    assert abs(jnp.mean(weights) - 1) < 5 * error
    assert 5 * error < 0.3


def marginal(q, z):
    """q(z) by quadrature over the one auxiliary variable."""
    e = jnp.linspace(-9.0, 9.0, 4001)
    x = jnp.linalg.solve(q.scale_tril, z - q.mean)
    if isinstance(q, Hierarchical):
        inner = eqx.filter_jit(jax.vmap(lambda e: q.forward.log_prob(x, e[None])))(e)
    else:
        spread = Gaussian(jnp.zeros(2), q.sigma * jnp.eye(2))
        inner = eqx.filter_jit(jax.vmap(lambda e: spread.log_prob(x - q.generate(e[None]))))(e)
    density = jnp.sum(jnp.exp(inner - 0.5 * e**2)) * (e[1] - e[0]) / np.sqrt(2 * np.pi)
    return density / jnp.abs(jnp.prod(jnp.diagonal(q.scale_tril)))


@pytest.mark.parametrize("name", ["hierarchical", "implicit"])
def test_marginal_density(name):
    """The estimate of q(z) is unbiased, and E[log r] is at least E[log q]."""
    q, n = MEMBERS[name], 4000
    z, log_r = jax.jit(jax.vmap(q.sample_and_log_prob))(jax.random.split(jax.random.key(0), n))
    truth = jax.jit(jax.vmap(lambda z: marginal(q, z)))(z)
    gap = log_r - jnp.log(truth)
    assert jnp.mean(gap) > -5 * jnp.std(gap) / np.sqrt(n)
    at = z[0]
    keys = jax.random.split(jax.random.key(1), 20_000)
    estimates = jnp.exp(jax.jit(jax.vmap(lambda k: q.estimate_log_prob(k, at)))(keys))
    assert abs(jnp.mean(estimates) - truth[0]) < 5 * jnp.std(estimates) / np.sqrt(len(keys))


def test_hierarchical_begins_at_the_gaussian_with_an_exact_reverse_model():
    key = jax.random.key(0)
    for size in (1, 3):
        q = HierarchicalBuilder(size, **SMALL).build(key, G)
        z, log_r = q.sample_and_log_prob(key)
        assert jnp.allclose(log_r, G.log_prob(z), atol=1e-10)


def banana(z):
    return -0.5 * z[0] ** 2 - 0.5 * ((z[1] - z[0] ** 2) / 0.5) ** 2 - np.log(2 * np.pi * 0.5)


def test_training_a_hierarchical_family_beats_every_gaussian_and_stays_below_the_evidence():
    target = from_log_density(banana, np.zeros(2))
    builder = HierarchicalBuilder(size=1, num_auxiliary=4, width=16, depth=1)
    fit = drive(GradientVI(builder, learning_rate=0.01), target, key=jax.random.key(0), steps=1000)
    q = fit.posterior.q
    loss = lambda objective: objective.loss(jax.random.key(7), q, target)  # noqa: E731
    elbo = eqx.filter_jit(loss)(NegativeElbo(Reparameterisation(4000)))
    doubly = eqx.filter_jit(loss)(ImportanceWeighted(16, Reparameterisation(500)))
    assert -elbo.value < 5 * elbo.standard_error  # log Z = 0
    assert -doubly.value < 5 * doubly.standard_error
    assert -doubly.value > -elbo.value
    # the best Gaussian of this target: a bound by its closed-form ELBO, optimised
    gaussian = drive(GradientVI(), target, key=jax.random.key(0), steps=1500).posterior.q
    best = eqx.filter_jit(lambda o: o.loss(jax.random.key(7), gaussian, target))(NegativeElbo(Reparameterisation(4000)))
    assert -elbo.value > -best.value + 0.1
    certificate = jn.certify(fit.posterior, target, jax.random.key(3))
    assert certificate.evidence_lower < 5 * 0.05


def test_linearised_entropy_is_exact_for_an_affine_map():
    """E_q[-log q~] of z = m + L (b + A e) + noise against the Gaussian's own entropy, and the k x k determinant."""
    for d, k in ((2, 1), (2, 3)):
        q = ImplicitBuilder(size=k, sigma=0.1).build(jax.random.key(0), G)
        q = eqx.tree_at(lambda q: q.generator.linear, q, jax.random.normal(jax.random.key(1), (d, k)))
        root = G.scale_tril @ q.generator.linear
        cov = root @ root.T + 0.01 * G.cov
        _, minus_entropy = q.linearised(q.noise(jax.random.key(2)))
        assert jnp.allclose(-minus_entropy, gaussian_from_cov(G.mean, cov).entropy(), atol=1e-10)


def test_a_hypernetwork_without_hidden_layers_is_affine_and_has_the_entropy_of_its_gaussian():
    """x = A E B, an unknown each: the covariance is that of the Kronecker products, put one below the other."""
    shapes = {"weights": (2, 3), "bias": (2,), "scale": ()}
    example = {name: np.zeros(shape) for name, shape in shapes.items()}
    target = from_log_density(lambda z: -0.5 * sum(jnp.sum(a**2) for a in z.values()), example)
    assert target.space.names == ("bias", "scale", "weights")
    d = 9
    tril = jnp.linalg.cholesky(jnp.eye(d) + 0.3)
    builder = HypernetworkBuilder(rows=2, columns=2, sigma=0.1, depth=0)
    q = builder.build_for(jax.random.key(0), target, Gaussian(jnp.arange(1.0 * d), tril))
    assert [c[-1].shape for c in q.generator.bias] == [(2, 1), (1, 1), (2, 3)]
    pairs = zip(q.generator.left, q.generator.right, strict=True)
    root = tril @ np.concatenate([np.kron(a[0], np.asarray(b[0]).T) for a, b in pairs])
    cov = root @ root.T + 0.01 * tril @ tril.T
    noise = q.noise(jax.random.key(2))
    z, minus_entropy = q.linearised(noise)
    np.testing.assert_allclose(z, q.mean + root @ noise[0] + 0.1 * tril @ noise[1], rtol=1e-10)
    np.testing.assert_allclose(-minus_entropy, gaussian_from_cov(q.mean, cov).entropy(), rtol=1e-10)


def test_training_an_implicit_family_finds_a_gaussian():
    p = gaussian_from_cov(jnp.array([1.0, -2.0]), jnp.array([[2.0, 0.9], [0.9, 1.0]]))
    target = from_log_density(lambda z, p: p.log_prob(z), np.zeros(2), p)
    builder = ImplicitBuilder(size=2, sigma=0.01, num_auxiliary=0, width=8, depth=1)
    algorithm = GradientVI(builder, LinearisedElbo(), learning_rate=0.02)
    posterior = drive(algorithm, target, key=jax.random.key(0), steps=2000).posterior
    assert isinstance(posterior.q, Implicit)
    z = posterior.sample_z(jax.random.key(1), 20_000)
    # one nat of KL hundredths moves a mean by 0.15 sd and a variance by a fifth
    assert jnp.all(jnp.abs(jnp.mean(z, 0) - p.mean) < 0.15 * jnp.sqrt(jnp.diagonal(p.cov)))
    assert jnp.allclose(jnp.cov(z.T), p.cov, rtol=0.2)


def test_a_density_at_given_points_is_refused():
    q = MEMBERS["hierarchical"]
    with pytest.raises(InputError, match="Reparameterisation"):
        q.log_prob(jnp.zeros(2))
    with pytest.raises(InputError, match="Reparameterisation"):
        NegativeElbo().loss(jax.random.key(0), q, from_log_density(banana, np.zeros(2)))


@each
def test_rebuilt_from_plain_data(q):
    again = type(q).from_config(q.config())
    assert jax.tree.structure(again) == jax.tree.structure(q)
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, q)


def test_settings_out_of_range_are_errors():
    for make in (HierarchicalBuilder, ImplicitBuilder):
        with pytest.raises(InputError, match="size"):
            make(size=0)
        with pytest.raises(InputError, match="num_auxiliary"):
            make(num_auxiliary=-1)
    for make in (ImplicitBuilder, HypernetworkBuilder):
        with pytest.raises(InputError, match="sigma"):
            make(sigma=0.0)
    for name in ("rows", "columns", "width", "depth"):
        with pytest.raises(InputError, match=name):
            HypernetworkBuilder(**{name: -1})
    with pytest.raises(InputError, match="Gaussian has no linearised"):
        LinearisedElbo().loss(jax.random.key(0), G, from_log_density(banana, np.zeros(2)))


def test_particles_are_their_empirical_measure(key):
    q, n = Particles(jnp.array([[0.0, 1.0], [2.0, -1.0], [5.0, 0.5]]), jnp.log(jnp.array([0.5, 0.2, 0.3]))), 20_000
    z = sample_many(key, q, n)
    mean, cov = q.mean_and_cov()
    assert jnp.all(jnp.abs(jnp.mean(z, 0) - mean) < 5 * jnp.sqrt(jnp.diagonal(cov) / n))
    assert jnp.allclose(mean, jnp.array([1.9, 0.45]))
    assert jax.tree.map(jnp.shape, Particles.from_config(q.config())) == jax.tree.map(jnp.shape, q)
