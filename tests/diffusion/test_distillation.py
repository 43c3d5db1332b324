"""Denoisers, their draws and one-step students, against Gaussians, of which everything is known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.contract.helpers import all_finite, assert_same_outcome, compilations

import jensen as jn
from jensen import diffusion
from jensen._run import drive
from jensen.core import InputError, sample_many
from jensen.diffusion import (
    DenoisingScoreMatching,
    FDistillation,
    GaussianDenoiser,
    NoiseLevels,
    draw_by_denoising,
    network_denoiser,
    path_weights,
    ratio_network,
    teacher,
    train_denoiser,
)
from jensen.families import DiagonalGaussian, Gaussian, ImplicitBuilder, kl_gaussian
from jensen.objectives import generators

MEAN, COV = np.array([1.0, -1.0]), np.array([[1.0, 0.6], [0.6, 0.7]])
EXACT = GaussianDenoiser(jnp.asarray(MEAN), jnp.asarray(COV))
ROWS = np.random.default_rng(0).multivariate_normal(MEAN, COV, 4000)
LEVELS = NoiseLevels(0.05, 5.0)


def noised(s):
    return Gaussian(jnp.asarray(MEAN), jnp.linalg.cholesky(jnp.asarray(COV) + s**2 * jnp.eye(2)))


def test_score_of_a_gaussian_denoiser():
    for s in (0.1, 2.0):
        y = jnp.array([0.3, 0.9])
        np.testing.assert_allclose(EXACT.score(y, jnp.asarray(s)), jax.grad(noised(s).log_prob)(y), rtol=1e-10)


def test_levels_are_stratified_and_span_their_range():
    s = np.asarray(LEVELS.draw(jax.random.key(0), 50))
    edges = 0.05 * 100.0 ** (np.arange(51) / 50)
    assert np.all((s >= edges[:-1]) & (s <= edges[1:]))
    grid = LEVELS.grid(5)
    np.testing.assert_allclose(grid, 5.0 * 0.1 ** (np.arange(5) / 2), rtol=1e-10)


def test_draws_by_an_exact_denoiser_have_the_rows_moments():
    """The flow of a Gaussian is linear; the start is off by 1 / high^2 of a variance, and Heun's rule by less."""
    n, levels = 20_000, NoiseLevels(0.01, 50.0)
    draw = eqx.filter_jit(jax.vmap(lambda k: draw_by_denoising(k, EXACT, levels, EXACT.mean, 100)))
    x = np.asarray(draw(jax.random.split(jax.random.key(0), n)))
    assert np.all(np.abs(x.mean(0) - MEAN) < 5 * np.sqrt(np.diag(COV) / n) + 1e-3)
    error = np.sqrt((COV**2 + np.outer(np.diag(COV), np.diag(COV))) / n)
    assert np.all(np.abs(np.cov(x.T) - COV) < 5 * error + 5e-3)


def test_a_trained_denoiser_comes_to_the_exact_one():
    trained = train_denoiser(jax.random.key(0), ROWS, width=32, steps=1000, learning_rate=3e-3, progress=False)
    first, s = network_denoiser(jax.random.key(0), jnp.asarray(ROWS), 32), jnp.geomspace(0.1, 3.0, 7)

    @eqx.filter_jit
    def miss(denoiser):
        """Root mean square over draws and levels of the error, in units of that of no denoising at all."""
        y = ROWS[:300] + s[:, None, None] * np.random.default_rng(1).normal(size=(300, 2))
        over = lambda g: jax.vmap(lambda y, s: jax.vmap(lambda y: g(y, s))(y))(y, s)  # noqa: E731
        exact = over(EXACT)
        return jnp.sqrt(jnp.mean((over(denoiser) - exact) ** 2) / jnp.mean((y - exact) ** 2))

    assert miss(trained.denoiser) < 0.1
    assert miss(trained.denoiser) < 0.4 * miss(first)


def divergence(f, theta, s):
    """int q_s f(p_s / q_s) on a grid, p = N(0.5, 1), q = N(m, exp(2 a))."""
    x = jnp.linspace(-15.0, 15.0, 6001)
    log_q = jax.scipy.stats.norm.logpdf(x, theta[0], jnp.sqrt(jnp.exp(2 * theta[1]) + s**2))
    log_p = jax.scipy.stats.norm.logpdf(x, 0.5, jnp.sqrt(1 + s**2))
    step = x[1] - x[0]
    weight = jax.vmap(f.weight)(jnp.exp(log_p - log_q))
    return jnp.sum(jnp.exp(log_q) * f.of_log(log_p - log_q)) * step, jnp.sum(jnp.exp(log_q) * weight) * step


