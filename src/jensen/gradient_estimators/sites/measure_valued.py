"""Measure-valued derivatives: the derivative of a law as a difference of two laws."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jensen.core import PRNGKey
from jensen.gradient_estimators.sites._base import Branching, Go, Scalar, one_hot_logits, plain, refusal

TAKES = ("Bernoulli", "Categorical", "OneHotCategorical", "Normal", "Poisson", "Gamma", "Exponential")


class MeasureValued(Branching):
    """d/dtheta E[C(x)] = c (E_+[C] - E_-[C]), the derivative of the law as a difference of two laws.

    By parameter, each element of the site in turn, with the random numbers of the rest shared by all runs:
    Bernoulli p: C(1) - C(0), one of which is the draw. Categorical p_k: C(k); one-hot p_k: C(e_k). Normal mean:
    (C(m + s w) - C(m - s w)) / (s sqrt(2 pi)), w Rayleigh; scale: (C(m + s v) - C(m + s v u)) / s, v a double-sided
    Maxwell and u uniform. Poisson rate: C(x + 1) - C(x). Gamma rate: (a / b) (C(x) - C(x + y)), y exponential of rate
    b; shape: (C(x + y) - C(x)) / (b y), from the jumps of the gamma process. C need not be differentiable. Cost: runs
    of the rest, without gradient: 1 (Bernoulli, Poisson, Gamma), 4 (Normal) or k (Categorical, one-hot) an element,
    and one run with.

    Raises `InputError` for any other distribution.

    Source: Mohamed, Rosca, Figurnov and Mnih (2020), section 6; the shape of a gamma law is derived here.
    """

    def check(self, name: str, fn: Any) -> None:
        if _kind(fn) not in TAKES:
            raise refusal(self, name, fn, ", ".join(TAKES))

    def size(self, fn: Any) -> float:
        kind, k = _kind(fn), _categories(fn)
        elements = math.prod(fn.shape()) / (k if kind == "OneHotCategorical" else 1)
        return 1.0 + elements * {"Normal": 4, "Categorical": k, "OneHotCategorical": k}.get(kind, 1)

    def branch(self, key: PRNGKey, fn: Any, go: Go) -> tuple[Scalar, Scalar]:
        key_draw, key_other, key_rest = jax.random.split(key, 3)
        x = jax.lax.stop_gradient(fn.sample(key_draw))
        value, surrogate = go(x, key_rest)

        def costs(values: Array) -> Array:
            """C with element i of x replaced: `values` (m, *shape) gives (m, elements)."""
            width = x.shape[-1:] if _kind(fn) == "OneHotCategorical" else ()
            flat = x.reshape(-1, *width)
            rows = values.reshape(values.shape[0], -1, *width)

            def replaced(i: Array, new: Array) -> Array:
                return go(flat.at[i].set(new).reshape(x.shape), key_rest)[0]

            run = jax.vmap(jax.vmap(replaced, (0, 0)), (None, 0))
            return jax.lax.stop_gradient(run(jnp.arange(flat.shape[0]), rows))

        fixed = jax.lax.stop_gradient(value)
        return value, surrogate + _terms(key_other, plain(fn), x, fixed, costs)


def _kind(fn: Any) -> str:
    if one_hot_logits(fn) is not None:
        return "OneHotCategorical"
    name = type(plain(fn)).__name__
    return {"BernoulliProbs": "Bernoulli", "BernoulliLogits": "Bernoulli"}.get(
        name, {"CategoricalProbs": "Categorical", "CategoricalLogits": "Categorical"}.get(name, name)
    )


def _categories(fn: Any) -> int:
    return plain(fn).probs.shape[-1] if _kind(fn) in ("Categorical", "OneHotCategorical") else 0


def _terms(key: PRNGKey, fn: Any, x: Array, value: Scalar, costs: Any) -> Scalar:
    """The part of the surrogate by which the law of the site depends on its parameters; its value does not matter."""
    key_first, key_second, key_sign = jax.random.split(key, 3)
    fixed = jax.lax.stop_gradient

    def over(parameter: Array, slope: Array) -> Scalar:
        return jnp.sum(jnp.broadcast_to(parameter, x.shape).reshape(-1) * fixed(slope))

    match _kind(fn):
        case "Bernoulli":
            sign = (2 * x - 1).reshape(-1).astype(value.dtype)
            return over(fn.probs, sign * (value - costs((1 - x)[None])[0]))
        case "Categorical":
            k = fn.probs.shape[-1]
            values = jnp.broadcast_to(jnp.arange(k, dtype=x.dtype).reshape(k, *(1,) * x.ndim), (k, *x.shape))
            p = jnp.broadcast_to(fn.probs, (*x.shape, k)).reshape(-1, k)
            return jnp.sum(p.T * fixed(costs(values) - value))
        case "OneHotCategorical":
            k = x.shape[-1]
            values = jnp.eye(k, dtype=x.dtype).reshape(k, *(1,) * (x.ndim - 1), k)
            p = jnp.exp(jnp.broadcast_to(jnp.asarray(one_hot_logits(fn)), x.shape)).reshape(-1, k)
            return jnp.sum(p.T * fixed(costs(jnp.broadcast_to(values, (k, *x.shape))) - value))
        case "Normal":
            m, s = (jnp.broadcast_to(fixed(a), x.shape) for a in (fn.loc, fn.scale))
            w = jnp.sqrt(-2 * jnp.log1p(-jax.random.uniform(key_first, x.shape, x.dtype)))
            v = jnp.linalg.norm(jax.random.normal(key_second, (3, *x.shape), x.dtype), axis=0)
            v = v * jax.random.rademacher(key_sign, x.shape, x.dtype)
            u = jax.random.uniform(jax.random.fold_in(key_sign, 1), x.shape, x.dtype)
            plus, minus, wide, narrow = costs(jnp.stack([m + s * w, m - s * w, m + s * v, m + s * v * u]))
            flat = s.reshape(-1)
            return over(fn.loc, (plus - minus) / (flat * jnp.sqrt(2 * jnp.pi))) + over(fn.scale, (wide - narrow) / flat)
        case "Poisson":
            return over(fn.rate, costs((x + 1)[None])[0] - value)
    shape = getattr(fn, "concentration", jnp.ones_like(fn.rate))
    a, b = (jnp.broadcast_to(fixed(p), x.shape) for p in (shape, fn.rate))
    y = jax.random.exponential(key_first, x.shape, x.dtype) / b
    jump = costs((x + y)[None])[0] - value
    return over(fn.rate, -(a / b).reshape(-1) * jump) + over(shape, jump / (b * y).reshape(-1))
