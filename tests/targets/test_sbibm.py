"""The simulation benchmark's tasks against its reference posteriors, and each simulator against its own density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import jensen as jn
from jensen.core import UnknownName
from jensen.targets import sbibm, sbibm_names

DRAWS = 1000
MOMENTS = {  # of log theta
    "lotka_volterra": (np.array([-0.125, -3.0, -0.125, -3.0]), np.full(4, 0.5)),
    "sir": (np.log([0.4, 0.125]), np.array([0.5, 0.2])),
}
ODES = tuple(MOMENTS)
SMOOTH = [name for name in sbibm_names() if name != "two_moons"]  # whose density falls to zero from a height


def observed(name):
    """(data as the task has them, reference draws) of the first observation."""
    held = jn.datasets.load(f"sbibm/{name.removesuffix('_raw')}")
    data = jn.datasets.load("sbibm/bernoulli_glm_extra")["observation_raw"][0] if "raw" in name else None
    data = held["observation"][0] if data is None else data
    draws = held["samples"][0].astype(float)
    return jnp.asarray(data, float).reshape(4, 2) if name == "slcp" else jnp.asarray(data, float), draws


def assert_means(values, truth):
    """Column means within five standard errors of the truth; the standard errors."""
    error = values.std(0) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(0) - truth) < 5 * error), (values.mean(0), error)
    return error


@jax.jit
def slopes_of(simulator, z, data):
    """Gradients of the log density of the posterior of each row of data at each z."""

    def one(pair):
        return jax.grad(simulator.condition(pair[1]).log_density)(pair[0])

    return jax.lax.map(one, (z, data), batch_size=100)


@pytest.mark.parametrize("name", SMOOTH)
def test_reference_draws_are_of_the_posterior_and_draws_of_the_simulator_of_the_joint_density(name):
    """Stein's identities, E[grad log p] = 0 and E[(u_i - m_i) d_i log p] = -1 for any m, in whitened coordinates u.

    They hold over the posterior of given data, and so over draws of (z, data).
    """
    simulator = sbibm(name)
    data, draws = observed(name)
    unconstrain = jax.jit(jax.vmap(lambda theta: simulator.space.unconstrain({"theta": theta})))
    z, others = (np.asarray(unconstrain(draws[i :: len(draws) // DRAWS])) for i in (0, 5))
    assert np.all(np.isfinite(z))
    tril = np.linalg.cholesky(np.cov(others.T))
    slopes = np.asarray(slopes_of(simulator, z, jnp.broadcast_to(data, (DRAWS, *data.shape)))) @ tril
    white = np.linalg.solve(tril, (z - others.mean(0)).T).T
    assert_means(slopes, 0.0)
    error = assert_means(white * slopes, -1.0)
    if name != "slcp":  # whose slopes are without bound where its scales vanish
        assert np.all(5 * error < 0.6)  # a scale that is wrong by a third in any direction could not hide
    if name not in ODES:
        z, data = jn.amortised.simulations(jax.random.key(0), simulator, DRAWS)
        slopes = np.asarray(slopes_of(simulator, z, data))
        assert_means(slopes, 0.0)
        assert_means(np.asarray(z) * slopes, -1.0)


FIELDS = {
    "sir": (lambda t, y: [-0.5 * y[0] * y[1], 0.5 * y[0] * y[1] - 0.1 * y[1]], [1 - 1e-6, 1e-6], 17.0, [0.5, 0.1]),
    "lotka_volterra": (
        lambda t, y: [0.9 * y[0] - 0.05 * y[0] * y[1], -0.8 * y[1] + 0.04 * y[0] * y[1]],
        [30.0, 1.0],
        2.1,
        [0.9, 0.05, 0.8, 0.04],
    ),
}


@pytest.mark.parametrize("name", ODES)
def test_data_of_equations_scatter_about_their_solution(name):
    """The solution by SciPy; binomial counts, or log-normal errors of 0.1, by mean and variance; and the prior's."""
    field, start, gap, theta = FIELDS[name]
    times = gap * np.arange(10)
    truth = solve_ivp(field, (0.0, times[-1]), start, t_eval=times, rtol=1e-10, atol=1e-14).y
    simulator, n = sbibm(name), 2000
    keys = jax.random.split(jax.random.key(0), n)
    data = np.asarray(jax.jit(jax.vmap(simulator.model, (0, None)))(keys, {"theta": jnp.array(theta)}))
    if name == "sir":
        mean, variance = 1000 * truth[1], 1000 * truth[1] * (1 - truth[1])
    else:
        data, mean, variance = np.log(data), np.log(truth.reshape(-1)), np.full(20, 0.01)
    assert np.all(np.abs(data.mean(0) - mean) < 5 * np.sqrt(variance / n) + 1e-5)
    often = variance > 0.005  # where the fourth moment of a count is near that of a Gaussian
    ratio = data.var(0)[often] / variance[often]
    assert np.all(np.abs(ratio - 1) < 5 * np.sqrt((2 + 1 / variance[often] * (name == "sir")) / n))
    log_theta = np.log(np.asarray(jax.vmap(simulator.prior)(keys)["theta"]))
    location, scale = MOMENTS[name]
    assert np.all(np.abs(log_theta.mean(0) - location) < 5 * scale / np.sqrt(n))
    assert np.all(np.abs(log_theta.std(0) / scale - 1) < 5 / np.sqrt(2 * n))


