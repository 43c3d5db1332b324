"""One-hot vectors as a distribution of NumPyro's; import this module lazily, it imports NumPyro."""

from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.distributions import Distribution, ExpandedDistribution, Independent, constraints

from jensen.core import InputError


class _OneHot(constraints.ParameterFreeConstraint):
    is_discrete = True
    event_dim = 1

    def __call__(self, x: Any) -> Any:
        xp: Any = jnp if isinstance(x, jax.Array) else np
        return ((x == 0) | (x == 1)).all(axis=-1) & xp.equal(x.sum(axis=-1), 1)

    def feasible_like(self, prototype: Any) -> Array:
        return jnp.broadcast_to(jax.nn.one_hot(0, prototype.shape[-1], dtype=prototype.dtype), prototype.shape)


class _LogMass(constraints.ParameterFreeConstraint):
    event_dim = 1

    def __call__(self, x: Any) -> Any:
        return (x < jnp.inf).all(axis=-1)  # -inf is a category that cannot be; false for NaN

    def feasible_like(self, prototype: Any) -> Array:
        return jnp.zeros_like(prototype)


class OneHotCategorical(Distribution):
    """p(x) = prod_k p_k^(x_k) on the K one-hot vectors x: a category that a model sees as a vector, not as an index.

    A site of a NumPyro model or guide: `numpyro.sample("kind", OneHotCategorical(probs))`, a row of K whole numbers a
    value, one of which is 1. `probs` (*batch, K) on the simplex, or `logits` (*batch, K), unnormalised. log p(x) =
    sum_k x_k log p_k is defined between the vertices too, as `targets.Relaxed` wants it; a model that uses x as x @ w
    is so as well. NumPyro's `Multinomial(1, probs)` is the same law and taken for it where its count is a constant.

    Raises `InputError` unless exactly one of `probs` and `logits` is given, with at least one axis, and probabilities
    that are known when the model is written are on the simplex.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {"logits": _LogMass()}
    support: Any = _OneHot()
    has_enumerate_support = True

    def __init__(self, probs: Any = None, logits: Any = None, *, validate_args: bool | None = None):
        if (probs is None) == (logits is None):
            raise InputError("OneHotCategorical takes probs or logits, and not both")
        if logits is None:
            logits = _log(probs)
        if jnp.ndim(logits) < 1 or jnp.shape(logits)[-1] < 1:
            raise InputError(
                f"OneHotCategorical takes a vector, an entry a category, got an array of shape {jnp.shape(logits)}"
            )
        self.logits = jax.nn.log_softmax(jnp.asarray(logits, jnp.result_type(float)))
        shape = jnp.shape(logits)
        super().__init__(batch_shape=shape[:-1], event_shape=shape[-1:], validate_args=validate_args)

    @property
    def probs(self) -> Array:
        """p, (*batch, K)."""
        return jnp.exp(self.logits)

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Array:
        index = jax.random.categorical(key, self.logits, shape=(*sample_shape, *self.batch_shape))
        return jax.nn.one_hot(index, self.event_shape[0], dtype=jnp.result_type(int))

    def log_prob(self, value: Any) -> Array:
        return between(self.logits, value)

    def enumerate_support(self, expand: bool = True) -> Array:
        k = self.event_shape[0]
        values = jnp.eye(k, dtype=jnp.result_type(int)).reshape(k, *(1,) * len(self.batch_shape), k)
        return jnp.broadcast_to(values, (k, *self.batch_shape, k)) if expand else values

    @property
    def mean(self) -> Array:
        return self.probs

    @property
    def variance(self) -> Array:
        return self.probs * (1 - self.probs)

    def entropy(self) -> Array:
        """- sum_k p_k log p_k, in nats."""
        return -between(self.logits, self.probs)


def between(logits: Array, value: Any) -> Array:
    """sum_k x_k l_k, -inf where an impossible category has a share; slopes in x are l, also at shares of zero."""
    impossible = logits == -jnp.inf
    term = jnp.sum(value * jnp.where(impossible, 0.0, logits), axis=-1)
    return jnp.where(jnp.any(impossible & (value != 0), axis=-1), -jnp.inf, term)


def relaxed_log_prob(fn: Any, value: Any) -> Array:
    """log density of a distribution, that of one-hot vectors as `between`: linear in the value."""
    if isinstance(fn, Independent):
        term = relaxed_log_prob(fn.base_dist, value)
        return jnp.sum(term, axis=tuple(range(-fn.reinterpreted_batch_ndims, 0)))
    if isinstance(fn, ExpandedDistribution):
        return jnp.broadcast_to(relaxed_log_prob(fn.base_dist, value), fn.batch_shape)
    logits = one_hot_logits(fn)
    return fn.log_prob(value) if logits is None else between(logits, value)


def one_hot_logits(fn: Any) -> Array | None:
    """log p of a distribution of one-hot vectors, normalised; None of any other. `fn`: without `Independent`."""
    if isinstance(fn, OneHotCategorical):
        return fn.logits
    if type(fn).__name__ in ("MultinomialProbs", "MultinomialLogits") and counts_one(fn.support):
        return jax.nn.log_softmax(fn.logits)
    return None


def is_one_hot(constraint: Any) -> bool:
    """Whether a constraint is that of one-hot vectors."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    return isinstance(constraint, _OneHot) or counts_one(constraint)


def counts_one(constraint: Any) -> bool:
    """Whether a constraint is a multinomial's of one trial, as far as that is known without running the model."""
    if not isinstance(constraint, constraints.multinomial) or isinstance(constraint.upper_bound, jax.core.Tracer):
        return False
    return bool(np.all(np.asarray(constraint.upper_bound) == 1))


def _log(probs: Any) -> Array:
    if not isinstance(probs, jax.core.Tracer):
        given = np.asarray(probs)
        if given.ndim and not (np.all(given >= 0) and np.allclose(given.sum(-1), 1.0, atol=1e-4)):
            raise InputError(
                "The probabilities of OneHotCategorical must be positive and sum to 1: pass logits instead"
            )
    probs = jnp.asarray(probs, jnp.result_type(float))
    return jnp.where(probs > 0, jnp.log(jnp.where(probs > 0, probs, 1.0)), -jnp.inf)
