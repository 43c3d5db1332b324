import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import RBFInterpolator

from jensen.core import InputError
from jensen.gp.kernels.polyharmonic import Polyharmonic, monomials
from jensen.gp.kriging import intrinsic_kriging, restricted_evidence

NAMES = {0.5: "linear", 1.0: "thin_plate_spline", 1.5: "cubic", 2.5: "quintic"}


def data(n=40, d=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(n, d))
    return x, np.sin(3 * x[:, 0]) + x[:, -1] ** 2 + 0.1 * rng.normal(size=n), rng.uniform(-0.2, 1.2, size=(30, d))


@pytest.mark.parametrize("smoothness", NAMES)
@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_the_mean_is_that_of_the_polyharmonic_spline(smoothness, ratio):
    x, y, new = data()
    fit = intrinsic_kriging(Polyharmonic(smoothness), jnp.asarray(x), jnp.asarray(y), ratio)
    truth = RBFInterpolator(x, y, kernel=NAMES[smoothness], smoothing=ratio)(new)
    np.testing.assert_allclose(fit.mean(jnp.asarray(new)), truth, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("smoothness", [0.3, 0.5, 1.0, 1.5, 2.0, 2.7])
def test_the_kernel_is_positive_definite_off_its_polynomials(smoothness):
    x, _, _ = data(25)
    kernel = Polyharmonic(smoothness)
    p = monomials(jnp.asarray(x), kernel.order)
    contrasts = np.linalg.qr(p, mode="complete")[0][:, p.shape[1] :]
    assert np.linalg.eigvalsh(contrasts.T @ kernel(jnp.asarray(x), jnp.asarray(x)) @ contrasts)[0] > 0
    assert np.all(np.isfinite(jax.grad(kernel.evaluate)(jnp.zeros(2), jnp.zeros(2)))) or smoothness <= 0.5


def test_mean_and_variance_are_the_limit_of_an_ever_vaguer_proper_trend():
    x, y, new = data(12)
    kernel = Polyharmonic(1.0)
    fit = intrinsic_kriging(kernel, jnp.asarray(x), jnp.asarray(y), 0.2)
    p, q = (np.asarray(monomials(jnp.asarray(part), 2)) for part in (x, new))
    vague = 1e7
    c = np.asarray(kernel(jnp.asarray(x), jnp.asarray(x))) + 0.2 * np.eye(12) + vague * p @ p.T
    cross = np.asarray(kernel(jnp.asarray(new), jnp.asarray(x))) + vague * q @ p.T
    own = vague * np.sum(q**2, axis=1)
    np.testing.assert_allclose(fit.mean(jnp.asarray(new)), cross @ np.linalg.solve(c, y), atol=1e-5)
    truth = own - np.sum(cross * np.linalg.solve(c, cross.T).T, axis=1)
    np.testing.assert_allclose(fit.variance(jnp.asarray(new)) / fit.amplitude, truth, atol=1e-5)


def test_variance_vanishes_at_the_data_and_grows_without_bound():
    x, y, _ = data()
    fit = intrinsic_kriging(Polyharmonic(1.0), jnp.asarray(x), jnp.asarray(y), 0.0)
    assert np.max(fit.variance(jnp.asarray(x))) < 1e-10 * fit.amplitude
    far = np.asarray(fit.variance(jnp.asarray([[10.0, 0.0], [100.0, 0.0], [1000.0, 0.0]])))
    assert far[1] > 50 * far[0]
    assert far[2] > 50 * far[1]


def test_amplitude_and_noise_of_the_largest_restricted_evidence():
    x, y, _ = data(60)
    kernel = Polyharmonic(1.0)
    evidence = restricted_evidence(kernel, jnp.asarray(x), jnp.asarray(y))
    scale, noise = evidence.best()
    fit = intrinsic_kriging(kernel, jnp.asarray(x), jnp.asarray(y), noise / scale)
    np.testing.assert_allclose(fit.amplitude, scale, rtol=1e-8)
    # the restricted likelihood by the formula with determinants, which differs by a constant
    p = np.asarray(monomials(jnp.asarray(x), 2))
    phi = np.asarray(kernel(jnp.asarray(x), jnp.asarray(x)))

    def formula(a, s):
        # shifted by a multiple of P P^T, under which the restricted likelihood does not change
        c = a * phi + s * np.eye(60) + 100 * p @ p.T
        inner = p.T @ np.linalg.solve(c, p)
        b = np.linalg.solve(inner, p.T @ np.linalg.solve(c, y))
        quadratic = (y - p @ b) @ np.linalg.solve(c, y - p @ b)
        return 0.5 * (np.linalg.slogdet(c)[1] + np.linalg.slogdet(inner)[1] + quadratic)

    differences = [evidence.negative_log(a, s) - formula(a, s) for a, s in ((1.0, 0.1), (3.0, 0.02), (scale, noise))]
    assert np.ptp(differences) < 1e-8


def test_clear_errors():
    x, y, _ = (jnp.asarray(part) for part in data())
    kernel = Polyharmonic(1.0)
    cases = {
        "NaN": lambda: intrinsic_kriging(kernel, x.at[0, 0].set(jnp.nan), y, 0.1),
        "infinite": lambda: intrinsic_kriging(kernel, x, y.at[0].set(jnp.inf), 0.1),
        "shape": lambda: intrinsic_kriging(kernel, x, y[:-1], 0.1),
        "rows": lambda: intrinsic_kriging(kernel, x[:3], y[:3], 0.1),
        "vanishes": lambda: intrinsic_kriging(kernel, x.at[:, 1].set(2 * x[:, 0]), y, 0.1),
        "coincide": lambda: intrinsic_kriging(kernel, x.at[3].set(x[7]), y, 0.0),
        "noise_ratio": lambda: intrinsic_kriging(kernel, x, y, -1.0),
        "smoothness": lambda: Polyharmonic(0.0),
        r"shape \(k, 2\)": lambda: intrinsic_kriging(kernel, x, y, 0.1).mean(x[:, :1]),
    }
    for words, attempt in cases.items():
        with pytest.raises(InputError, match=words):
            attempt()
