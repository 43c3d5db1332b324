import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.amortised import Mixture, Regression, Vector, amortise
from jensen.amortised.conditional import Conditional
from jensen.families import DiagonalGaussian

SEEDS = range(5)
N, D, WIDTH = 2000, 3, 5
MAP = np.random.default_rng(0).normal(size=(WIDTH, D))
NOISE = 0.3


def pairs(seed, n=N):
    """z ~ N((1, -20, 0), diag(1, 100, 1e-4)), data = A z / sd + noise: jointly Gaussian, in awkward units."""
    rng = np.random.default_rng(seed)
    sd, mean = np.array([1.0, 10.0, 0.01]), np.array([1.0, -20.0, 0.0])
    z = mean + sd * rng.normal(size=(n, D))
    data = ((z - mean) / sd) @ MAP.T + NOISE * rng.normal(size=(n, WIDTH))
    cov = np.linalg.inv(np.eye(D) + MAP.T @ MAP / NOISE**2)

    def exact(x):
        return mean + sd * (cov @ MAP.T @ x / NOISE**2), np.outer(sd, sd) * cov

    return jnp.asarray(z), jnp.asarray(100 + 1e3 * data), exact


class Standard(Conditional):
    size: int

    @property
    def dimension(self):
        return self.size

    def given(self, data):
        return DiagonalGaussian(jnp.zeros(self.size), jnp.zeros(self.size))


def plain(fitted):
    """The regression alone: what it leaves taken for standard normal."""
    return eqx.tree_at(lambda f: f.rest, fitted, Standard(fitted.dimension))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_linear_gaussian_posterior_is_found_without_training(seed):
    z, data, exact = pairs(seed)
    q = plain(Regression(Vector(8, 1, 4), Mixture(1, 8)).build(jax.random.key(seed), z, data)).given(data[0])
    mean, cov = exact((np.asarray(data[0]) - 100) / 1e3)
    draws = np.asarray(jax.vmap(q.sample)(jax.random.split(jax.random.key(1), 4000)))
    sd = np.sqrt(np.diag(cov))
    # least squares: a prediction's variance is sigma^2 (1 + |x|^2) / n; draws: sigma^2 / 4000
    x = (np.asarray(data[0]) - np.asarray(data).mean(0)) @ np.linalg.inv(np.cov(np.asarray(data).T))
    leverage = (1 + x @ (np.asarray(data[0]) - np.asarray(data).mean(0))) / N
    assert np.all(np.abs(draws.mean(0) - mean) < 5 * sd * np.sqrt(leverage + 1 / 4000))
    assert np.all(np.abs(draws.std(0) / sd - 1) < 5 * np.sqrt(1 / (2 * N) + 1 / 8000))
    np.testing.assert_allclose(np.corrcoef(draws.T), cov / np.outer(sd, sd), atol=5 * (1 / np.sqrt(N) + 1 / 63))


def test_data_that_say_nothing_leave_the_prior_and_data_that_say_all_leave_a_density():
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(100, 2)))
    nothing = Regression(Vector(4, 1, 2), Mixture(1, 4)).build(
        jax.random.key(0), z, jnp.asarray(rng.normal(size=(100, 300)))
    )
    # cross-validation sees that 300 features of 100 simulations predict nothing: the prior's spread, within 5 sd
    spread = np.sqrt(np.diag(nothing.tril @ nothing.tril.T)) / np.asarray(z).std(0)
    assert np.all(np.abs(spread - 1) < 5 / np.sqrt(200))
    everything = plain(Regression(Vector(4, 1, 2), Mixture(1, 4)).build(jax.random.key(0), z, 3 * z - 1))
    assert np.isfinite(float(everything.given(3 * z[0] - 1).log_prob(z[0])))
    constant = Regression(Vector(4, 1, 2), Mixture(1, 4)).build(jax.random.key(0), z, jnp.ones((100, 2)))
    assert np.all(np.isfinite(np.asarray(constant.tril)))


def test_it_is_trained_and_saved_as_any_other(tmp_path):
    simulator = jn.targets.from_simulator(
        lambda key: {"mu": jax.random.normal(key, (2,))}, lambda key, x: x["mu"] + jax.random.normal(key, (2,))
    )
    builder = Regression(Vector(8, 1, 4), Mixture(2, 8))
    fit = amortise(simulator, builder, key=jax.random.key(0), steps=20, batch_size=16, budget=500)
    data = jnp.array([1.0, -1.0])
    posterior = fit.posterior(data)
    again = jn.amortised.load(fit.save(tmp_path / "q.npz"))
    z = jnp.array([0.3, 0.2])
    assert again.given(data).log_prob(z) == fit.given(data).log_prob(z)
    assert posterior.sample(jax.random.key(1), 5)["mu"].shape == (5, 2)
    assert simulator.space.dimension == fit.conditional.dimension == 2
