"""Every synthetic target against its own truth: the integral, the moments, and the score identity."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError
from jensen.targets.synthetic import (
    Banana,
    Funnel,
    ManyWell,
    Ring,
    gaussian_mixture_target,
    gaussian_target,
    random_gaussian,
    two_modes,
)

TARGETS = {
    "gaussian": lambda: random_gaussian(jax.random.key(3), 2, 50.0),
    "gaussian 12-d": lambda: random_gaussian(jax.random.key(4), 12, 1e4),
    "banana": lambda: Banana(2, 0.2, 1.5, log_evidence=-3.0),
    "banana 5-d": lambda: Banana(5),
    "funnel": lambda: Funnel(2, 1.0, log_evidence=2.0),
    "funnel 10-d": lambda: Funnel(10, 0.5),
    "two modes": lambda: two_modes(2, 4.0, 0.3, log_evidence=1.5),
    "mixture": lambda: gaussian_mixture_target(
        [1.0, 2.0, 1.0],
        [[0.0, 0.0], [3.0, 1.0], [-2.0, 2.0]],
        [[[1.0, 0.5], [0.5, 1.0]], [[0.5, 0.0], [0.0, 2.0]], [[1.0, -0.7], [-0.7, 1.0]]],
    ),
    "ring": lambda: Ring(2.0, 0.5),
    "thin ring": lambda: Ring(4.0, 0.3),
    "many well": lambda: ManyWell(2),
    "many well 8-d": lambda: ManyWell(8, 2.0, 0.3),
}
PLANE = [name for name in TARGETS if TARGETS[name]().space.dimension == 2]


@pytest.mark.parametrize("name", PLANE)
def test_log_evidence_is_the_integral_of_the_density(name):
    target = TARGETS[name]()
    mean, cov = target.mean_and_cov()
    reach = 14 * np.sqrt(np.diag(np.asarray(cov)))
    axes = [np.linspace(m - r, m + r, 801) for m, r in zip(np.asarray(mean), reach, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    log_p = np.asarray(jax.jit(jax.vmap(target.log_density))(jnp.asarray(points)))
    cell = np.prod([a[1] - a[0] for a in axes])
    # 2e-4: the funnel's neck on a uniform grid; smooth densities agree to rounding
    assert np.log(np.sum(np.exp(log_p)) * cell) == pytest.approx(float(target.log_evidence), abs=2e-4)


@eqx.filter_jit
def stein_terms(target, key):
    z = target.exact_draws(key, 20_000)
    score = jax.vmap(jax.grad(target.log_density))(z)
    mean, cov = target.mean_and_cov()
    return jnp.concatenate([score * jnp.sqrt(jnp.diagonal(cov)), score * (z - mean) + 1.0], axis=1)


@pytest.mark.parametrize("name", TARGETS)
def test_draws_agree_with_the_density(name):
    """E_p[grad log p] = 0 and E_p[z_i grad_i log p] = -1 hold only if the draws come from this density (Stein)."""
    target = TARGETS[name]()
    for seed in range(5):
        terms = np.asarray(stein_terms(target, jax.random.key(seed)))
        error = terms.std(0, ddof=1) / np.sqrt(len(terms))
        assert np.all(np.abs(terms.mean(0)) < 5 * error)


@pytest.mark.parametrize("name", TARGETS)
def test_moments_agree_with_draws(name):
    target = TARGETS[name]()
    z = np.asarray(eqx.filter_jit(lambda t, key: t.exact_draws(key, 40_000))(target, jax.random.key(11)))
    mean, cov = (np.asarray(a) for a in eqx.filter_jit(lambda t: t.mean_and_cov())(target))
    centred = z - mean
    error = z.std(0, ddof=1) / np.sqrt(len(z))
    assert np.all(np.abs(centred.mean(0)) < 5 * error)
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(0, ddof=1) / np.sqrt(len(z))
    assert np.all(np.abs(products.mean(0) - cov) < 5 * error)
    assert z.shape == (40_000, target.space.dimension)


def test_condition_number_is_as_asked():
    _, cov = random_gaussian(jax.random.key(0), 30, 1e6).mean_and_cov()
    values = np.linalg.eigvalsh(np.asarray(cov))
    assert values[-1] / values[0] == pytest.approx(1e6, rel=1e-6)


def test_ring_has_a_finite_gradient_at_its_centre():
    assert np.all(np.isfinite(eqx.filter_jit(jax.grad(Ring().log_density))(jnp.zeros(2))))


@pytest.mark.parametrize(
    "make", [lambda: Banana(1), lambda: Funnel(1), lambda: ManyWell(3), lambda: two_modes(2, 5.0, 1.0)]
)
def test_impossible_shapes_are_refused(make):
    with pytest.raises(InputError):
        make()


def test_covariances_that_are_not_positive_definite_are_refused():
    with pytest.raises(InputError, match="positive definite"):
        gaussian_target([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(InputError, match="positive"):
        gaussian_mixture_target([1.0], [[0.0]], [[[-1.0]]])
