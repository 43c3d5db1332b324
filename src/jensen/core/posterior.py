"""Posteriors: what comes out of inference, on a space, with draws named and constrained as in the model."""

import abc
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jensen.core.batching import in_batches
from jensen.core.compiled import PASSES, Compiled
from jensen.core.errors import InputError
from jensen.core.family import Density, sample_many
from jensen.core.random import PRNGKey, check_key
from jensen.core.space import Space

_BLOCK = 1000  # rows constrained at once: bounds the memory of models with large deterministic sites


@partial(Compiled, small=PASSES)
def constrain_many(space: Space, z: Float[Array, "n d"]) -> dict[str, Array]:
    """`space.constrain` of each row."""
    return in_batches(space.constrain, z, _BLOCK)


_sample_many = Compiled(sample_many)
_log_prob_many = Compiled(lambda q, z: jax.vmap(q.log_prob)(z))


@partial(Compiled, small=PASSES)
def _resample(key: PRNGKey, z: Float[Array, "m d"], log_weights: Float[Array, " m"], n: int) -> Float[Array, "n d"]:
    points = (jnp.arange(n) + jax.random.uniform(key)) / n
    cumulative = jnp.cumsum(jnp.exp(log_weights))
    chosen = jnp.searchsorted(cumulative / cumulative[-1], points)
    return z[jnp.minimum(chosen, z.shape[0] - 1)]


class Posterior(eqx.Module):
    """An approximate posterior over z in R^d, read as named draws in the supports of the model.

    `sample(key, n)` gives a dict of constrained draws with leading axis n; `sample_z(key, n)` the same in R^d.
    """

    space: eqx.AbstractVar[Space]

    @abc.abstractmethod
    def sample_z(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        """Draws in unconstrained coordinates, shape (n, d)."""

    @abc.abstractmethod
    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """Mean and covariance of z."""

    def sample(self, key: Any, n: int) -> dict[str, Array]:
        """Dict of draws in the model's own coordinates, leading axis `n`. Raises `InputError` for n < 1 or no key."""
        if n < 1:
            raise InputError(f"The number of draws must be at least 1, got {n}")
        return constrain_many(self.space, self.sample_z(check_key(key), n))

    def log_prob(self, z: Float[Array, "*n d"]) -> Float[Array, "*n"]:
        """log q(z) in nats, for z of shape (d,) or (n, d). Raises `InputError` where the posterior has no density."""
        raise InputError(
            f"A {type(self).__name__} has draws but no density: use a method that gives a DensityPosterior "
            "(`jensen methods` lists what each gives)"
        )

    def to_arviz(self, key: PRNGKey, num_draws: int = 1000, target: Any = None) -> Any:
        """ArviZ `InferenceData`: posterior, and posterior_predictive and observed_data where `target` has them."""
        from jensen.core._arviz import to_inference_data

        return to_inference_data(self, key, num_draws, target)


class DensityPosterior(Posterior):
    """A posterior given by a density q on R^d."""

    space: Space
    q: Density

    def sample_z(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        return _sample_many(key, self.q, n)

    def log_prob(self, z: Float[Array, "*n d"]) -> Float[Array, "*n"]:
        z = jnp.asarray(z)
        return _log_prob_many(self.q, z) if z.ndim == 2 else _log_prob_many(self.q, z[None])[0]

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        """The family's own moments where it has them, else those of 10,000 draws."""
        if hasattr(self.q, "mean_and_cov"):
            return self.q.mean_and_cov()  # pyright: ignore[reportAttributeAccessIssue]
        z = self.sample_z(jax.random.key(0), 10_000)
        return jnp.mean(z, 0), jnp.atleast_2d(jnp.cov(z, rowvar=False))


class DrawsPosterior(Posterior):
    """A posterior given by draws of one or more chains, shape (chains, n, d).

    `diverging` marks draws at which a Hamiltonian sampler's energy error exceeded its limit, shape (chains, n).
    `independent` says that draws are not a Markov chain (particles of SMC): R-hat does not apply to them.
    """

    space: Space
    chains: Float[Array, "chains n d"]
    diverging: Bool[Array, "chains n"] | None = None
    independent: bool = eqx.field(static=True, default=False)

    @property
    def pooled(self) -> Float[Array, "total d"]:
        """All draws, shape (chains * n, d)."""
        return self.chains.reshape(-1, self.chains.shape[-1])

    def sample_z(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        """`n` of the draws: without repetition while there are enough, else with."""
        z = self.pooled
        return z[jax.random.choice(key, z.shape[0], (n,), replace=n > z.shape[0])]

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        z = self.pooled
        return jnp.mean(z, 0), jnp.atleast_2d(jnp.cov(z, rowvar=False))


class WeightedPosterior(Posterior):
    """Weighted draws z of shape (n, d) with normalised log weights (n,): importance resampling of a density's draws.

    `proposal` is the density that the draws came from; `khat` the Pareto shape of their weights.
    """

    space: Space
    z: Float[Array, "n d"]
    log_weights: Float[Array, " n"]
    proposal: Density | None = None

    def sample_z(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        """Systematic resampling: each draw appears n w_i times up to one, in the order of the draws."""
        return _resample(key, self.z, self.log_weights, n)

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        weights = jnp.exp(self.log_weights)
        mean = weights @ self.z
        centred = self.z - mean
        return mean, (centred * weights[:, None]).T @ centred


class PointPosterior(Posterior):
    """A single point z: a mode, or trained parameters. It has no spread, and no certificate can vouch for one.

    `others`: further points that a search came upon (the loop passes starting points so), None where there are none.
    `conditional`: q(u | row), `conditional.given(row)`, of the latents of rows where it was trained along with z (a
    target with `Locals`), else None; it is not saved.
    """

    space: Space
    z: Float[Array, " d"]
    others: Float[Array, "k d"] | None = None
    conditional: Any = None

    def sample_z(self, key: PRNGKey, n: int) -> Float[Array, "n d"]:
        return jnp.broadcast_to(self.z, (n, self.z.shape[0]))

    def mean_and_cov(self) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
        return self.z, jnp.zeros((self.z.shape[0],) * 2, self.z.dtype)
