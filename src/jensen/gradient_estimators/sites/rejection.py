"""Sites drawn by acceptance and rejection, differentiated through the proposal."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey
from jensen.gradient_estimators.sites._base import Draw, Drawing, plain, refusal

_fixed = jax.lax.stop_gradient


class Sampler(eqx.Module):
    """A rejection sampler: x = h(eps; theta) with eps ~ s, accepted with probability q(x) / (M r(x)), r the law of h.

    All methods work element by element, on arrays of the shape of the site; `fn` is its distribution.
    """

    @abc.abstractmethod
    def noise(self, key: PRNGKey, fn: Any) -> Array:
        """eps, free of the parameters."""

    @abc.abstractmethod
    def transform(self, fn: Any, eps: Array) -> Array:
        """h(eps; theta), differentiable in the parameters of `fn`."""

    @abc.abstractmethod
    def log_proposal(self, fn: Any, x: Array) -> Array:
        """log r(x; theta)."""

    @abc.abstractmethod
    def log_bound(self, fn: Any) -> Array:
        """log M, with q <= M r everywhere."""


class Rejection(Drawing):
    """grad E_q[C] = E[grad C(h(eps)) + (C - b) d/dtheta (log q(h) - log r(h))], eps the noise of an accepted proposal.

    Without `sampler`: Gamma by Marsaglia and Tsang, and what is made of gamma draws: Chi2, InverseGamma, Beta,
    Dirichlet, StudentT. `boost` raises the shape by as many uniform draws, which makes proposals so good that the
    second term nearly vanishes; 1 does it (more are no better), and 0 is only for shapes above one. With a `Sampler` of
    your own: any one-dimensional site. b is the mean of C over the other draws.

    Raises `InputError` for another distribution without a `sampler`, or a negative `boost`.

    Source: Naesseth, Ruiz, Linderman and Blei (2017).
    """

    boost: int = eqx.field(static=True, default=1)
    sampler: Sampler | None = None

    def __check_init__(self):
        if self.boost < 0:
            raise InputError(f"boost must be at least 0, got {self.boost}")

    def check(self, name: str, fn: Any) -> None:
        if self.sampler is None and _maker(fn) is None:
            raise refusal(self, name, fn, f"{', '.join(_MAKERS)}, or any with a sampler of your own")

    def draw(self, key: PRNGKey, fn: Any) -> Draw:
        if self.sampler is not None:
            return _by_proposal(key, fn, self.sampler)
        make: Any = _maker(fn)
        x, weight = make(key, plain(fn), fn.shape(), self.boost)
        return Draw(x, weight)


def _by_proposal(key: PRNGKey, fn: Any, sampler: Sampler) -> Draw:
    base = plain(fn)

    def log_ratio(eps: Array) -> Array:
        x = sampler.transform(fn, eps)
        return base.log_prob(x) - sampler.log_proposal(fn, x)

    def again(carry: Any) -> Any:
        t, eps, done = carry
        key_noise, key_uniform = jax.random.split(jax.random.fold_in(key, t))
        new = sampler.noise(key_noise, fn)
        u = jax.random.uniform(key_uniform, fn.shape())
        accepted = jnp.log(u) < _fixed(log_ratio(new) - sampler.log_bound(fn))
        return t + 1, jnp.where(done, eps, new), done | accepted

    first = sampler.noise(key, fn)
    start = (jnp.zeros((), jnp.int32), jnp.zeros_like(first), jnp.zeros(fn.shape(), bool))
    _, eps, _ = jax.lax.while_loop(lambda carry: ~jnp.all(carry[2]), again, start)
    eps = _fixed(eps)
    return Draw(sampler.transform(fn, eps), jnp.sum(log_ratio(eps)))


def standard_gamma(key: PRNGKey, shape: Float[Array, "*s"], boost: int) -> tuple[Float[Array, "*s"], Float[Array, ""]]:
    """(x ~ Gamma(shape, 1), sum of log q - log r): x = prod_i u_i^(1 / (shape + i - 1)) h(eps; shape + boost).

    h(eps; a) = (a - 1/3) (1 + eps / sqrt(9 a - 3))^3, with the eps that gives an exact draw of Gamma(a, 1).
    """
    key_gamma, key_uniform = jax.random.split(key)
    a = shape + boost
    exact = jax.random.gamma(key_gamma, _fixed(a))
    eps = _fixed(jnp.sqrt(9 * a - 3) * (jnp.cbrt(exact / (a - 1 / 3)) - 1))
    v = 1 + eps / jnp.sqrt(9 * a - 3)
    h = (a - 1 / 3) * v**3
    log_q = (a - 1) * jnp.log(h) - h - jax.lax.lgamma(a)
    log_slope = jnp.log(3 * (a - 1 / 3) / jnp.sqrt(9 * a - 3) * v**2)  # of h in eps: log r = log s(eps) - this
    x = h
    for i in range(boost):
        u = jax.random.uniform(jax.random.fold_in(key_uniform, i), shape.shape, shape.dtype, minval=1e-30)
        x = x * u ** (1 / (shape + i))
    return x, jnp.sum(log_q + log_slope)


def _gamma(key: PRNGKey, fn: Any, shape: tuple[int, ...], boost: int) -> tuple[Array, Array]:
    x, weight = standard_gamma(key, jnp.broadcast_to(fn.concentration, shape), boost)
    return x / fn.rate, weight


def _inverse_gamma(key: PRNGKey, fn: Any, shape: tuple[int, ...], boost: int) -> tuple[Array, Array]:
    x, weight = standard_gamma(key, jnp.broadcast_to(fn.concentration, shape), boost)
    return fn.rate / x, weight


def _beta(key: PRNGKey, fn: Any, shape: tuple[int, ...], boost: int) -> tuple[Array, Array]:
    pair = jnp.stack([jnp.broadcast_to(a, shape) for a in (fn.concentration1, fn.concentration0)])
    x, weight = standard_gamma(key, pair, boost)
    return x[0] / (x[0] + x[1]), weight


def _dirichlet(key: PRNGKey, fn: Any, shape: tuple[int, ...], boost: int) -> tuple[Array, Array]:
    x, weight = standard_gamma(key, jnp.broadcast_to(fn.concentration, shape), boost)
    return x / jnp.sum(x, axis=-1, keepdims=True), weight


def _student(key: PRNGKey, fn: Any, shape: tuple[int, ...], boost: int) -> tuple[Array, Array]:
    key_normal, key_gamma = jax.random.split(key)
    half = 0.5 * jnp.broadcast_to(fn.df, shape)
    x, weight = standard_gamma(key_gamma, half, boost)
    return fn.loc + fn.scale * jax.random.normal(key_normal, shape) * jnp.sqrt(half / x), weight


_MAKERS = {
    "Gamma": _gamma,
    "Chi2": _gamma,
    "InverseGamma": _inverse_gamma,
    "Beta": _beta,
    "Dirichlet": _dirichlet,
    "StudentT": _student,
}


def _maker(fn: Any) -> Any:
    return _MAKERS.get(type(plain(fn)).__name__)
