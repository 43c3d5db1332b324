import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen import gp
from jensen.core import InputError, Sites
from jensen.gp import EvidenceTarget, Exact, Hyperparameters
from jensen.gp.kernels import RBF, DeepKernel, Matern32, deep_kernel
from jensen.gp.priors import Dense, Inducing, Vecchia

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 2)) * [1.0, 20.0]
SITES = Sites(jnp.asarray(RNG.normal(size=(10, 1))), jnp.ones((10, 1, 1)))


class Same(eqx.Module):
    def __call__(self, x):
        return x


def test_with_the_identity_it_is_the_plain_kernel_in_every_prior():
    plain, deep = Matern32([1.0, 20.0], 1.3), DeepKernel(Same(), Matern32(1.0, 1.3), 0.5, [1.0, 20.0])
    np.testing.assert_allclose(deep(X, X[:3]), plain(X, X[:3]), atol=1e-12)
    np.testing.assert_allclose((deep + deep)(X, X[:3]), 2 * plain(X, X[:3]), atol=1e-12)
    for prior in (
        lambda k: Dense(k, X),
        lambda k: Inducing(k, X, X[:4]),
        lambda k: Vecchia(k, X, gp.priors.nearest_neighbours(X, 4, [1.0, 20.0])),
    ):
        ours, theirs = prior(deep).condition(SITES), prior(plain).condition(SITES)
        np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-9)
        np.testing.assert_allclose(ours.log_normaliser, theirs.log_normaliser, atol=1e-9)


def test_weights_are_real_hyperparameters_and_standardisation_is_none():
    kernel = deep_kernel(jax.random.key(0), RBF(), X, 3, 1, 2)
    parts = Hyperparameters({"kernel": kernel})
    assert len(parts.names) == (2 * 3 + 3) + (3 * 2 + 2) + 2
    assert list(parts.logarithmic) == [False] * 17 + [True] * 2
    assert parts.names[0] == "kernel.network.layers[0].weight[0, 0]"
    back = parts.at(parts.theta)["kernel"]
    np.testing.assert_allclose(back(X, X), kernel(X, X), atol=1e-12)
    z = (X - X.mean(0)) / X.std(0)
    np.testing.assert_allclose(kernel.features(X), eqx.filter_jit(jax.vmap(kernel.network))(z), atol=1e-12)


def evidence(tree, x, y):
    return Exact(tree["kernel"], tree["noise"], x, y).log_evidence()


def test_a_step_has_higher_evidence_than_by_the_plain_kernel():
    x = jnp.linspace(-1, 1, 40)[:, None]
    y = jnp.where(x[:, 0] > 0.1, 1.0, -1.0) + 0.05 * jnp.asarray(RNG.normal(size=40))
    best = []
    for kernel in (RBF(0.3), deep_kernel(jax.random.key(0), RBF(), x, 6, 1, 1)):
        target = EvidenceTarget(evidence, {"kernel": kernel, "noise": jnp.asarray(0.05)}, x, y)
        fit = jn.run(jn.algorithms.Mode(num_starts=1), target, key=jax.random.key(0), steps=200, certify=False)
        best.append(float(evidence(target.hyperparameters.at(fit.posterior.z), x, y)))
    assert best[1] > best[0] + 10


def test_bad_sizes_are_refused():
    with pytest.raises(InputError, match="Sizes must be 1 or more"):
        deep_kernel(jax.random.key(0), RBF(), X, width=0)
    with pytest.raises(InputError, match="finite"):
        deep_kernel(jax.random.key(0), RBF(), np.full((3, 1), np.nan))
