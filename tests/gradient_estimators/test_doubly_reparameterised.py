"""Doubly reparameterised gradients where the model is trained along with q."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.families import Gaussian
from jensen.gradient_estimators import DoublyReparameterised, PathGradient, Reparameterisation
from jensen.objectives import FDivergence, ImportanceWeighted, generators
from jensen.targets import from_log_density

Q = Gaussian(jnp.array([0.3, -0.2]), jnp.array([[0.9, 0.0], [0.2, 1.1]]))


def joint(z, loadings):
    return -0.5 * jnp.sum(z**2) - 0.5 * jnp.sum((jnp.array([1.0, -0.5, 2.0]) - loadings @ jnp.tanh(z)) ** 2)


TARGET = from_log_density(joint, np.zeros(2), np.arange(6.0).reshape(3, 2) / 3)


@pytest.mark.parametrize("make", [DoublyReparameterised, PathGradient])
@pytest.mark.parametrize("objective", ["importance weights", "f-divergence"])
def test_parameters_of_the_model_have_the_gradient_of_the_objective_draw_by_draw(make, objective):
    """They have no score term: at the same draws it is that of automatic differentiation, to rounding."""

    def slope(estimator):
        loss = ImportanceWeighted(5, estimator)
        if objective == "f-divergence":
            loss = FDivergence(generators.JENSEN_SHANNON, 5, estimator)
        of = eqx.filter_grad(lambda target: loss.loss(jax.random.key(0), Q, target).surrogate)
        return max(jax.tree.leaves(eqx.filter_jit(of)(TARGET)), key=jnp.size)

    plain, doubly = slope(Reparameterisation(num_draws=3)), slope(make(num_draws=3))
    assert plain.shape == (3, 2)
    assert np.max(np.abs(plain)) > 0.01
    np.testing.assert_allclose(doubly, plain, rtol=1e-9, atol=1e-12)
