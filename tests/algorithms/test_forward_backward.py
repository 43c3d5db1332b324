import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.algorithms.gaussian_optimum import excess, logistic_regression

from jensen._run import drive
from jensen.algorithms import BuresWassersteinGradient, ForwardBackward, HessianDraws
from jensen.algorithms.bures_wasserstein import descend
from jensen.algorithms.forward_backward import backward, forward
from jensen.core import DensityPosterior, InputError, StopCode
from jensen.families import Gaussian
from jensen.targets import from_log_density

LINE = Gaussian(jnp.zeros(1), jnp.sqrt(2.0) * jnp.eye(1))
H = -jnp.eye(1)  # Hessian of log p: curvature h = 1


def variance_after(move, steps):
    q = LINE
    for _ in range(steps):
        q = move(q)
    return float(q.cov[0, 0])


def test_rates_in_one_dimension_are_those_of_the_theory():
    """Near S = 1 / h the error shrinks by (1 - eta h) / (1 + eta h), the explicit method's by |1 - 2 eta h|."""
    eta = jnp.asarray(0.9)
    zero = jnp.zeros(1)
    near = Gaussian(zero, jnp.sqrt(1 + 1e-6) * jnp.eye(1))
    ours = float(backward(forward(near, zero, H, eta), eta).cov[0, 0]) - 1
    explicit = float(descend(near, zero, H, eta).cov[0, 0]) - 1
    np.testing.assert_allclose(ours / 1e-6, 0.1 / 1.9, rtol=1e-4)
    np.testing.assert_allclose(explicit / 1e-6, 1 - 1.8, rtol=1e-4)


def test_fixed_point_beyond_the_theory_is_the_wrong_covariance():
    """eta / (2 - eta h) where 1 < eta h < 2: the root of (1 - eta / S)^2 = (1 - eta h)^2 that the proximal step can
    reach."""
    zero = jnp.zeros(1)
    for eta in (1.1, 1.5):
        size = jnp.asarray(eta)
        reached = variance_after(lambda q, size=size: backward(forward(q, zero, H, size), size), 200)
        np.testing.assert_allclose(reached, eta / (2 - eta), rtol=1e-10)


def test_backward_step_survives_a_singular_covariance():
    q = backward(Gaussian(jnp.zeros(2), jnp.zeros((2, 2))), jnp.asarray(0.3))
    np.testing.assert_allclose(q.cov, 0.3 * jnp.eye(2), atol=1e-14)


def test_backward_is_the_proximal_step_of_the_entropy():
    """S is optimal where the gradient step back along its own entropy gradient gives the covariance it came from."""
    eta = jnp.asarray(0.4)
    root = jnp.array([[1.0, 0.0], [0.5, 0.8]])
    q = backward(Gaussian(jnp.zeros(2), root), eta)
    # (I - eta S^-1) S (I - eta S^-1) = S_h
    pull = jnp.eye(2) - eta * jnp.linalg.inv(q.cov)
    np.testing.assert_allclose(pull @ q.cov @ pull, root @ root.T, rtol=1e-10)


@pytest.mark.parametrize("method", [ForwardBackward, BuresWassersteinGradient])
def test_logistic_regression_reaches_the_best_gaussian(method, key):
    outcome = drive(method(derivatives=HessianDraws(64)), logistic_regression(), key=key, steps=300)
    assert -1e-8 < excess(outcome.posterior) < 1e-3  # nats: a shift of a mean by 0.045 sd


def quadratic(z):
    return -0.5 * z @ z


def test_too_large_a_step_warns_and_is_never_called_converged():
    with pytest.warns(UserWarning, match="beyond the theory"):
        algorithm = ForwardBackward(step_size=1.5, settling=0.0, tolerance=10.0)
    target = from_log_density(quadratic, np.zeros(1))
    start = DensityPosterior(target.space, LINE)
    assert drive(algorithm, target, key=jax.random.key(0), steps=50, start=start).run.stop is StopCode.STEPS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ForwardBackward(step_size=1.0)


def test_the_cap_follows_the_curvature_met():
    """A start at 30 sd on a stiff quadratic: eta is in units of 1 / L, so that no step size needs tuning."""
    target = from_log_density(stiff, np.zeros(2))
    outcome = drive(ForwardBackward(), target, key=jax.random.key(0), steps=400)
    np.testing.assert_allclose(outcome.posterior.q.cov, jnp.diag(jnp.array([1e-6, 1e-5])), rtol=1e-6, atol=1e-12)


def stiff(z):
    return -0.5 * (1e6 * z[0] ** 2 + 1e5 * z[1] ** 2)


def test_settings_are_checked():
    with pytest.raises(InputError, match="must be positive"):
        BuresWassersteinGradient(step_size=0.0)
    with pytest.raises(InputError, match="must be even"):
        HessianDraws(3)
