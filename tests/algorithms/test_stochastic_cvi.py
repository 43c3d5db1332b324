"""Natural gradients from minibatches: one epoch is the closed form, the fixed point is that of CVI."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen import gp
from jensen._run import run
from jensen.algorithms import CVI, StochasticCVI
from jensen.core import InputError, MissingCapability
from jensen.gp import likelihoods
from jensen.gp.exact import Collapsed
from jensen.gp.kernels import Matern52
from jensen.gp.priors import Dense, Inducing
from jensen.targets import Minibatched, Shuffled

KERNEL = Matern52(1.0, 2.0)
N, BATCH = 96, 16
NEW = np.linspace(-3.5, 3.5, 9)[:, None]


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def rows(kind):
    """A sparse model of N rows drawn from the wave sin(2 x)."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-3, 3, (N, 1)), 0)
    wave = np.sin(2 * x[:, 0])
    draws = {
        "gaussian": (likelihoods.Gaussian(0.3), wave + np.sqrt(0.3) * rng.normal(size=N)),
        "poisson": (likelihoods.Poisson(), rng.poisson(np.exp(wave))),
        "probit": (likelihoods.BernoulliProbit(), (wave + rng.normal(size=N) > 0).astype(float)),
    }
    likelihood, y = draws[kind]
    return gp.LatentModel(Inducing(KERNEL, x, np.linspace(-3, 3, 8)[:, None]), likelihood, y)


def posterior(rule, target, steps, seed=0):
    return run(rule, target, key=jax.random.key(seed), steps=steps, certify=False, progress=False)


def test_one_epoch_of_averaged_steps_is_the_closed_form_for_gaussian_rows():
    """Each row's site is the same at any q, so that the mean over an epoch of N/B sums is the sum over all rows."""
    model = rows("gaussian")
    fit = posterior(StochasticCVI(rate=1.0, settling=1.0), Shuffled(model, BATCH), N // BATCH)
    exact = Collapsed(KERNEL, 0.3, model.prior.x, model.y, model.prior.features)
    mean, cov = fit.posterior.q.predict(NEW)
    np.testing.assert_allclose(mean[:, 0], exact.predict(NEW)[0], atol=1e-9)
    np.testing.assert_allclose(cov[:, 0, 0], exact.predict(NEW)[1], atol=1e-9)


@pytest.mark.parametrize("kind", ["poisson", "probit"])
def test_on_all_rows_it_is_cvi(kind):
    model = rows(kind)
    ours = posterior(StochasticCVI(rate=1.0, settling=0.0), model, 60)
    theirs = posterior(CVI(), model, 60)
    assert ours.runs[-1].stop.name == "CONVERGED"
    for a, b in zip(ours.posterior.q.predict(NEW), theirs.posterior.q.predict(NEW), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    assert float(-ours.history.objective[-1]) == pytest.approx(
        float(theirs.history.scalars["log_evidence"][-1]), abs=1e-8
    )


def test_minibatches_come_close_to_cvi_and_closer_with_more_steps():
    """The mean's distance from CVI's in posterior standard deviations falls with the root of the number of steps."""
    model = rows("poisson")
    mean, cov = posterior(CVI(), model, 60).posterior.q.predict(NEW)
    sd = np.sqrt(cov[:, 0, 0])

    def error(steps, seed):
        q = posterior(StochasticCVI(), Minibatched(model, BATCH), steps, seed).posterior.q
        return np.sqrt(np.mean(((q.predict(NEW)[0] - mean)[:, 0] / sd) ** 2))

    few, many = (np.mean([error(steps, seed) for seed in range(5)]) for steps in (200, 3200))
    # 16 times the steps, a quarter of the error, and half as much again for the spread over five seeds
    assert many < 0.4 * few
    assert many < 0.1


def test_the_minibatch_density_has_no_bias():
    """Over disjoint batches that make up all rows the mean of the scaled log densities is the full one."""
    model = rows("poisson")
    z = jax.random.normal(jax.random.key(0), (model.space.dimension,))
    batches = jnp.arange(N).reshape(-1, BATCH)
    values = eqx.filter_jit(jax.vmap(lambda b: model.minibatch(b).log_density(z)))(batches)
    np.testing.assert_allclose(jnp.mean(values), model.log_density(z), rtol=1e-10)


def test_what_cannot_be_done_is_said_at_the_door():
    with pytest.raises(InputError, match="rate"):
        StochasticCVI(rate=0.0)
    model = rows("poisson")
    dense = gp.LatentModel(Dense(KERNEL, model.prior.x), likelihoods.Poisson(), model.y)
    with pytest.raises(MissingCapability, match="Inducing"):
        posterior(StochasticCVI(), Minibatched(dense, BATCH), 5)
