import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.core import InputError, Sites
from jensen.gp.kernels import Matern52
from jensen.gp.latent import LatentModel
from jensen.gp.likelihoods import BernoulliLogit, Gaussian, Softmax
from jensen.gp.priors import Dense, Inducing
from jensen.gp.streaming import greedy_inputs, streaming_gp

KERNEL = Matern52(lengthscale=0.7, variance=1.3)
NEW = jnp.linspace(-2.5, 2.5, 9)[:, None]


def rows(n=60, seed=0):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-2, 2, n))[:, None]
    return x, np.sin(3 * x[:, 0]) + 0.3 * rng.normal(size=n)


def streamed(gp, x, y, batches, key=None, **settings):
    key = jax.random.key(0) if key is None else key
    for own_x, own_y in zip(np.array_split(x, batches), np.array_split(y, batches), strict=True):
        gp = gp.update(key, own_x, own_y, **settings)
    return gp


def exact(prior, y, noise):
    n = len(y)
    sites = Sites(jnp.asarray(y)[:, None] / noise, jnp.full((n, 1, 1), 1 / noise))
    mean, cov = prior.predict(sites, NEW)
    return mean[:, 0], cov[:, 0, 0]


@pytest.mark.parametrize("remember", [0, 3])
def test_batches_of_gaussian_rows_give_the_batch_posterior(remember):
    x, y = rows()
    z = np.linspace(-2, 2, 7)[:, None]
    # a step of rate 1 is exact for a Gaussian likelihood
    gp = streamed(streaming_gp(KERNEL, Gaussian(0.1), z, rate=1.0), x, y, 10, remember=remember, steps=1)
    for found, truth in zip(gp.predict(NEW), exact(Inducing(KERNEL, x, z), y, 0.1), strict=True):
        np.testing.assert_allclose(found, truth, atol=1e-8)
    assert int(gp.num_seen) == 60
    assert int(gp.kept) == 10 * remember


def test_all_inputs_as_inducing_ones_give_the_exact_process():
    x, y = rows(30)
    gp = streamed(streaming_gp(KERNEL, Gaussian(0.1), x, rate=1.0), x, y, 3, steps=1)
    for found, truth in zip(gp.predict(NEW), exact(Dense(KERNEL, x), y, 0.1), strict=True):
        np.testing.assert_allclose(found, truth, atol=1e-7)


def test_more_inducing_inputs_keep_the_predictions():
    x, y = rows()
    gp = streaming_gp(KERNEL, BernoulliLogit(), x[::8]).update(jax.random.key(0), x, y > 0)
    moved = gp.moved(jnp.concatenate([gp.z, jnp.array([[-3.0], [0.123], [2.7]])]))
    for a, b in zip(gp.predict(NEW), moved.predict(NEW), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    np.testing.assert_allclose(gp.divergence(), moved.divergence(), atol=1e-7)


def test_a_memory_of_everything_goes_to_the_posterior_of_all_rows():
    x, y = rows()
    z, labels = x[::6], (y > 0).astype(float)
    target = LatentModel(Inducing(KERNEL, x, z), BernoulliLogit(), labels)
    fit = jn.run(jn.algorithms.CVI(tolerance=1e-10), target, key=jax.random.key(0), certify=False)
    mean, cov = eqx.filter_jit(fit.posterior.q.predict)(NEW)
    gp = streamed(streaming_gp(KERNEL, BernoulliLogit(), z), x, labels, 3, remember=20)
    before = gp.predict(NEW)[0]
    gp = eqx.filter_jit(lambda gp: gp.refreshed(100))(gp)
    found = gp.predict(NEW)
    np.testing.assert_allclose(found[0], mean[:, 0], atol=1e-6)
    np.testing.assert_allclose(found[1], cov[:, 0, 0], atol=1e-6)
    assert jnp.max(jnp.abs(before - mean[:, 0])) > 1e-4


def test_the_ledger_is_what_the_memory_has_given():
    x, y = rows()
    labels = (y > 0).astype(float)
    gp = streamed(streaming_gp(KERNEL, BernoulliLogit(), x[::6]), x[:20], labels[:20], 1, remember=20)
    for a, b in zip(jax.tree.leaves(gp.duals), jax.tree.leaves(gp.ledger), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_the_divergence_is_that_of_two_gaussians():
    x, y = rows(20)
    gp = streaming_gp(KERNEL, Gaussian(0.2), x[::4], rate=1.0).update(jax.random.key(0), x, y, steps=1)
    k = KERNEL(gp.z, gp.z)
    s = k @ jnp.linalg.solve(k + gp.duals.precision, k)
    m = k @ jnp.linalg.solve(k + gp.duals.precision, gp.duals.linear)
    inner = jnp.trace(jnp.linalg.solve(k, s)) + m @ jnp.linalg.solve(k, m) - len(m)
    truth = 0.5 * (inner + jnp.linalg.slogdet(k)[1] - jnp.linalg.slogdet(s)[1])
    np.testing.assert_allclose(gp.divergence(), truth, rtol=1e-6)


def test_the_learning_objective_of_all_rows_is_the_bound():
    x, y = rows(40)
    z = x[::8]
    gp = streaming_gp(KERNEL, Gaussian(0.1), z, rate=1.0).update(jax.random.key(0), x, y, remember=0, steps=1)
    target = LatentModel(Inducing(KERNEL, x, z), Gaussian(0.1), y)
    sites = Sites(jnp.asarray(y)[:, None] / 0.1, jnp.full((40, 1, 1), 10.0))
    truth = jn.algorithms.CVI().log_evidence(sites, target.prior.condition(sites), target)
    np.testing.assert_allclose(gp.learning_objective(KERNEL, Gaussian(0.1), x, y), truth, rtol=1e-9)


def test_greedy_inputs_leave_the_least_and_are_not_repeated():
    x = jnp.asarray(np.repeat(np.random.default_rng(0).normal(size=(20, 2)), 2, 0))
    chosen = greedy_inputs(KERNEL, x, 40)
    assert len(np.unique(np.asarray(chosen), axis=0)) == len(chosen) == 20
    few = streaming_gp(KERNEL, Gaussian(0.1), x[:3]).update(jax.random.key(0), x, x[:, 0], num_inducing=8)
    assert few.z.shape == (8, 2)


def test_bad_input_is_refused():
    x, y = rows(10)
    gp = streaming_gp(KERNEL, BernoulliLogit(), x[:3])
    with pytest.raises(InputError, match="BernoulliLogit wants labels"):
        gp.update(jax.random.key(0), x, y)
    with pytest.raises(InputError, match="2 columns"):
        gp.update(jax.random.key(0), np.zeros((4, 2)), np.zeros(4))
    with pytest.raises(InputError, match="finite"):
        gp.update(jax.random.key(0), np.full((4, 1), np.nan), np.zeros(4))
    with pytest.raises(InputError, match="one for each"):
        gp.update(jax.random.key(0), x, np.zeros(4))
    with pytest.raises(InputError, match="several latent"):
        streaming_gp(KERNEL, Softmax(3), x)
