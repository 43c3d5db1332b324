"""Sparse-process latents against dense linear algebra; the joint posterior of a linear decoder; minibatches of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError, Locals, MissingCapability, Rows
from jensen.gp.kernels import RBF
from jensen.targets import JointRows, Minibatched, from_log_density
from jensen.vae import LinearDecoder, latent_process, latent_rows, linear_vae, perceptron_decoder
from jensen.vae.likelihoods import Bernoulli, gaussian

N, COLUMNS, K, NOISE, SIGMA = 7, 3, 2, 0.05, 0.3
X = np.sort(np.random.default_rng(0).uniform(0, 5, N))
Y = np.random.default_rng(1).normal(size=(N, COLUMNS))
Z = np.linspace(0, 5, 4)[:, None]
KERNEL = RBF(1.3, 0.8)
WEIGHT = np.random.default_rng(2).normal(size=(COLUMNS, K))


def model(inducing=Z, free=()):
    decoder = LinearDecoder(jnp.asarray(WEIGHT), jnp.zeros(COLUMNS))
    likelihood = gaussian(SIGMA, trained=False)
    return latent_process(X, Y, decoder, likelihood, KERNEL, K, inducing=inducing, noise=NOISE, free=free)


def gram(a, b):
    return 0.8 * np.exp(-0.5 * ((a[:, None] - b) / 1.3) ** 2)


def log_normal(x, cov):
    return -0.5 * (x @ np.linalg.solve(cov, x) + np.linalg.slogdet(2 * np.pi * cov)[1])


@eqx.filter_jit
def integrated(target, u):
    """log p(u) by what the library says of p(u | V) p(V): the joint is Gaussian in V, so that one point is enough."""
    joint = JointRows(target)
    shape = (len(target.inducing), K)

    def of_values(values):
        z = target.space.join({"inducing values": values.reshape(shape)})

        def given_values(row, v):
            term = target.local(z, row)
            return term.log_density(v) - term.log_likelihood(v)

        return joint.log_prior(joint.join(z, u)) + jnp.sum(jax.vmap(given_values)(target.data, u))

    flat = jnp.zeros(shape[0] * K)
    slope, curvature = jax.grad(of_values)(flat), jax.hessian(of_values)(flat)
    half = 0.5 * slope @ jnp.linalg.solve(-curvature, slope)
    return of_values(flat) + half - 0.5 * jnp.linalg.slogdet(-curvature / (2 * jnp.pi))[1]


def test_the_latents_have_the_fitc_law_and_with_all_inputs_inducing_the_exact_one():
    u = np.random.default_rng(3).normal(size=(N, K))
    dense = gram(X, X)
    kuf = gram(Z[:, 0], X)
    low_rank = kuf.T @ np.linalg.solve(gram(Z[:, 0], Z[:, 0]), kuf)
    fitc = low_rank + np.diag(np.diag(dense - low_rank)) + NOISE * np.eye(N)
    truth = sum(log_normal(u[:, q], fitc) for q in range(K))
    np.testing.assert_allclose(integrated(model(), jnp.asarray(u)), truth, atol=1e-7)
    exact = sum(log_normal(u[:, q], dense + NOISE * np.eye(N)) for q in range(K))
    np.testing.assert_allclose(integrated(model(X[:, None]), jnp.asarray(u)), exact, atol=1e-6)
    assert abs(truth - exact) > 1e-2


def joint_gaussian():
    """Mean and covariance of (V, u) given Y, row-major, by linear algebra of the whole."""
    m = len(Z)
    a = np.linalg.solve(np.linalg.cholesky(gram(Z[:, 0], Z[:, 0])), gram(Z[:, 0], X)).T
    v = 0.8 - np.sum(a**2, 1) + NOISE
    precision = np.zeros((m * K + N * K,) * 2)
    precision[: m * K, : m * K] = np.eye(m * K)
    linear = np.zeros(len(precision))
    for n in range(N):
        at = m * K + n * K + np.arange(K)
        lift = np.zeros((K, len(precision)))
        lift[np.arange(K), at] = 1
        residual = lift.copy()
        residual[:, : m * K] = -np.kron(a[n], np.eye(K))
        precision += residual.T @ residual / v[n] + lift.T @ WEIGHT.T @ WEIGHT @ lift / SIGMA**2
        linear += lift.T @ WEIGHT.T @ Y[n] / SIGMA**2
    cov = np.linalg.inv(precision)
    return cov @ linear, cov


def test_with_a_linear_decoder_the_joint_posterior_is_the_gaussian_of_linear_algebra():
    joint = JointRows(model())
    mean, cov = joint_gaussian()
    assert joint.space.names == ("inducing values", "latents")
    of = eqx.filter_jit(lambda t, z: (jax.grad(t.log_density)(z), jax.hessian(t.log_density)(z)))
    slope, curvature = of(joint, jnp.asarray(mean))
    np.testing.assert_allclose(slope, 0, atol=1e-6)
    np.testing.assert_allclose(-curvature, np.linalg.inv(cov), atol=1e-6)


def test_minibatches_are_the_joint_target_in_the_mean_for_shared_unknowns_and_latents():
    joint = JointRows(model())
    z = jnp.asarray(np.random.default_rng(4).normal(size=joint.space.dimension))
    of = eqx.filter_jit(lambda rows: jax.grad(joint.minibatch(rows).log_density)(z))
    single = [of(jnp.asarray([i])) for i in range(N)]
    np.testing.assert_allclose(np.mean(single, 0), of(jnp.arange(N)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(joint.log_density(z), joint.log_prior(z) + jnp.sum(joint.log_likelihood(z)), rtol=1e-12)
    assert isinstance(Minibatched(joint, 2).exact, Rows)
    assert isinstance(model(), Locals)


def test_unknowns_begin_as_given_and_priors_are_those_of_the_docstring():
    decoder = perceptron_decoder(jax.random.key(0), K, (4,), jnp.zeros((COLUMNS, 1)))
    target = latent_process(X, Y, decoder, gaussian(SIGMA, trained=False), KERNEL, K, inducing=3, weight_scale=2.0)
    made, process, inducing, values = target.at(target.theta)
    np.testing.assert_allclose(made(jnp.ones(K)), decoder(jnp.ones(K)))
    np.testing.assert_allclose([process.kernel.lengthscale, process.noise], [1.3, 0.01])
    np.testing.assert_allclose(inducing[:, 0], X[[0, 3, 6]])
    assert values.shape == (3, K)
    parts = target.space.split(target.theta)
    weights = np.concatenate([np.ravel(a) for n, a in parts.items() if n.startswith("decoder")])
    truth = np.sum(-0.5 * (weights / 2) ** 2 - np.log(2) - 0.5 * np.log(2 * np.pi))
    truth += -0.5 * np.log(2 * np.pi) * (3 * K + 3)
    scale = 2 * X.std()
    truth += np.sum(-0.5 * ((X[[0, 3, 6]] - X.mean()) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(target.log_prior(target.theta), truth, rtol=1e-10)
    assert target.predicted(target.theta, jnp.asarray(X[:2, None])).shape == (2, COLUMNS)


def test_at_inducing_inputs_the_latents_are_the_values_and_far_away_the_prior():
    target = model()
    values = np.random.default_rng(5).normal(size=(len(Z), K))
    z = target.space.join({"inducing values": jnp.asarray(values)})
    mean, variance = target.latents_at(z, jnp.asarray(Z))
    np.testing.assert_allclose(mean, np.linalg.cholesky(gram(Z[:, 0], Z[:, 0])) @ values, atol=1e-6)
    np.testing.assert_allclose(variance, NOISE, atol=1e-6)
    mean, variance = target.latents_at(z, jnp.asarray([[100.0]]))
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    np.testing.assert_allclose(variance, 0.8 + NOISE, rtol=1e-9)
    np.testing.assert_allclose(target.predicted(z, jnp.asarray([[100.0]])), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Y": Y[:3]}, "Rows \\(N, n\\) at inputs"),
        ({"Y": np.where(Y > 0, np.nan, Y)}, "must be finite"),
        ({"size": 0}, "must be positive"),
        ({"free": ("weights",)}, "Unknown parts weights"),
        ({"inducing": 8}, "between 1 and 7"),
        ({"inducing": np.zeros((2, 3))}, "shape \\(M, 1\\)"),
        ({"decoder": LinearDecoder(jnp.zeros((4, K)), jnp.zeros(4))}, "decoder gives"),
        ({"likelihood": Bernoulli()}, "bernoulli likelihood wants"),
    ],
)
def test_bad_input_is_met_at_the_door(change, words):
    decoder = LinearDecoder(jnp.asarray(WEIGHT), jnp.zeros(COLUMNS))
    given = {"x": X, "Y": Y, "decoder": decoder, "likelihood": gaussian(SIGMA, trained=False), "kernel": KERNEL}
    with pytest.raises(InputError, match=words):
        latent_process(**{**given, "size": K, "inducing": 3, **change})


def test_joint_rows_want_latents_and_a_free_name():
    with pytest.raises(MissingCapability, match="no latents of its rows"):
        JointRows(from_log_density(lambda z: -jnp.sum(z**2), jnp.zeros(2)))
    with pytest.raises(InputError, match="already"):
        JointRows(model(), name="inducing values")
    plain, _ = linear_vae(jax.random.key(0), COLUMNS, K)
    joint = JointRows(latent_rows(plain, jnp.asarray(Y)))
    assert joint.split(joint.start(jax.random.key(0)))[1].shape == (N, K)
