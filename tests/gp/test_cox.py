import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jensen as jn
from jensen.core import InputError
from jensen.families import Gaussian
from jensen.gp.cox import SquareRootCox, laplace_log_evidence
from jensen.gp.kernels import RBF, Constant

GRID = (np.arange(40) + 0.5) / 4


def events(seed=0, n=30):
    return np.random.default_rng(seed).uniform(0, 10, n)


def test_with_one_constant_feature_everything_is_in_closed_form():
    # h = s z with z ~ N(0, 1) on [0, 10]: log p = 2 n log(s z) - (10 s^2 + 1/2) z^2, a Gamma density in z^2
    s, n = 1.3, 30
    target = SquareRootCox(Constant(s**2), events(n=n), GRID, 0.25)
    assert target.space.dimension == 1
    fit = jn.run(
        jn.algorithms.Laplace(num_starts=1), target, key=jax.random.key(0), start=target.point(), certify=False
    ).posterior.q
    mode = np.sqrt(2 * n / (2 * (10 * s**2 + 0.5)))
    mean, sd = target.root(fit, np.array([3.0, 7.0]))
    np.testing.assert_allclose(mean, s * mode, rtol=1e-6)
    np.testing.assert_allclose(sd, s / np.sqrt(2 * n / mode**2 + 20 * s**2 + 1), rtol=1e-6)
    rate, shape = 10 * s**2 + 0.5, n + 0.5
    exact = (
        jax.scipy.special.gammaln(shape)
        - shape * np.log(rate)
        - np.log(2)
        + 2 * n * np.log(s)
        - 0.5 * np.log(2 * np.pi)
    )
    # Laplace's error for a Gamma integral is about 1 / (12 shape), as Stirling's
    assert abs(laplace_log_evidence(target, fit) - exact) < 1 / (6 * shape)


def test_windows_padding_and_exposure():
    kernel, found = RBF(3.0, 1.0), np.sort(events())
    seen = found < 5
    window = SquareRootCox(kernel, found[seen], GRID, 0.25, observed=GRID < 5, rank=8)
    padded = SquareRootCox(kernel, found, GRID, 0.25, observed=GRID < 5, counts=seen, rank=8)
    z = window.point().z
    np.testing.assert_allclose(padded.log_density(z), window.log_density(z), rtol=1e-12)
    # exposure 4 and half the root are the same intensity
    other = SquareRootCox(RBF(3.0, 0.25), found, GRID, 0.25, exposure=4.0, rank=8)
    one = SquareRootCox(kernel, found, GRID, 0.25, rank=8)
    np.testing.assert_allclose(other.log_density(z), one.log_density(z), rtol=1e-6)


def test_the_density_is_that_of_h_on_the_grid():
    target = SquareRootCox(RBF(3.0, 1.0), events(), GRID, 0.25)
    z = target.point().z
    h = np.asarray(target.at_grid @ z)
    gram = np.asarray(target.kernel(target.grid, target.grid))
    value, vector = np.linalg.eigh(gram)
    kept = value > 1e-8 * value[-1]
    norm = np.sum((vector[:, kept].T @ h) ** 2 / value[kept])
    np.testing.assert_allclose(z @ z, norm, rtol=1e-6)
    np.testing.assert_allclose(
        target.log_likelihood(z), 2 * np.sum(np.log(target.at_events @ z)) - 0.25 * np.sum(h**2), rtol=1e-12
    )
    assert target.log_density(-z) == -np.inf


def test_bands_and_moments():
    target = SquareRootCox(RBF(3.0, 1.0), events(), GRID, 0.25, rank=6)
    q = Gaussian(target.point().z, 0.1 * jnp.eye(6))
    draws = (
        eqx.filter_jit(jax.vmap(q.sample))(jax.random.split(jax.random.key(0), 20_000)) @ target.features(GRID[:3]).T
    )
    mean, sd = target.intensity(q, GRID[:3])
    np.testing.assert_allclose(np.mean(draws**2, 0), mean, atol=5 * np.max(sd) / np.sqrt(20_000))
    np.testing.assert_allclose(np.std(draws**2, 0), sd, rtol=0.05)
    low, high = target.band(q, GRID[:3])
    assert np.all((low < mean) & (mean < high))


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="at least one event"):
        SquareRootCox(RBF(1.0), [], GRID, 0.25)
    with pytest.raises(InputError, match="finite"):
        SquareRootCox(RBF(1.0), [1.0, np.nan], GRID, 0.25)
    with pytest.raises(InputError, match="2 coordinates, the grid 1"):
        SquareRootCox(RBF(1.0), np.zeros((3, 2)), GRID, 0.25)
    with pytest.raises(InputError, match="all are 0"):
        SquareRootCox(RBF(1.0), [1.0], GRID, 0.25, counts=[0.0])
    with pytest.raises(InputError, match="No constant intensity"):
        SquareRootCox(RBF(0.1), [20.0], GRID, 0.25).point()