@pytest.mark.parametrize("f", generators.GENERATORS, ids=lambda f: f.name.split(",")[0])
def test_gradient_with_exact_scores_and_ratio_is_that_of_the_divergence(f):
    """The student's gradient is that of D_f(p_s || q_s), by s^2 over the mean of h."""
    s, theta = 0.5, jnp.array([-0.2, 0.4])
    p = GaussianDenoiser(jnp.array([0.5]), jnp.eye(1))
    target = teacher(np.random.default_rng(0).normal(size=(10, 1)), p)
    q = GaussianDenoiser(theta[:1], jnp.exp(2 * theta[1:])[:, None])

    def ratio(y, s):
        width = jnp.sqrt(jnp.exp(2 * theta[1]) + s**2)
        log_p = jax.scipy.stats.norm.logpdf(y[0], 0.5, jnp.sqrt(1 + s**2))
        return log_p - jax.scipy.stats.norm.logpdf(y[0], theta[0], width)

    parts = DiagonalGaussian(theta[:1], theta[1:]), network_denoiser(jax.random.key(0), target.data, 2, 1)
    made = FDistillation(
        *parts,
        ratio_network(jax.random.key(0), target.data, 2, 1),
        f,
        NoiseLevels(s, s * (1 + 1e-9)),
        most=30.0,
        num_levels=1,
        num_draws=4000,
    )

    @jax.jit
    @jax.vmap
    def gradient(key):
        def loss(student):
            return made.surrogate(key, student, q, ratio, target)[0]

        slope = jax.grad(loss)(parts[0])
        return jnp.concatenate([slope.mean, slope.log_scale])

    found = np.asarray(gradient(jax.random.split(jax.random.key(1), 40)))
    truth, scale = jax.jit(jax.jacrev(lambda theta: divergence(f, theta, s)))(theta)[0], divergence(f, theta, s)[1]
    truth = np.asarray(truth) * s**2 / float(scale)
    error = found.std(0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(0) - truth) < 5 * error)
    assert np.all(5 * error < 0.1 * np.abs(truth).max())


