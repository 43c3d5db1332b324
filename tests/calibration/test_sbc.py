import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from tests.contract.helpers import compilations

import jensen as jn
from jensen._run import drive, run_inside, run_interleaved
from jensen.calibration import sbc
from jensen.core import DensityPosterior, InputError, MissingCapability
from jensen.families import DiagonalGaussian

FALSE_ALARM = 1e-6


def normal_mean():
    """mu ~ N(0, I_2), four rows y ~ N(mu, I): the posterior is N(sum y / 5, I / 5)."""
    return jn.targets.from_simulator(
        lambda key: {"mu": jax.random.normal(key, (2,))},
        lambda key, x: x["mu"] + jax.random.normal(key, (4, 2)),
        log_joint=lambda x, y: -0.5 * jnp.sum(x["mu"] ** 2) - 0.5 * jnp.sum((y - x["mu"]) ** 2),
    )


class Conjugate(eqx.Module):
    """The exact posterior, moved by `shift` of its standard deviations and scaled by `width`."""

    shift: float = 0.0
    width: float = 1.0

    def given(self, data):
        scale = 1 / np.sqrt(5)
        mean = jnp.sum(data, 0) / 5 + self.shift * scale
        return DiagonalGaussian(mean, jnp.full(2, np.log(self.width * scale)))


def test_the_exact_posterior_is_calibrated_and_wrong_ones_are_not():
    def run(method):
        return sbc(method, normal_mean(), key=jax.random.key(0))

    exact, shifted, narrow = run(Conjugate()), run(Conjugate(shift=0.4)), run(Conjugate(width=0.7))
    assert np.all(exact.uniformity > FALSE_ALARM)
    assert np.all(exact.symmetry > FALSE_ALARM)
    assert exact.passed(FALSE_ALARM)
    assert np.all(shifted.symmetry < FALSE_ALARM)
    assert not shifted.passed()
    assert np.all(narrow.uniformity < FALSE_ALARM)
    assert np.all(narrow.symmetry > FALSE_ALARM)  # its centre is right
    assert "P(uniform)" in str(narrow)
    assert exact.names == ("mu[0]", "mu[1]")
    # ranks of exact draws: mean 1/2 within five standard errors
    assert np.all(np.abs(exact.probabilities.mean(0) - 0.5) < 5 / np.sqrt(12 * 1000))


def test_an_exact_algorithm_is_calibrated_and_a_second_call_compiles_nothing():
    result = sbc(jn.algorithms.Laplace(), normal_mean(), key=jax.random.key(0), replicas=400, steps=20)
    assert result.passed(FALSE_ALARM)
    assert result.failed == 0
    with compilations() as count:
        sbc(jn.algorithms.Laplace(tolerance=2e-3), normal_mean_again, key=jax.random.key(1), replicas=400, steps=20)
    assert len(count) <= 1  # the key's own


normal_mean_again = normal_mean()


def test_a_run_inside_a_program_is_a_run_of_the_loop():
    simulator, key = normal_mean(), jax.random.key(3)
    target = simulator.condition(simulator.simulate(jax.random.key(4))[1])
    for algorithm, steps in ((jn.algorithms.BatchMatch(), 40), (jn.algorithms.NaturalGradientVI(), 20)):
        state, ok, draws = eqx.filter_jit(run_inside)(algorithm, target, key, steps)
        outcome = drive(algorithm, target, key=key, steps=steps)
        assert bool(ok)
        assert draws is None
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(outcome.state), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_chains_are_thinned_and_ranked():
    nuts = jn.algorithms.NUTS(chains=1)
    result = sbc(nuts, normal_mean(), key=jax.random.key(0), replicas=60, num_draws=11, steps=60)
    assert result.ranks.shape == (60, 2)
    assert np.all((result.ranks >= 0) & (result.ranks <= 11))
    assert np.all(np.abs(result.probabilities.mean(0) - 0.5) < 5 / np.sqrt(12 * 60))
    with pytest.raises(InputError, match="more steps"):
        sbc(nuts, normal_mean(), key=jax.random.key(0), replicas=20, num_draws=99, steps=20)


def test_a_replica_that_fails_is_counted():
    def log_joint(x, y):
        return jnp.where(y[0, 0] > 0, jnp.nan, -0.5 * jnp.sum((y - x["mu"]) ** 2))

    simulator = jn.targets.from_simulator(
        lambda key: {"mu": jax.random.normal(key, (1,))}, lambda key, x: jax.random.normal(key, (3, 1)), None, log_joint
    )
    result = sbc(jn.algorithms.Laplace(), simulator, key=jax.random.key(0), replicas=100, steps=10)
    assert 25 < result.failed < 75  # about half: five standard errors
    assert len(result.ranks) == 100 - result.failed
    assert not result.passed()


def linear(x, scale, y=None):
    slope = numpyro.sample("slope", dist.Normal(0, 2))
    with numpyro.plate("rows", 5):
        numpyro.sample("y", dist.Normal(slope * x, scale), obs=y)


X = np.linspace(-1, 1, 5)


def test_a_numpyro_model_simulates_its_joint_distribution_and_is_fitted_to_what_it_simulates():
    simulator = jn.targets.simulator_from_numpyro(linear, X, 0.5, y=np.zeros(5))
    z, data = jn.amortised.simulations(jax.random.key(0), simulator, 4000)
    assert data["y"].shape == (4000, 5)
    slope = np.asarray(z[:, 0])
    assert abs(slope.std() - 2) < 5 * 2 / np.sqrt(2 * 4000)
    noise = np.asarray(data["y"]) - slope[:, None] * X
    assert np.all(np.abs(noise.std(0) - 0.5) < 5 * 0.5 / np.sqrt(2 * 4000))
    one = {"y": data["y"][0]}
    again = jn.targets.from_numpyro(linear, X, 0.5, y=np.asarray(one["y"]))
    for value in (-1.0, 0.7):
        at = jnp.array([value])
        np.testing.assert_allclose(simulator.condition(one).log_density(at), again.log_density(at), rtol=1e-12)
    assert sbc(jn.algorithms.Laplace(), simulator, key=jax.random.key(1), replicas=400).passed(FALSE_ALARM)


