"""What cannot be used is refused with one clear error, before anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jensen.core import InputError, MissingCapability, check_count
from jensen.families import FlowBuilder, Gaussian, GaussianMixture
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
    DataEmphasisedElbo,
    FDivergence,
    ForwardChi,
    ForwardKL,
    ImportanceWeighted,
    LossCalibrated,
    MaximumLikelihood,
    NegativeElbo,
    PathMaximumLikelihood,
    Renyi,
    TemperedElbo,
    ThermodynamicObjective,
    bayes_action,
)
from jensen.targets import from_log_density, from_rows

TARGET = from_log_density(lambda z: -0.5 * z @ z, jnp.zeros(2))
MIXTURE = GaussianMixture(jnp.zeros(2), jnp.zeros((2, 2)), jnp.stack([jnp.eye(2)] * 2))
DRAWS = np.zeros((5, 2))

REFUSED = {
    "num_weights of ImportanceWeighted must be at least 1, got 0": lambda: ImportanceWeighted(0),
    "num_weights of Cubo must be at least 1": lambda: Cubo(num_weights=0),
    "num_weights of Renyi must be at least 1": lambda: Renyi(num_weights=-3),
    "num_weights of ThermodynamicObjective": lambda: ThermodynamicObjective(num_weights=0),
    "num_weights of FDivergence must be at least 2": lambda: FDivergence(num_weights=1),
    "num_weights of FDivergence must be at least 1": lambda: FDivergence(num_weights=0, log_evidence=0.0),
    "log_evidence must be finite": lambda: FDivergence(log_evidence=float("nan")),
    "num_weights of ForwardKL must be at least 2": lambda: ForwardKL(1),
    "order must be above 1": lambda: ForwardChi(order=1.0),
    "num_weights of ForwardChi must be at least 2": lambda: ForwardChi(num_weights=1),
    "num_weights of Renyi must be a whole number, got True": lambda: Renyi(num_weights=True),
    "num_parts must be a whole number": lambda: ThermodynamicObjective(num_parts=True),
    "num_parts must be at least 1": lambda: ThermodynamicObjective(num_parts=0),
    "first must be between 0 and 1, got 1": lambda: ThermodynamicObjective(first=1.0),
    "order must be at least 1": lambda: Cubo(order=0.5),
    "order must be at least 1, got 0": lambda: ChiDivergence(order=0.0),
    "alpha must be at least 0": lambda: Renyi(alpha=-1.0),
    "NegativeElbo": lambda: Renyi(alpha=1.0),
    "emphasis must be positive": lambda: TemperedElbo(emphasis=0.0),
    "emphasis must be positive, got -1": lambda: DataEmphasisedElbo(emphasis=-1.0),
    "StickingTheLanding is biased for ImportanceWeighted": lambda: ImportanceWeighted(4, StickingTheLanding()),
    "StickingTheLanding is biased for Cubo": lambda: Cubo(estimator=StickingTheLanding()),
    "StickingTheLanding is biased for FDivergence": lambda: FDivergence(estimator=StickingTheLanding()),
    "not convex near r": lambda: FDivergence(lambda r: jnp.sin(r)),
    "not convex": lambda: FDivergence(lambda r: -((r - 1) ** 2)),
    "not finite at r = ": lambda: FDivergence(lambda r: jnp.log(r - 0.5)),
    "must be a function of the ratio": lambda: FDivergence("forward"),
    "to a scalar": lambda: FDivergence(lambda r: jnp.stack([r, r])),
    "num_draws must be at least 1": lambda: Reparameterisation(0),
    "num_draws must be at least 2": lambda: ScoreFunction(1),
    "real numbers of shape": lambda: MaximumLikelihood(np.zeros(3)),
    "hold NaN": lambda: MaximumLikelihood(np.full((3, 2), np.nan)),
    "batch_size must be at least 1": lambda: PathMaximumLikelihood(DRAWS, 0),
    "log_gain must be a function": lambda: LossCalibrated(3.0),
    "do not agree": lambda: bayes_action(jnp.ones((4, 3)), jnp.ones((2, 2))),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_at_the_door(message):
    with pytest.raises(InputError, match=message):
        REFUSED[message]()


PAIRS = {
    "Reparameterisation needs a Reparameterised family, and GaussianMixture is not": (
        NegativeElbo(Reparameterisation()),
        MIXTURE,
    ),
    "StickingTheLanding needs a Reparameterised": (NegativeElbo(), MIXTURE),
    "DoublyReparameterised needs": (ImportanceWeighted(4, DoublyReparameterised()), MIXTURE),
    "PathGradient needs a Bijective family": (ImportanceWeighted(4, PathGradient()), MIXTURE),
    "PathMaximumLikelihood needs a Bijective family": (PathMaximumLikelihood(DRAWS), MIXTURE),
    "have dimension 2, the family 3": (MaximumLikelihood(DRAWS), Gaussian(jnp.zeros(3), jnp.eye(3))),
    "does not tell them apart": (TemperedElbo(), Gaussian(jnp.zeros(2), jnp.eye(2))),
}


@pytest.mark.parametrize("message", PAIRS)
def test_impossible_pairs(message):
    objective, q = PAIRS[message]
    with pytest.raises(InputError, match=message):
        objective.loss(jax.random.key(0), q, TARGET)


def test_what_is_no_function_of_weights_is_refused_by_the_doubly_reparameterised():
    q = Gaussian(jnp.zeros(2), jnp.eye(2))
    with pytest.raises(InputError, match="functions of importance weights"):
        DoublyReparameterised().expectation(jax.random.key(0), q, lambda q, z: z @ z)


def test_data_emphasis_asks_for_rows_blocks_and_a_gaussian():
    rows = from_rows(lambda z: -0.5 * z @ z, lambda z, x: -((x - z[0]) ** 2), np.zeros(3), jnp.zeros(2))
    q = Gaussian(jnp.zeros(2), jnp.eye(2))
    key = jax.random.key(0)
    with pytest.raises(MissingCapability, match="does not tell them apart"):
        DataEmphasisedElbo().loss(key, q, TARGET)
    with pytest.raises(InputError, match="add up to the dimension 2"):
        DataEmphasisedElbo(blocks=(1, 2)).loss(key, q, rows)
    with pytest.raises(InputError, match="Gaussian family"):
        DataEmphasisedElbo().loss(key, FlowBuilder(num_layers=1).build(key, q), rows)


@pytest.mark.parametrize("f", [lambda r: r * jnp.log(r), lambda r: (r - 1) ** 2, lambda r: jnp.abs(r - 1) / 2])
@pytest.mark.parametrize("wide", [True, False])
def test_convex_functions_pass_in_either_precision(f, wide):
    with jax.enable_x64(wide):
        FDivergence(f)


@pytest.mark.parametrize("value", [1.5, 2.0, "2", None, True])
def test_a_count_is_a_whole_number(value):
    with pytest.raises(InputError, match="must be a whole number"):
        check_count("num_draws", value)