def test_weights_have_mean_one_at_each_level_and_are_clipped():
    log_r = jnp.array([[0.0, 1.0, 2.0], [-40.0, 0.0, 40.0]])
    h = path_weights(generators.PEARSON, log_r, 3.0)  # h = 2 r^2
    np.testing.assert_allclose(h.mean(1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(h[0] / h[0, 0], np.exp([0.0, 2.0, 4.0]), rtol=1e-10)
    np.testing.assert_allclose(h[1] / h[1, 1], np.exp([-6.0, 0.0, 6.0]), rtol=1e-10)


def test_estimated_scores_and_ratio_come_to_the_gradient_with_exact_ones():
    """A student that stands still, its denoiser and discriminator from scratch: reverse and forward KL."""
    mean, scale = jnp.array([0.2, -0.2]), jnp.array([0.3, 0.2])
    student, target = DiagonalGaussian(mean, scale), teacher(ROWS, EXACT)
    q = GaussianDenoiser(mean, jnp.diag(jnp.exp(2 * scale)))

    def ratio(y, s):
        cov = jnp.diag(jnp.exp(2 * scale)) + s**2 * jnp.eye(2)
        return noised(s).log_prob(y) - Gaussian(mean, jnp.linalg.cholesky(cov)).log_prob(y)

    fresh = network_denoiser(jax.random.key(1), target.data, 32), ratio_network(jax.random.key(2), target.data, 32)
    levels = NoiseLevels(0.3, 3.0)
    settings = {"learning_rate": 1e-12, "fake_rate": 3e-3, "inner": 4, "num_levels": 8, "num_draws": 64}
    made = FDistillation(student, *fresh, generators.FORWARD_KL, levels, **settings)
    state = drive(made, target, key=jax.random.key(0), steps=400, start=target.beginning()).state
    trained = state.denoiser, state.ratio
    for f in (generators.REVERSE_KL, generators.FORWARD_KL):
        large = FDistillation(student, *fresh, f, levels, num_levels=8, num_draws=500)

        @eqx.filter_jit
        def gradient(denoiser, ratio, large=large):
            slope = jax.grad(lambda q: large.surrogate(jax.random.key(5), q, denoiser, ratio, target)[0])(student)
            return jnp.concatenate([slope.mean, slope.log_scale])

        exact, ours, first = (gradient(*pair) for pair in ((q, ratio), trained, fresh))
        miss, before = (float(jnp.linalg.norm(g - exact) / jnp.linalg.norm(exact)) for g in (ours, first))
        assert miss < 0.2
        assert miss < 0.3 * before


@pytest.mark.parametrize("f", [generators.REVERSE_KL, generators.JENSEN_SHANNON], ids=["reverse KL", "JS"])
def test_a_student_of_one_step_comes_to_its_teacher(f):
    start = ImplicitBuilder(size=2, sigma=0.05, num_auxiliary=0, width=8, depth=1).build(
        jax.random.key(0), Gaussian(jnp.zeros(2), 0.5 * jnp.eye(2))
    )
    settings = {"learning_rate": 5e-3, "fake_rate": 3e-3, "width": 32, "steps": 800, "progress": False}
    made = diffusion.distil(jax.random.key(1), start, teacher(ROWS, EXACT), f=f, **settings)
    truth = Gaussian(jnp.asarray(MEAN), jnp.linalg.cholesky(jnp.asarray(COV)))

    def off(q):
        z = sample_many(jax.random.key(3), q, 4000)
        return float(kl_gaussian(Gaussian(z.mean(0), jnp.linalg.cholesky(jnp.cov(z.T))), truth))

    assert off(start) > 1
    assert off(made.student) < 0.02


def small(name, rate=1e-3):
    student = ImplicitBuilder(size=1, sigma=0.1, num_auxiliary=0, width=2, depth=1)
    networks = network_denoiser(jax.random.key(0), ROWS, 3, 1), ratio_network(jax.random.key(1), ROWS, 3, 1)
    if name == "matching":
        return DenoisingScoreMatching(networks[0], LEVELS, 8, rate)
    start = student.build(jax.random.key(2), Gaussian(jnp.zeros(2), jnp.eye(2)))
    return FDistillation(start, *networks, levels=LEVELS, learning_rate=rate, num_levels=2, num_draws=3)


@pytest.mark.parametrize("name", ["matching", "distillation"])
def test_chunks_change_no_bit_and_a_second_run_compiles_nothing(name):
    def run(chunk, rows=ROWS, rate=1e-3):
        target = teacher(rows[:50], EXACT)
        return drive(small(name, rate), target, key=jax.random.key(3), steps=12, start=target.beginning(), chunk=chunk)

    whole = run(12)
    assert_same_outcome(whole, run(5))
    with compilations() as count:
        other = run(12, ROWS + 1.0, 2e-3)
    assert count == []
    assert all_finite(other.state)
    assert not np.array_equal(other.run.history.objective, whole.run.history.objective)


def test_bad_input_is_refused():
    key = jax.random.key(0)
    with pytest.raises(InputError, match="0 < low < high"):
        NoiseLevels(1.0, 0.5)
    with pytest.raises(InputError, match="shape"):
        teacher(np.zeros(3))
    with pytest.raises(InputError, match="NaN"):
        teacher(np.array([[1.0], [np.nan]]))
    with pytest.raises(InputError, match="all equal"):
        train_denoiser(key, np.ones((5, 2)))
    with pytest.raises(InputError, match="width"):
        train_denoiser(key, ROWS, width=0)
    with pytest.raises(InputError, match="learning_rate"):
        train_denoiser(key, ROWS, learning_rate=0.0)
    with pytest.raises(InputError, match="2 values"):
        teacher(ROWS[:, :1], EXACT)
    wrong = DiagonalGaussian(jnp.zeros(3), jnp.zeros(3))
    with pytest.raises(InputError, match="dimension 3"):
        diffusion.distil(key, wrong, teacher(ROWS, EXACT), progress=False)
    with pytest.raises(InputError, match="no denoiser"):
        diffusion.distil(key, DiagonalGaussian(jnp.zeros(2), jnp.zeros(2)), teacher(ROWS), progress=False)
    with pytest.raises(InputError, match="from_noise"):
        diffusion.distil(key, None, teacher(ROWS, EXACT), progress=False)
    with pytest.raises(InputError, match="generators"):
        diffusion.distil(key, DiagonalGaussian(jnp.zeros(2), jnp.zeros(2)), teacher(ROWS, EXACT), f=abs)
    target = jn.targets.from_log_density(lambda z: -0.5 * z @ z, np.zeros(2))
    networks = network_denoiser(key, jnp.asarray(ROWS)), ratio_network(key, jnp.asarray(ROWS))
    made = FDistillation(DiagonalGaussian(jnp.zeros(2), jnp.zeros(2)), *networks)
    with pytest.raises(jn.core.MissingCapability, match="Teacher"):
        jn.run(made, target, key=key)
