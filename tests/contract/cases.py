"""The table of the contract tests: a line here puts an algorithm through all of them.

`recovers` says what the algorithm must make of N(m, S) with d = 4: `EXACT` its moments to the square root of machine
precision; `NOISY` its moments within the Monte Carlo error over runs; `DRAWS` its moments within five standard errors
of effectively `n` draws; `ROUGH` a density within one nat; `MEAN_FIELD` its mean and the variances 1 / diag(S^-1) of
the best factorised Gaussian; `MODE` its mode.
"""

import dataclasses
import enum
from collections.abc import Callable

from jensen import algorithms, families
from jensen.core import Algorithm


class Recovers(enum.Enum):
    """What an algorithm makes of a Gaussian target."""

    EXACT = enum.auto()
    NOISY = enum.auto()
    DRAWS = enum.auto()
    ROUGH = enum.auto()
    MEAN_FIELD = enum.auto()
    MODE = enum.auto()


EXACT, NOISY, DRAWS, ROUGH, MEAN_FIELD, MODE = Recovers


@dataclasses.dataclass(frozen=True)
class Case:
    """One algorithm as the contract sees it: how it is made, how many steps it is given, what it must recover."""

    make: Callable[[], Algorithm]
    steps: int
    recovers: Recovers


CASES: dict[str, Case] = {
    "Averaged": Case(lambda: algorithms.Averaged(algorithms.Laplace()), 30, EXACT),
    "BatchMatch": Case(lambda: algorithms.BatchMatch(), 100, EXACT),
    "BestSoFar": Case(lambda: algorithms.BestSoFar(algorithms.Laplace()), 30, EXACT),
    "GradientVI": Case(lambda: algorithms.GradientVI(learning_rate=0.05), 1500, NOISY),
    "BuresWassersteinGradient": Case(lambda: algorithms.BuresWassersteinGradient(), 400, EXACT),
    "FixedSampleVI": Case(lambda: algorithms.FixedSampleVI(), 100, MEAN_FIELD),
    "FixedSampleVI full rank": Case(lambda: algorithms.FixedSampleVI(family=families.FullRank()), 100, EXACT),
    "ForwardBackward": Case(lambda: algorithms.ForwardBackward(), 400, EXACT),
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
    "Restarts": Case(lambda: algorithms.Restarts(algorithms.Laplace(num_starts=1), 2), 30, EXACT),
    "TemperedSMC": Case(lambda: algorithms.TemperedSMC(), 100, DRAWS),
    "Then": Case(lambda: algorithms.Then(algorithms.Laplace(), algorithms.BatchMatch()), 100, EXACT),
}
