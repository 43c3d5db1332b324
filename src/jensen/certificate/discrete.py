"""Values of discrete unknowns that an approximation has missed, by going through all of them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jensen.core import Certificate, Check, Compiled, Density, InputError, PRNGKey, in_batches, sample_many
from jensen.targets._cells import joint_sums
from jensen.targets._sums import Sums

MAX_VALUES = 4096  # of a posterior that is discrete altogether
MAX_MIXED = 256  # beside continuous unknowns, where the table is made anew at each draw
DRAWS = 1000
MAX_DISTANCE = 0.05
ROUND = 64  # values at a time


class ContinuousPart(Density):
    """q(z) = sum_d q(z, d): what a density over continuous and discrete unknowns says of the continuous ones.

    `q`: over all coordinates. `sums`: the table of the values of d. Cost of a density: one of q a value.
    """

    q: Density
    sums: Sums

    @property
    def dimension(self) -> int:
        return len(self._places)

    @property
    def _places(self) -> np.ndarray:
        return np.flatnonzero(~np.array(self.sums.space.discrete))

    def sample(self, key: PRNGKey) -> Float[Array, " c"]:
        return self.q.sample(key)[self._places]

    def log_prob(self, z: Float[Array, " c"]) -> Float[Array, ""]:
        return jax.nn.logsumexp(self.table(z))

    def table(self, z: Float[Array, " c"]) -> Float[Array, " k"]:
        """log q(z, d) of every value of d."""
        empty = self.sums.everywhere(self.sums.inner[0])
        return in_batches(lambda row: self.q.log_prob(self.sums.fill(z, row, empty)), self.sums.outer, ROUND)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ContinuousPart":
        raise InputError("ContinuousPart is a device of the certificate and is never part of a posterior")


def table_of(target: Any) -> Sums | None:
    """All values of the discrete unknowns, or None where they are too many to go through, or without end."""
    mixed = not all(target.space.discrete)
    return joint_sums(target, MAX_MIXED if mixed else MAX_VALUES)


@Compiled
def _distances(key: PRNGKey, part: ContinuousPart) -> Float[Array, " n"]:
    """1/2 sum_d |q(d | z) - p(d | z)| at draws z of q."""

    def one(z: Float[Array, " c"]) -> Float[Array, ""]:
        q, p = jax.nn.softmax(part.table(z)), jax.nn.softmax(part.sums.table(z)[0])
        distance = 0.5 * jnp.sum(jnp.abs(q - p))
        return jnp.where(jnp.isfinite(distance), distance, 1.0)  # where p is zero for every d

    return in_batches(one, sample_many(key, part, DRAWS), 50)


@Compiled
def _tables(part: ContinuousPart, z: Float[Array, " 0"]) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    return part.table(z), part.sums.table(z)[0]


def exact_certificate(q: Density, sums: Sums) -> Certificate:
    """Of a posterior that is discrete altogether: total variation, divergence and evidence are sums, without error."""
    log_q, log_p = (np.asarray(a, float) for a in _tables(ContinuousPart(q, sums), jnp.zeros(0)))
    log_evidence = float(np.logaddexp.reduce(log_p))
    mass, p = np.exp(log_q), np.exp(log_p - log_evidence)
    distance = 0.5 * float(np.sum(np.abs(mass - p)) + abs(1 - np.sum(mass)))
    used = mass > 0
    elbo = float(np.sum(mass[used] * (log_p[used] - log_q[used])))
    return Certificate(
        (_check(distance, 0.0, f"all {len(p)} values of the unknowns"),),
        elbo=elbo,
        elbo_standard_error=0.0,
        evidence_lower=log_evidence,
        evidence_upper=log_evidence,
    )


def conditional_check(key: PRNGKey, q: Density, sums: Sums) -> Check:
    """Whether q(d | z) is p(d | z) at q's own z, the mean over its draws of the total variation between the two."""
    values = np.asarray(_distances(key, ContinuousPart(q, sums)))
    over = f"all {len(sums.outer)} values of the discrete unknowns at {DRAWS} draws"
    return _check(float(values.mean()), float(values.std() / np.sqrt(DRAWS)), over)


def _check(distance: float, error: float, over: str) -> Check:
    holds = bool(distance < MAX_DISTANCE)  # false for NaN
    return Check(
        "discrete distance",
        distance,
        error,
        MAX_DISTANCE,
        holds,
        "",
        True,
        f"Over {over} the approximation differs from the posterior by a total variation of {distance:.2g}: some event "
        "has a probability that is wrong by as much.",
        "Use a guide in which the discrete sites depend on one another, or sum them out (targets.Enumerated).",
        "a limit of ours: no probability off by more than 0.05",
    )


def missed_check() -> Check:
    """The check that fails where nothing can go through the values of the discrete unknowns."""
    return Check(
        "missed whole numbers",
        float(jnp.nan),
        0.0,
        0.0,
        False,
        "",
        False,
        "Nothing looked for values of the discrete unknowns that the approximation has missed.",
        "Sum them out with targets.Enumerated, if they are few enough, or compare several runs by their ELBO.",
    )
