"""Where the ladder stands: its attempts, and what a rung is."""

import dataclasses
from collections.abc import Callable

import numpy as np

from jensen.certificate import Modes
from jensen.core import Algorithm, Certificate, DensityPosterior, Posterior, Run, Target, WeightedPosterior

USELESS_KHAT = 1.5  # a density whose weights are worse is no place to start from
WEIGHED = 100  # dimensions up to which k-hat tells a good preconditioner from a bad one


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What a rung came to: a posterior, its certificate and its run."""

    posterior: Posterior
    certificate: Certificate
    run: Run

    @property
    def failures(self) -> int:
        """Number of checks that failed; a certificate without checks counts as the worst."""
        ran = [c for c in self.certificate.checks if c.holds is not None]
        return sum(not c.holds for c in ran) if ran else 99


@dataclasses.dataclass(frozen=True)
class Ascent:
    """How far the ladder has come: the target, the attempts so far, and the modes that the first rung found."""

    target: Target
    tried: tuple[Attempt, ...] = ()
    modes: Modes | None = None

    def after(self, attempt: Attempt) -> "Ascent":
        """Where the ladder stands after one more attempt."""
        return dataclasses.replace(self, tried=(*self.tried, attempt))

    @property
    def best(self) -> Attempt | None:
        """The attempt whose density is the best start so far: of highest ELBO, where weights have any moments at all.

        Weights lose their moments with dimension, however near each coordinate is: above `WEIGHED` any finite ELBO
        will do.
        """
        limit = USELESS_KHAT if self.target.space.dimension <= WEIGHED else np.inf
        useful = [a for a in self.tried if khat_of(a) < limit and not fails(a, "missed modes", "evidence elsewhere")]
        return max(useful, key=lambda a: a.certificate.elbo or -np.inf) if useful else None

    @property
    def start(self) -> Posterior | None:
        """The density of highest ELBO so far, to begin the next rung from; None if none is of use.

        One that misses modes, or whose weights have hardly any finite moment, would only mislead.
        """
        if self.best is None:
            return None
        posterior = self.best.posterior
        if isinstance(posterior, WeightedPosterior) and posterior.proposal is not None:
            return DensityPosterior(posterior.space, posterior.proposal)
        return posterior

    @property
    def several_modes(self) -> bool:
        """Whether a check of missed modes has failed: one mode's density will not do."""
        return any(fails(a, "missed modes") for a in self.tried)


def khat_of(attempt: Attempt) -> float:
    khat, elbo = attempt.certificate.khat, attempt.certificate.elbo
    return np.inf if khat is None or elbo is None or not np.isfinite(elbo) else khat


def fails(attempt: Attempt, *names: str) -> bool:
    return any(c.name in names and c.holds is False for c in attempt.certificate.checks)


@dataclasses.dataclass(frozen=True)
class Rung:
    """A step of the ladder: `make(ascent)` gives the algorithm, or None where the rung does not apply.

    `repeats`: runs with keys of their own whose draws are pooled as chains, for methods of one population (SMC).
    """

    name: str
    make: Callable[[Ascent], Algorithm | None]
    steps: int | None = None
    repeats: int = 1
