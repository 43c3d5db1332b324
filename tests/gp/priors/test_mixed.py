import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.gp.priors.rules import by_every_rule

from jensen import gp
from jensen.algorithms import CVI
from jensen.core import InputError, MissingCapability, Sites
from jensen.gp import EvidenceTarget, Hyperparameters, likelihoods
from jensen.gp.kernels import RBF, Matern32, Matern52
from jensen.gp.priors import Dense, Inducing, Mixed, StateSpace

RNG = np.random.default_rng(0)
X = np.sort(RNG.uniform(0, 4, 9))
KERNELS = [Matern52(1.0, 1.3), Matern32(0.8, 0.7)]
W = RNG.normal(size=(3, 2))
NEW = jnp.asarray([[0.4], [3.0], [5.0]])
HALF = RNG.normal(size=(9, 3, 3))
SITES = Sites(jnp.asarray(RNG.normal(size=(9, 3))), jnp.asarray(HALF @ HALF.transpose(0, 2, 1)))


known = eqx.filter_jit(lambda prior, sites, x: (prior.condition(sites), *prior.predict(sites, x)))


def covariance(a, b):
    """Of the k outputs at a with those at b, a grid of blocks as (n k, m k)."""
    return sum(np.kron(np.asarray(k(a, b)), np.outer(W[:, j], W[:, j])) for j, k in enumerate(KERNELS))


def test_it_is_the_joint_gaussian_with_kronecker_covariances():
    x = jnp.asarray(X)[:, None]
    k, across, own = covariance(x, x), covariance(x, NEW), covariance(NEW, NEW)
    p = jax.scipy.linalg.block_diag(*SITES.precision)
    linear = SITES.linear.reshape(-1)
    gain = np.eye(27) + k @ p
    mean, cov = np.linalg.solve(gain, k @ linear), np.linalg.solve(gain, k)
    normaliser = 0.5 * linear @ mean - 0.5 * np.linalg.slogdet(gain)[1]
    inner = p @ np.linalg.solve(gain, across)
    new_mean = across.T @ (linear - p @ mean)
    new_cov = own - across.T @ inner
    for prior in (Dense(KERNELS, X), Inducing(KERNELS, X, X), StateSpace(KERNELS, X)):
        found, predicted, spread = known(Mixed(prior, W), SITES, NEW)
        np.testing.assert_allclose(found.mean.reshape(-1), mean, atol=1e-7)
        blocks = np.stack([cov[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] for i in range(9)])
        np.testing.assert_allclose(found.cov, blocks, atol=1e-7)
        np.testing.assert_allclose(found.log_normaliser, normaliser, atol=1e-6)
        np.testing.assert_allclose(predicted.reshape(-1), new_mean, atol=1e-6)
        blocks = np.stack([new_cov[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] for i in range(3)])
        np.testing.assert_allclose(spread, blocks, atol=1e-6)
    joint_mean, joint = Mixed(Dense(KERNELS, X), W).joint(SITES, NEW)
    np.testing.assert_allclose(joint.reshape(9, 9), new_cov, atol=1e-6)
    np.testing.assert_allclose(joint_mean.reshape(-1), new_mean, atol=1e-6)


def test_every_rule_agrees_with_the_likelihood_that_mixes_itself():
    """Three Poisson counts of two functions: sites on the mixtures are sites on the functions."""

    class Three(likelihoods.Poisson):
        @property
        def num_values(self):
            return 3

        def check(self, y):
            return np.asarray(y, float)

        def log_prob(self, y, f):
            return jnp.sum(y * f - jnp.exp(f) - jax.scipy.special.gammaln(y + 1))

        def expected(self, y, mean, cov):
            return jnp.sum(y * mean - jnp.exp(mean + 0.5 * jnp.diagonal(cov)) - jax.scipy.special.gammaln(y + 1))

    counts = RNG.poisson(1.5, size=(9, 3)).astype(float)
    prior = Dense(KERNELS, X)
    ours = by_every_rule(Mixed(prior, W), Three(), counts, NEW)
    theirs = by_every_rule(prior, likelihoods.PoissonReadout(W, np.zeros(3)), counts, NEW)
    # EP's tilted integrals are over three values by quasi-Monte Carlo there, by 24 x 24 nodes here
    for (evidence, at, _), (truth, same, _), near in zip(ours, theirs, (1e-5, 0.05, 1e-5), strict=True):
        np.testing.assert_allclose(evidence, truth, atol=near)
        np.testing.assert_allclose(at.mean, same.mean @ W.T, atol=near)


def test_kernels_and_mixing_are_trained_and_inputs_are_not():
    prior = Mixed(Dense([RBF(1.0), RBF(0.5)], X), np.ones((2, 2)))
    names = Hyperparameters(prior).names
    assert names == (
        *(f"prior.kernels[{j}].{name}" for j in (0, 1) for name in ("lengthscale", "variance")),
        *(f"mixing[{i}, {j}]" for i in (0, 1) for j in (0, 1)),
    )
    template = gp.LatentModel(prior, likelihoods.Heteroscedastic(), RNG.normal(size=9))

    def evidence(prior, template):
        return gp.site_evidence(CVI(tolerance=1e-9), eqx.tree_at(lambda m: m.prior, template, prior), 100)

    target = EvidenceTarget(evidence, prior, template)
    theta = target.hyperparameters.theta
    value = eqx.filter_jit(lambda theta, target: target.log_density(theta))
    gradient = eqx.filter_jit(jax.grad(lambda theta, target: target.log_density(theta)))(theta, target)
    for i in (0, 5):
        step = 1e-4 * jnp.eye(len(theta))[i]
        slope = (value(theta + step, target) - value(theta - step, target)) / 2e-4
        np.testing.assert_allclose(gradient[i], slope, atol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="2 columns, one for each latent function"):
        Mixed(Dense(KERNELS, X), W.T)
    with pytest.raises(MissingCapability, match="no joint covariance"):
        Mixed(StateSpace(KERNELS, X), W).joint(SITES, NEW)
