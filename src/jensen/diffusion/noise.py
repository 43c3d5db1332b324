"""How much noise is added to a row."""

import math

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, Float

from jensen.core import InputError, PRNGKey, Scalar, scalar_field


class NoiseLevels(eqx.Module):
    """x_s = x + s e, e ~ N(0, I), log s uniform on [log low, log high]: the noise variance explodes, x is not shrunk.

    A process a_t x + s_t e is this one in the coordinates x_t / a_t. `low`, `high`: in units of x; at `low` a row is
    itself to the eye, at `high` (several times the spread of the data) nothing of it is left.

    Raises `InputError` unless 0 < low < high < inf.

    Source: Song et al. (2021); log-uniform levels: Karras, Aittala, Aila and Laine (2022).
    """

    low: Scalar = scalar_field(0.05)
    high: Scalar = scalar_field(5.0)

    def __check_init__(self):
        known = not any(isinstance(v, jax.core.Tracer) for v in (self.low, self.high))
        if known and not 0 < float(self.low) < float(self.high) < math.inf:
            raise InputError(f"Noise levels want 0 < low < high, both finite, got {self.low} and {self.high}")

    def draw(self, key: PRNGKey, n: int) -> Float[Array, " n"]:
        """`n` levels, one in each of n equal parts of the range of log s, rising."""
        u = (jnp.arange(n) + jax.random.uniform(key, (n,), self.low.dtype)) / n
        return self.low * (self.high / self.low) ** u.astype(self.low.dtype)

    def grid(self, n: int) -> Float[Array, " n"]:
        """`n` levels falling from high to low, equally spaced in log s."""
        return self.high * (self.low / self.high) ** jnp.linspace(0.0, 1.0, n, dtype=self.low.dtype)
