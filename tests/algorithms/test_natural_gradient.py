import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.algorithms.gaussian_optimum import excess, logistic_regression

from jensen._run import drive
from jensen.algorithms import GradientDraws, HessianDraws, NaturalGradientVI
from jensen.algorithms.natural_gradient import natural_step
from jensen.core import InputError
from jensen.families import Gaussian

Q = Gaussian(jnp.array([0.3, -0.2]), jnp.array([[0.9, 0.0], [0.4, 0.7]]))
RATE = 0.4


def step(gradient, hessian, rate=RATE):
    return natural_step(Q, gradient, hessian, jnp.asarray(rate))


@pytest.mark.parametrize(
    "hessian", [jnp.array([[-2.0, 0.5], [0.5, -1.0]]), jnp.array([[3.0, 1.0], [1.0, 50.0]])], ids=["concave", "convex"]
)
def test_step_is_the_retraction_in_the_original_coordinates(hessian):
    """S^-1 + r G + r^2/2 G S G with G = -H - S^-1, which is positive definite whatever H is; m + r S' g."""
    gradient = jnp.array([0.2, -0.1])
    new = step(gradient, hessian)
    precision = jnp.linalg.inv(Q.cov)
    g = -hessian - precision
    truth = precision + RATE * g + 0.5 * RATE**2 * g @ Q.cov @ g
    np.testing.assert_allclose(jnp.linalg.inv(new.cov), truth, rtol=1e-9)
    np.testing.assert_allclose(new.mean, Q.mean + RATE * jnp.linalg.solve(truth, gradient), rtol=1e-9)
    assert jnp.all(jnp.linalg.eigvalsh(new.cov) > 0)


def test_a_steep_direction_does_not_drown_a_flat_one():
    """Whitened curvatures a = 1e10 and 1, at an angle: variances 2 / (1 + (1 + r (a - 1))^2), which span 1e19.

    What rounding leaves of the flat one is of order a eps = 1e-6; had the matrix been squared, a^2 eps = 1e4.
    """
    c, s = np.cos(0.3), np.sin(0.3)
    axes = jnp.array([[c, -s], [s, c]])
    standard = Gaussian(jnp.zeros(2), jnp.eye(2))
    new = natural_step(standard, jnp.zeros(2), -(axes * jnp.array([1e10, 1.0])) @ axes.T, jnp.asarray(RATE))
    np.testing.assert_allclose(axes[:, 1] @ new.cov @ axes[:, 1], 1.0, rtol=1e-4)
    assert axes[:, 0] @ new.cov @ axes[:, 0] < 1e-10
    assert jnp.all(jnp.diagonal(new.scale_tril) > 0)
    np.testing.assert_array_equal(new.scale_tril, jnp.tril(new.scale_tril))


def test_step_is_third_order_close_to_newton_at_the_optimum():
    precision = jnp.linalg.inv(Q.cov)
    for size in (1e-2, 1e-3):
        change = size * jnp.array([[1.0, 0.2], [0.2, -0.5]])
        new = step(jnp.zeros(2), -(precision + change), rate=1.0)
        error = jnp.max(jnp.abs(jnp.linalg.inv(new.cov) - precision - change))
        assert error < size**2


def test_a_move_of_the_mean_is_bounded():
    new = step(jnp.array([1e9, 0.0]), -jnp.eye(2))
    moved = jnp.linalg.solve(Q.scale_tril, new.mean - Q.mean)
    assert jnp.linalg.norm(moved) <= 3 * jnp.sqrt(2.0) * (1 + 1e-9)


@pytest.mark.parametrize("derivatives", [HessianDraws(16), GradientDraws(256)], ids=["hessians", "gradients"])
def test_logistic_regression_reaches_the_best_gaussian(derivatives, key):
    outcome = drive(NaturalGradientVI(derivatives=derivatives), logistic_regression(), key=key, steps=200)
    assert -1e-8 < excess(outcome.posterior) < 1e-3  # nats: a shift of a mean by 0.045 sd


def test_rate_is_checked():
    for rate in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match="rate must be in"):
            NaturalGradientVI(rate=rate)
    assert jax.tree.leaves(NaturalGradientVI(rate=0.5).cautious().rate)[0] == 0.25
