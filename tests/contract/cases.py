"""The table of the contract tests: a line here puts an algorithm through all of them.

`recovers` says what the algorithm must make of N(m, S) with d = 4: `EXACT` its moments to the square root of machine
precision; `NOISY` its moments within the Monte Carlo error over runs; `DRAWS` its moments within five standard errors
of effectively `n` draws; `ROUGH` a density within one nat; `MEAN_FIELD` its mean and the variances 1 / diag(S^-1) of
the best factorised Gaussian; `NOISY_MEAN_FIELD` these within the Monte Carlo error over runs; `MODE` its mode;
`NOISY_MODE` its mode within the Monte Carlo error over runs.
"""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from jensen import algorithms, families
from jensen.core import Algorithm
from tests.contract.local import amortised_vi, local_gaussian, refreshed
from tests.contract.sited import sited_gaussian
from tests.contract.target import correlated_gaussian


class Recovers(enum.Enum):
    """What an algorithm makes of a Gaussian target."""

    EXACT = enum.auto()
    NOISY = enum.auto()
    DRAWS = enum.auto()
    ROUGH = enum.auto()
    MEAN_FIELD = enum.auto()
    NOISY_MEAN_FIELD = enum.auto()
    MODE = enum.auto()
    NOISY_MODE = enum.auto()


EXACT, NOISY, DRAWS, ROUGH, MEAN_FIELD, NOISY_MEAN_FIELD, MODE, NOISY_MODE = Recovers


@dataclasses.dataclass(frozen=True)
class Case:
    """One algorithm as the contract sees it: how it is made, its steps, what it must recover of which target."""

    make: Callable[[], Algorithm]
    steps: int
    recovers: Recovers
    target: Callable[..., Any] = correlated_gaussian


def guide() -> None:
    """A program that holds every Gaussian over mu and log sigma: sigma given mu."""
    tril = dist.constraints.lower_cholesky
    of_mu = numpyro.param("tril of mu", 0.5 * jnp.eye(2), constraint=tril)
    mu = numpyro.sample("mu", dist.MultivariateNormal(numpyro.param("mean of mu", jnp.zeros(2)), scale_tril=of_mu))
    mean = numpyro.param("mean of sigma", jnp.zeros(2)) + numpyro.param("slope", jnp.zeros((2, 2))) @ mu
    of_sigma = numpyro.param("tril of sigma", 0.5 * jnp.eye(2), constraint=tril)
    log_sigma = dist.MultivariateNormal(mean, scale_tril=of_sigma)
    numpyro.sample("sigma", dist.TransformedDistribution(log_sigma, dist.transforms.ExpTransform()))


CASES: dict[str, Case] = {
    "ADF": Case(lambda: algorithms.ADF(), 1, EXACT, sited_gaussian),
    "AmortisedVI": Case(amortised_vi, 1500, NOISY_MODE, local_gaussian),
    "Averaged": Case(lambda: algorithms.Averaged(algorithms.Laplace()), 30, EXACT),
    "BatchMatch": Case(lambda: algorithms.BatchMatch(), 100, EXACT),
    "BestSoFar": Case(lambda: algorithms.BestSoFar(algorithms.Laplace()), 30, EXACT),
    "GradientVI": Case(lambda: algorithms.GradientVI(learning_rate=0.05), 1500, NOISY),
    "GradientVI of a program": Case(
        lambda: algorithms.GradientVI(family=families.program(guide), learning_rate=0.05), 1500, NOISY
    ),
    "GradientVI mixture": Case(lambda: algorithms.GradientVI(families.Mixture(2), learning_rate=0.05), 1500, NOISY),
    "GradientVI sparse precision": Case(
        lambda: algorithms.GradientVI(families.Structured(np.ones((4, 4), bool)), learning_rate=0.05), 1500, NOISY
    ),
    "BuresWassersteinGradient": Case(lambda: algorithms.BuresWassersteinGradient(), 400, EXACT),
    "CVI": Case(lambda: algorithms.CVI(), 100, EXACT, sited_gaussian),
    "EP": Case(lambda: algorithms.EP(), 100, EXACT, sited_gaussian),
    "EarlyStopping": Case(
        lambda: algorithms.EarlyStopping(amortised_vi(), local_gaussian(), patience=100),
        1500,
        NOISY_MODE,
        local_gaussian,
    ),
    "FixedSampleVI": Case(lambda: algorithms.FixedSampleVI(), 100, MEAN_FIELD),
    "FixedSampleVI full rank": Case(lambda: algorithms.FixedSampleVI(family=families.FullRank()), 100, EXACT),
    "ForwardBackward": Case(lambda: algorithms.ForwardBackward(), 400, EXACT),
    "IVON": Case(lambda: algorithms.IVON(learning_rate=0.3, curvature_rate=0.03, num_draws=8), 1000, NOISY_MEAN_FIELD),
    "Laplace": Case(lambda: algorithms.Laplace(), 30, EXACT),
    "LaplaceMixture": Case(lambda: algorithms.LaplaceMixture(), 30, EXACT),
    "Mode": Case(lambda: algorithms.Mode(), 100, MODE),
    "MultiPathfinder": Case(lambda: algorithms.MultiPathfinder(), 60, NOISY),
    "NUTS": Case(lambda: algorithms.NUTS(), 1000, DRAWS),
    "NUTS dense": Case(lambda: algorithms.NUTS(metric=algorithms.Dense()), 1000, DRAWS),
    "NaturalGradientVI": Case(lambda: algorithms.NaturalGradientVI(), 100, EXACT),
    "NaturalGradientVI by gradients": Case(
        lambda: algorithms.NaturalGradientVI(derivatives=algorithms.GradientDraws()), 100, NOISY
    ),
    "Pathfinder": Case(lambda: algorithms.Pathfinder(), 60, ROUGH),
    "Refreshed": Case(refreshed, 1500, NOISY_MODE, local_gaussian),
    "Restarts": Case(lambda: algorithms.Restarts(algorithms.Laplace(num_starts=1), 2), 30, EXACT),
    "SGHMC": Case(lambda: algorithms.SGHMC(chains=8, leaps=20, step_size=0.1), 500, DRAWS),
    "SequentialEP": Case(lambda: algorithms.SequentialEP(), 100, EXACT, sited_gaussian),
    "SiteLaplace": Case(lambda: algorithms.SiteLaplace(), 100, EXACT, sited_gaussian),
    "StochasticCVI": Case(lambda: algorithms.StochasticCVI(), 100, EXACT, sited_gaussian),
    "TemperedSMC": Case(lambda: algorithms.TemperedSMC(), 100, DRAWS),
    "Then": Case(lambda: algorithms.Then(algorithms.Laplace(), algorithms.BatchMatch()), 100, EXACT),
}