def test_supports_have_their_jacobian():
    simulator = jn.targets.from_simulator(
        lambda key: {"rate": jax.random.gamma(key, 2.0)},
        lambda key, x: jax.random.poisson(key, x["rate"], (3,)),
        {"rate": jn.core.positive()},
        lambda x, y: jnp.log(x["rate"]) - x["rate"] + jnp.sum(y) * jnp.log(x["rate"]) - 3 * x["rate"],
    )
    z, data = simulator.simulate(jax.random.key(0))
    target, rate = simulator.condition(data), jnp.exp(z[0])
    truth = (2 + jnp.sum(data)) * jnp.log(rate) - 4 * rate
    np.testing.assert_allclose(target.log_density(z), truth, rtol=1e-10)


def test_what_cannot_be_simulated_is_refused():
    def improper(y=None):
        mu = numpyro.sample("mu", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)

    def factored(y=None):
        mu = numpyro.sample("mu", dist.Normal(0, 1))
        numpyro.factor("tilt", mu)
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)

    def silent():
        numpyro.sample("mu", dist.Normal(0, 1))

    for model, args, words in (
        (improper, (0.5,), "'mu' has an improper prior"),
        (factored, (0.5,), "'tilt' is a factor"),
        (silent, (), "no observed site"),
    ):
        with pytest.raises(InputError, match=words):
            jn.targets.simulator_from_numpyro(model, *args)
    with pytest.raises(InputError, match="observed sites y"):
        jn.targets.simulator_from_numpyro(linear, X, 0.5, y=np.zeros(5)).condition({"x": 1})


def test_functions_that_are_no_simulator_are_refused():
    def prior(key):
        return {"a": jax.random.normal(key)}

    def model(key, x):
        return x["a"] + jax.random.normal(key, (2,))

    for args, words in (
        ((1, model), "prior must be a function"),
        ((lambda key: jax.random.normal(key), model), "dict of arrays"),
        ((prior, lambda key, x: x["b"]), "model fails"),
        ((prior, lambda key, x: None), "no data"),
        ((prior, model, {"c": jn.core.positive()}), "unknown of the prior"),
        ((prior, model, None, lambda x, y: y), "scalar"),
    ):
        with pytest.raises(InputError, match=words):
            jn.targets.from_simulator(*args)
    with pytest.raises(InputError, match="no density"):
        jn.targets.from_simulator(prior, model).condition(np.zeros(2))


def test_bad_settings_are_refused_before_anything_runs():
    good, key = normal_mean_again, jax.random.key(0)
    for kwargs in ({"replicas": 5}, {"num_draws": 0}, {"steps": 0}, {"replicas": 50.0}):
        with pytest.raises(InputError, match="whole number"):
            sbc(Conjugate(), good, key=key, **kwargs)
    with pytest.raises(InputError, match="able to simulate"):
        sbc(Conjugate(), jn.targets.synthetic.Banana(), key=key)
    with pytest.raises(InputError, match="algorithm or an amortised"):
        sbc(lambda data: DensityPosterior, good, key=key)
    with pytest.raises(InputError, match="key must be"):
        sbc(Conjugate(), good, key=0)
    with pytest.raises(InputError, match="level"):
        sbc(Conjugate(), good, key=key, replicas=20).passed(1.0)
    assert issubclass(MissingCapability, InputError)


def test_replicas_that_do_not_wait_for_one_another_run_as_they_would_alone():
    """Three lanes, seven replicas of very different trajectories: the states and draws of each are those of its run."""
    simulator, replicas, steps = normal_mean_again, 7, 40
    nuts = jn.algorithms.NUTS(chains=2, max_doublings=4)
    keys = jax.random.split(jax.random.key(5), 2 * replicas)
    data = jax.vmap(simulator.simulate)(keys[:replicas])[1] * (10.0 ** jnp.arange(replicas))[:, None, None]

    @eqx.filter_jit
    def together(nuts, data, keys):
        return run_interleaved(nuts, simulator.condition, data, keys, steps, 3)

    state, ok, draws = together(nuts, data, keys[replicas:])
    assert np.all(ok)
    alone = eqx.filter_jit(run_inside)
    for i in range(replicas):
        one, fine, drawn = alone(nuts, simulator.condition(data[i]), keys[replicas + i], steps)
        assert bool(fine)
        np.testing.assert_allclose(draws["z"][i], drawn["z"], rtol=1e-6)
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-6, atol=1e-9)


def test_a_replica_of_chains_that_finds_no_start_is_counted():
    def log_joint(x, y):
        return jnp.where(y[0, 0] > 0, jnp.nan, -0.5 * jnp.sum((y - x["mu"]) ** 2))

    simulator = jn.targets.from_simulator(
        lambda key: {"mu": jax.random.normal(key, (1,))}, lambda key, x: jax.random.normal(key, (3, 1)), None, log_joint
    )
    nuts = jn.algorithms.NUTS(chains=1, max_doublings=3)
    result = sbc(nuts, simulator, key=jax.random.key(0), replicas=100, num_draws=5, steps=20)
    assert 25 < result.failed < 75  # about half: five standard errors
