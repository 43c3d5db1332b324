"""A random walk as an algorithm: cheap to compile, with draws, and different at every step."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from jensen._run import Outcome, drive
from jensen.core import Algorithm, DrawsPosterior, LogDensity, Scalar, make_step, scalar_field
from jensen.targets import from_log_density

TARGET = from_log_density(lambda z, x: -0.5 * jnp.sum((z - x) ** 2), jnp.zeros(2), jnp.arange(2.0))
KEY = jax.random.key(0)
STEPS, CHUNK = 40, 5


class Position(eqx.Module):
    """Where the walk is."""

    z: Any


class Draw(eqx.Module):
    """What a step records."""

    z: Any


class Walk(Algorithm):
    """z <- z + rate N(0, I); each step is a draw."""

    needs: ClassVar[Any] = LogDensity
    gives: ClassVar[type] = DrawsPosterior
    rate: Scalar = scalar_field(1.0)
    width: int = eqx.field(static=True, default=1)

    def init(self, key, target, start):
        return Position(jnp.zeros(2))

    def step(self, key, state, target, clock):
        z = state.z + self.rate * self.width * jax.random.normal(key, (2,))
        return Position(z), make_step(-target.log_density(z), draw=Draw(z[None]))

    def posterior(self, state, draws, space):
        z = jnp.zeros((0, 1, 2)) if draws is None else jnp.asarray(draws.z)
        return DrawsPosterior(space, jnp.swapaxes(z, 0, 1))


def walk(checkpoint=None, algorithm: Any = None, target: Any = TARGET, **options: Any) -> Outcome:
    """A run of the walk."""
    options = dict(key=KEY, steps=STEPS, chunk=CHUNK) | options
    return drive(algorithm or Walk(), target, checkpoint=checkpoint, **options)


def assert_same(got: Outcome, want: Outcome) -> None:
    """Equal to the bit in all but wall time and notes."""
    for a, b in (
        (got.posterior.chains, want.posterior.chains),
        (got.state.z, want.state.z),
        (got.run.history.objective, want.run.history.objective),
    ):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)
    assert got.run.stop is want.run.stop
