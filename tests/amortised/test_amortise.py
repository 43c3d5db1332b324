import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.amortised import Amortised, Mixture, Set, SimulatedKL, SplineFlow, Vector, amortise, neural_posterior
from jensen.amortised.amortise import simulations
from jensen.amortised.simulated_kl import SimulatedPairs
from jensen.calibration import sbc
from jensen.core import InputError, real_space
from jensen.families import DiagonalGaussian

SIZE = 6


def prior(key):
    return {"mu": jax.random.normal(key, (2,))}


def model(key, x):
    """Between one and six rows y ~ N(mu, I): the posterior is N(sum y / (n + 1), I / (n + 1))."""
    key_count, key_rows = jax.random.split(key)
    mask = jnp.arange(SIZE) < jax.random.randint(key_count, (), 1, SIZE + 1)
    return {"y": x["mu"] + jax.random.normal(key_rows, (SIZE, 2)), "mask": mask}


SIMULATOR = jn.targets.from_simulator(prior, model)


class Exact(jn.core.Family):
    """The conjugate posterior as a conditional density."""

    dimension = 2

    def given(self, data):
        n = jnp.sum(data["mask"]) + 1.0
        mean = data["mask"].astype(float) @ data["y"] / n
        return DiagonalGaussian(mean, jnp.full(2, -0.5 * jnp.log(n)))

    def sample(self, key):
        raise NotImplementedError

    @classmethod
    def from_config(cls, config):
        raise NotImplementedError


def test_the_objective_at_the_exact_posterior_is_the_expected_entropy(key):
    """H = E[1 + log(2 pi / (n + 1))], n uniform on 1 .. 6, for two coordinates."""
    estimate = SimulatedKL(batch_size=20_000).loss(key, Exact(), SimulatedPairs(SIMULATOR))
    truth = np.mean([1 + np.log(2 * np.pi / (n + 1)) for n in range(1, 7)])
    assert abs(estimate.value - truth) < 5 * estimate.standard_error
    assert 5 * estimate.standard_error < 0.1
    assert estimate.value == estimate.surrogate


@pytest.fixture(scope="module")
def trained():
    network = neural_posterior(jax.random.key(0), SIMULATOR, Set(width=16, blocks=1), Mixture(2, 32))
    return amortise(SIMULATOR, network, key=jax.random.key(1), steps=1500, batch_size=128, learning_rate=3e-3)


def test_an_amortised_posterior_comes_near_the_conjugate_one(trained):
    """Mean KL from the exact posterior below 0.03 nats, by the mean and standard error of log density ratios."""
    z, data = simulations(jax.random.key(2), SIMULATOR, 4000)

    def ratio(z, data):
        return Exact().given(data).log_prob(z) - trained.given(data).log_prob(z)

    ratios = np.asarray(jax.jit(jax.vmap(ratio))(z, data))
    error = ratios.std() / np.sqrt(len(ratios))
    assert -5 * error < ratios.mean() < 0.03
    assert 5 * error < 0.03
    assert trained.run.history.objective[-200:].mean() < trained.run.history.objective[:50].mean() - 0.5


def test_it_is_calibrated_to_what_a_thousand_data_sets_show(trained):
    result = sbc(trained, SIMULATOR, key=jax.random.key(3))
    assert np.all(np.abs(result.probabilities.mean(0) - 0.5) < 0.05)
    assert np.all(np.abs(result.probabilities.std(0) * np.sqrt(12) - 1) < 0.08)


def test_the_posterior_of_data_is_a_posterior(trained):
    _, data = SIMULATOR.simulate(jax.random.key(4))
    posterior = trained.posterior(data)
    assert set(posterior.sample(jax.random.key(5), 10)) == {"mu"}
    exact = Exact().given(data)
    mean, _ = posterior.mean_and_cov()
    assert np.all(np.abs(mean - exact.mean) < jnp.exp(exact.log_scale))


def test_rows_may_come_in_any_order_and_what_is_masked_is_not_seen(trained):
    _, data = SIMULATOR.simulate(jax.random.key(6))
    z, order = jnp.array([0.3, -0.4]), jax.random.permutation(jax.random.key(7), SIZE)
    moved = jax.tree.map(lambda a: a[order], data)
    filled = data | {"y": jnp.where(data["mask"][:, None], data["y"], 77.0)}
    value = trained.given(data).log_prob(z)
    np.testing.assert_allclose(trained.given(moved).log_prob(z), value, rtol=1e-9)
    np.testing.assert_allclose(trained.given(filled).log_prob(z), value, rtol=1e-9)


def test_a_budget_of_simulations_is_stored_and_held_out():
    flat = jn.targets.from_simulator(prior, lambda key, x: x["mu"] + jax.random.normal(key, (2,)))
    network = neural_posterior(jax.random.key(0), flat, Vector(16, 1, 8), SplineFlow(1, 4, 16))
    short = amortise(flat, network, key=jax.random.key(1), steps=300, batch_size=64, budget=500)
    objective = short.run.history.objective
    # measured on the same 50 pairs at every step: far smoother than fresh batches of 50 would be
    assert np.std(np.diff(objective[-50:])) < 0.05
    assert objective[-50:].mean() < objective[0]


def test_what_is_trained_is_the_weights_and_not_the_data():
    network = neural_posterior(jax.random.key(0), SIMULATOR, Set(8, 1, 2, 8), Mixture(1, 8))
    _, data = SIMULATOR.simulate(jax.random.key(0))
    trainable, rest = Amortised(network, data).partition()
    assert not jax.tree.leaves(trainable.data)
    assert len(jax.tree.leaves(rest.data)) == 2
    assert jax.tree.leaves(trainable.conditional)


def test_bad_input_is_refused_at_the_door():
    key = jax.random.key(0)
    nan = jn.targets.from_simulator(prior, lambda key, x: jnp.full(3, jnp.nan) * x["mu"][0])
    small = jn.targets.from_simulator(lambda k: {"a": jax.random.normal(k)}, lambda k, x: x["a"] + jnp.zeros(2))
    scalar = jn.targets.from_simulator(lambda k: {"a": jax.random.normal(k)}, lambda k, x: x["a"])
    for run, words in (
        (lambda: amortise(lambda: 0, key=key), "Simulator"),
        (lambda: amortise(SIMULATOR, key=key, budget=10), "budget"),
        (lambda: amortise(nan, key=key), "NaN or infinite"),
        (lambda: SimulatedKL(batch_size=0), "batch_size"),
        (lambda: neural_posterior(key, SIMULATOR, Set(width=10, heads=4)), "multiple of its heads"),
        (lambda: neural_posterior(key, small, head=Mixture(0)), "components"),
        (lambda: neural_posterior(key, scalar, encoder=Set()), "axis of rows"),
        (lambda: SimulatedKL().loss(key, DiagonalGaussian(jnp.zeros(2), jnp.zeros(2)), SIMULATOR), "conditional"),
        (lambda: jn.run(jn.algorithms.Laplace(), SimulatedPairs(SIMULATOR), key=key), "no log density"),
        (lambda: amortise(SIMULATOR, neural_posterior(key, small), key=key), "on R"),
    ):
        with pytest.raises(InputError, match=words):
            run()
    assert SimulatedPairs(SIMULATOR).space.dimension == real_space(mu=(2,)).dimension


def test_data_that_are_not_finite_are_refused(trained):
    _, data = SIMULATOR.simulate(jax.random.key(0))
    with pytest.raises(InputError, match="NaN"):
        trained.posterior(data | {"y": data["y"].at[0, 0].set(jnp.nan)})