def test_two_moons_has_its_normalised_density():
    """Posterior moments by a grid against the reference draws; the likelihood's integral; radius and angle of data."""
    simulator = sbibm("two_moons")
    data, draws = observed("two_moons")
    axis = jnp.linspace(-1.0, 1.0, 1202)[1:-1]
    grid = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    joint = jax.jit(jax.vmap(simulator.log_joint, ({"theta": 0}, None)))
    weights = np.exp(np.asarray(joint({"theta": grid}, data)))
    share = weights / weights.sum()

    def features(theta):
        a, b = np.asarray(theta).T
        return np.stack([a, b, a * a, b * b, a * b, a + b > 0], axis=1)

    values = features(draws)
    error = values.std(0) / np.sqrt(len(values))
    assert np.all(np.abs(values.mean(0) - share @ features(grid)) < 5 * error)
    theta = jnp.array([0.3, -0.1])
    away = jnp.linspace(-0.2, 0.2, 801)
    centre = jnp.array([0.25 - 0.2 / np.sqrt(2), -0.4 / np.sqrt(2)])
    around = centre + jnp.stack(jnp.meshgrid(away, away, indexing="ij"), -1).reshape(-1, 2)
    over = jax.jit(jax.vmap(simulator.log_joint, ({"theta": None}, 0)))
    mass = 4 * jnp.sum(jnp.exp(over({"theta": theta}, around))) * (away[1] - away[0]) ** 2
    assert abs(mass - 1) < 0.01
    keys = jax.random.split(jax.random.key(0), 4000)
    u, v = np.asarray(jax.vmap(simulator.model, (0, None))(keys, {"theta": theta}) - centre).T
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    assert abs(radius.mean() - 0.1) < 5 * 0.01 / np.sqrt(4000)
    assert abs(radius.std() - 0.01) < 5 * 0.01 / np.sqrt(8000)
    assert abs(angle.std() - np.pi / np.sqrt(12)) < 5 * np.pi / np.sqrt(12 * 4000)
    assert np.all(np.abs(angle) <= np.pi / 2)


def test_raw_spikes_and_their_statistic_have_the_same_posterior():
    raw, summary = sbibm("bernoulli_glm_raw"), sbibm("bernoulli_glm")
    spikes, z = observed("bernoulli_glm_raw")[0], jnp.linspace(-1.0, 1.0, 10)
    statistic = observed("bernoulli_glm")[0]
    np.testing.assert_allclose(raw.design.T @ spikes, statistic, atol=1e-4)
    np.testing.assert_allclose(
        raw.condition(spikes).log_density(z), summary.condition(statistic).log_density(z), atol=1e-4
    )


def test_names():
    assert len(sbibm_names()) == 9
    with pytest.raises(UnknownName, match="lotka_volterra"):
        sbibm("lotka_voltera")
