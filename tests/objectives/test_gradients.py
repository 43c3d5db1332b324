"""Every objective with every estimator that can have it: value and gradient against quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.objectives.gaussians import AT, TARGET, agrees, expected, q_of, replicates

from jensen.gradient_estimators import (
    DoublyReparameterised,
    PathGradient,
    Reparameterisation,
    ScoreFunction,
    StickingTheLanding,
)
from jensen.objectives import (
    ChiDivergence,
    Cubo,
    FDivergence,
    ImportanceWeighted,
    NegativeElbo,
    Renyi,
    ThermodynamicObjective,
    generators,
)
from jensen.targets import from_log_density

UNBIASED = {
    "reparameterised": Reparameterisation(num_draws=1),
    "doubly": DoublyReparameterised(num_draws=1),
    "path": PathGradient(num_draws=1),
    "score": ScoreFunction(num_draws=4),
}
OBJECTIVES = {
    "elbo": lambda e: NegativeElbo(e),
    "importance": lambda e: ImportanceWeighted(2, e),
    "cubo": lambda e: Cubo(num_weights=2, estimator=e),
    "cubo 1.2": lambda e: Cubo(order=1.2, num_weights=2, estimator=e),
    "chi": lambda e: ChiDivergence(log_scale=0.5, estimator=e),
    "renyi 0.5": lambda e: Renyi(num_weights=2, estimator=e),
    "renyi 2": lambda e: Renyi(alpha=2.0, num_weights=2, estimator=e),
    "thermodynamic": lambda e: ThermodynamicObjective(num_weights=2, estimator=e),
    "forward kl": lambda e: FDivergence(num_weights=2, estimator=e),
    "jensen-shannon": lambda e: FDivergence(generators.JENSEN_SHANNON, 2, e),
    "pearson, as a function of r": lambda e: FDivergence(lambda r: (r - 1) ** 2, 2, e),
}
NUM = 40_000


@pytest.mark.parametrize("estimator", UNBIASED)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_value_and_gradient_are_unbiased(name, estimator):
    objective = OBJECTIVES[name](UNBIASED[estimator])
    truth, slope = jax.value_and_grad(lambda at: expected(objective.phi, at, objective.num_weights))(AT)
    values, gradients = replicates(objective, NUM)
    agrees(values[:, None], truth[None], 0.5)
    agrees(gradients, slope, 0.5)


def test_sticking_the_landing_is_that_of_the_elbo_only():
    for objective in (NegativeElbo(StickingTheLanding(1)), NegativeElbo(PathGradient(1))):
        truth, slope = jax.value_and_grad(lambda at, o=objective: expected(o.phi, at, 1))(AT)
        values, gradients = replicates(objective, NUM)
        agrees(values[:, None], truth[None], 0.5)
        agrees(gradients, slope, 0.5)


def test_doubly_reparameterised_keeps_its_signal_as_weights_grow():
    """For the importance-weighted bound; the plain one loses it as K^-1/2. Variances: ours below the plain one's."""
    ratio = {}
    for make in (DoublyReparameterised, Reparameterisation):
        for num in (4, 64):
            _, g = replicates(ImportanceWeighted(num, make(num_draws=1)), 4000)
            ratio[make, num] = np.abs(g.mean(0)) / g.std(0)
    assert np.all(ratio[DoublyReparameterised, 64] > ratio[DoublyReparameterised, 4])
    assert np.all(ratio[Reparameterisation, 64] < ratio[Reparameterisation, 4])
    assert np.all(ratio[DoublyReparameterised, 64] > 2 * ratio[Reparameterisation, 64])


def test_leave_one_out_takes_any_constant_off():
    """The gradient of the score function does not change where log p is raised by a thousand."""
    objective = NegativeElbo(ScoreFunction(num_draws=8))
    gradient = [
        jax.grad(lambda at, t=t: objective.loss(jax.random.key(0), q_of(at), t).surrogate)(AT)
        for t in (TARGET, from_log_density(lambda z: TARGET.log_density(z) + 1000.0, jnp.zeros(1)))
    ]
    assert jnp.allclose(*gradient, atol=1e-9)
